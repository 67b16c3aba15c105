#include "worker/train/reporter.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/clock.h"
#include "common/spec/model_shape.h"
#include "worker/train/event_writer.h"
#include "worker/train/step_metrics.h"

namespace polymoe {
namespace {

constexpr uint64_t kDetailEvery = 10;  // points

}  // namespace

Reporter::Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal)
    : file_(file),
      clock_(clock),
      events_(events),
      progress_(file, clock, terminal),
      batch_tokens_(static_cast<double>(file.spec().train().global_batch()) * file.spec().data().sequence_length()),
      flops_per_token_(ComputeShape(file.spec().model(), file.spec().data().sequence_length()).flops_per_token) {}

void Reporter::Start(const TrainerState& state, const ModelConfig& config, bool leads) {
  v1::TrainerEvent event;
  event.mutable_started()->set_start_step(state.step);
  events_.Write(event);
  if (leads) progress_.Start(state, config);
}

v1::TrainerEvent Reporter::Points(uint64_t step, uint64_t tokens) const {
  v1::TrainerEvent event;
  event.mutable_points()->set_step(step);
  event.mutable_points()->set_tokens(tokens);
  event.mutable_points()->set_time_ms(UnixMillis(clock_));
  return event;
}

void Reporter::Step(const StepResult& result, bool validates, const Model& model, const float* parameters) {
  progress_.Step(result);
  const uint64_t every = file_.spec().metrics().every_steps();
  const bool regular = result.step % every == 0, last = result.tokens >= file_.spec().train().tokens();
  if (!regular && !validates) return;
  v1::TrainerEvent event = Points(result.step, result.tokens);
  AddStepMetrics(result, batch_tokens_, flops_per_token_, model.config().moe, *event.mutable_points());
  events_.Write(event);
  if (last || (regular && result.step / every % kDetailEvery == 1)) Details(result, model, parameters);
}

void Reporter::Details(const StepResult& result, const Model& model, const float* parameters) {
  const ModelConfig& config = model.config();
  if (!config.moe && !config.activation.has_coefficients()) return;
  const RouterStats router = model.router_stats();
  for (int layer = 0; layer < config.layers; ++layer) {
    v1::TrainerEvent event = Points(result.step, result.tokens);
    if (config.moe) {
      AddRouterMetrics(layer,
                       absl::MakeConstSpan(router.counts).subspan(static_cast<size_t>(layer) * config.experts, config.experts),
                       router.entropy[layer], *event.mutable_points());
    }
    if (config.activation.has_coefficients()) {
      AddCoefficientMetrics(config, layer, parameters + model.table().layer(layer).coefficients, *event.mutable_points());
    }
    events_.Write(event);
  }
}

void Reporter::Validation(const TrainerState& state, const std::string& set, double loss, double tokens_per_byte) {
  progress_.Validation(set, loss);
  v1::TrainerEvent event = Points(state.step, state.tokens);
  AddValidationMetrics(set, loss, tokens_per_byte, *event.mutable_points());
  events_.Write(event);
}

void Reporter::Saved(const TrainerState& state, const std::string& path) {
  v1::TrainerEvent event;
  event.mutable_checkpoint()->set_step(state.step);
  event.mutable_checkpoint()->set_tokens(state.tokens);
  event.mutable_checkpoint()->set_path(path);
  events_.Write(event);
}

}  // namespace polymoe
