#include "worker/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/status.h"
#include "worker/data/loader.h"
#include "worker/train/event_writer.h"
#include "worker/train/reporter.h"
#include "worker/train/schedule.h"

namespace polymoe {
namespace {

AdamWConfig ToAdamW(const v1::TrainSpec& train) {
  return {.beta1 = train.beta1(), .beta2 = train.beta2(), .epsilon = train.adam_epsilon(), .weight_decay = train.weight_decay()};
}

}  // namespace

Trainer::Trainer(const v1::JobFile& file, const TrainerOptions& options, Group& group, const Clock& clock, EventWriter& events,
                 Reporter& reporter, TrainingData data)
    : file_(file),
      options_(options),
      group_(group),
      clock_(clock),
      events_(events),
      reporter_(reporter),
      data_(std::move(data)),
      model_(ToModelConfig(file.spec()), CpuOps(), static_cast<int>(file.spec().train().micro_batch()),
             static_cast<int>(file.spec().data().sequence_length())),
      optimizer_(ToAdamW(file.spec().train()), model_.table(), CpuOps()),
      parameters_(model_.table().total()),
      gradients_(model_.table().total()),
      tokens_(file.spec().train().micro_batch() * file.spec().data().sequence_length()),
      targets_(tokens_.size()) {}

Trainer::~Trainer() = default;

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobFile& file, const TrainerOptions& options, Group& group,
                                                         const Clock& clock, EventWriter& events, Reporter& reporter) {
  POLYMOE_ASSIGN_OR_RETURN(TrainingData data, OpenData(file.spec()));
  auto trainer = absl::WrapUnique(new Trainer(file, options, group, clock, events, reporter, std::move(data)));
  trainer->state_.model = DescribeModel(trainer->model_.config());
  trainer->state_.data_fingerprint = trainer->data_.train.fingerprint();
  trainer->model_.table().Initialize(file.spec().train().seed(), trainer->model_.config(), trainer->parameters_.data());
  POLYMOE_RETURN_IF_ERROR(trainer->Resume());
  return trainer;
}

absl::StatusOr<Outcome> Trainer::Run(const std::atomic<bool>& stop) {
  v1::TrainerEvent started;
  started.mutable_started()->set_start_step(state_.step);
  events_.Write(started);
  reporter_.Start(state_, model_.config());
  const uint64_t budget = file_.spec().train().tokens();
  while (state_.tokens < budget) {
    POLYMOE_ASSIGN_OR_RETURN(const StepResult result, Step());
    // Ranks leave together: the request of any of them counts for all.
    double stopping = stop.load(std::memory_order_relaxed) ? 1 : 0;
    POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(&stopping, 1)));
    const bool done = state_.tokens >= budget;
    POLYMOE_RETURN_IF_ERROR(AfterStep(result, done || stopping > 0));
    if (stopping > 0 && !done) return Outcome::kStopped;
  }
  reporter_.Finish(state_);
  return Outcome::kDone;
}

// Batch -> forward and backward a micro-batch -> reduce -> norm -> finite check -> update.
absl::StatusOr<StepResult> Trainer::Step() {
  const absl::Duration start = clock_.Monotonic();
  const v1::TrainSpec& train = file_.spec().train();
  const uint32_t length = file_.spec().data().sequence_length(), micro = train.micro_batch();
  const uint32_t share = train.global_batch() / group_.size(), micro_batches = share / micro;
  const uint64_t batch_tokens = uint64_t{train.global_batch()} * length;
  POLYMOE_ASSIGN_OR_RETURN(const BatchLoader loader, BatchLoader::Shuffled(data_.train, length, train.seed()));

  std::fill(gradients_.begin(), gradients_.end(), 0.0f);
  double sums[3] = {};  // cross entropy over tokens, router losses over micro-batches
  for (uint32_t i = 0; i < micro_batches; ++i) {
    loader.Fill(state_.sequences + uint64_t{share} * group_.rank() + uint64_t{micro} * i, micro, tokens_.data(), targets_.data());
    const MicroBatchLosses losses =
        model_.ForwardBackward(parameters_.data(), tokens_.data(), targets_.data(), static_cast<int>(micro),
                               static_cast<float>(1.0 / static_cast<double>(batch_tokens)), gradients_.data());
    sums[0] += losses.cross_entropy;
    sums[1] += losses.load_balance;
    sums[2] += losses.z;
  }
  POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(gradients_)));
  POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(sums)));

  StepResult result{.step = state_.step + 1,
                    .tokens = state_.tokens + batch_tokens,
                    .loss = sums[0] / static_cast<double>(batch_tokens),
                    .load_balance = sums[1] / (micro_batches * group_.size()),
                    .z = sums[2] / (micro_batches * group_.size()),
                    .grad_norm = std::sqrt(CpuOps().sum_squares(static_cast<int64_t>(gradients_.size()), gradients_.data())),
                    .learning_rate = LearningRate(train, state_.tokens + batch_tokens / 2)};
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  if (result.skipped) {
    ++state_.skipped;
  } else {
    const double clip = train.grad_clip(), scale = clip > 0 && result.grad_norm > clip ? clip / result.grad_norm : 1;
    optimizer_.Step(++state_.updates, result.learning_rate, scale, gradients_.data(), parameters_.data());
  }
  state_.step = result.step;
  state_.tokens = result.tokens;
  state_.sequences += train.global_batch();
  result.seconds = absl::ToDoubleSeconds(clock_.Monotonic() - start);
  return result;
}

absl::Status Trainer::AfterStep(const StepResult& result, bool last) {
  if (result.skipped && file_.spec().train().non_finite() == v1::NON_FINITE_POLICY_STOP) {
    return absl::AbortedError(absl::StrCat("step ", result.step, " has loss ", result.loss, " and gradient norm ", result.grad_norm,
                                           " (spec.train.nonFinite: stop); try a lower learning rate"));
  }
  if (!leads()) return absl::OkStatus();
  reporter_.Step(result, state_, model_, parameters_.data());
  if (last || Due(file_.spec().validation().every_tokens())) POLYMOE_RETURN_IF_ERROR(Validate());
  if (last || Due(file_.spec().checkpoint().every_tokens())) POLYMOE_RETURN_IF_ERROR(Save());
  return absl::OkStatus();
}

bool Trainer::Due(uint64_t every) const {
  const v1::JobSpec& spec = file_.spec();
  const uint64_t batch_tokens = uint64_t{spec.train().global_batch()} * spec.data().sequence_length();
  return state_.tokens / every != (state_.tokens - batch_tokens) / every;
}

absl::Status Trainer::Validate() {
  const uint32_t length = file_.spec().data().sequence_length(), micro = file_.spec().train().micro_batch();
  for (const ValidationData& set : data_.validation) {
    double sum = 0;
    for (uint64_t window = 0; window < set.windows; window += micro) {
      const uint64_t count = std::min<uint64_t>(micro, set.windows - window);
      for (uint64_t i = 0; i < count; ++i) {
        ReadWindow(set.dataset, (window + i) * set.stride, length, tokens_.data() + i * length, targets_.data() + i * length);
      }
      sum += model_.Evaluate(parameters_.data(), tokens_.data(), targets_.data(), static_cast<int>(count)).cross_entropy;
    }
    const double loss = sum / static_cast<double>(set.windows * length);
    const double tokens_per_byte =
        static_cast<double>(set.dataset.tokens()) / static_cast<double>(std::max<uint64_t>(1, set.dataset.bytes()));
    reporter_.Validation(set.name, loss, loss / std::log(2.0) * tokens_per_byte, state_);
  }
  return absl::OkStatus();
}

absl::Status Trainer::Save() {
  absl::StatusOr<std::string> path = SaveCheckpoint(options_.checkpoint_dir, state_, Tensors());
  if (!path.ok()) return Annotate(path.status(), absl::StrCat("checkpoint of step ", state_.step));
  v1::TrainerEvent event;
  event.mutable_checkpoint()->set_step(state_.step);
  event.mutable_checkpoint()->set_tokens(state_.tokens);
  event.mutable_checkpoint()->set_path(*path);
  events_.Write(event);
  return PruneCheckpoints(options_.checkpoint_dir, file_.spec().checkpoint().keep_last());
}

std::vector<TensorRef> Trainer::Tensors() {
  std::vector<TensorRef> tensors;
  const std::pair<const char*, float*> buffers[] = {
      {"", parameters_.data()}, {"adam_m.", optimizer_.first()}, {"adam_v.", optimizer_.second()}};
  for (const auto& [prefix, buffer] : buffers) {
    for (const Parameter& p : model_.table().parameters())
      tensors.push_back({absl::StrCat(prefix, p.name), p.shape, buffer + p.offset});
  }
  return tensors;
}

absl::Status Trainer::LoadFrom(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(TrainerState loaded, LoadCheckpoint(path, state_.model, Tensors()));
  if (loaded.data_fingerprint != state_.data_fingerprint) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint ", path, " was trained on other data (fingerprint ",
                                                   loaded.data_fingerprint, ", spec.data.train has ", state_.data_fingerprint,
                                                   ")"));
  }
  state_ = std::move(loaded);
  return absl::OkStatus();
}

absl::Status Trainer::Resume() {
  if (options_.resume == "none") return absl::OkStatus();
  const bool any = options_.resume == "auto";
  const std::string directory = any ? options_.checkpoint_dir : options_.resume.substr(0, options_.resume.rfind('/'));
  POLYMOE_ASSIGN_OR_RETURN(std::vector<CheckpointInfo> candidates, ListCheckpoints(directory));
  // The one that was asked for, then older ones; a later one was not committed by anybody who counts.
  if (!any) std::erase_if(candidates, [&](const CheckpointInfo& c) { return c.path > options_.resume; });
  absl::Status newest_error = absl::NotFoundError(absl::StrCat("there is no complete checkpoint at ", options_.resume));
  for (auto it = candidates.rbegin(); it != candidates.rend(); ++it) {
    const absl::Status loaded = LoadFrom(it->path);
    // Another model or other data is the user's mistake: an older checkpoint would not help.
    if (loaded.ok() || absl::IsInvalidArgument(loaded)) return loaded;
    if (it == candidates.rbegin()) newest_error = loaded;
    LogWarning("checkpoint not usable, trying an older one", {{"error", std::string(loaded.message())}});
  }
  return any && candidates.empty() ? absl::OkStatus() : newest_error;
}

}  // namespace polymoe
