#!/usr/bin/env python3
"""Writes statistics.json: paired samples and what scipy says about them, for tests/server/query/statistics_test.cc.

    python3 -m venv v && v/bin/pip install scipy==1.17.1 && v/bin/python tests/golden/make_statistics.py
"""
import json
import pathlib
import random

from scipy import stats

random.seed(20261125)
cases = []
for pairs, shift, noise in [(2, 0.1, 0.02), (3, 0.0, 0.01), (3, -0.05, 0.01), (5, 0.02, 0.03), (10, -0.001, 0.004), (30, 0.5, 2.0)]:
    baseline = [random.gauss(3.5, 0.1) for _ in range(pairs)]
    arm = [b + random.gauss(shift, noise) for b in baseline]
    test = stats.ttest_rel(arm, baseline)
    interval = test.confidence_interval(0.95)
    cases.append({"arm": arm, "baseline": baseline, "mean": sum(arm) / pairs - sum(baseline) / pairs, "p_value": test.pvalue,
                  "low": interval.low, "high": interval.high, "sd": stats.tstd(arm)})
p_values = [0.01, 0.04, 0.03, 0.005, 0.2, 1.0]


def holm(p):
    """Holm 1979 by its definition: reject in order while p_(i) <= alpha / (m - i); the adjusted value is the least such alpha."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    return [min(1.0, max((len(p) - k) * p[order[k]] for k in range(order.index(i) + 1))) for i in range(len(p))]


out = {"cases": cases, "p_values": p_values, "holm": holm(p_values)}
pathlib.Path(__file__).with_name("statistics.json").write_text(json.dumps(out, indent=1) + "\n")
