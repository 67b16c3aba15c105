"""What Grafana does with a dashboard before and after it asks a data source: variables, queries, frames. The rules are those of Grafana's
Prometheus and PostgreSQL data sources."""

import copy
import json
import pathlib
import re

FILES = pathlib.Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"


def load():
    return [json.loads(f.read_text()) for f in sorted(FILES.glob("*.json"))]


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def is_sql(dashboard):
    return "postgresql" in dashboard["templating"]["list"][0]["query"]


class Variables:
    """Chosen values by name: a list for one of several values, a string for one of one."""

    def __init__(self, window, interval):
        self.chosen = {}
        self.times = {"__range": f"{window}s", "__interval": f"{interval}s", "__rate_interval": f"{4 * interval}s"}

    def where(self, **chosen):
        other = copy.copy(self)
        other.chosen = self.chosen | chosen
        return other

    def fill(self, text):
        return re.sub(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))", lambda m: self._text(m[1] or m[3], m[2]), text)

    def _text(self, name, form):
        if name in self.times:
            return self.times[name]
        value = self.chosen[name]
        if form == "sqlstring":
            return ",".join("'" + v.replace("'", "''") + "'" for v in ([value] if isinstance(value, str) else value))
        if isinstance(value, str):
            return value
        escaped = [re.sub(r"([\\^$*+?.()|\[\]{}])", r"\\\\\1", v) for v in value]
        return escaped[0] if len(escaped) == 1 else "(" + "|".join(escaped) + ")"


def choose(dashboard, variables, find, wanted):
    """Everything of each variable of several values; of the others the first, but for swiglu as a baseline and loss as a point.
    find(query) answers with the values; wanted: by (uid, variable) a pattern of those to take."""
    for v in dashboard["templating"]["list"]:
        if v["type"] == "custom":
            variables.chosen[v["name"]] = v["current"]["value"]
        elif v["type"] == "query":
            found = find(variables.fill(v["query"]))
            if not found:
                raise ValueError(f"{dashboard['uid']}: variable {v['name']} has no value: {v['query']}")
            pattern = wanted.get((dashboard["uid"], v["name"]))
            found = [x for x in found if not pattern or re.fullmatch(pattern, x)]
            preferred = [x for x in found if v["name"] == "baseline" and x == "swiglu" or v["name"] == "point" and x == "loss"]
            variables.chosen[v["name"]] = found if v["multi"] else (preferred or found)[0]


def field(name, kind, values, labels=None, display=None):
    return {"name": name, "type": kind, "values": values, "labels": labels or {}, "config": {"displayNameFromDS": display} if display else {}}


def number(text):
    return None if text == "NaN" else float(text)


def prometheus_frames(target, answer, several):
    """Of one query. several: whether the panel has more than one, which then are told apart by `Value #A`."""
    points = [(s["metric"], s["values"] if "values" in s else [s["value"]]) for s in answer]
    ref = target["refId"]
    if target["format"] == "table":
        names = sorted({name for metric, _ in points for name in metric})
        rows = [(t, metric, v) for metric, values in points for t, v in values]
        if target["range"]:
            rows.sort(key=lambda row: row[0])
        fields = [field("Time", "time", [t * 1000 for t, _, _ in rows])]
        fields += [field(n, "string", [metric.get(n, "") for _, metric, _ in rows]) for n in names]
        fields.append(field(f"Value #{ref}" if several else "Value", "number", [number(v) for _, _, v in rows]))
        return [{"refId": ref, "fields": fields}]
    frames = []
    for metric, values in points:
        name = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: metric.get(m[1], ""), target["legendFormat"])
        frames.append({"refId": ref, "name": name,
                       "fields": [field("Time", "time", [t * 1000 for t, _ in values]),
                                  field("Value", "number", [number(v) for _, v in values], metric, name)]})
    return frames


def sql_frames(target, rows):
    fields = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        numbers = all(v is None or isinstance(v, (int, float)) for v in values)
        fields.append(field(name, "number" if numbers else "string", values))
    return [{"refId": target["refId"], "fields": fields}]
