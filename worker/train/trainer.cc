#include "worker/train/trainer.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/clock.h"
#include "common/status.h"
#include "kernels/profile.h"
#include "worker/data/loader.h"
#include "worker/train/reporter.h"
#include "worker/train/resume.h"
#include "worker/train/schedule.h"

namespace polymoe {
namespace {

constexpr int kMaxSkippedInARow = 100;

AdamWConfig ToAdamW(const v1::TrainSpec& train) {
  return {.beta1 = train.beta1(), .beta2 = train.beta2(), .epsilon = train.adam_epsilon(), .weight_decay = train.weight_decay()};
}

uint64_t MachineMemory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// OpenData has made sure that there is a sequence to load.
BatchLoader MakeLoader(const Dataset& dataset, const v1::JobSpec& spec) {
  return BatchLoader::Shuffled(dataset, spec.data().sequence_length(), spec.train().seed()).value();
}

uint64_t BatchTokens(const v1::JobSpec& spec) {
  return uint64_t{spec.train().global_batch()} * spec.data().sequence_length();
}

WriterOptions ToWriterOptions(const v1::CheckpointSpec& spec, const TrainerOptions& options, const Group& group) {
  return {.rank = group.rank(),
          .ranks = group.size(),
          .attempt = options.attempt,
          .retention = {.keep_last = spec.keep_last(), .keep_every = spec.keep_every()}};
}

}  // namespace

Trainer::Trainer(const v1::JobFile& file, const TrainerOptions& options, Group& group, const Clock& clock, Reporter& reporter,
                 TrainingData data, std::unique_ptr<Storage> storage)
    : file_(file),
      options_(options),
      group_(group),
      clock_(clock),
      reporter_(reporter),
      data_(std::move(data)),
      loader_(MakeLoader(data_.train, file.spec())),
      model_(MakeModel(file.spec(), options.profile)),
      parameter_ops_(ParameterOps(options.profile)),
      optimizer_(ToAdamW(file.spec().train()), model_.table(), parameter_ops_),
      memory_([this](Arena::Cutter& cut) {
        cut(parameters_, model_.table().total());
        cut(gradients_, model_.table().total());
      }),
      tokens_(uint64_t{file.spec().train().micro_batch()} * file.spec().data().sequence_length()),
      targets_(tokens_.size()),
      storage_(std::move(storage)),
      writer_(*storage_, ToWriterOptions(file.spec().checkpoint(), options, group)) {}

Trainer::~Trainer() = default;

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobFile& file, const TrainerOptions& options, Group& group,
                                                         const Clock& clock, Reporter& reporter) {
  POLYMOE_RETURN_IF_ERROR(CheckPrecision(file.spec(), CpuHasBf16()));
  POLYMOE_RETURN_IF_ERROR(CheckSize(file.spec(), MachineMemory()));
  POLYMOE_ASSIGN_OR_RETURN(TrainingData data, OpenData(file.spec()));
  POLYMOE_ASSIGN_OR_RETURN(std::unique_ptr<Storage> storage, OpenStorage(options.checkpoint_dir));
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = absl::WrapUnique(new Trainer(file, options, group, clock, reporter, std::move(data), std::move(storage)));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory for this model and micro-batch; lower spec.train.microBatch first");
  }
  trainer->state_.model = DescribeModel(trainer->model_.config());
  trainer->state_.data_order = DescribeDataOrder(file.spec(), trainer->data_.train.fingerprint());
  trainer->model_.table().Initialize(file.spec().train().seed(), trainer->model_.config(), trainer->parameters_);
  POLYMOE_RETURN_IF_ERROR(trainer->ResumeTogether());
  trainer->model_.Round(trainer->parameters_);
  return trainer;
}

absl::Status Trainer::ResumeTogether() {
  absl::StatusOr<TrainerState> state = Resume(options_.resume, *storage_, state_, Slabs());
  POLYMOE_RETURN_IF_ERROR(Agree(state.status()));
  state_ = *std::move(state);
  // Ranks that see different folders must not train on together from different states.
  double leaders_step = leads() ? static_cast<double>(state_.step) : 0;
  POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(&leaders_step, 1)));
  absl::Status same;
  if (leaders_step != static_cast<double>(state_.step)) {
    same = absl::AbortedError(absl::StrCat("rank ", group_.rank(), " resumed at step ", state_.step, ", rank 0 at ", leaders_step,
                                           "; do all workers share ", options_.checkpoint_dir, "?"));
  }
  POLYMOE_RETURN_IF_ERROR(Agree(same));
  return Agree(leads() ? SetAsideNewer(*storage_, state_.step) : absl::OkStatus());
}

absl::StatusOr<Outcome> Trainer::Run(const std::atomic<bool>& stop) {
  reporter_.Start(state_, model_.config(), leads());
  for (bool first = true; !done(); first = false) {
    // The first step takes memory and grows scratch: not what a step costs.
    const bool profiled = options_.profile != nullptr && !first;
    if (profiled) options_.profile->Record(true);
    POLYMOE_ASSIGN_OR_RETURN(const StepResult result, Step(stop));
    if (profiled) {
      options_.profile->Record(false);
      profiled_steps_ += 1;
      profiled_seconds_ += result.seconds;
    }
    POLYMOE_RETURN_IF_ERROR(AfterStep(result));
    if (result.stop_requested && !done()) {
      if (leads()) reporter_.Stopped(state_);
      return Outcome::kStopped;
    }
  }
  if (leads()) reporter_.Done(state_);
  return Outcome::kDone;
}

bool Trainer::done() const {
  return state_.tokens >= file_.spec().train().tokens();
}

// Batch -> forward and backward a micro-batch -> reduce -> update. Rank r of W takes the r-th of W equal parts of the global batch.
absl::StatusOr<StepResult> Trainer::Step(const std::atomic<bool>& stop) {
  const absl::Duration start = clock_.Monotonic();
  const v1::TrainSpec& train = file_.spec().train();
  const uint32_t micro = train.micro_batch(), share = train.global_batch() / group_.size(), micro_batches = share / micro;
  const double batch_tokens = static_cast<double>(BatchTokens(file_.spec()));

  // Cross entropy over tokens, router losses over micro-batches, and requests to stop: ranks leave together.
  double sums[4] = {0, 0, 0, stop.load(std::memory_order_relaxed) ? 1.0 : 0.0};
  for (uint32_t i = 0; i < micro_batches; ++i) {
    loader_.Fill(state_.sequences + uint64_t{share} * group_.rank() + uint64_t{micro} * i, micro, tokens_.data(), targets_.data());
    const MicroBatchLosses losses = model_.ForwardBackward(parameters_, tokens_.data(), targets_.data(), static_cast<int>(micro),
                                                           static_cast<float>(1 / batch_tokens), gradients_, /*accumulate=*/i > 0);
    sums[0] += losses.cross_entropy;
    sums[1] += losses.load_balance;
    sums[2] += losses.z;
  }
  POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(gradients_, model_.table().total())));
  POLYMOE_RETURN_IF_ERROR(group_.AllReduceSum(absl::MakeSpan(sums)));

  StepResult result{.loss = sums[0] / batch_tokens,
                    .load_balance = sums[1] / (micro_batches * group_.size()),
                    .z = sums[2] / (micro_batches * group_.size()),
                    .stop_requested = sums[3] > 0};
  Update(result);
  result.seconds = absl::ToDoubleSeconds(clock_.Monotonic() - start);
  return result;
}

// Norm -> finite check -> clip -> AdamW, on what all ranks have in common: each comes to the same decision and the same bits. A skipped
// step leaves parameters and moments alone; its data counts as read.
void Trainer::Update(StepResult& result) {
  const v1::TrainSpec& train = file_.spec().train();
  const uint64_t batch_tokens = BatchTokens(file_.spec());
  result.grad_norm = std::sqrt(parameter_ops_.sum_squares(model_.table().total(), gradients_));
  result.learning_rate = LearningRate(train, state_.tokens + batch_tokens / 2);
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  if (result.skipped) {
    ++state_.skipped;
    ++skipped_in_a_row_;
  } else {
    skipped_in_a_row_ = 0;
    const double clip = train.grad_clip(), scale = clip > 0 && result.grad_norm > clip ? clip / result.grad_norm : 1;
    optimizer_.Step(++state_.updates, result.learning_rate, scale, gradients_, parameters_, model_.rounded());
  }
  state_.step += 1;
  state_.tokens += batch_tokens;
  state_.sequences += train.global_batch();
  result.step = state_.step;
  result.tokens = state_.tokens;
  result.skipped_steps = state_.skipped;
}

// What happens between steps, in this order: report, validate, save.
absl::Status Trainer::AfterStep(const StepResult& result) {
  const bool validates = done() || Due(file_.spec().validation().every_tokens());
  const bool saves = done() || result.stop_requested || Due(file_.spec().checkpoint().every_tokens());
  if (leads()) reporter_.Step(result, validates, model_, parameters_);
  POLYMOE_RETURN_IF_ERROR(CheckFinite(result));
  if (leads() && validates) Validate();
  return saves ? Agree(leads() ? Save() : absl::OkStatus()) : absl::OkStatus();
}

absl::Status Trainer::CheckFinite(const StepResult& result) const {
  const bool stops = file_.spec().train().non_finite() == v1::NON_FINITE_POLICY_STOP;
  if (!result.skipped || (!stops && skipped_in_a_row_ < kMaxSkippedInARow)) return absl::OkStatus();
  const std::string why = stops ? "spec.train.nonFinite: stop"
                                : absl::StrCat(kMaxSkippedInARow, " steps in a row were skipped: the model no longer learns");
  return absl::AbortedError(absl::StrCat("step ", result.step, " has loss ", result.loss, " and gradient norm ", result.grad_norm,
                                         " (", why, "); try a lower learning rate"));
}

bool Trainer::Due(uint64_t every) const {
  return state_.tokens / every != (state_.tokens - BatchTokens(file_.spec())) / every;
}

void Trainer::Validate() {
  const uint32_t length = file_.spec().data().sequence_length(), micro = file_.spec().train().micro_batch();
  for (const ValidationData& set : data_.validation) {
    double sum = 0;
    for (uint64_t window = 0; window < set.windows; window += micro) {
      const uint64_t count = std::min<uint64_t>(micro, set.windows - window);
      for (uint64_t i = 0; i < count; ++i) {
        ReadWindow(set.dataset, (window + i) * set.stride, length, tokens_.data() + i * length, targets_.data() + i * length);
      }
      sum += model_.Evaluate(parameters_, tokens_.data(), targets_.data(), static_cast<int>(count)).cross_entropy;
    }
    const double tokens_per_byte =
        static_cast<double>(set.dataset.tokens()) / static_cast<double>(std::max<uint64_t>(1, set.dataset.bytes()));
    reporter_.Validation(state_, set.name, sum / static_cast<double>(set.windows * length), tokens_per_byte);
  }
}

absl::Status Trainer::Save() {
  absl::Status saved = writer_.Start(state_, Slabs());
  if (saved.ok()) saved = writer_.Wait();
  if (saved.ok()) {
    writer_.Commit();
    saved = writer_.Wait();
  }
  if (!saved.ok()) return Annotate(saved, absl::StrCat("checkpoint of step ", state_.step));
  reporter_.Saved(state_, writer_.path());
  return absl::OkStatus();
}

absl::Status Trainer::Agree(const absl::Status& mine) {
  double failed = mine.ok() ? 0 : 1;
  const absl::Status reduced = group_.AllReduceSum(absl::MakeSpan(&failed, 1));
  if (!mine.ok()) return mine;
  POLYMOE_RETURN_IF_ERROR(reduced);
  return failed == 0 ? absl::OkStatus() : absl::AbortedError("another rank failed; its own message says why");
}

std::vector<TensorSlab> Trainer::Slabs() {
  std::vector<TensorSlab> slabs;
  const std::pair<const char*, float*> buffers[] = {
      {"", parameters_}, {"adam_m.", optimizer_.first()}, {"adam_v.", optimizer_.second()}};
  for (const auto& [prefix, buffer] : buffers) {
    for (const Parameter& p : model_.table().parameters())
      slabs.push_back(WholeTensor(absl::StrCat(prefix, p.name), p.shape, buffer + p.offset));
  }
  return slabs;
}

}  // namespace polymoe
