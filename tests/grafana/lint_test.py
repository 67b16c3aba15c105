#!/usr/bin/env python3
"""The dashboards as files: what generate.py makes, what Grafana's file provisioning takes, and what a person can read."""

import json
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy/grafana"
DASHBOARDS = {f.name: json.loads(f.read_text()) for f in sorted((GRAFANA / "dashboards").glob("*.json"))}
CORE_PANELS = {"row", "timeseries", "trend", "xychart", "table", "stat", "bargauge", "heatmap"}
BUILT_IN = {"__rate_interval", "__interval", "__range", "__value.raw"}


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def variables_used(value):
    for s in strings(value):
        for found in re.finditer(r"\$(?:\{([\w.]+)(?::\w+)?\}|(\w+))", s):
            if not (found.group(2) or "").isdigit():  # $1 is of a pattern
                yield found.group(1) or found.group(2)


def content(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


class Dashboards(unittest.TestCase):
    def each(self):
        self.assertEqual(len(DASHBOARDS), 5)
        return DASHBOARDS.values()

    def test_are_what_the_generator_makes(self):
        made = subprocess.run([sys.executable, GRAFANA / "generate.py", "--check"], capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)

    def test_can_be_provisioned_from_files(self):
        uids = [d["uid"] for d in DASHBOARDS.values()]
        self.assertEqual(len(set(uids)), len(uids))
        for d in self.each():
            self.assertRegex(d["uid"], r"^[a-z0-9-]{8,40}$")
            self.assertEqual(d["schemaVersion"], 39)
            self.assertFalse({"__inputs", "__requires", "id"} & d.keys())
            self.assertEqual(len({p["id"] for p in d["panels"]}), len(d["panels"]))
            self.assertLessEqual({p["type"] for p in d["panels"]}, CORE_PANELS, "needs a plugin that Grafana does not bring")

    def test_ask_for_their_data_source(self):
        for d in self.each():
            kind = d["templating"]["list"][0]
            self.assertEqual((kind["name"], kind["type"]), ("datasource", "datasource"))
            ours = {"type": kind["query"], "uid": "${datasource}"}
            for owner in content(d) + [t for p in content(d) for t in p["targets"]] + d["annotations"]["list"] + [
                    v for v in d["templating"]["list"] if v["type"] == "query"]:
                self.assertEqual(owner["datasource"], ours)

    def test_define_the_variables_that_they_use(self):
        for d in self.each():
            defined = set()
            for v in d["templating"]["list"]:  # each may use those before it
                self.assertLessEqual(set(variables_used(v["query"])), defined | BUILT_IN, v["name"])
                defined.add(v["name"])
            self.assertLessEqual(set(variables_used([d["panels"], d["annotations"]])), defined | BUILT_IN)
            self.assertLessEqual({p["repeat"] for p in content(d) if "repeat" in p}, defined)

    def test_lay_panels_side_by_side(self):
        for d in self.each():
            taken = {}
            for p in d["panels"]:
                g = p["gridPos"]
                self.assertLessEqual(g["x"] + g["w"], 24, p["title"])
                for cell in ((x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])):
                    self.assertNotIn(cell, taken, f"{p['title']} lies on {taken.get(cell)}")
                    taken[cell] = p["title"]

    def test_say_what_is_seen(self):
        for d in self.each():
            self.assertTrue(d["description"])
            for p in content(d):
                self.assertRegex(p["description"], r"^.{10,}\.$", p["title"])
                self.assertIn("unit", p["fieldConfig"]["defaults"] | {"unit": ""} if p["type"] in ("xychart", "heatmap")
                              else p["fieldConfig"]["defaults"], p["title"])

    def test_link_to_dashboards_that_exist(self):
        uids = {d["uid"] for d in DASHBOARDS.values()}
        links = [s for d in DASHBOARDS.values() for s in strings(d["panels"]) if s.startswith("/d/")]
        self.assertTrue(links)
        for link in links:
            uid, _, query = link.removeprefix("/d/").partition("?")
            self.assertIn(uid, uids)
            target = next(d for d in DASHBOARDS.values() if d["uid"] == uid)
            names = {v["name"] for v in target["templating"]["list"]}
            self.assertLessEqual(set(re.findall(r"var-(\w+)=", query)), names)

    def test_tables_and_trends_have_references_of_their_own(self):
        for d in self.each():
            for p in content(d):
                refs = [t["refId"] for t in p["targets"]]
                self.assertEqual(len(set(refs)), len(refs), p["title"])
                for t in p["targets"]:
                    if p["type"] in ("trend", "table"):
                        self.assertEqual(t["format"], "table", p["title"])

    def test_metrics_are_documented(self):
        words = set(re.findall(r"polymoe_\w+", (ROOT / "docs/metrics.md").read_text()))
        for d in self.each():
            for name in re.findall(r"\bpolymoe_\w+", json.dumps([d["panels"], d["templating"], d["annotations"]])):
                self.assertIn(re.sub(r"_bucket$", "", name), words)


if __name__ == "__main__":
    unittest.main()
