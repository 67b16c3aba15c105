#!/usr/bin/env python3
"""Writes the dashboards of source/ to dashboards/*.json: python3 deploy/grafana/generate.py [--check]

They are generated so that panels of one kind look alike and a metric's name is written once. With --check nothing is written: it fails
when a checked-in file is not what the sources make.
"""

import json
import pathlib
import sys

from source import convergence, convergence_sql, fleet, live_run, moe_health

OUT = pathlib.Path(__file__).parent / "dashboards"


def main():
    made = {d["uid"].removeprefix("polymoe-") + ".json": json.dumps(d, indent=1) + "\n"
            for d in (m.dashboard() for m in (convergence, convergence_sql, live_run, moe_health, fleet))}
    if "--check" in sys.argv[1:]:
        there = {f.name: f.read_text() for f in OUT.glob("*.json")}
        differing = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        if differing:
            sys.exit(f"not what deploy/grafana/generate.py makes: {', '.join(differing)}; run it and commit what it writes")
        return
    for name, text in made.items():
        (OUT / name).write_text(text)


if __name__ == "__main__":
    main()
