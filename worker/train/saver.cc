#include "worker/train/saver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "common/status.h"

namespace polymoe {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(1);
constexpr int kLooks = 100;  // between two collectives

}  // namespace

Saver::Saver(Storage& storage, const WriterOptions& options, Group& world, Saved saved, std::function<void()> alive)
    : writer_(storage, options), world_(world), saved_(std::move(saved)), alive_(std::move(alive)) {}

absl::Status Saver::Start(const TrainerState& state, absl::Span<const TensorSlab> slabs) {
  POLYMOE_RETURN_IF_ERROR(Finish());
  state_ = state;
  const absl::Status started = writer_.Start(state, slabs);
  phase_ = Phase::kWriting;
  if (!started.ok()) status_ = Annotate(started, absl::StrCat("checkpoint of step ", state.step));
  return absl::OkStatus();  // the others hear of a failure with the next sums
}

void Saver::Collect() {
  if (phase_ == Phase::kIdle || !writer_.Done() || !status_.ok()) return;
  if (const absl::Status status = writer_.Wait(); !status.ok()) {
    status_ = Annotate(status, absl::StrCat("checkpoint of step ", state_.step));
  } else if (phase_ == Phase::kCommitting) {
    phase_ = Phase::kIdle;
    saved_(state_, writer_.path());
  }
}

void Saver::AddTo(StepSums& sums) {
  Collect();
  sums[StepSums::kUnsaved] = phase_ == Phase::kWriting && !writer_.Done() ? 1 : 0;
  sums[StepSums::kSaveFailed] = status_.ok() ? 0 : 1;
}

absl::Status Saver::Advance(const StepSums& sums) {
  POLYMOE_RETURN_IF_ERROR(Fail(sums[StepSums::kSaveFailed] > 0));
  if (phase_ == Phase::kWriting && sums[StepSums::kUnsaved] == 0) Commit();
  return absl::OkStatus();
}

void Saver::Commit() {
  phase_ = leads() ? Phase::kCommitting : Phase::kIdle;
  if (leads()) writer_.Commit();
}

absl::Status Saver::Fail(bool any) const {
  if (!status_.ok()) return status_;
  return any ? absl::AbortedError("another rank failed; its own message says why") : absl::OkStatus();
}

absl::Status Saver::WaitTogether() {
  for (double sums[2] = {1, 0}; sums[0] > 0;) {
    for (int i = 0; i < kLooks && !writer_.Done(); ++i) absl::SleepFor(kLook);
    Collect();
    alive_();
    sums[0] = writer_.Done() ? 0 : 1;
    sums[1] = status_.ok() ? 0 : 1;
    POLYMOE_RETURN_IF_ERROR(world_.AllReduceSum(absl::MakeSpan(sums)));
    POLYMOE_RETURN_IF_ERROR(Fail(sums[1] > 0));
  }
  return absl::OkStatus();
}

absl::Status Saver::Finish() {
  POLYMOE_RETURN_IF_ERROR(WaitTogether());
  if (phase_ != Phase::kWriting) return absl::OkStatus();
  Commit();
  return WaitTogether();
}

}  // namespace polymoe
