// Names and small JSON files of a checkpoint: what writer and reader must agree on.
#ifndef POLYMOE_WORKER_CHECKPOINT_FORMAT_H_
#define POLYMOE_WORKER_CHECKPOINT_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json_fwd.hpp>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/index.h"

namespace polymoe {

inline constexpr char kCommitted[] = "COMMITTED", kSuperseded[] = "SUPERSEDED";

std::string AttemptName(uint32_t attempt);  // attempt-3
std::optional<uint32_t> ParseAttemptName(absl::string_view name);
std::string RankFile(int rank);  // rank-0.safetensors

// The content of COMMITTED.
struct Marker {
  uint32_t attempt = 0;
  uint64_t tokens = 0;
  uint32_t index_crc32 = 0, trainer_crc32 = 0;
};
std::string ToText(const Marker& marker);
// INVALID_ARGUMENT for another format version, DATA_LOSS for what is no marker.
absl::StatusOr<Marker> MarkerFromText(const std::string& text);

// What a rank says about its part, in the head of its file.
struct Part {
  uint32_t attempt = 0;
  int rank = 0, ranks = 0;
  TrainerState state;
  TensorIndex index;
};
std::string ToText(const Part& part);
absl::StatusOr<Part> PartFromText(const std::string& text);

nlohmann::json ToJson(const TrainerState& state);
// DATA_LOSS.
absl::StatusOr<TrainerState> StateFromText(const std::string& text);

uint32_t Crc32(absl::string_view bytes);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_FORMAT_H_
