// The screens of ls, get and watch, as they must look.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_split.h"

#include "polyctl/render/jobs.h"
#include "tests/polyctl/sample_jobs.h"

namespace polymoe::polyctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNowMs = 1'772'366'400'000;
const absl::Time kNow = absl::FromUnixMillis(kNowMs);

std::vector<v1::Job> Jobs() {
  v1::Job done = SampleJob("moe-done", v1::JOB_STATE_SUCCEEDED, kNowMs);
  done.mutable_progress()->set_tokens(1'000'448);
  done.mutable_progress()->set_step(1954);
  done.mutable_progress()->set_loss(1.5);
  return {RunningJob("moe-run", kNowMs), WaitingJob("moe-wait", kNowMs), FailedJob("moe-bad", kNowMs), done};
}

TEST(JobsTable, OneRowAJob) {
  EXPECT_EQ(RenderTable(JobsTable(Jobs(), kNow, false), {}),
            "ID        STATE      STEP   TOKENS     %    LOSS  TOK/S    AGE  NOTE\n"
            "moe-run   running     500  250k/1M   25%  2.3457    10k  1h00m  attempt 2\n"
            "moe-wait  pending       0     0/1M    0%       -      -  1h00m  backoff 1m05s: attempt 1 ended: rank 0 was killed\n"
            "moe-bad   failed        0     0/1M    0%       -      -  1h00m  loss is not finite\n"
            "moe-done  succeeded  1954    1M/1M  100%  1.5000      -  1h00m\n");
}

TEST(JobsTable, WideHasWhatTheJobIs) {
  EXPECT_EQ(
      RenderTable(JobsTable({RunningJob("moe-run", kNowMs)}, kNow, true), {}),
      "ID       STATE    STEP   TOKENS    %    LOSS  TOK/S    AGE  ACTIVATION   PARAMS  RANKS  ATTEMPT  LABELS                    "
      "NOTE\n"
      "moe-run  running   500  250k/1M  25%  2.3457    10k  1h00m  polynorm(3)    165k      1        2  seed=1,study=activations  "
      "attempt 2\n");
}

TEST(JobsTable, ARateIsOfAJobThatRuns) {
  v1::Job job = WaitingJob("moe-wait", kNowMs);
  job.mutable_progress()->set_tokens_per_second(5000);  // before its worker went
  EXPECT_THAT(RenderTable(JobsTable({job}, kNow, false), {}), Not(HasSubstr("5k")));
  EXPECT_THAT(JobLine(job, kNow), Not(HasSubstr("tokens/s")));
}

TEST(JobPage, Everything) {
  EXPECT_EQ(JobPage(RunningJob("moe-run", kNowMs), kNow, false),
            "Job         moe-run\n"
            "Labels      seed=1,study=activations\n"
            "State       running\n"
            "            attempt 2\n"
            "Created     2026-03-01 11:00:00 UTC (1h00m ago)\n"
            "Model       moe, 2 layers, hidden 64, 2 heads, 4 experts (top 2), ffn 96, polynorm(3)\n"
            "Parameters  165k, 116k active a token\n"
            "Ranks       1\n"
            "Progress    █████░░░░░░░░░░░░░░░ 25%  step 500, 250k/1M tokens, 10k tokens/s, about 1m15s left\n"
            "Loss        2.3457\n"
            "Validation  far 3.2500, near 2.5000\n"
            "Checkpoint  step 400 (200k tokens, attempt 2, 1m30s ago)\n"
            "            /checkpoints/moe/step-00000400\n"
            "Restarts    1 of 3 failures, 0 of 20 worker losses\n"
            "\n"
            "Attempts\n"
            "#  FROM STEP  STARTED                     RAN  RANKS ON           END\n"
            "1          0  2026-03-01 11:10:00 UTC  10m00s  node-2/0,node-2/1  trainer failed: rank 0 on node-1, signal 9\n"
            "2        200  2026-03-01 11:21:40 UTC  38m20s  node-2/0,node-2/1  runs\n"
            "\n"
            "Last lines of rank 0, attempt 1\n"
            "  step 200  loss 2.9\n"
            "  out of [2J memory\n");
}

TEST(JobPage, SaysWhyAJobWaitsOrEnded) {
  EXPECT_THAT(JobPage(WaitingJob("w", kNowMs), kNow, false),
              HasSubstr("Waits for   backoff 1m05s: attempt 1 ended: rank 0 was killed\n"));
  const std::string failed = JobPage(FailedJob("f", kNowMs), kNow, false);
  EXPECT_THAT(failed, HasSubstr("State       failed\n            loss is not finite\n"));
  EXPECT_THAT(failed, HasSubstr("Finished    2026-03-01 11:59:00 UTC (after 59m00s)\n"));
  EXPECT_THAT(failed, HasSubstr("Checkpoint  none yet\n"));
}

TEST(JobNote, ABackoffThatIsOverCountsNothingDown) {
  v1::Job job = WaitingJob("w", kNowMs);
  job.mutable_waiting()->set_until_ms(kNowMs - 1);
  EXPECT_EQ(JobNote(job, kNow), "backoff: attempt 1 ended: rank 0 was killed");
}

TEST(JobNote, ACancelledRunningJobSaysSo) {
  v1::Job job = RunningJob("r", kNowMs);
  job.set_cancel_requested(true);
  EXPECT_EQ(JobNote(job, kNow), "being cancelled");
}

TEST(JobNote, AnElasticJobSaysHowManyRanksItHas) {
  v1::Job job = RunningJob("r", kNowMs);
  job.mutable_file()->mutable_spec()->mutable_resources()->set_ranks(4);
  EXPECT_EQ(JobNote(job, kNow), "attempt 2");
  job.mutable_file()->mutable_spec()->mutable_resources()->set_min_ranks(1);
  EXPECT_EQ(JobNote(job, kNow), "attempt 2, 2 of 1-4 ranks");
  EXPECT_THAT(JobPage(job, kNow, false), HasSubstr("Ranks       2 of 1-4\n"));
  EXPECT_THAT(RenderTable(JobsTable({job}, kNow, true), {}), HasSubstr("  2 of 1-4  "));
  EXPECT_THAT(JobLine(job, kNow), HasSubstr("  attempt 2, 2 of 1-4 ranks"));
  job.mutable_attempts(1)->set_ended_ms(kNowMs);
  EXPECT_THAT(JobPage(job, kNow, false), HasSubstr("Ranks       1-4\n"));
}

TEST(WatchTable, BarsCurvesAndTimeLeft) {
  EXPECT_EQ(
      RenderTable(WatchTable(Jobs(), {{"moe-run", {5, 4, 3, 2}}}, kNow, 0), {}),
      "ID        STATE      PROGRESS       %    LOSS  CURVE  TOK/S   LEFT  NOTE\n"
      "moe-run   running    ██▌░░░░░░░   25%  2.3457  █▆▃▁     10k  1m15s  attempt 2\n"
      "moe-wait  pending    ░░░░░░░░░░    0%       -             -         backoff 1m05s: attempt 1 ended: rank 0 was killed\n"
      "moe-bad   failed     ░░░░░░░░░░    0%       -             -         loss is not finite\n"
      "moe-done  succeeded  ██████████  100%  1.5000             -\n");
}

TEST(WatchTable, FitsEightyColumns) {
  std::vector<v1::Job> jobs = Jobs();
  for (v1::Job& job : jobs) job.set_id(job.id() + "-with-a-long-name");
  const std::map<std::string, std::vector<double>> curves = {{jobs[0].id(), std::vector<double>(100, 1.0)}};
  for (const auto& line : absl::StrSplit(RenderTable(WatchTable(jobs, curves, kNow, 80), {.width = 80}), '\n')) {
    EXPECT_LE(DisplayWidth(line), 80) << line;
  }
}

TEST(JobLine, OneLine) {
  EXPECT_EQ(JobLine(RunningJob("moe-run", kNowMs), kNow),
            "moe-run  running  step 500  250k/1M tokens (25%)  loss 2.3457  10k tokens/s  attempt 2");
  EXPECT_EQ(JobLine(FailedJob("moe-bad", kNowMs), kNow), "moe-bad  failed  step 0  0/1M tokens (0%)  loss is not finite");
}

}  // namespace
}  // namespace polymoe::polyctl
