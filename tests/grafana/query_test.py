#!/usr/bin/env python3
"""Runs every query of every dashboard, of variables and annotations too, and fails when one is refused or answers with nothing.

  query_test.py prometheus [--url URL] [--hours 1] [--end UNIX_TIME]
  query_test.py postgres [--url 'host=... dbname=...']
  both: [--out DIR] [--may-be-empty PANEL ...] [--choose DASHBOARD/VARIABLE=REGEX ...], as in live-run/activation=swiglu|polynorm: else
        every value that there is

Without --url it starts a server of its own, filled with study.py. Of a real run some panels have nothing to say: name them with
--may-be-empty ("all": any). --out is made anew and gets a file a panel with the frames that Grafana would make of the answers, for
transform_test.mjs and pictures.mjs, and of study.py the figures that panels must show. Exit status 77: postgres is not installed, so
nothing was tested."""

import argparse
import contextlib
import json
import math
import pathlib
import re
import shutil
import sys
import time

import dashboards
import servers
import study

SKIPPED = 77


class Failures:
    def __init__(self, may_be_empty):
        self.may_be_empty, self.count, self.queries, self.empty = may_be_empty, 0, 0, 0

    def failed(self, where, what):
        self.count += 1
        print(f"FAILED {where}: {what}")

    def check(self, dashboard, panel, rows):
        """Whether an answer has rows."""
        self.queries += 1
        if rows:
            return True
        if panel in self.may_be_empty or "all" in self.may_be_empty:
            self.empty += 1
            print(f"empty  {dashboard['title']}: {panel}")
        else:
            self.failed(f"{dashboard['title']}: {panel}", "no rows")
        return False


class PrometheusSource:
    def __init__(self, url, hours, end):
        self.server, self.end, self.window = servers.Prometheus(url), end, int(hours * 3600)
        self.step = max(15, self.window // 600)

    def variables(self):
        return dashboards.Variables(self.window, 30)

    def find(self, query):
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        return self.server.get(f"label/{label}/values", **{"match[]": selector, "start": self.end - self.window, "end": self.end})

    def ask(self, target, variables, several):
        expr = variables.fill(target["expr"])
        if target["instant"]:
            answer = self.server.get("query", query=expr, time=self.end)["result"]
        else:
            answer = self.server.get("query_range", query=expr, start=self.end - self.window, end=self.end, step=self.step)["result"]
        finite = any(math.isfinite(float(v)) for s in answer for _, v in s.get("values", [s.get("value")]))
        return dashboards.prometheus_frames(target, answer, several), finite


class PostgresSource:
    def __init__(self, where):
        self.server = servers.Postgres(where)

    def variables(self):
        return dashboards.Variables(3600, 30)

    def find(self, query):
        return [next(iter(row.values())) for row in self.server.rows(query)]

    def ask(self, target, variables, several):
        rows = self.server.rows(variables.fill(target["rawSql"]))
        return (dashboards.sql_frames(target, rows) if rows else []), bool(rows)


def copies(panel, variables):
    """A panel that repeats, once for each value, side by side as Grafana lays them."""
    if "repeat" not in panel:
        yield panel, variables
        return
    values, place = variables.chosen[panel["repeat"]], panel["gridPos"]
    width = 24 // min(len(values), panel["maxPerRow"])
    for i, value in enumerate(values):
        x, y = i % (24 // width) * width, place["y"] + i // (24 // width) * place["h"]
        yield panel | {"gridPos": {**place, "x": x, "y": y, "w": width}}, variables.where(**{panel["repeat"]: [value]})


def run_panel(source, dashboard, panel, variables, failures):
    frames, complete = [], True
    for target in panel["targets"]:
        try:
            got, finite = source.ask(target, variables, len(panel["targets"]) > 1)
            complete &= failures.check(dashboard, panel["title"], finite)
            frames += got
        except ValueError as error:
            failures.failed(f"{dashboard['title']}: {panel['title']} {target['refId']}", error)
            complete = False
    return {"dashboard": dashboard["uid"], "panel": panel, "title": variables.fill(panel["title"]), "frames": frames} if complete else None


def run(source, sql, out, wanted, failures):
    for dashboard in dashboards.load():
        if dashboards.is_sql(dashboard) != sql:
            continue
        variables = source.variables()
        dashboards.choose(dashboard, variables, source.find, wanted)
        for panel in dashboards.panels(dashboard):
            for i, (copy, chosen) in enumerate(copies(panel, variables)):
                made = run_panel(source, dashboard, copy, chosen, failures)
                if out and made:
                    (out / f"{dashboard['uid']}-{panel['id']}-{i}.json").write_text(json.dumps(made))
        for note in dashboard["annotations"]["list"]:
            source.ask({**note, "refId": "A", "format": "time_series", "instant": False, "legendFormat": ""}, variables, False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["prometheus", "postgres"])
    parser.add_argument("--url")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--end", type=float, default=time.time())
    parser.add_argument("--choose", nargs="*", default=[], type=lambda text: re.fullmatch(r"(.*)/(.*?)=(.*)", text).groups())
    parser.add_argument("--may-be-empty", nargs="*", default=[])
    a = parser.parse_args()
    sql = a.kind == "postgres"
    if sql and not a.url and not servers.postgres_programs():
        print("SKIPPED: PostgreSQL is not installed (apt-get install postgresql); the SQL of the dashboards is not tested")
        sys.exit(SKIPPED)
    if a.out:
        shutil.rmtree(a.out, ignore_errors=True)
        a.out.mkdir(parents=True)
        if not a.url:
            (a.out / "figures").write_text(json.dumps(study.final()))
    failures = Failures(a.may_be_empty)
    own = contextlib.nullcontext(a.url) if a.url else servers.postgres() if sql else servers.prometheus(int(a.end))
    with own as url:
        run(PostgresSource(url) if sql else PrometheusSource(url, a.hours, a.end), sql, a.out,
            {("polymoe-" + name, variable): pattern for name, variable, pattern in a.choose}, failures)
    print(f"{failures.queries} queries of panels: {failures.count} failed, {failures.empty} empty")
    sys.exit(failures.count > 0 or failures.queries == 0)


if __name__ == "__main__":
    main()
