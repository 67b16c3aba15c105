// The views that Grafana and notebooks read (docs/operations.md), as statements that make them. Migrations that were released hold these
// texts: a view that changes is dropped and made again by a new migration.
//
// The documents are protobuf's JSON: fields that have their default are left out, 64-bit integers are strings. Figures beyond 9e15, which
// nothing reaches, are cut to it, so that a job file with a huge one breaks no arithmetic. No colons here: SOCI takes them for parameters.
#ifndef POLYMOE_SERVER_STORE_VIEWS_H_
#define POLYMOE_SERVER_STORE_VIEWS_H_

namespace polymoe::views {

// A row a job. step_tokens: tokens of one optimiser step.
inline constexpr char kRunsSqlite[] = R"sql(
CREATE VIEW runs AS
SELECT id AS job,
  coalesce(json_extract(json, '$.file.metadata.name'), '') AS name,
  coalesce(json_extract(json, '$.ablation.id'), '') AS ablation,
  coalesce(json_extract(json, '$.ablation.name'), '') AS ablation_name,
  coalesce(json_extract(json, '$.ablation.arm'), '') AS arm,
  lower(substr(json_extract(json, '$.file.spec.model.activation.kind'), 17)) AS activation,
  CAST(coalesce(json_extract(json, '$.file.spec.train.seed'), '0') AS NUMERIC) AS seed,
  lower(substr(json_extract(json, '$.state'), 11)) AS state,
  min(CAST(coalesce(json_extract(json, '$.progress.tokens'), '0') AS INTEGER), 9000000000000000) AS tokens,
  min(CAST(coalesce(json_extract(json, '$.file.spec.train.tokens'), '0') AS INTEGER), 9000000000000000) AS tokens_target,
  strftime('%Y-%m-%dT%H' || char(58) || '%M' || char(58) || '%fZ', json_extract(json, '$.createdMs') / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H' || char(58) || '%M' || char(58) || '%fZ', json_extract(json, '$.finishedMs') / 1000.0, 'unixepoch') AS finished_at,
  CAST(coalesce(json_extract(json, '$.file.spec.train.globalBatch') * json_extract(json, '$.file.spec.data.sequenceLength'), 0) AS INTEGER)
    AS step_tokens
FROM jobs)sql";

// OFFSET 0 keeps the planner from parsing the document again for every column.
inline constexpr char kRunsPostgresql[] = R"sql(
CREATE VIEW runs AS
SELECT id AS job,
  coalesce(doc #>> '{file,metadata,name}', '') AS name,
  coalesce(doc #>> '{ablation,id}', '') AS ablation,
  coalesce(doc #>> '{ablation,name}', '') AS ablation_name,
  coalesce(doc #>> '{ablation,arm}', '') AS arm,
  lower(substr(doc #>> '{file,spec,model,activation,kind}', 17)) AS activation,
  CAST(coalesce(doc #>> '{file,spec,train,seed}', '0') AS NUMERIC) AS seed,
  lower(substr(doc ->> 'state', 11)) AS state,
  CAST(least(CAST(coalesce(doc #>> '{progress,tokens}', '0') AS NUMERIC), 9000000000000000) AS BIGINT) AS tokens,
  CAST(least(CAST(coalesce(doc #>> '{file,spec,train,tokens}', '0') AS NUMERIC), 9000000000000000) AS BIGINT) AS tokens_target,
  to_timestamp(CAST(doc ->> 'createdMs' AS DOUBLE PRECISION) / 1000) AS created_at,
  to_timestamp(CAST(doc ->> 'finishedMs' AS DOUBLE PRECISION) / 1000) AS finished_at,
  coalesce(CAST(doc #>> '{file,spec,train,globalBatch}' AS BIGINT) * CAST(doc #>> '{file,spec,data,sequenceLength}' AS BIGINT), 0)
    AS step_tokens
FROM (SELECT id, CAST(json AS jsonb) AS doc FROM jobs OFFSET 0) AS documents)sql";

// The attempts that trained, and the last step of each that counts (NULL: all): where the earliest of the later ones began.
inline constexpr char kTrainedAttemptsSqlite[] = R"sql(
CREATE VIEW trained_attempts AS
SELECT job, attempt,
  min(start_step) OVER (PARTITION BY job ORDER BY attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS last_step
FROM (
  SELECT jobs.id AS job, json_extract(a.value, '$.number') AS attempt,
    CAST(coalesce(json_extract(a.value, '$.startStep'), '0') AS INTEGER) AS start_step
  FROM jobs, json_each(jobs.json, '$.attempts') AS a
  WHERE json_array_length(a.value, '$.startedRanks') > 0))sql";

inline constexpr char kTrainedAttemptsPostgresql[] = R"sql(
CREATE VIEW trained_attempts AS
SELECT job, attempt,
  min(start_step) OVER (PARTITION BY job ORDER BY attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS last_step
FROM (
  SELECT jobs.id AS job, CAST(a ->> 'number' AS INTEGER) AS attempt, CAST(coalesce(a ->> 'startStep', '0') AS BIGINT) AS start_step
  FROM jobs, jsonb_array_elements(coalesce(CAST(json AS jsonb) -> 'attempts', CAST('[]' AS jsonb))) AS a
  WHERE jsonb_array_length(coalesce(a -> 'startedRanks', CAST('[]' AS jsonb))) > 0) AS attempts)sql";

// The points that count (Supersede in server/query/series.h). $VALUE: their value in the database's own words for a NaN.
inline constexpr char kRunPoints[] = R"sql(
CREATE VIEW run_points AS
SELECT p.job, n.name, p.step, p.tokens, p.time_ms, $VALUE AS value, p.attempt
FROM trained_attempts AS a
JOIN points AS p ON p.job = a.job AND p.attempt = a.attempt AND (a.last_step IS NULL OR p.step <= a.last_step)
JOIN metric_names AS n ON n.id = p.name)sql";

// Each point of a curve with its milestone: the first k of 100 whose step ends at or past the step of the point (GridMilestones in
// server/query/curves.h, in integers), and the tokens at which that is. The series come first, so that points are found by the whole of
// their key; a job has many more of other names.
inline constexpr char kCurvePoints[] = R"sql(
CREATE VIEW curve_points AS
WITH series AS MATERIALIZED (
  SELECT r.job, r.ablation, r.ablation_name, r.arm, r.activation, r.seed, r.tokens_target, r.step_tokens, a.attempt, a.last_step,
    n.id AS name, n.name AS metric
  FROM runs AS r JOIN trained_attempts AS a ON a.job = r.job CROSS JOIN metric_names AS n
  WHERE r.step_tokens > 0 AND r.tokens_target > 0 AND (n.name = 'loss' OR n.name LIKE 'val_loss/%' OR n.name LIKE 'val_bpb/%'))
SELECT job, ablation, ablation_name, arm, activation, seed, metric, step, attempt, tokens, value, k,
  ((tokens_target * k + 99) / 100 + step_tokens - 1) / step_tokens * step_tokens AS milestone
FROM (
  SELECT s.job, s.ablation, s.ablation_name, s.arm, s.activation, s.seed, s.metric, s.tokens_target, s.step_tokens,
    p.step, p.attempt, p.tokens, $VALUE AS value,
    CASE WHEN p.tokens > 0 THEN (p.tokens - 1) / s.step_tokens * s.step_tokens * 100 / s.tokens_target ELSE 0 END + 1 AS k
  FROM series AS s
  JOIN points AS p ON p.job = s.job AND p.name = s.name AND p.attempt = s.attempt AND (s.last_step IS NULL OR p.step <= s.last_step))
  AS counted)sql";

// CurveOf of server/query/curves.h: of loss the mean of a milestone that training has reached, of a validation the last value.
inline constexpr char kRunCurves[] = R"sql(
CREATE VIEW run_curves AS
SELECT job, ablation, ablation_name, arm, activation, seed, metric, milestone AS tokens, value
FROM (
  SELECT job, ablation, ablation_name, arm, activation, seed, metric, k, milestone,
    CASE WHEN count(value) = count(*) THEN avg(value) END AS value,
    max(max(tokens)) OVER (PARTITION BY job, ablation, ablation_name, arm, activation, seed, metric) AS reached
  FROM curve_points WHERE metric = 'loss'
  GROUP BY job, ablation, ablation_name, arm, activation, seed, metric, k, milestone) AS means
WHERE k <= 100 AND reached >= milestone
UNION ALL
SELECT job, ablation, ablation_name, arm, activation, seed, metric, milestone AS tokens, value
FROM (
  SELECT job, ablation, ablation_name, arm, activation, seed, metric, k, milestone, value,
    row_number() OVER (PARTITION BY job, ablation, ablation_name, arm, activation, seed, metric, k ORDER BY step DESC, attempt DESC) AS age
  FROM curve_points WHERE metric LIKE 'val_loss/%' OR metric LIKE 'val_bpb/%') AS values_
WHERE k <= 100 AND age = 1)sql";

}  // namespace polymoe::views

#endif  // POLYMOE_SERVER_STORE_VIEWS_H_
