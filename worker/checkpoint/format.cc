#include "worker/checkpoint/format.h"

#include <zlib.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr int kVersion = 3;

absl::Status Garbled(const char* what, const json::exception& e) {
  return absl::DataLossError(absl::StrCat(what, " is garbled: ", e.what()));
}

TrainerState StateFromJson(const json& j) {
  return {.step = j.at("step"),
          .tokens = j.at("tokens"),
          .sequences = j.at("sequences"),
          .skipped = j.at("skipped"),
          .updates = j.at("updates"),
          .data_order = j.at("data_order"),
          .model = j.at("model")};
}

}  // namespace

std::string AttemptName(uint32_t attempt) {
  return absl::StrCat("attempt-", attempt);
}

std::optional<uint32_t> ParseAttemptName(absl::string_view name) {
  uint32_t attempt;
  if (absl::ConsumePrefix(&name, "attempt-") && absl::SimpleAtoi(name, &attempt)) return attempt;
  return std::nullopt;
}

std::string RankFile(int rank) {
  return absl::StrCat("rank-", rank, ".safetensors");
}

uint32_t Crc32(absl::string_view bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string ToText(const Marker& marker) {
  const json j = {{"version", kVersion},
                  {"attempt", marker.attempt},
                  {"tokens", marker.tokens},
                  {"index_crc32", marker.index_crc32},
                  {"trainer_crc32", marker.trainer_crc32}};
  return j.dump() + "\n";
}

absl::StatusOr<Marker> MarkerFromText(const std::string& text) {
  try {
    const json j = json::parse(text);
    const json version = j.is_object() ? j.at("version") : json(2);  // before 3 it held the step, a number
    if (version != kVersion) {
      return absl::InvalidArgumentError(absl::StrCat("it has format version ", version.dump(), ", this program reads ", kVersion));
    }
    return Marker{.attempt = j.at("attempt"),
                  .tokens = j.at("tokens"),
                  .index_crc32 = j.at("index_crc32"),
                  .trainer_crc32 = j.at("trainer_crc32")};
  } catch (const json::exception& e) {
    return Garbled(kCommitted, e);
  }
}

std::string ToText(const Part& part) {
  const json j = {{"version", kVersion}, {"attempt", part.attempt},       {"rank", part.rank},
                  {"ranks", part.ranks}, {"trainer", ToJson(part.state)}, {"tensors", ToJson(part.index)}};
  return j.dump();
}

absl::StatusOr<Part> PartFromText(const std::string& text) {
  try {
    const json j = json::parse(text);
    if (j.at("version") != kVersion) return absl::DataLossError("a part of another format version");
    Part part{.attempt = j.at("attempt"), .rank = j.at("rank"), .ranks = j.at("ranks"), .state = StateFromJson(j.at("trainer"))};
    POLYMOE_ASSIGN_OR_RETURN(part.index, IndexFromJson(j.at("tensors")));
    return part;
  } catch (const json::exception& e) {
    return Garbled("a part", e);
  }
}

json ToJson(const TrainerState& s) {
  return {{"step", s.step},       {"tokens", s.tokens},         {"sequences", s.sequences}, {"skipped", s.skipped},
          {"updates", s.updates}, {"data_order", s.data_order}, {"model", s.model}};
}

absl::StatusOr<TrainerState> StateFromText(const std::string& text) {
  try {
    return StateFromJson(json::parse(text));
  } catch (const json::exception& e) {
    return Garbled("trainer.json", e);
  }
}

}  // namespace polymoe
