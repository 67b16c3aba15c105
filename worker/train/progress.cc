#include "worker/train/progress.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/clock.h"
#include "common/spec/model_shape.h"
#include "common/units.h"

namespace polymoe {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(200), kLogInterval = absl::Seconds(10);

std::string Count(uint64_t count) {
  return FormatCount(static_cast<double>(count));
}

// For the people who would otherwise not see it.
std::string Skipped(uint64_t steps) {
  return steps == 0 ? "" : absl::StrCat("  ", steps, " skipped (not finite)");
}

}  // namespace

Progress::Progress(const v1::JobFile& file, const Clock& clock, bool terminal)
    : file_(file), clock_(clock), terminal_(terminal), started_(clock.Monotonic()) {}

Progress::~Progress() {
  EndLine();
}

void Progress::Start(const TrainerState& state, const ModelConfig& config) {
  const ModelShape shape = ComputeShape(file_.spec().model(), file_.spec().data().sequence_length());
  absl::FPrintF(stderr, "%s: %s parameters (%s active), %s, %d layers, %s tokens to train on%s\n", file_.metadata().name(),
                Count(shape.total), Count(shape.active),
                config.moe ? absl::StrCat(config.experts, " experts top-", config.top_k) : "dense", config.layers,
                Count(file_.spec().train().tokens()), state.step == 0 ? "" : absl::StrCat(", resumed at step ", state.step));
  started_ = clock_.Monotonic();
  start_tokens_ = state.tokens;
}

void Progress::StartAsOther(const TrainerState& state, int rank, const ParameterTable& table) {
  const ExpertShard& shard = table.shard();
  absl::FPrintF(stderr, "%s: rank %d of %d, %s parameters here%s%s; rank 0 says how it goes\n", file_.metadata().name(), rank,
                file_.spec().resources().ranks(), Count(table.total()),
                file_.spec().resources().expert_parallel() == 1
                    ? ""
                    : absl::StrCat(", experts ", shard.first, " to ", shard.first + shard.count - 1, " of each layer"),
                state.step == 0 ? "" : absl::StrCat(", resumed at step ", state.step));
}

void Progress::Step(const StepResult& result) {
  const absl::Duration now = clock_.Monotonic();
  const uint64_t budget = file_.spec().train().tokens();
  if (now - last_ < (terminal_ ? kTerminalInterval : kLogInterval) && result.tokens < budget) return;
  last_ = now;
  const double rate = static_cast<double>(result.tokens - start_tokens_) / std::max(1e-9, absl::ToDoubleSeconds(now - started_));
  const double left = result.tokens < budget ? static_cast<double>(budget - result.tokens) / rate : 0;
  absl::FPrintF(stderr, "%sstep %d  tokens %s / %s (%d%%)  loss %.4f  grad norm %.2f  %s tokens/s  ETA %s%s%s",
                terminal_ ? "\r\033[K" : "", result.step, Count(result.tokens), Count(budget),
                std::min<uint64_t>(100, 100 * result.tokens / budget), result.loss, result.grad_norm, FormatCount(rate),
                ShortDuration(absl::Seconds(left)), Skipped(result.skipped_steps), terminal_ ? "" : "\n");
  std::fflush(stderr);
  open_line_ = terminal_;
}

void Progress::Done(const TrainerState& state) {
  EndLine();
  std::string validation;
  for (const auto& [set, loss] : validation_)
    absl::StrAppendFormat(&validation, "%s%s %.4f", validation.empty() ? "" : ", ", set, loss);
  absl::FPrintF(stderr, "%s: done, %d steps, %s tokens in %s%s%s%s\n", file_.metadata().name(), state.step, Count(state.tokens),
                ShortDuration(clock_.Monotonic() - started_), Skipped(state.skipped),
                validation.empty() ? "" : "; validation loss: ", validation);
}

void Progress::Stopped(const TrainerState& state) {
  EndLine();
  absl::FPrintF(stderr, "%s: stopped on request after step %d, which is saved; --resume auto goes on from there\n",
                file_.metadata().name(), state.step);
}

void Progress::EndLine() {
  if (open_line_) std::fputc('\n', stderr);
  open_line_ = false;
}

}  // namespace polymoe
