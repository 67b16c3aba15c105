"""Which arm learns faster: curves over tokens, their spread over seeds, and differences to a baseline.

A curve is one instant query of polymoe_curve_loss, which has a series a milestone (docs/metrics.md); so what is shown is what the
coordinator served at the end of the time range: runs that train, and the last 32 that ended. Every expression below is of rows by
(ablation, run, series, seed, tokens); label series is the arm or the activation, as variable group says.
"""

from .panels import FIGURES, band_trend, bars, matrix, repeated, table, time_series
from .parts import dashboard as board
from .parts import (by_name, choice_variable, datasource_variable, query_variable, target, transform)

SHOWN = 'ablation=~"$ablation",activation=~"$activation",run=~"$run"'
VAL = f'{{{SHOWN},split="val",domain=~"$domain"}}'
BASE_VAL = '{ablation=~"$ablation",$group="$baseline",split="val",domain=~"$domain"}'
KEYS = "ablation, run, series, seed, tokens"


def by_run(selector, extra=""):
    """The mean of a run over its chosen domains."""
    return f'avg by ({KEYS}{extra}) (label_join({selector}, "series", "", "$group"))'


def difference(metric, extra=""):
    """To the baseline's run of the same ablation and seed, which has seen the same data: chance that both share drops out."""
    base = f"avg by (ablation, seed, tokens{extra}) ({metric}{BASE_VAL})"
    return f"({by_run(metric + VAL, extra)} - on (ablation, seed, tokens{extra}) group_left () {base})"


def band(rows):
    """Mean, lowest and highest of the runs, as series "ARM mean", "ARM min" and "ARM max"."""
    def one(how, name):
        return f'label_join(label_replace({how} by (series, tokens) ({rows}), "stat", "{name}", "", ""), "series", " ", "series", "stat")'
    return " or ".join([one("avg", "mean"), one("min", "min"), one("max", "max")])


def sd(rows):
    """Of a sample (PromQL's stddev is that of a whole population); none of a single run."""
    n = f"count by (series, tokens) ({rows})"
    return f"stddev by (series, tokens) ({rows}) * sqrt({n} / (({n} > 1) - 1))"


def near_end(rows):
    """Of the milestones at which the mean of all is within 5% of its lowest: where lines that end close together come apart."""
    mean = f"avg by (tokens) ({rows})"
    return f"({band(rows)}) and on (tokens) ({mean} <= 1.05 * scalar(min({mean})))"


def at_common(expr):
    """Of the milestones that every shown arm has reached."""
    rows = by_run("polymoe_curve_loss" + VAL)
    return f"({expr}) and on (tokens) (count by (tokens) (avg by (series, tokens) ({rows})) == scalar(count(count by (series) ({rows}))))"


def last(*keys, values):
    """The rows of the last milestone."""
    fields = {k: {"operation": "groupby", "aggregations": []} for k in keys}
    fields |= {v: {"operation": "aggregate", "aggregations": ["last"]} for v in values}
    return [transform("convertFieldType", fields={}, conversions=[{"targetField": "tokens", "destinationType": "number"}]),
            transform("sortBy", fields={}, sort=[{"field": "tokens"}]), transform("groupBy", fields=fields)]


def renamed(names):
    return transform("organize", renameByName=names, indexByName={n: i for i, n in enumerate(names)}, excludeByName={})


def final_table():
    rows, paired = by_run("polymoe_curve_loss" + VAL), difference("polymoe_curve_loss")
    values = [f"avg by (series, tokens) ({rows})", sd(rows), f"count by (series, tokens) ({rows})",
              f"avg by (series, tokens) ({paired})", sd(paired)]
    columns = ["mean", "sd", "runs", "difference", "sd of difference"]
    refs = "ABCDE"
    return table(
        "At equal tokens: validation loss",
        "The last milestone that every arm has reached. " + FIGURES,
        [target(at_common(v), ref=r, table=True) for v, r in zip(values, refs)],
        [transform("merge")] + last("series", values=["tokens"] + [f"Value #{r}" for r in refs]) +
        [renamed({"series": "arm", "tokens (last)": "tokens"} | {f"Value #{r} (last)": c for r, c in zip(refs, columns)})],
        [by_name("tokens", unit="sishort", decimals=2), by_name("runs", decimals=0)],
        w=14, h=8, decimals=4, sort="mean")


def tokens_to_loss():
    rows = by_run("polymoe_curve_loss" + VAL)
    reached = f"avg by (series, tokens) ({rows}) <= scalar(min(avg by (tokens) (polymoe_curve_loss{BASE_VAL})))"
    first = {"series": {"operation": "groupby", "aggregations": []}, "tokens": {"operation": "aggregate", "aggregations": ["min"]}}
    return table(
        "Tokens to the baseline's best loss",
        "The first milestone at which an arm's mean validation loss is at or below the lowest that the baseline's mean has had. Fewer is "
        "better; an arm that has not got there is not listed.",
        [target(reached, table=True)],
        [transform("convertFieldType", fields={}, conversions=[{"targetField": "tokens", "destinationType": "number"}]),
         transform("groupBy", fields=first), renamed({"series": "arm", "tokens (min)": "tokens"}),
         transform("sortBy", fields={}, sort=[{"field": "tokens"}])],
        [by_name("tokens", unit="sishort", decimals=2, color={"mode": "fixed", "fixedColor": "blue"}, min=0,
                 custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"})], w=10, h=8)


def domain_table(title, description, rows, colour=None):
    return table(title, description, [target(at_common(f"avg by (series, domain, tokens) ({rows})"), table=True)],
                 last("series", "domain", values=["Value"]) + matrix("series", "domain", "Value (last)")[1:],
                 [by_name("series\\domain", displayName="arm", custom__cellOptions={"type": "auto"})],
                 h=8, decimals=4, colour=colour)


def dashboard_variables():
    curve = "polymoe_curve_loss"
    return [datasource_variable("prometheus"),
            query_variable("ablation", "Ablation", f"label_values({curve}, ablation)", all_value=".*", sort=2),
            choice_variable("group", "Lines are", ["arm", "activation"]),
            query_variable("activation", "Activation", f'label_values({curve}{{ablation=~"$ablation"}}, activation)'),
            query_variable("run", "Run", f'label_values({curve}{{ablation=~"$ablation",activation=~"$activation"}}, run)'),
            query_variable("domain", "Domain", f'label_values({curve}{{ablation=~"$ablation",split="val"}}, domain)'),
            query_variable("baseline", "Baseline", f'label_values({curve}{{ablation=~"$ablation"}}, $group)', multi=False)]


def dashboard():
    loss = "polymoe_curve_loss"
    shade = "The band is from the lowest to the highest run, the line their mean, of the runs that have got there."
    curves = [
        band_trend("Validation loss over tokens", f"Nats a token, mean over the chosen domains. {shade}",
                   [target(band(by_run(loss + VAL)), table=True)], "nats a token", w=8),
        band_trend("Validation loss: the end", f"The same, where the mean of all runs is within 5% of the lowest it has been. {shade}",
                   [target(near_end(by_run(loss + VAL)), table=True)], "nats a token", w=8),
        band_trend("Training loss over tokens", f"Nats a token, mean of the steps of each hundredth of the run. {shade}",
                   [target(band(by_run(f'{loss}{{{SHOWN},split="train"}}')), table=True)], "nats a token", w=8),
        band_trend("Difference to the baseline", "Validation loss of each run minus that of the baseline's run of the same seed at the "
                   f"same tokens. Below 0 is better than the baseline. {shade}",
                   [target(band(difference(loss)), table=True)], "nats a token", w=24, h=10, decimals=4)]
    by_domain = [
        domain_table("Bits a byte by domain", "Mean over the runs at the last milestone that every arm has reached. Bits a byte of text "
                     "do not depend on the tokenizer. Colours run from the best to the worst of each column.",
                     by_run("polymoe_curve_bpb" + VAL, ", domain"), colour="continuous-GrYlRd"),
        domain_table("Difference to the baseline by domain", "Nats a token, paired by seed, at the same milestone; negative is better, if it is more than "
                     "noise.",
                     difference(loss, ", domain"))]
    each_domain = repeated(band_trend("Validation loss: $domain", f"Nats a token on this domain alone, the end of the curve. {shade}",
                                      [target(near_end(by_run(loss + VAL)), table=True)], "nats a token", w=8, h=8), "domain", 3)
    progress = [
        bars("Progress", "Tokens trained over tokens to train, of each ablation.",
             [target('polymoe_ablation_progress_ratio{ablation=~"$ablation"}', "{{ablation}}")], h=7),
        time_series("Runs by state", "Runs of the chosen ablations.",
                    [target('sum by (state) (polymoe_ablation_runs{ablation=~"$ablation"}) > 0', "{{state}}")], h=7, least=0),
        time_series("Tokens a second", "Of the runs that train, summed by arm.",
                    [target('sum by (arm) (polymoe_train_tokens_per_second{run=~"$run"} * on (run) group_left (arm) polymoe_run_info '
                            'and on (run) polymoe_run_state{state="running"} == 1)', "{{arm}}")],
                    unit="short", h=7, least=0)]
    return board("convergence", "Convergence", __doc__.split("\n")[0], dashboard_variables(),
                     [("Curves", curves), ("Figures", [final_table(), tokens_to_loss()]), ("By domain", by_domain),
                      ("Progress", progress), ("Each domain", [each_domain])])
