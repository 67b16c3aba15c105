"""How runs are doing now: loss, gradients, speed, router, coefficients and activations."""

from .panels import bars, over_tokens, stat, table, time_series
from .parts import RESTARTS, by_name, datasource_variable, query_variable, range_table, run_link, target, transform
from .parts import dashboard as board

RUN = '{run=~"$run"}'


def newest(metric, by="run"):
    return f"max by ({by}) ({metric}{RUN})"


def line(metric, by="run"):
    """A line for each run; further labels behind its name."""
    legend = " ".join("{{" + label.strip() + "}}" for label in by.split(","))
    return target(newest(metric, by), legend)


def per_layer(title, description, metric, **options):
    return time_series(title, description, [line(metric, "run, layer")], **options)


def dashboard():
    table_of_runs = table(
        "Runs", "What each run is, its state, and how far it is. A run's name leads to its own page.",
        [target(f'polymoe_run_info{RUN} * on (run) group_left (state) (polymoe_run_state{RUN} == 1)', ref="A", table=True),
         target(f"polymoe_train_tokens{RUN} / on (run) polymoe_train_tokens_target{RUN}", ref="B", table=True),
         target(f"clamp_min(polymoe_train_tokens_target{RUN} - polymoe_train_tokens{RUN}, 0) / (polymoe_train_tokens_per_second{RUN} > 0)",
                ref="C", table=True),
         target(newest("polymoe_run_attempts"), ref="D", table=True)],
        [transform("joinByField", byField="run", mode="outer"),
         transform("filterFieldsByName", include={"names": ["run", "arm", "activation", "seed", "model", "state", "Value #B", "Value #C",
                                                            "Value #D"]}),
         transform("organize", renameByName={"Value #B": "done", "Value #C": "time left", "Value #D": "launches"}, excludeByName={},
                   indexByName={n: i for i, n in enumerate(["run", "arm", "activation", "seed", "model", "state", "Value #B", "Value #C",
                                                            "Value #D"])})],
        [by_name("run", links=run_link()), by_name("time left", unit="s", decimals=0),
         by_name("done", unit="percentunit", min=0, max=1, decimals=0, color={"mode": "fixed", "fixedColor": "blue"},
                 custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"})], w=24, h=7)
    learning = [
        time_series("Training loss", "Nats a token of the newest step.", [line("polymoe_train_loss")], label="nats a token", w=12, h=9),
        over_tokens("Training loss over tokens", "The same against the tokens that the run has trained on, as Prometheus has sampled "
                    "both: runs compare although they did not train at the same time or pace. Means at equal tokens are on Convergence.",
                    range_table(newest("polymoe_train_loss"), "A"), range_table(newest("polymoe_train_tokens"), "B"), "nats a token"),
        time_series("Validation loss", "Nats a token on each validation set.", [line("polymoe_val_loss", "run, set")],
                    label="nats a token"),
        time_series("Gradient norm", "Global, before clipping. Spikes come before a loss that diverges.", [line("polymoe_train_grad_norm")],
                    log=True),
        time_series("Learning rate", "Of the newest step.", [line("polymoe_train_learning_rate")], unit="sci", least=0)]
    speed = [
        time_series("Tokens a second", "Training throughput.", [line("polymoe_train_tokens_per_second")], unit="short", least=0),
        time_series("FLOP a second", "Model FLOPs: 6 for each active parameter and token, and causal attention.",
                    [line("polymoe_train_flops_per_second")], unit="flops", least=0),
        time_series("Duration of steps", "Median and 99th percentile of the steps of the last minutes.",
                    [target(f"histogram_quantile({q}, sum by (run, le) (rate(polymoe_train_step_seconds_bucket{RUN}[$__rate_interval])))",
                            "{{run}} " + name, ref=ref) for q, name, ref in ((0.5, "median", "A"), (0.99, "99%", "B"))],
                    unit="s", least=0)]
    router = [
        time_series("Router losses", "Unweighted. load_balance is 1 when experts are loaded evenly and the router is indifferent.",
                    [line("polymoe_train_loss_component", "run, component")]),
        per_layer("Fullest expert over the mean", "Load of the fullest expert of a layer over the mean; 1 is balanced.",
                  "polymoe_expert_load_max_over_mean", least=1),
        per_layer("Router entropy", "Of a layer's distribution over experts; low is decided, high is indifferent.",
                  "polymoe_router_entropy_nats", label="nats", least=0)]
    inside = [
        time_series("PolyCom coefficients", "Of each layer: w1 is the weight of the linear term, w2 of the square, w3 of the cube. Runs "
                    "with other activations have none.", [line("polymoe_polycom_coefficient", "run, layer, term")], w=24, h=9),
        per_layer("Mean behind the activation", "Of a layer's values behind the activation. This row needs spec.metrics.analyses.",
                  "polymoe_activation_mean", w=6),
        per_layer("Standard deviation", "Of the same values.", "polymoe_activation_std", w=6, least=0),
        per_layer("Largest magnitude", "Of the same values. bf16 rounds large ones coarsely.", "polymoe_activation_abs_max", w=6, log=True),
        per_layer("Share of zeros", "Of the same values that are exactly 0: sparsity, of relu and its kin.",
                  "polymoe_activation_zero_ratio", unit="percentunit", w=6, least=0)]
    health = [
        stat("Skipped steps", "Steps left out because the loss or a gradient was not finite. When it grows, nothing is learned.",
             [line("polymoe_train_skipped_steps")], steps=(("green", None), ("orange", 1), ("red", 10)), w=8, h=7, decimals=0),
        stat("Since the last step", "Seconds. A run that trains and has none for long is stalled.",
             [target(f"time() - {newest('polymoe_train_last_step_timestamp_seconds')}", "{{run}}")], unit="s", w=8, h=7, decimals=0),
        bars("Slowest rank over the mean", "Compute seconds, of jobs of several ranks; 1 is balanced.",
             [line("polymoe_straggler_ratio")], unit="none", least=1, most=2, steps=(("green", None), ("orange", 1.2), ("red", 1.5)), h=7)]
    variables = [datasource_variable("prometheus"), query_variable("ablation", "Ablation", "label_values(polymoe_run_info, ablation)",
                                                                   all_value=".*", sort=2),
                 query_variable("activation", "Activation", 'label_values(polymoe_run_info{ablation=~"$ablation"}, activation)'),
                 query_variable("run", "Run", 'label_values(polymoe_run_info{ablation=~"$ablation",activation=~"$activation"}, run)')]
    return board("live-run", "Live run", __doc__, variables,
                 [("Runs", [table_of_runs]), ("Learning", learning), ("Speed", speed), ("Router", router), ("Activations", inside),
                  ("Health", health)], annotations=[RESTARTS])
