#include "worker/train/setup.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/check.h"
#include "common/spec/memory_plan.h"
#include "common/spec/model_shape.h"
#include "common/status.h"
#include "common/units.h"
#include "kernels/profile.h"
#include "worker/data/loader.h"

namespace polymoe {
namespace {

ActivationKind ToKind(v1::ActivationKind kind) {
  switch (kind) {
    case v1::ACTIVATION_KIND_RELU:
      return ActivationKind::kRelu;
    case v1::ACTIVATION_KIND_RELU2:
      return ActivationKind::kRelu2;
    case v1::ACTIVATION_KIND_GELU:
      return ActivationKind::kGelu;
    case v1::ACTIVATION_KIND_SWIGLU:
      return ActivationKind::kSwiglu;
    case v1::ACTIVATION_KIND_POLYRELU:
      return ActivationKind::kPolyRelu;
    case v1::ACTIVATION_KIND_POLYNORM:
      return ActivationKind::kPolyNorm;
    case v1::ACTIVATION_KIND_POLYPRELU:
      return ActivationKind::kPolyPRelu;
    case v1::ACTIVATION_KIND_POLYRELUNORM:
      return ActivationKind::kPolyReluNorm;
    default:
      break;
  }
  POLYMOE_CHECK(false, "activation kind %d passed validation", kind);
}

const char* Name(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu:
      return "relu";
    case ActivationKind::kRelu2:
      return "relu2";
    case ActivationKind::kGelu:
      return "gelu";
    case ActivationKind::kSwiglu:
      return "swiglu";
    case ActivationKind::kPolyRelu:
      return "polyrelu";
    case ActivationKind::kPolyNorm:
      return "polynorm";
    case ActivationKind::kPolyPRelu:
      return "polyprelu";
    case ActivationKind::kPolyReluNorm:
      return "polyrelunorm";
  }
  POLYMOE_CHECK(false, "activation kind %d", static_cast<int>(kind));
}

absl::StatusOr<Dataset> OpenChecked(const std::string& path, const std::string& split, const v1::JobSpec& spec) {
  POLYMOE_ASSIGN_OR_RETURN(Dataset dataset, Dataset::Open(path, split));
  if (dataset.vocab_size() > spec.model().vocab()) {
    return absl::InvalidArgumentError(absl::StrCat("spec.model.vocab is ", spec.model().vocab(), ", but the data in ", path,
                                                   " has token ids up to ", dataset.vocab_size() - 1, "; set it to at least ",
                                                   dataset.vocab_size()));
  }
  return dataset;
}

constexpr uint32_t kPlannedThreads = 1;  // more of them add little

std::string Bytes(uint64_t bytes) {
  return FormatBytes(static_cast<double>(bytes));
}

// The mildest change that can be enough, for a job that needs more than `memory_bytes`.
std::string HowToNeedLess(const v1::JobSpec& spec, uint64_t memory_bytes) {
  v1::JobSpec least = spec;
  least.mutable_train()->set_micro_batch(1);
  least.mutable_train()->set_recompute(true);
  const MemoryPlan plan = PlanMemory(least, kPlannedThreads);
  if (plan.total > memory_bytes) {
    return plan.parameters > plan.activations + plan.scratch ? "lower layers, hidden, ffn or experts of spec.model"
                                                             : "lower spec.data.sequenceLength";
  }
  if (spec.train().micro_batch() == 1) return "set spec.train.recompute: true";
  return absl::StrCat("lower spec.train.microBatch", spec.train().recompute() ? "" : " or set spec.train.recompute: true");
}

}  // namespace

ModelConfig ToModelConfig(const v1::JobSpec& spec) {
  const v1::ModelSpec& model = spec.model();
  const bool moe = model.architecture() == v1::ARCHITECTURE_MOE;
  return {.moe = moe,
          .layers = static_cast<int>(model.layers()),
          .hidden = static_cast<int>(model.hidden()),
          .heads = static_cast<int>(model.heads()),
          .ffn = static_cast<int>(FfnWidth(model)),
          .experts = moe ? static_cast<int>(model.experts()) : 1,
          .top_k = moe ? static_cast<int>(model.top_k()) : 1,
          .vocab = static_cast<int>(model.vocab()),
          .activation = {.kind = ToKind(model.activation().kind()),
                         .order = static_cast<int>(model.activation().order()),
                         .epsilon = static_cast<float>(model.activation().epsilon())},
          .coefficients_per_expert = model.activation().coefficients() == v1::COEFFICIENT_SCOPE_EXPERT,
          .rope_theta = static_cast<float>(model.rope_theta()),
          .norm_epsilon = static_cast<float>(model.norm_epsilon()),
          .init_std = static_cast<float>(model.init_std()),
          .load_balance_loss = static_cast<float>(spec.train().load_balance_loss()),
          .load_balance_sequences = static_cast<int>(spec.train().load_balance_sequences()),
          .z_loss = static_cast<float>(spec.train().z_loss())};
}

Model MakeModel(const v1::JobSpec& spec, OpProfile* profile, ExpertExchange* exchange, int chunks) {
  const ModelConfig config = ToModelConfig(spec);
  const ModelLimits limits{.max_sequences = static_cast<int>(spec.train().micro_batch()),
                           .sequence_length = static_cast<int>(spec.data().sequence_length()),
                           .recompute = spec.train().recompute(),
                           .chunks = chunks};
  if (spec.train().precision() == v1::PRECISION_FP32) return Model(config, ParameterOps(profile), limits, exchange);
  return Model(config, profile == nullptr ? CpuOps<BF16>() : profile->Wrap(CpuOps<BF16>()), limits, exchange);
}

const Ops<float>& ParameterOps(OpProfile* profile) {
  return profile == nullptr ? CpuOps<float>() : profile->Wrap(CpuOps<float>());
}

absl::Status CheckSize(const v1::JobSpec& spec, uint64_t memory_bytes) {
  if (const MemoryPlan plan = PlanMemory(spec, kPlannedThreads); plan.total > memory_bytes) {
    const uint64_t parameters = ComputeShape(spec.model(), spec.data().sequence_length()).total;
    return absl::ResourceExhaustedError(absl::StrCat(
        "this job needs ", Bytes(plan.total), ": ", Bytes(plan.parameters), " for ", FormatCount(static_cast<double>(parameters)),
        " parameters with gradients, moments and the copy of a checkpoint, ", Bytes(plan.activations + plan.scratch),
        " for a micro-batch of ", spec.train().micro_batch(), " x ", spec.data().sequence_length(), " tokens, ",
        Bytes(plan.total - plan.parameters - plan.activations - plan.scratch), " for the program; this machine has ",
        Bytes(memory_bytes), "; ", HowToNeedLess(spec, memory_bytes)));
  }
  const uint64_t rows = uint64_t{spec.train().micro_batch()} * spec.data().sequence_length() * ToModelConfig(spec).top_k;
  if (rows <= std::numeric_limits<int32_t>::max()) return absl::OkStatus();  // the kernels' row indices
  return absl::InvalidArgumentError(absl::StrCat("spec.train.microBatch ", spec.train().micro_batch(),
                                                 " x spec.data.sequenceLength ", spec.data().sequence_length(), " x topK are ",
                                                 rows, " routed rows, more than 2^31 - 1; lower microBatch"));
}

absl::Status CheckPrecision(const v1::JobSpec& spec, bool cpu_has_bf16) {
  if (spec.train().precision() != v1::PRECISION_BF16 || cpu_has_bf16) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "spec.train.precision is bf16, but this CPU cannot multiply bf16 (AVX512_BF16); set it to fp32");
}

std::string DescribeModel(const ModelConfig& c) {
  return absl::StrCat(c.moe ? "moe" : "dense", " layers=", c.layers, " hidden=", c.hidden, " heads=", c.heads, " ffn=", c.ffn,
                      " experts=", c.experts, " topK=", c.top_k, " vocab=", c.vocab, " activation=", Name(c.activation.kind),
                      c.activation.has_coefficients()
                          ? absl::StrCat(" order=", c.activation.order, " coefficientSets=", c.coefficient_sets())
                          : "");
}

std::string DescribeDataOrder(const v1::JobSpec& spec, absl::string_view fingerprint) {
  return absl::StrCat("data ", fingerprint, " sequenceLength=", spec.data().sequence_length(), " seed=", spec.train().seed());
}

absl::StatusOr<TrainingData> OpenData(const v1::JobSpec& spec) {
  const uint32_t length = spec.data().sequence_length();
  absl::StatusOr<Dataset> train = OpenChecked(spec.data().train(), "train", spec);
  if (!train.ok()) return Annotate(train.status(), "spec.data.train");
  if (const auto windows = CountWindows(*train, length); !windows.ok()) return Annotate(windows.status(), "spec.data.train");
  TrainingData data{.train = *std::move(train)};
  for (int i = 0; i < spec.validation().sets_size(); ++i) {
    const v1::ValidationSet& set = spec.validation().sets(i);
    const std::string where = absl::StrCat("spec.validation.sets[", i, "] (", set.name(), ")");
    absl::StatusOr<Dataset> dataset = OpenChecked(set.path(), set.split(), spec);
    if (!dataset.ok()) return Annotate(dataset.status(), where);
    const absl::StatusOr<uint64_t> windows = CountWindows(*dataset, length);
    if (!windows.ok()) return Annotate(windows.status(), where);
    const uint64_t wanted = std::max<uint64_t>(1, spec.validation().max_tokens() / length);
    const uint64_t count = std::min(*windows, wanted);
    data.validation.push_back({set.name(), *std::move(dataset), count, *windows / count});
  }
  return data;
}

}  // namespace polymoe
