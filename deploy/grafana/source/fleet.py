"""The cluster: workers, slots, the queue, how attempts end, ablations, checkpoints, stragglers, and the service itself."""

from .panels import bars, stat, table, time_series
from .parts import by_name, datasource_variable, run_link, target, thresholds, transform
from .parts import dashboard as board

QUANTILE = "histogram_quantile({}, sum by ({}le) (rate({}_bucket[$__rate_interval])))"


def dashboard():
    now = [
        stat("Workers", "Registered workers by state.", [target("sum by (state) (polymoe_workers)", "{{state}}")], w=6, decimals=0),
        stat("Slots", "Ranks that may run, of the connected workers.", [target("sum by (state) (polymoe_slots)", "{{state}}")], w=4, decimals=0),
        stat("Jobs", "Jobs by state; states without a job are left out.", [target("sum by (state) (polymoe_jobs) > 0", "{{state}}")], w=8, decimals=0),
        stat("Longest wait", "Of the jobs in the queue; held ones do not count. Half an hour with free slots raises an alert.",
             [target("(time() - (max(polymoe_queue_oldest_timestamp_seconds) > 0)) or vector(0)", "wait")], unit="s", w=3,
             steps=(("green", None), ("orange", 600), ("red", 1800)), decimals=0),
        stat("Coordinator", "Whether Prometheus reaches it.", [target('max(up{job="polymoe-coordinator"})', "up")], w=3,
             steps=(("red", None), ("green", 1)), decimals=0)]
    history = [
        time_series("Slots", "Busy and free ranks of the connected workers.", [target("sum by (state) (polymoe_slots)", "{{state}}")], least=0),
        time_series("Jobs by state", "States without a job are left out.", [target("sum by (state) (polymoe_jobs) > 0", "{{state}}")], least=0),
        time_series("Ends of attempts", "In the last quarter of an hour, by reason. completed and paused are as they should be.",
                    [target("sum by (reason) (increase(polymoe_attempt_ends_total[15m])) > 0", "{{reason}}")], least=0)]
    ablations = [
        bars("Progress of ablations", "Tokens trained over tokens to train.",
             [target("polymoe_ablation_progress_ratio", "{{ablation}}")], w=12, h=6),
        table("Ablations", "Their state, and their runs by state.",
              [target("polymoe_ablation_state == 1", ref="A", table=True),
               target('sum by (ablation) (polymoe_ablation_runs)', ref="B", table=True),
               target('sum by (ablation) (polymoe_ablation_runs{state=~"running|starting"})', ref="C", table=True),
               target('sum by (ablation) (polymoe_ablation_runs{state="failed"})', ref="D", table=True)],
              [transform("joinByField", byField="ablation", mode="outer"),
               transform("filterFieldsByName", include={"names": ["ablation", "state", "Value #B", "Value #C", "Value #D"]}),
               transform("organize", renameByName={"Value #B": "runs", "Value #C": "running", "Value #D": "failed"}, excludeByName={},
                         indexByName={"ablation": 0, "state": 1, "Value #B": 2, "Value #C": 3, "Value #D": 4})],
              [by_name("failed", thresholds=thresholds(("text", None), ("red", 1)), custom__cellOptions={"type": "color-text"}),
               by_name("ablation", links=[{"title": "Convergence", "url": "/d/polymoe-convergence?var-datasource=${datasource}&var-ablation=${__value.raw}"}])],
              h=6, decimals=0)]
    running = '(polymoe_run_state{state="running"} == 1)'
    runs = [
        time_series("Age of the newest checkpoint", "Of the runs that train: what a fault would cost. Above an hour there is an alert.",
                    [target(f"(time() - polymoe_checkpoint_last_success_timestamp_seconds) and on (run) {running}", "{{run}}")], unit="s",
                    least=0, alarm=thresholds(("transparent", None), ("orange", 3600))),
        time_series("Slowest rank over the mean", "Compute seconds of a step, of jobs of several ranks; 1 is balanced.",
                    [target(f"polymoe_straggler_ratio and on (run) {running}", "{{run}}")], least=1),
        table("Runs without a recent step", "Runs that train, by the time since their newest step, the longest first. A run's name leads to its page.",
              [target(f"sort_desc((time() - polymoe_train_last_step_timestamp_seconds) and on (run) {running})", table=True)],
              [transform("filterFieldsByName", include={"names": ["run", "Value"]}),
               transform("organize", renameByName={"Value": "since"}, excludeByName={}, indexByName={"run": 0, "Value": 1})],
              [by_name("run", links=run_link()),
               by_name("since", unit="s", decimals=0, thresholds=thresholds(("text", None), ("orange", 120), ("red", 600)),
                       custom__cellOptions={"type": "color-text"})], w=8, h=8)]
    workers = [
        time_series("Rank seconds: waiting", "Share of a step that each rank waited for others, of jobs of several.",
                    [target("polymoe_rank_wait_seconds / (polymoe_rank_step_seconds + polymoe_rank_wait_seconds)", "{{run}} rank {{rank}}")],
                    unit="percentunit", least=0),
        time_series("Reports that wait in workers", "Not acknowledged by the coordinator yet. It grows while a worker is cut off.",
                    [target("polymoe_worker_reports_waiting", "{{instance}}")], least=0),
        time_series("Reconnects of workers", "In the last quarter of an hour.",
                    [target("increase(polymoe_worker_reconnects_total[15m])", "{{instance}}")], least=0)]
    service = [
        time_series("Duration of calls, 99th percentile", "By method; a stream counts when it ends.",
                    [target(QUANTILE.format(0.99, "method, ", "polymoe_rpc_duration_seconds"), "{{method}}")], unit="s", log=True),
        time_series("Calls a second that failed", "Per second, by code.",
                    [target('sum by (code) (rate(polymoe_rpc_requests_total{code!="OK"}[$__rate_interval])) or label_replace(vector(0), "code", '
                            '"none", "", "")', "{{code}}")],
                    unit="reqps", least=0),
        time_series("Scheduling pass", "99th percentile of the duration of one.",
                    [target(QUANTILE.format(0.99, "", "polymoe_scheduler_pass_duration_seconds"), "99%")], unit="s", least=0)]
    return board("fleet", "Fleet", __doc__, [datasource_variable("prometheus")],
                 [("Now", now), ("Queue and attempts", history), ("Ablations", ablations), ("Runs", runs), ("Workers", workers),
                  ("Coordinator", service)])
