"""A study that never was: six activations with three seeds each, as the coordinator's /metrics and the views of the store would show it.
Most runs are over, those of the last seed still train. The same numbers at every call."""

import math
import random
import statistics
import time

ABLATION, NAME = "activations-7f3a", "activations"
ARMS = ["relu", "relu2", "gelu", "swiglu", "polyrelu", "polynorm"]
LEADS = dict(zip(ARMS, (0.030, 0.012, 0.016, 0.0, -0.008, -0.022)))  # against swiglu, nats
SEEDS, DOMAINS, LAYERS, EXPERTS = (1, 2, 3), ("dictionary", "jargon", "perl", "politics", "python"), 4, 8
TARGET, STEP = 4_000_000, 2048
VALIDATION = 100_352  # tokens between validations: 49 steps
MINUTES, EVERY = 60, 30  # the newest hour, a scrape each 30 s
RATIOS = (0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
RPC = (1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5, 30)


class Run:
    def __init__(self, arm, seed):
        self.arm, self.seed, self.id = arm, seed, f"{NAME}-{arm}-{seed}-x{ARMS.index(arm)}{seed}"
        self.running = seed == SEEDS[-1]
        self.tokens = TARGET * 3 // 4 // STEP * STEP if self.running else -(-TARGET // STEP) * STEP
        self.random = random.Random(self.id)
        self.luck = random.Random(seed).gauss(0, 0.02) + self.random.gauss(0, 0.003)  # a seed's data is the same in every arm

    def loss(self, tokens, domain="train", noise=0.0, chance=None):
        shift = 0 if domain == "train" else 0.12 * DOMAINS.index(domain) - 0.1
        learned = 1 - math.exp(-tokens / 300_000)
        return 2.6 + shift + 4.9 * math.exp(-tokens / 450_000) + learned * LEADS[self.arm] + self.luck + (chance or self.random).gauss(0, noise)


RUNS = [Run(arm, seed) for seed in SEEDS for arm in ARMS]
MILESTONES = [-(-(-(-TARGET * k // 100)) // STEP) * STEP for k in range(1, 101)]


def curves(run):
    """(metric, tokens, value) on the token grid, as server/query/curves.h has them."""
    before, chance = 0, random.Random(run.id + " curves")
    for end in MILESTONES:
        if end > run.tokens:
            break
        yield "loss", end, run.loss(end, noise=0.004, chance=chance)
        if end // VALIDATION > before // VALIDATION or end == MILESTONES[-1]:
            for domain in DOMAINS:
                loss = run.loss(end, domain, 0.002, chance)
                yield "val_loss/" + domain, end, loss
                yield "val_bpb/" + domain, end, loss / math.log(2) / 3.1
        before = end


def final():
    """Of each arm at the last milestone that every arm has reached, worked out plainly; the baseline is swiglu."""
    values = {}  # run -> tokens -> mean over the domains
    for run in RUNS:
        at = values.setdefault((run.arm, run.seed), {})
        for metric, tokens, value in curves(run):
            if metric.startswith("val_loss/"):
                at[tokens] = at.get(tokens, 0) + value / len(DOMAINS)
    tokens = min(max(max(values[arm, seed]) for seed in SEEDS) for arm in ARMS)
    table = {}
    for arm in ARMS:
        seeds = [seed for seed in SEEDS if tokens in values[arm, seed]]
        losses = [values[arm, seed][tokens] for seed in seeds]
        paired = [values[arm, seed][tokens] - values["swiglu", seed][tokens] for seed in seeds]
        table[arm] = {"tokens": tokens, "mean": statistics.mean(losses), "sd": statistics.stdev(losses), "runs": len(seeds),
                      "min": min(losses), "max": max(losses), "difference": statistics.mean(paired),
                      "sd of difference": statistics.stdev(paired)}
    return table


def labels(**pairs):
    pairs = {"instance": "127.0.0.1:9464", "job": "polymoe-coordinator", **pairs}
    return "{" + ",".join(f'{k}="{v}"' for k, v in pairs.items()) + "}"


class _Writer:
    """OpenMetrics wants all samples of a name together."""

    def __init__(self, now):
        self.times = [now - MINUTES * 60 + i * EVERY for i in range(MINUTES * 60 // EVERY + 1)]
        self.samples = {}

    def add(self, name, value, /, times=None, **pairs):
        """value: a number, or of a time from 0 to 1."""
        text, times, out = labels(**pairs), times or self.times, self.samples.setdefault(name, [])
        for t in times:
            v = value((t - self.times[0]) / (MINUTES * 60)) if callable(value) else value
            out.append(f"{name}{text} {v!r} {t}")

    def histogram(self, name, bounds, rate, spread, middle, /, **pairs):
        """rate observations over the hour, normal in the logarithm around `middle`."""
        for bound in (*bounds, math.inf):
            below = 0.5 * (1 + math.erf(math.log(bound / middle) / spread / math.sqrt(2))) if bound < math.inf else 1.0
            self.add(name + "_bucket", lambda u, b=below: float(round(rate * u * b)), le="+Inf" if bound == math.inf else f"{bound:g}", **pairs)
        self.add(name + "_count", lambda u: float(round(rate * u)), **pairs)
        self.add(name + "_sum", lambda u: rate * u * middle, **pairs)


def _run_series(w, run, now):
    of = {"run": run.id}
    w.add("polymoe_run_info", 1, name=run.id, activation=run.arm, seed=run.seed, dataset="/data/text/all", model="moe", ablation=ABLATION,
          arm=run.arm, version="0.1.0", **of)
    for state in ("pending", "starting", "running", "succeeded", "failed", "cancelled"):
        w.add("polymoe_run_state", int(state == ("running" if run.running else "succeeded")), state=state, **of)
    trained = lambda u: int(run.tokens * u) // STEP * STEP
    w.add("polymoe_run_attempts", lambda u: 2 if run.arm == "gelu" and u > 0.6 else 1, **of)
    w.add("polymoe_train_tokens", trained, **of)
    w.add("polymoe_train_tokens_target", TARGET, **of)
    w.add("polymoe_train_last_step_timestamp_seconds", lambda u: now - (1 - u) * MINUTES * 60 - 3, **of)
    w.add("polymoe_checkpoint_last_success_timestamp_seconds", lambda u: now - MINUTES * 60 * (1 - u // 0.25 * 0.25), **of)
    w.add("polymoe_train_loss", lambda u: run.loss(trained(u), noise=0.03), **of)
    for component, value in (("load_balance", 1.1), ("z", 4.0)):
        w.add("polymoe_train_loss_component", lambda u, v=value: v + 0.4 * math.exp(-9 * u), component=component, **of)
    w.add("polymoe_train_grad_norm", lambda u: 0.4 + 3 * math.exp(-8 * u) + abs(run.random.gauss(0, 0.1)), **of)
    w.add("polymoe_train_learning_rate", lambda u: 1e-3 * min(40 * u, 0.1 + 0.45 * (1 + math.cos(math.pi * u))), **of)
    w.add("polymoe_train_tokens_per_second", lambda u: 11_000 + run.random.gauss(0, 200), **of)
    w.add("polymoe_train_flops_per_second", lambda u: 2.1e11 + run.random.gauss(0, 3e9), **of)
    w.add("polymoe_train_skipped_steps", 0, **of)
    w.add("polymoe_straggler_ratio", lambda u: 1.03 + abs(run.random.gauss(0, 0.02)), **of)
    for rank in range(2):
        w.add("polymoe_rank_step_seconds", 0.18 + 0.01 * rank, rank=rank, **of)
        w.add("polymoe_rank_wait_seconds", 0.012 - 0.01 * rank, rank=rank, **of)
    for domain in DOMAINS:
        w.add("polymoe_val_loss", lambda u, d=domain: run.loss(trained(u), d), set=domain, **of)
        w.add("polymoe_val_bpb", lambda u, d=domain: run.loss(trained(u), d) / 2.15, set=domain, **of)
    w.histogram("polymoe_train_step_seconds", SECONDS, run.tokens / STEP, 0.15, 0.19, **of)
    _layer_series(w, run, of)
    for metric, tokens, value in curves(run):
        split, domain = ("train", "train") if metric == "loss" else ("val", metric.partition("/")[2])
        w.add("polymoe_curve_bpb" if metric.startswith("val_bpb") else "polymoe_curve_loss", value, times=w.times[-4:], ablation=ABLATION,
              arm=run.arm, activation=run.arm, seed=run.seed, split=split, domain=domain, tokens=tokens, **of)


def _layer_series(w, run, of):
    gauss = run.random.gauss
    for layer in range(LAYERS):
        at = {"layer": layer, **of}
        for name, last, first in (("polymoe_expert_load_max_over_mean", 1.3 + 0.1 * layer, 3.0), ("polymoe_expert_load_min_over_mean", 0.7, 0.1),
                                  ("polymoe_expert_load_cv", 0.2, 0.9), ("polymoe_router_entropy_nats", 1.5, 2.0),
                                  ("polymoe_activation_mean", 0.1, 0.3), ("polymoe_activation_std", 0.5 + 0.1 * layer, 0.3),
                                  ("polymoe_activation_abs_max", 9.0 + layer, 2.0)):
            w.add(name, lambda u, a=last, b=first: a + (b - a) * math.exp(-7 * u) + gauss(0, 0.01), **at)
        w.add("polymoe_experts_dead", lambda u: int(u < 0.05), **at)
        w.add("polymoe_activation_zero_ratio", 0.62 if run.arm.startswith(("relu", "polyrelu")) else 0.0, **at)
        w.histogram("polymoe_expert_load_ratio", RATIOS, run.tokens / STEP / 10 * EXPERTS, 0.3, 0.95, **at)
        for expert in range(EXPERTS):
            w.add("polymoe_expert_load", 1 / EXPERTS + 0.02 * math.sin(expert * 2 + layer), expert=expert, **at)
        for name in ("up", "down") + (("gate",) if run.arm == "swiglu" else ()):
            w.add("polymoe_effective_rank", lambda u, n=name: 150 + 20 * math.exp(-3 * u) + 3 * len(n), matrix=name, **at)
        for other in range(layer + 1, LAYERS):
            w.add("polymoe_layer_cosine", 0.95 - 0.12 * (other - layer), other=other, **at)
        if run.arm.startswith("poly"):
            for term, value in (("w1", 0.5), ("w2", 0.2), ("w3", -0.1), ("bias", 0.02)):
                w.add("polymoe_polycom_coefficient", lambda u, v=value: 1 / 3 + (v - 1 / 3) * (1 - math.exp(-4 * u)), term=term, **at)


def _fleet_series(w, now):
    w.add("up", 1)
    for state, jobs in (("pending", 2), ("running", 6), ("succeeded", 12), ("failed", 1)):
        w.add("polymoe_jobs", jobs, state=state)
    for family, states in (("polymoe_workers", {"connected": 3, "disconnected": 1}), ("polymoe_slots", {"busy": 6, "free": 2})):
        for state, count in states.items():
            w.add(family, count, state=state)
    w.add("polymoe_queue_oldest_timestamp_seconds", now - 420)
    for reason, ends in (("completed", 12), ("worker_lost", 1), ("trainer_failed", 1), ("paused", 0)):
        w.add("polymoe_attempt_ends_total", lambda u, e=ends: float(round(e * u)), reason=reason)
    w.histogram("polymoe_scheduler_pass_duration_seconds", RPC, 3600, 0.6, 3e-4)
    for method in ("JobService/Submit", "WorkerService/Report", "MetricService/Query"):
        w.histogram("polymoe_rpc_duration_seconds", RPC, 7200, 0.8, 2e-3, method=method)
        for code, share in (("OK", 7100), ("UNAVAILABLE", 60)):
            w.add("polymoe_rpc_requests_total", lambda u, s=share: float(round(s * u)), method=method, code=code)
    for i in range(3):
        of = {"job": "polymoe-worker", "instance": f"127.0.0.1:{9465 + i}"}
        w.add("polymoe_worker_reports_waiting", i, **of)
        w.add("polymoe_worker_reconnects_total", lambda u, i=i: float(i * (u > 0.8)), **of)
    w.add("polymoe_ablation_info", 1, ablation=ABLATION, name=NAME)
    w.add("polymoe_ablation_progress_ratio", lambda u: u * sum(r.tokens for r in RUNS) / TARGET / len(RUNS), ablation=ABLATION)
    for state in ("active", "paused", "succeeded", "failed", "cancelled"):
        w.add("polymoe_ablation_state", int(state == "active"), ablation=ABLATION, state=state)
    for state, runs in (("pending", 0), ("starting", 0), ("running", 6), ("succeeded", 12), ("failed", 0), ("cancelled", 0)):
        w.add("polymoe_ablation_runs", runs, ablation=ABLATION, state=state)


def openmetrics(now):
    w = _Writer(now)
    for run in RUNS:
        _run_series(w, run, now)
    _fleet_series(w, now)
    return "\n".join(line for lines in w.samples.values() for line in lines) + "\n# EOF\n"


def sql():
    """Tables in the place of the store's views, of the same columns."""
    now = int(time.time())
    rows = {"runs": [], "run_points": [], "run_curves": []}
    for run in RUNS:
        head = f"'{run.id}', '{ABLATION}', '{NAME}', '{run.arm}', '{run.arm}', {run.seed}"
        state, finished = ("running", "NULL") if run.running else ("succeeded", f"to_timestamp({now})")
        rows["runs"].append(f"'{run.id}', '{run.id}', '{ABLATION}', '{NAME}', '{run.arm}', '{run.arm}', {run.seed}, '{state}', {run.tokens}, "
                            f"{TARGET}, to_timestamp({now - 3600}), {finished}")
        rows["run_curves"] += [f"{head}, '{metric}', {tokens}, {value!r}" for metric, tokens, value in curves(run)]
        points = [("loss", step * STEP, run.loss(step * STEP, noise=0.03)) for step in range(1, run.tokens // STEP + 1, 4)]
        points += [point for point in curves(run) if point[0] != "loss"]
        rows["run_points"] += [f"'{run.id}', '{name}', {tokens // STEP}, {tokens}, {now * 1000}, {value!r}" for name, tokens, value in points]
    return """
CREATE TABLE runs (job text, name text, ablation text, ablation_name text, arm text, activation text, seed bigint, state text, tokens bigint,
  tokens_target bigint, created_at timestamptz, finished_at timestamptz);
CREATE TABLE run_points (job text, name text, step bigint, tokens bigint, time_ms bigint, value double precision);
CREATE TABLE run_curves (job text, ablation text, ablation_name text, arm text, activation text, seed bigint, metric text, tokens bigint,
  value double precision);
""" + "".join(f"INSERT INTO {table} VALUES ({'), ('.join(values)});\n" for table, values in rows.items())
