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
#include "worker/train/analysis.h"
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

Place PlaceIn(const Group& group) {
  return {group.rank(), group.size()};
}

WriterOptions ToWriterOptions(const v1::CheckpointSpec& spec, const TrainerOptions& options, const Group& world) {
  return {.rank = world.rank(),
          .ranks = world.size(),
          .attempt = options.attempt,
          .retention = {.keep_last = spec.keep_last(), .keep_every = spec.keep_every()}};
}

uint64_t BatchTokens(const v1::JobSpec& spec) {
  return uint64_t{spec.train().global_batch()} * spec.data().sequence_length();
}

}  // namespace

Trainer::Trainer(const v1::JobFile& file, const TrainerOptions& options, Ranks& ranks, const Clock& clock, Reporter& reporter,
                 TrainingData data, std::unique_ptr<Storage> storage)
    : file_(file),
      options_(options),
      ranks_(ranks),
      clock_(clock),
      reporter_(reporter),
      data_(std::move(data)),
      loader_(MakeLoader(data_.train, file.spec())),
      exchange_(ranks.experts->size() == 1 ? nullptr : std::make_unique<GroupExchange>(*ranks.experts, clock)),
      model_(MakeModel(file.spec(), options.profile, exchange_.get(), options.exchange_chunks)),
      parameter_ops_(ParameterOps(options.profile)),
      sharding_(model_.table(), PlaceIn(*ranks.world), PlaceIn(*ranks.replicas)),
      optimizer_(ToAdamW(file.spec().train()), sharding_, parameter_ops_),
      memory_([this](Arena::Cutter& cut) {
        cut(parameters_, model_.table().total());
        cut(gradients_, model_.table().total());
      }),
      reducer_(sharding_, *ranks.world, *ranks.replicas, gradients_, parameters_, model_.rounded()),
      tokens_(uint64_t{file.spec().train().micro_batch()} * file.spec().data().sequence_length()),
      targets_(tokens_.size()),
      sums_(model_.config().layers, model_.config().moe ? model_.config().experts : 0, ranks.world->size()),
      storage_(std::move(storage)),
      saver_(
          *storage_, ToWriterOptions(file.spec().checkpoint(), options, *ranks.world), *ranks.world,
          [this](const TrainerState& state, const std::string& path) { reporter_.Saved(state, path); },
          [this] { reporter_.Alive(state_.step); }) {}

Trainer::~Trainer() = default;

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const v1::JobFile& file, const TrainerOptions& options, Ranks& ranks,
                                                         const Clock& clock, Reporter& reporter) {
  POLYMOE_RETURN_IF_ERROR(CheckPrecision(file.spec(), CpuHasBf16()));
  POLYMOE_RETURN_IF_ERROR(CheckSize(file.spec(), MachineMemory()));
  POLYMOE_ASSIGN_OR_RETURN(TrainingData data, OpenData(file.spec()));
  POLYMOE_ASSIGN_OR_RETURN(std::unique_ptr<Storage> storage, OpenStorage(options.checkpoint_dir));
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = absl::WrapUnique(new Trainer(file, options, ranks, clock, reporter, std::move(data), std::move(storage)));
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

// The newest checkpoint that is good for every rank: each reads its own rows, and what it finds damaged the others may not have seen.
absl::Status Trainer::ResumeTogether() {
  const int rank = ranks_.world->rank();
  const TrainerState fresh = state_;
  for (std::string choice = options_.resume;;) {
    absl::StatusOr<TrainerState> state = Resume(choice, *storage_, fresh, SlabsToLoad());
    POLYMOE_RETURN_IF_ERROR(Agree(state.status()));
    state_ = *std::move(state);
    std::vector<double> steps(ranks_.world->size());
    steps[rank] = static_cast<double>(state_.step);
    POLYMOE_RETURN_IF_ERROR(ranks_.world->AllReduceSum(absl::MakeSpan(steps)));
    const auto [oldest, newest] = std::minmax_element(steps.begin(), steps.end());
    if (*oldest == *newest) break;
    if (*oldest == 0) {
      return absl::AbortedError(absl::StrCat("rank ", oldest - steps.begin(), " finds no checkpoint, rank ", newest - steps.begin(),
                                             " that of step ", *newest, "; do all workers share ", options_.checkpoint_dir, "?"));
    }
    const std::string common = storage_->Where(CheckpointName(static_cast<uint64_t>(*oldest)));
    if (common == choice) return absl::DataLossError(absl::StrCat("no checkpoint in ", storage_->root(), " is good for all ranks"));
    choice = common;
  }
  return Agree(leads() ? SetAsideNewer(*storage_, state_.step) : absl::OkStatus());
}

absl::StatusOr<Outcome> Trainer::Run(const std::atomic<bool>& stop) {
  reporter_.Start(state_, model_.config(), ranks_.world->rank(), model_.table());
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
      POLYMOE_RETURN_IF_ERROR(saver_.Finish());
      if (leads()) reporter_.Stopped(state_);
      return Outcome::kStopped;
    }
  }
  POLYMOE_RETURN_IF_ERROR(saver_.Finish());
  if (leads()) reporter_.Done(state_);
  return Outcome::kDone;
}

bool Trainer::done() const {
  return state_.tokens >= file_.spec().train().tokens();
}

// Batch -> forward and backward a micro-batch -> reduce -> update.
absl::StatusOr<StepResult> Trainer::Step(const std::atomic<bool>& stop) {
  const absl::Duration start = clock_.Monotonic();
  const int rank = ranks_.world->rank();
  if (exchange_ != nullptr) exchange_->TakeWaited();  // what evaluations since the step before have waited
  sums_.Clear();
  sums_[StepSums::kStop] = stop.load(std::memory_order_relaxed) ? 1 : 0;
  POLYMOE_RETURN_IF_ERROR(ComputeGradients());
  const absl::Duration computed = clock_.Monotonic();
  POLYMOE_RETURN_IF_ERROR(reducer_.FinishGradients());
  const absl::Duration reduced = clock_.Monotonic();
  const absl::Duration exchanged = exchange_ == nullptr ? absl::ZeroDuration() : exchange_->TakeWaited();
  sums_.computing(rank) = absl::ToDoubleSeconds(computed - start - exchanged);
  sums_.waiting(rank) = absl::ToDoubleSeconds(reduced - computed + exchanged);
  for (const ShardedSection& s : sharding_.sections()) {
    sums_[StepSums::kSquares] += parameter_ops_.sum_squares(s.own_end() - s.own_begin(), gradients_ + s.own_begin());
  }
  saver_.AddTo(sums_);
  const uint64_t sent = BytesSent();
  sums_[StepSums::kBytesSent] = static_cast<double>(sent - std::exchange(bytes_sent_, sent));
  sums_[StepSums::kBytesNeeded] += static_cast<double>(reducer_.BytesNeeded());
  POLYMOE_RETURN_IF_ERROR(ranks_.world->AllReduceSum(sums_.values()));
  POLYMOE_RETURN_IF_ERROR(saver_.Advance(sums_));
  StepResult result = ResultOfSums();
  POLYMOE_RETURN_IF_ERROR(Update(result));
  result.seconds = absl::ToDoubleSeconds(clock_.Monotonic() - start);
  result.save_seconds = std::exchange(save_seconds_, 0);
  return result;
}

// Rank r of W takes the r-th of W equal parts of the global batch, in micro-batches: their set is the same for every W.
absl::Status Trainer::ComputeGradients() {
  const v1::TrainSpec& train = file_.spec().train();
  const uint32_t micro = train.micro_batch(), share = train.global_batch() / ranks_.world->size(), micro_batches = share / micro;
  const auto scale = static_cast<float>(1 / static_cast<double>(BatchTokens(file_.spec())));
  for (uint32_t i = 0; i < micro_batches; ++i) {
    loader_.Fill(state_.sequences + uint64_t{share} * ranks_.world->rank() + uint64_t{micro} * i, micro, tokens_.data(),
                 targets_.data());
    const StageDone reduce = [this](int stage) { reducer_.StartGradients(stage); };
    const MicroBatchLosses losses =
        model_.ForwardBackward(parameters_, tokens_.data(), targets_.data(), static_cast<int>(micro), scale, gradients_,
                               /*accumulate=*/i > 0, i + 1 == micro_batches ? reduce : nullptr);
    if (exchange_ != nullptr) POLYMOE_RETURN_IF_ERROR(exchange_->status());
    sums_[StepSums::kCrossEntropy] += losses.cross_entropy;
    sums_[StepSums::kLoadBalance] += losses.load_balance;
    sums_[StepSums::kZ] += losses.z;
    sums_.AddRouting(model_.router_stats());
    sums_[StepSums::kBytesNeeded] += static_cast<double>(model_.router_stats().rows_away * BytesARow());
    reporter_.Alive(state_.step);
  }
  return absl::OkStatus();
}

// Of a row that goes to another rank and back: it, its experts' sum and the gradients of both; the routing and its gradient.
int64_t Trainer::BytesARow() {
  const int64_t element = model_.config().hidden * (model_.rounded() == nullptr ? sizeof(float) : sizeof(BF16));
  return 4 * element + model_.config().top_k * static_cast<int64_t>(sizeof(int32_t) + 2 * sizeof(float));
}

StepResult Trainer::ResultOfSums() const {
  const v1::TrainSpec& train = file_.spec().train();
  const double micro_batches = static_cast<double>(train.global_batch()) / train.micro_batch();
  return {.loss = sums_[StepSums::kCrossEntropy] / static_cast<double>(BatchTokens(file_.spec())),
          .load_balance = sums_[StepSums::kLoadBalance] / micro_batches,
          .z = sums_[StepSums::kZ] / micro_batches,
          .grad_norm = std::sqrt(sums_[StepSums::kSquares]),
          .micro_batches = micro_batches,
          .bytes_sent = sums_[StepSums::kBytesSent],
          .bytes_needed = sums_[StepSums::kBytesNeeded],
          .stop_requested = sums_[StepSums::kStop] > 0};
}

// Finite check -> clip -> AdamW, on what all ranks have in common: each comes to the same decision. A skipped step leaves parameters and
// moments alone; its data counts as read.
absl::Status Trainer::Update(StepResult& result) {
  const v1::TrainSpec& train = file_.spec().train();
  const uint64_t batch_tokens = BatchTokens(file_.spec());
  result.learning_rate = LearningRate(train, state_.tokens + batch_tokens / 2);
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.grad_norm);
  if (result.skipped) {
    ++state_.skipped;
    ++skipped_in_a_row_;
  } else {
    skipped_in_a_row_ = 0;
    const double clip = train.grad_clip(), scale = clip > 0 && result.grad_norm > clip ? clip / result.grad_norm : 1;
    optimizer_.Step(++state_.updates, result.learning_rate, scale, gradients_, parameters_, model_.rounded());
    POLYMOE_RETURN_IF_ERROR(reducer_.ShareParameters());
  }
  state_.step += 1;
  state_.tokens += batch_tokens;
  state_.sequences += train.global_batch();
  result.step = state_.step;
  result.tokens = state_.tokens;
  result.skipped_steps = state_.skipped;
  return absl::OkStatus();
}

// What happens between steps, in this order: report, validate, analyse, save.
absl::Status Trainer::AfterStep(const StepResult& result) {
  const bool validates = done() || Due(file_.spec().validation().every_tokens());
  const v1::AnalysisSpec& analyses = file_.spec().metrics().analyses();
  const bool analyses_due = WantsAnalyses(analyses) && (done() || Due(analyses.every_tokens()));
  const bool saves = done() || result.stop_requested || Due(file_.spec().checkpoint().every_tokens());
  POLYMOE_RETURN_IF_ERROR(Report(result, validates));
  if (absl::Status finite = CheckFinite(result); !finite.ok()) {
    // The state before was good, and all ranks are here: what is being saved is worth the wait.
    POLYMOE_RETURN_IF_ERROR(saver_.Finish());
    return finite;
  }
  if (validates) POLYMOE_RETURN_IF_ERROR(Validate());
  if (analyses_due) POLYMOE_RETURN_IF_ERROR(Analyse());
  return saves ? Save() : absl::OkStatus();
}

absl::Status Trainer::Save() {
  const absl::Duration start = clock_.Monotonic();
  POLYMOE_RETURN_IF_ERROR(saver_.Start(state_, SlabsToSave()));
  save_seconds_ = absl::ToDoubleSeconds(clock_.Monotonic() - start);
  return absl::OkStatus();
}

absl::Status Trainer::Report(const StepResult& result, bool validates) {
  std::vector<float> coefficients;
  if (reporter_.WantsDetails(result.step, result.tokens)) {
    POLYMOE_ASSIGN_OR_RETURN(coefficients, Coefficients());
  }
  if (leads()) reporter_.Step(result, validates, sums_, model_.config(), coefficients);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Trainer::Coefficients() {
  const ModelConfig& config = model_.config();
  std::vector<float> all;
  if (!config.activation.has_coefficients()) return all;
  const int64_t count = config.activation.coefficient_count(), sets = config.coefficient_sets();
  const ExpertShard& shard = model_.table().shard();
  const int64_t first = sets == 1 ? 0 : shard.first, here = sets == 1 ? 1 : shard.count;
  all.resize(config.layers * sets * count);
  for (int i = 0; i < config.layers; ++i) {
    std::copy_n(parameters_ + model_.table().layer(i).coefficients, here * count, all.data() + (i * sets + first) * count);
  }
  if (here != sets) POLYMOE_RETURN_IF_ERROR(ranks_.experts->AllReduceSum(absl::MakeSpan(all)));
  return all;
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

BatchBuffers Trainer::Buffers() {
  return {file_.spec().train().micro_batch(), file_.spec().data().sequence_length(), absl::MakeSpan(tokens_),
          absl::MakeSpan(targets_)};
}

absl::Status Trainer::Analyse() {
  const uint32_t length = file_.spec().data().sequence_length();
  const Windows windows = data_.validation.empty()
                              ? Windows{data_.train, CountWindows(data_.train, length).value()}
                              : Windows{data_.validation[0].dataset, data_.validation[0].windows, data_.validation[0].stride};
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<LayerAnalysis> layers,
                           polymoe::Analyse(file_.spec().metrics().analyses(), ToAnalyse(windows, length), model_, parameters_,
                                            ranks_, Buffers(), [this] { reporter_.Alive(state_.step); }));
  if (exchange_ != nullptr) POLYMOE_RETURN_IF_ERROR(exchange_->status());
  if (leads()) reporter_.Analysis(state_, layers);
  return absl::OkStatus();
}

absl::Status Trainer::Validate() {
  for (const ValidationData& set : data_.validation) {
    POLYMOE_ASSIGN_OR_RETURN(const double loss, ValidationLoss({set.dataset, set.windows, set.stride}, model_, parameters_,
                                                               *ranks_.world, Buffers(), [this] { reporter_.Alive(state_.step); }));
    if (exchange_ != nullptr) POLYMOE_RETURN_IF_ERROR(exchange_->status());
    const double tokens_per_byte =
        static_cast<double>(set.dataset.tokens()) / static_cast<double>(std::max<uint64_t>(1, set.dataset.bytes()));
    if (leads()) reporter_.Validation(state_, set.name, loss, tokens_per_byte);
  }
  return absl::OkStatus();
}

absl::Status Trainer::Agree(const absl::Status& mine) {
  double failed = mine.ok() ? 0 : 1;
  const absl::Status reduced = ranks_.world->AllReduceSum(absl::MakeSpan(&failed, 1));
  if (!mine.ok()) return mine;
  POLYMOE_RETURN_IF_ERROR(reduced);
  return failed == 0 ? absl::OkStatus() : absl::AbortedError("another rank failed; its own message says why");
}

std::vector<TensorSlab> Trainer::SlabsToLoad() {
  std::vector<TensorSlab> slabs;
  for (const Parameter& p : model_.table().parameters()) slabs.push_back(WholeTensor(p.name, p.shape, parameters_ + p.offset));
  AddMoments(slabs);
  return slabs;
}

std::vector<TensorSlab> Trainer::SlabsToSave() {
  std::vector<TensorSlab> slabs;
  for (const OwnedRows& rows : sharding_.rows()) {
    slabs.push_back({rows.parameter->name, rows.parameter->shape, rows.begin, rows.end, parameters_ + rows.offset});
  }
  AddMoments(slabs);
  return slabs;
}

void Trainer::AddMoments(std::vector<TensorSlab>& slabs) {
  for (const OwnedRows& rows : sharding_.rows()) {
    const Parameter& p = *rows.parameter;
    slabs.push_back({"adam_m." + p.name, p.shape, rows.begin, rows.end, optimizer_.first() + rows.owned});
    slabs.push_back({"adam_v." + p.name, p.shape, rows.begin, rows.end, optimizer_.second() + rows.owned});
  }
}

uint64_t Trainer::BytesSent() const {
  return ranks_.world->bytes_sent() + ranks_.experts->bytes_sent() + ranks_.replicas->bytes_sent();
}

}  // namespace polymoe
