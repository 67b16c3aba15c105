"""Whether the experts are used: load, entropy, dead experts, effective rank, and how alike layers are."""

from .panels import heatmap, matrix, table, time_series
from .parts import RESTARTS, by_name, datasource_variable, query_variable, target, thresholds
from .parts import dashboard as board

CHOSEN = '{run=~"$run",layer=~"$layer"}'


def per_layer(title, description, metric, how="max", legend="{{run}} layer {{layer}}", by="run, layer", **options):
    return time_series(title, description, [target(f"{how} by ({by}) ({metric}{CHOSEN})", legend)], **options)


def square(title, description, metric, row, column, colour, decimals, w=12):
    """Rows and columns of two labels, a cell the mean over the chosen runs."""
    return table(title, description, [target(f"avg by ({row}, {column}) ({metric}{CHOSEN})", table=True)],
                 matrix(row, column), [by_name(f"{row}\\{column}", displayName=f"{row} / {column}", decimals=0,
                                               custom__cellOptions={"type": "auto"})],
                 w=w, colour=colour, decimals=decimals)


def dashboard():
    load = [
        per_layer("Fullest expert over the mean", "1 is balanced; above 4 for 10 minutes there is an alert.",
                  "polymoe_expert_load_max_over_mean", least=1, alarm=thresholds(("transparent", None), ("orange", 4))),
        per_layer("Emptiest expert over the mean", "1 is balanced, 0 is an expert without a token.", "polymoe_expert_load_min_over_mean",
                  how="min", least=0),
        per_layer("Spread of the load", "Standard deviation of the experts' loads over their mean; 0 is balanced.",
                  "polymoe_expert_load_cv", least=0),
        heatmap("Load of experts over the mean of their layer", "How many experts had which load in the router reports of the last "
                "minutes, of all chosen runs and layers. A narrow bright band at 1 is balanced.",
                [target(f"sum by (le) (increase(polymoe_expert_load_ratio_bucket{CHOSEN}[$__rate_interval]))", "{{le}}", heatmap=True)]),
        per_layer("Experts with next to no tokens", "Less than 1% of the mean load in the newest router report: they cost memory and learn "
                  "nothing.", "polymoe_experts_dead", how="max", least=0, w=6, h=9,
                  alarm=thresholds(("transparent", None), ("red", 1))),
        per_layer("Router entropy", "Nats; at most the logarithm of the number of experts, when the router is indifferent.",
                  "polymoe_router_entropy_nats", label="nats", least=0, w=6, h=9)]
    shares = [square("Share of rows by expert", "Newest router report, mean over the chosen runs. Only of jobs with "
                     "spec.metrics.perExpert.", "polymoe_expert_load", "layer", "expert", "continuous-BlPu", 3, w=24)]
    analyses = [
        per_layer("Effective rank of the experts' matrices", "exp of the entropy of the normalised singular values, mean over a layer's "
                  "experts. The more directions a matrix uses evenly, the higher.", "polymoe_effective_rank", how="avg",
                  by="run, layer, matrix", legend="{{run}} layer {{layer}} {{matrix}}", least=0, w=12, h=9),
        square("Cosine similarity of layers", "Of the hidden states behind two layers, mean over tokens and the chosen runs. Near 1: the "
               "layers between change little.", "polymoe_layer_cosine", "layer", "other", "continuous-BlYlRd", 3)]
    variables = [datasource_variable("prometheus"),
                 query_variable("activation", "Activation", "label_values(polymoe_run_info, activation)"),
                 query_variable("run", "Run", 'label_values(polymoe_run_info{activation=~"$activation"}, run)'),
                 query_variable("layer", "Layer", 'label_values(polymoe_expert_load_max_over_mean{run=~"$run"}, layer)', sort=3)]
    return board("moe-health", "MoE health", __doc__, variables,
                 [("Load", load), ("Each expert (opt-in)", shares), ("Analyses (spec.metrics.analyses)", analyses)],
                 annotations=[RESTARTS])
