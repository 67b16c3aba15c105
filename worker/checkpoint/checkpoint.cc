#include "worker/checkpoint/checkpoint.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr int kVersion = 2;
constexpr char kPrefix[] = "step-";
constexpr char kMarker[] = "/COMMITTED";
constexpr char kIndex[] = "/index.json";
constexpr char kState[] = "/trainer.json";
constexpr char kTensors[] = "rank-0.safetensors";

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("checkpoint ", path, " is damaged: ", what, "; remove it to use an older one"));
}

std::string Name(uint64_t step) {
  return absl::StrCat(kPrefix, absl::Dec(step, absl::kZeroPad8));
}

json IndexOf(absl::Span<const TensorRef> tensors, uint64_t size, uint32_t checksum) {
  json index = {
      {"version", kVersion}, {"files", {{kTensors, {{"bytes", size}, {"crc32", checksum}}}}}, {"tensors", json::object()}};
  for (const TensorRef& tensor : tensors) {
    const json box = {{"file", kTensors}, {"start", std::vector<int64_t>(tensor.shape.size(), 0)}, {"shape", tensor.shape}};
    index["tensors"][tensor.name] = {{"shape", tensor.shape}, {"boxes", json::array({box})}};
  }
  return index;
}

json ToJson(const TrainerState& s) {
  return {{"step", s.step},       {"tokens", s.tokens},         {"sequences", s.sequences}, {"skipped", s.skipped},
          {"updates", s.updates}, {"data_order", s.data_order}, {"model", s.model}};
}

TrainerState FromJson(const json& j) {
  return {.step = j.at("step"),
          .tokens = j.at("tokens"),
          .sequences = j.at("sequences"),
          .skipped = j.at("skipped"),
          .updates = j.at("updates"),
          .data_order = j.at("data_order"),
          .model = j.at("model")};
}

absl::StatusOr<json> ReadJson(const std::string& path) {
  POLYMOE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::DataLossError("not valid JSON");
  return parsed;
}

// The tensors file, if it is the one that the index describes.
absl::StatusOr<SafetensorsFile> OpenVerified(const std::string& path, const json& index) {
  const json& file = index.at("files").at(kTensors);
  POLYMOE_ASSIGN_OR_RETURN(SafetensorsFile tensors, SafetensorsFile::Open(absl::StrCat(path, "/", kTensors)));
  const absl::Span<const uint8_t> bytes = tensors.bytes();
  if (file.at("bytes") != bytes.size() || file.at("crc32") != static_cast<uint32_t>(crc32_z(0, bytes.data(), bytes.size()))) {
    return absl::DataLossError(absl::StrCat(kTensors, " does not match its checksum"));
  }
  return tensors;
}

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

absl::Status CheckTensors(const std::string& path, const SafetensorsFile& file, absl::Span<const TensorRef> tensors) {
  for (const TensorRef& tensor : tensors) {
    const auto it = file.tensors().find(tensor.name);
    if (it == file.tensors().end())
      return absl::InvalidArgumentError(absl::StrCat("checkpoint ", path, " has no tensor ", tensor.name));
    if (it->second.shape != tensor.shape) {
      return absl::InvalidArgumentError(absl::StrCat("checkpoint ", path, ": ", tensor.name, " has shape ", Shape(it->second.shape),
                                                     ", this model needs ", Shape(tensor.shape)));
    }
  }
  if (file.tensors().size() == tensors.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("checkpoint ", path, " has ", file.tensors().size(), " tensors, this model ", tensors.size()));
}

// step-00000100 -> 100.
bool ParseName(absl::string_view name, uint64_t* step) {
  return absl::ConsumePrefix(&name, kPrefix) && absl::SimpleAtoi(name, step);
}

}  // namespace

absl::StatusOr<std::string> SaveCheckpoint(const std::string& directory, const TrainerState& state,
                                           absl::Span<const TensorRef> tensors) {
  const std::string path = absl::StrCat(directory, "/", Name(state.step)), temporary = path + ".tmp";
  if (PathExists(path + kMarker)) return path;
  // What an interrupted save left under either name is no checkpoint.
  POLYMOE_RETURN_IF_ERROR(RemoveTree(path));
  POLYMOE_RETURN_IF_ERROR(RemoveTree(temporary));
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(temporary));
  const std::string file = absl::StrCat(temporary, "/", kTensors);
  POLYMOE_ASSIGN_OR_RETURN(const uint32_t checksum, WriteSafetensors(file, tensors));
  POLYMOE_ASSIGN_OR_RETURN(const MappedFile written, MappedFile::Open(file));
  POLYMOE_RETURN_IF_ERROR(WriteFileDurably(temporary + kIndex, IndexOf(tensors, written.bytes().size(), checksum).dump(1)));
  POLYMOE_RETURN_IF_ERROR(WriteFileDurably(temporary + kState, ToJson(state).dump(1)));
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "rename to", path);
  POLYMOE_RETURN_IF_ERROR(FsyncDirectory(directory));
  POLYMOE_RETURN_IF_ERROR(WriteFileDurably(path + kMarker, absl::StrCat(state.step, "\n")));
  return path;
}

absl::StatusOr<TrainerState> LoadCheckpoint(const std::string& path, absl::string_view model, absl::Span<const TensorRef> tensors) {
  if (!PathExists(path + kMarker)) return absl::NotFoundError(absl::StrCat("there is no complete checkpoint at ", path));
  const absl::StatusOr<json> index = ReadJson(path + kIndex), state_json = ReadJson(path + kState);
  if (!index.ok()) return Damaged(path, index.status().message());
  if (!state_json.ok()) return Damaged(path, state_json.status().message());
  try {
    if (index->at("version") != kVersion) {
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint ", path, " has version ", index->at("version").dump(), ", this program reads ", kVersion));
    }
    const TrainerState state = FromJson(*state_json);
    if (state.model != model) {
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint ", path, " is of another model: it has ", state.model, ", the job has ", model));
    }
    const absl::StatusOr<SafetensorsFile> file = OpenVerified(path, *index);
    if (!file.ok()) return Damaged(path, file.status().message());
    POLYMOE_RETURN_IF_ERROR(CheckTensors(path, *file, tensors));
    for (const TensorRef& tensor : tensors) {
      std::memcpy(tensor.data, file->tensors().at(tensor.name).data, tensor.size() * sizeof(float));
    }
    return state;
  } catch (const json::exception& e) {
    return Damaged(path, e.what());
  }
}

absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& directory) {
  std::vector<CheckpointInfo> checkpoints;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (absl::IsNotFound(names.status())) return checkpoints;
  POLYMOE_RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    uint64_t step;
    const std::string path = absl::StrCat(directory, "/", name);
    if (ParseName(name, &step) && PathExists(path + kMarker)) checkpoints.push_back({step, path});
  }
  std::sort(checkpoints.begin(), checkpoints.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return checkpoints;
}

absl::Status PruneCheckpoints(const std::string& directory, uint32_t keep_last) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<CheckpointInfo> checkpoints, ListCheckpoints(directory));
  for (size_t i = 0; i + std::max<uint32_t>(1, keep_last) < checkpoints.size(); ++i) {
    // The marker goes first: a removal that is interrupted leaves no half of a checkpoint behind that looks whole.
    POLYMOE_RETURN_IF_ERROR(RemoveTree(checkpoints[i].path + kMarker));
    POLYMOE_RETURN_IF_ERROR(RemoveTree(checkpoints[i].path));
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory, "/", name);
    uint64_t step;
    const bool leftover = absl::StartsWith(name, kPrefix) &&
                          (absl::EndsWith(name, ".tmp") || (ParseName(name, &step) && !PathExists(path + kMarker)));
    if (leftover) POLYMOE_RETURN_IF_ERROR(RemoveTree(path));
  }
  return absl::OkStatus();
}

}  // namespace polymoe
