#include "worker/train/reporter.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/clock.h"
#include "common/spec/model_shape.h"
#include "worker/train/analysis.h"
#include "worker/train/event_writer.h"
#include "worker/train/points_file.h"
#include "worker/train/step_metrics.h"

namespace polymoe {
namespace {

constexpr uint64_t kDetailEvery = 10;  // points
constexpr absl::Duration kAliveInterval = absl::Seconds(1);

}  // namespace

Reporter::Reporter(const v1::JobFile& file, const Clock& clock, EventWriter& events, bool terminal, PointsFile* points)
    : file_(file),
      clock_(clock),
      events_(events),
      points_(points),
      progress_(file, clock, terminal),
      batch_tokens_(static_cast<double>(file.spec().train().global_batch()) * file.spec().data().sequence_length()),
      flops_per_token_(ComputeShape(file.spec().model(), file.spec().data().sequence_length()).flops_per_token) {}

void Reporter::Start(const TrainerState& state, const ModelConfig& config, int rank, const ParameterTable& table) {
  v1::TrainerEvent event;
  event.mutable_started()->set_start_step(state.step);
  events_.Write(event);
  if (rank == 0) {
    progress_.Start(state, config);
  } else {
    progress_.StartAsOther(state, rank, table);
  }
}

void Reporter::Write(const v1::TrainerEvent& event) {
  events_.Write(event);
  if (points_ != nullptr) points_->Write(event.points());
}

v1::TrainerEvent Reporter::Points(uint64_t step, uint64_t tokens) const {
  v1::TrainerEvent event;
  event.mutable_points()->set_step(step);
  event.mutable_points()->set_tokens(tokens);
  event.mutable_points()->set_time_ms(UnixMillis(clock_));
  return event;
}

bool Reporter::WantsDetails(uint64_t step, uint64_t tokens) const {
  const uint64_t every = file_.spec().metrics().every_steps();
  return tokens >= file_.spec().train().tokens() || (step % every == 0 && step / every % kDetailEvery == 1);
}

void Reporter::Step(const StepResult& result, bool validates, const StepSums& sums, const ModelConfig& config,
                    absl::Span<const float> coefficients) {
  progress_.Step(result);
  if (result.step % file_.spec().metrics().every_steps() != 0 && !validates) return;
  v1::TrainerEvent event = Points(result.step, result.tokens);
  AddStepMetrics(result, batch_tokens_, flops_per_token_, config.moe, *event.mutable_points());
  AddRankMetrics(sums.computing(), sums.waiting(), *event.mutable_points());
  Write(event);
  if (WantsDetails(result.step, result.tokens)) Details(result, sums, config, coefficients);
}

void Reporter::Details(const StepResult& result, const StepSums& sums, const ModelConfig& config,
                       absl::Span<const float> coefficients) {
  const size_t size = coefficients.size() / config.layers;
  for (int layer = 0; layer < config.layers; ++layer) {
    v1::TrainerEvent event = Points(result.step, result.tokens);
    if (config.moe)
      AddRouterMetrics(layer, sums.counts(layer), sums.entropy(layer) / result.micro_batches, *event.mutable_points());
    if (size > 0) AddCoefficientMetrics(config, layer, coefficients.subspan(layer * size, size).data(), *event.mutable_points());
    if (!event.points().values().empty()) Write(event);
  }
}

void Reporter::Alive(uint64_t step) {
  const absl::Duration now = clock_.Monotonic();
  if (now - alive_ < kAliveInterval) return;
  alive_ = now;
  v1::TrainerEvent event;
  event.set_progress(step);
  events_.Write(event);
}

void Reporter::Validation(const TrainerState& state, const std::string& set, double loss, double tokens_per_byte) {
  progress_.Validation(set, loss);
  v1::TrainerEvent event = Points(state.step, state.tokens);
  AddValidationMetrics(set, loss, tokens_per_byte, *event.mutable_points());
  Write(event);
}

void Reporter::Analysis(const TrainerState& state, const std::vector<LayerAnalysis>& layers) {
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    v1::TrainerEvent event = Points(state.step, state.tokens);
    AddAnalysisMetrics(static_cast<int>(layer), layers[layer], *event.mutable_points());
    if (!event.points().values().empty()) Write(event);
  }
}

void Reporter::Saved(const TrainerState& state, const std::string& path) {
  v1::TrainerEvent event;
  event.mutable_checkpoint()->set_step(state.step);
  event.mutable_checkpoint()->set_tokens(state.tokens);
  event.mutable_checkpoint()->set_path(path);
  events_.Write(event);
}

}  // namespace polymoe
