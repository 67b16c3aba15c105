// From a job file to what a trainer runs on. Every mismatch between the job and its data is found here, before the first step.
#ifndef POLYMOE_WORKER_TRAIN_SETUP_H_
#define POLYMOE_WORKER_TRAIN_SETUP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "worker/data/dataset.h"
#include "worker/model/config.h"
#include "worker/model/model.h"

namespace polymoe {

class ExpertExchange;
class OpProfile;

namespace v1 {
class JobSpec;
}

ModelConfig ToModelConfig(const v1::JobSpec& spec);

// The model of a job in its precision, on the CPU; and the operations on buffers of parameters, which are fp32 in both. With `profile`
// (may be null) all of them report to it. With `exchange` (null: alone) it has this rank's experts only,
// and tokens travel in so many chunks.
Model MakeModel(const v1::JobSpec& spec, OpProfile* profile, ExpertExchange* exchange = nullptr, int chunks = 1);
const Ops<float>& ParameterOps(OpProfile* profile);

// The model's shape in words, for checkpoints: two models with the same words have the same tensors.
std::string DescribeModel(const ModelConfig& config);

// What decides which sequence is the n-th, in words, for checkpoints: their position means nothing in another order.
std::string DescribeDataOrder(const v1::JobSpec& spec, absl::string_view fingerprint);

struct ValidationData {
  std::string name;
  Dataset dataset;
  uint64_t windows = 0;  // read at each validation,
  uint64_t stride = 1;   // each this many windows behind the one before: spread over the whole split, always the same ones
};

struct TrainingData {
  Dataset train;
  std::vector<ValidationData> validation;
};

// Whether the sizes, each legal by itself, make a model and a micro-batch that a machine of `memory_bytes` can hold, by
// common/spec/memory_plan.h for one thread, as if no other rank ran there. RESOURCE_EXHAUSTED or INVALID_ARGUMENT says what takes how
// much and what to lower.
absl::Status CheckSize(const v1::JobSpec& spec, uint64_t memory_bytes);

// INVALID_ARGUMENT when the job asks for bf16 and `cpu_has_bf16` (CpuHasBf16()) is false.
absl::Status CheckPrecision(const v1::JobSpec& spec, bool cpu_has_bf16);

// Opens and checks all datasets of the job: long enough for a sequence, no token beyond spec.model.vocab.
absl::StatusOr<TrainingData> OpenData(const v1::JobSpec& spec);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_SETUP_H_
