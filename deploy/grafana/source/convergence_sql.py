"""Convergence out of the PostgreSQL store: every run that was ever kept, and any point over tokens. Reads the views runs, run_points and
run_curves alone."""

from .panels import FIGURES, band_trend, table
from .parts import by_name, choice_variable, datasource_variable, query_variable, sql_target
from .parts import dashboard as board

KIND = "grafana-postgresql-datasource"
SHOWN = "ablation IN (${ablation:sqlstring}) AND activation IN (${activation:sqlstring})"
VAL = "metric LIKE 'val_loss/%' AND substr(metric, 10) IN (${domain:sqlstring})"

# A run's mean over the domains; series is the arm or the activation.
CURVE = """WITH curve AS (
  SELECT ablation, job, seed, ${{group:raw}} AS series, tokens, avg(value) AS value
  FROM run_curves WHERE value IS NOT NULL AND {} GROUP BY 1, 2, 3, 4, 5)"""
BASE = "SELECT ablation, seed, tokens, avg(value) AS value FROM curve WHERE series = ${baseline:sqlstring} GROUP BY 1, 2, 3"


def band(rows):
    """Of rows (series, tokens, value)."""
    return f"""
SELECT tokens, series || ' ' || stat AS series, v.value
FROM (SELECT tokens, series, avg(value) AS mean, min(value) AS low, max(value) AS high FROM {rows} GROUP BY 1, 2) AS s,
  LATERAL (VALUES ('mean', mean), ('min', low), ('max', high)) AS v(stat, value)
ORDER BY tokens"""


FINAL = CURVE.format(f"ablation IN (${{ablation:sqlstring}}) AND {VAL}") + f""",
base AS ({BASE}),
shown AS (SELECT * FROM curve WHERE series = ${{baseline:sqlstring}} OR job IN (SELECT job FROM runs WHERE {SHOWN})),
common AS (
  SELECT tokens FROM shown GROUP BY 1 HAVING count(DISTINCT series) = (SELECT count(DISTINCT series) FROM shown)
  ORDER BY 1 DESC LIMIT 1)
SELECT series AS arm, tokens, avg(s.value) AS mean, stddev_samp(s.value) AS sd, count(*) AS runs,
  avg(s.value - b.value) AS difference, stddev_samp(s.value - b.value) AS "sd of difference"
FROM shown AS s JOIN common USING (tokens) LEFT JOIN base AS b USING (ablation, seed, tokens)
GROUP BY 1, 2 ORDER BY mean"""

DIFFERENCE = CURVE.format(f"ablation IN (${{ablation:sqlstring}}) AND {VAL}") + f""",
base AS ({BASE}),
paired AS (
  SELECT c.series, tokens, c.value - b.value AS value FROM curve AS c JOIN base AS b USING (ablation, seed, tokens)
  WHERE c.job IN (SELECT job FROM runs WHERE {SHOWN}))""" + band("paired")

# Means of 400 equal parts of the longest run; superseded points are not in the view.
POINT = f"""WITH chosen AS (
  SELECT job, ${{group:raw}} AS series, tokens_target FROM runs WHERE {SHOWN}),
part AS (SELECT greatest(max(tokens_target) / 400, 1) AS width FROM chosen),
curve AS (
  SELECT job, series, (p.tokens / width + 1) * width AS tokens, avg(p.value) AS value
  FROM run_points AS p JOIN chosen USING (job), part WHERE p.name = ${{point:sqlstring}} GROUP BY 1, 2, 3)""" + band("curve")


def dashboard():
    shade = "The band is from the lowest to the highest run, the line their mean."
    second_half = "WHERE tokens > (SELECT max(tokens) FROM curve) / 2"
    curves = [
        band_trend("Validation loss over tokens", f"Nats a token, mean over the chosen domains. {shade}",
                   [sql_target(CURVE.format(f"{SHOWN} AND {VAL}") + band("curve"))], "nats a token", w=8),
        band_trend("Validation loss: the end", f"The same, the second half. {shade}",
                   [sql_target(CURVE.format(f"{SHOWN} AND {VAL}") + band(f"curve {second_half}"))], "nats a token", w=8),
        band_trend("Training loss over tokens", f"Nats a token, mean of the steps of each hundredth of the run. {shade}",
                   [sql_target(CURVE.format(f"{SHOWN} AND metric = 'loss'") + band("curve"))], "nats a token", w=8),
        band_trend("Difference to the baseline", "Validation loss of each run minus that of the baseline's run of the same seed at the "
                   f"same tokens. Below 0 is better than the baseline. {shade}", [sql_target(DIFFERENCE)], "nats a token", decimals=4),
        band_trend("$point over tokens", f"Any point that trainers report, mean of each of 400 parts of the run. {shade}",
                   [sql_target(POINT)], "")]
    final = table("At equal tokens: validation loss",
                  "The last milestone that every arm has reached. " + FIGURES, [sql_target(FINAL)], [],
                  [by_name("tokens", unit="sishort", decimals=2), by_name("runs", decimals=0)], w=24, decimals=4)
    runs = table("Runs", "Every run of the chosen ablations that is in the store.",
                 [sql_target(f"SELECT job, name, arm, activation, seed, state, tokens, tokens_target, created_at, finished_at FROM runs WHERE "
                             f"{SHOWN} ORDER BY created_at DESC")], [],
                 [by_name("tokens", unit="sishort"), by_name("tokens_target", unit="sishort"),
                  by_name("created_at", unit="dateTimeAsIso"), by_name("finished_at", unit="dateTimeAsIso")], w=24)
    first = "(SELECT job FROM runs WHERE ablation IN (${ablation:sqlstring}) AND tokens > 0 ORDER BY created_at LIMIT 1)"
    variables = [
        datasource_variable(KIND),
        query_variable("ablation", "Ablation", "SELECT ablation FROM runs WHERE ablation <> '' GROUP BY 1 ORDER BY max(created_at) DESC",
                       KIND, sort=0),
        choice_variable("group", "Lines are", ["arm", "activation"]),
        query_variable("activation", "Activation", "SELECT DISTINCT activation FROM runs WHERE ablation IN (${ablation:sqlstring})", KIND),
        query_variable("domain", "Domain", f"SELECT DISTINCT substr(name, 10) FROM run_points WHERE job = {first} AND name LIKE 'val_loss/%'", KIND),
        query_variable("baseline", "Baseline", "SELECT DISTINCT ${group:raw} FROM runs WHERE ablation IN (${ablation:sqlstring})", KIND, multi=False),
        query_variable("point", "Point", f"SELECT DISTINCT name FROM run_points WHERE job = {first}", KIND, multi=False)]
    return board("convergence-sql", "Convergence (PostgreSQL)", __doc__, variables,
                 [("Curves", curves), ("Figures", [final]), ("Runs", [runs])], refresh="1m")
