// Jobs as a coordinator would give them, for what is rendered.
#ifndef POLYMOE_TESTS_POLYCTL_SAMPLE_JOBS_H_
#define POLYMOE_TESTS_POLYCTL_SAMPLE_JOBS_H_

#include <string>

#include "polymoe/v1/job.pb.h"

#include "common/check.h"
#include "common/spec/job_file.h"

namespace polymoe::polyctl {

inline constexpr char kJobFile[] = R"(apiVersion: polymoe/v1
kind: Job
metadata: {name: moe, labels: {study: activations, seed: "1"}}
spec:
  model: {layers: 2, hidden: 64, heads: 2, ffn: 96, experts: 4, topK: 2, vocab: 257, activation: {kind: polynorm}}
  data: {train: /data/corpus, sequenceLength: 32}
  train: {tokens: 1M}
)";

// Submitted an hour before `now_ms`.
inline v1::Job SampleJob(const std::string& id, v1::JobState state, int64_t now_ms) {
  v1::Job job;
  auto file = ParseJobFile(kJobFile, "job.yaml");
  POLYMOE_CHECK(file.ok(), "%s", file.status().ToString().c_str());
  job.set_id(id);
  *job.mutable_file() = *std::move(file);
  job.set_state(state);
  job.set_created_ms(now_ms - 3'600'000);
  job.set_revision(1);
  job.mutable_progress()->set_tokens_target(1'000'000);
  return job;
}

inline v1::Job RunningJob(const std::string& id, int64_t now_ms) {
  v1::Job job = SampleJob(id, v1::JOB_STATE_RUNNING, now_ms);
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(500);
  progress.set_tokens(250'000);
  progress.set_loss(2.34567);
  progress.set_tokens_per_second(10'000);
  (*progress.mutable_validation_loss())["near"] = 2.5;
  (*progress.mutable_validation_loss())["far"] = 3.25;
  v1::Checkpoint& checkpoint = *job.mutable_checkpoint();
  checkpoint.set_step(400);
  checkpoint.set_tokens(200'000);
  checkpoint.set_attempt(2);
  checkpoint.set_path("/checkpoints/moe/step-00000400");
  checkpoint.set_committed_ms(now_ms - 90'000);
  v1::Attempt& lost = *job.add_attempts();
  lost.set_number(1);
  lost.set_started_ms(now_ms - 3'000'000);
  lost.set_ended_ms(now_ms - 2'400'000);
  lost.set_end_reason(v1::END_REASON_TRAINER_FAILED);
  lost.mutable_exit()->set_worker("node-1");
  lost.mutable_exit()->set_exit_code(-1);
  lost.mutable_exit()->set_signal(9);
  lost.mutable_exit()->add_last_lines("step 200  loss 2.9");
  lost.mutable_exit()->add_last_lines("out of\033[2J memory");
  v1::Attempt& now = *job.add_attempts();
  now.set_number(2);
  now.set_start_step(200);
  now.set_started_ms(now_ms - 2'300'000);
  for (uint32_t rank = 0; rank < 2; ++rank) {
    v1::Placement& placement = *now.add_placements();
    placement.set_rank(rank);
    placement.set_worker("node-2");
    placement.set_slot(rank);
  }
  *lost.mutable_placements() = now.placements();
  job.set_failures(1);
  return job;
}

inline v1::Job WaitingJob(const std::string& id, int64_t now_ms) {
  v1::Job job = SampleJob(id, v1::JOB_STATE_PENDING, now_ms);
  job.mutable_waiting()->set_reason(v1::WAIT_REASON_BACKOFF);
  job.mutable_waiting()->set_detail("attempt 1 ended: rank 0 was killed");
  job.mutable_waiting()->set_until_ms(now_ms + 65'000);
  return job;
}

inline v1::Job FailedJob(const std::string& id, int64_t now_ms) {
  v1::Job job = SampleJob(id, v1::JOB_STATE_FAILED, now_ms);
  job.set_finished_ms(now_ms - 60'000);
  job.set_message("loss is\nnot finite");
  return job;
}

}  // namespace polymoe::polyctl

#endif  // POLYMOE_TESTS_POLYCTL_SAMPLE_JOBS_H_
