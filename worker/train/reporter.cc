#include "worker/train/reporter.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/clock.h"
#include "common/spec/model_shape.h"
#include "common/units.h"
#include "worker/train/event_writer.h"

namespace polymoe {
namespace {

constexpr uint64_t kDetailEvery = 10;  // points

absl::Duration ProgressInterval(bool terminal) {
  return terminal ? absl::Milliseconds(200) : absl::Seconds(10);
}

}  // namespace

Reporter::Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal)
    : file_(file),
      clock_(clock),
      events_(events),
      terminal_(terminal),
      flops_per_token_(ComputeShape(file.spec().model(), file.spec().data().sequence_length()).flops_per_token),
      started_(clock.Monotonic()) {}

void Reporter::Start(const TrainerState& state, const ModelConfig& config) {
  const ModelShape shape = ComputeShape(file_.spec().model(), file_.spec().data().sequence_length());
  absl::FPrintF(stderr, "%s: %s parameters (%s active), %s, %d layers, %s tokens to train on%s\n", file_.metadata().name(),
                FormatCount(static_cast<double>(shape.total)), FormatCount(static_cast<double>(shape.active)),
                config.moe ? absl::StrCat(config.experts, " experts top-", config.top_k) : "dense", config.layers,
                FormatCount(static_cast<double>(file_.spec().train().tokens())),
                state.step == 0 ? "" : absl::StrCat(", resumed at step ", state.step));
  started_ = clock_.Monotonic();
  start_tokens_ = state.tokens;
}

v1::StepPoints Reporter::Points(uint64_t step, uint64_t tokens) const {
  v1::StepPoints points;
  points.set_step(step);
  points.set_tokens(tokens);
  points.set_time_ms(UnixMillis(clock_));
  return points;
}

void Reporter::Step(const StepResult& result, const TrainerState& state, const Model& model, const float* parameters) {
  Progress(result);
  if (result.step % file_.spec().metrics().every_steps() != 0) return;
  v1::TrainerEvent event;
  *event.mutable_points() = Points(result.step, result.tokens);
  auto& values = *event.mutable_points()->mutable_values();
  const double batch_tokens = static_cast<double>(file_.spec().train().global_batch()) * file_.spec().data().sequence_length();
  values["loss"] = result.loss;
  values["grad_norm"] = result.grad_norm;
  values["learning_rate"] = result.learning_rate;
  values["step_seconds"] = result.seconds;
  values["tokens_per_second"] = batch_tokens / result.seconds;
  values["flops_per_second"] = batch_tokens / result.seconds * flops_per_token_;
  values["skipped_steps"] = static_cast<double>(state.skipped);
  if (model.config().moe) {
    values["load_balance_loss"] = result.load_balance;
    values["z_loss"] = result.z;
  }
  if (points_++ % kDetailEvery == 0) {
    AddRouter(model, *event.mutable_points());
    AddCoefficients(model, parameters, *event.mutable_points());
  }
  events_.Write(event);
}

void Reporter::AddRouter(const Model& model, v1::StepPoints& points) const {
  const RouterStats stats = model.router_stats();
  auto& values = *points.mutable_values();
  const int experts = model.config().experts;
  for (size_t layer = 0; layer < stats.entropy.size(); ++layer) {
    const int32_t* counts = stats.counts.data() + layer * experts;
    double total = 0;
    for (int e = 0; e < experts; ++e) total += counts[e];
    values[absl::StrCat("router_entropy/", layer)] = stats.entropy[layer];
    values[absl::StrCat("router_max_over_mean/", layer)] = *std::max_element(counts, counts + experts) * experts / total;
    for (int e = 0; e < experts; ++e) values[absl::StrCat("router_load/", layer, "/", e)] = counts[e] / total;
  }
}

void Reporter::AddCoefficients(const Model& model, const float* parameters, v1::StepPoints& points) const {
  const ModelConfig& config = model.config();
  if (!config.activation.has_coefficients()) return;
  const int order = config.activation.order, count = config.activation.coefficient_count();
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int set = 0; set < config.coefficient_sets(); ++set) {
      const float* c = parameters + model.table().layer(layer).coefficients + int64_t{set} * count;
      const std::string prefix =
          config.coefficient_sets() > 1 ? absl::StrCat("coef/", layer, "/", set, "/") : absl::StrCat("coef/", layer, "/");
      auto& values = *points.mutable_values();
      for (int p = order; p >= 1; --p) values[absl::StrCat(prefix, "w", p)] = c[order - p];
      values[prefix + "bias"] = c[order];
      if (count > order + 1) values[prefix + "slope"] = c[order + 1];
    }
  }
}

void Reporter::Validation(const std::string& set, double loss, double bits_per_byte, const TrainerState& state) {
  validation_[set] = loss;
  v1::TrainerEvent event;
  *event.mutable_points() = Points(state.step, state.tokens);
  (*event.mutable_points()->mutable_values())["val_loss/" + set] = loss;
  (*event.mutable_points()->mutable_values())["val_bits_per_byte/" + set] = bits_per_byte;
  events_.Write(event);
}

void Reporter::Progress(const StepResult& result) {
  const absl::Duration now = clock_.Monotonic();
  const uint64_t budget = file_.spec().train().tokens();
  if (now - last_progress_ < ProgressInterval(terminal_) && result.tokens < budget) return;
  last_progress_ = now;
  const double rate = static_cast<double>(result.tokens - start_tokens_) / std::max(1e-9, absl::ToDoubleSeconds(now - started_));
  const double left = result.tokens < budget ? static_cast<double>(budget - result.tokens) / rate : 0;
  absl::FPrintF(stderr, "%sstep %d  tokens %s / %s (%d%%)  loss %.4f  grad norm %.2f  %s tokens/s  ETA %s%s",
                terminal_ ? "\r\033[K" : "", result.step, FormatCount(static_cast<double>(result.tokens)),
                FormatCount(static_cast<double>(budget)), std::min<uint64_t>(100, 100 * result.tokens / budget), result.loss,
                result.grad_norm, FormatCount(rate), ShortDuration(absl::Seconds(left)), terminal_ ? "" : "\n");
  std::fflush(stderr);
  open_line_ = terminal_;
}

void Reporter::EndLine() {
  if (open_line_) std::fputc('\n', stderr);
  open_line_ = false;
}

void Reporter::Finish(const TrainerState& state) {
  EndLine();
  std::string validation;
  for (const auto& [set, loss] : validation_) absl::StrAppendFormat(&validation, "  %s %.4f", set, loss);
  absl::FPrintF(stderr, "%s: done, %d steps, %s tokens in %s%s%s\n", file_.metadata().name(), state.step,
                FormatCount(static_cast<double>(state.tokens)), ShortDuration(clock_.Monotonic() - started_),
                validation.empty() ? "" : "; validation loss:", validation);
}

}  // namespace polymoe
