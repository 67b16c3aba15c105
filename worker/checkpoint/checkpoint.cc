#include "worker/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/status.h"
#include "worker/checkpoint/format.h"
#include "worker/checkpoint/index.h"

namespace polymoe {
namespace {

constexpr char kPrefix[] = "step-";
constexpr uint64_t kLongestRun = 64 << 20;

absl::Status Damaged(const std::string& where, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("checkpoint ", where, " is damaged: ", what, "; remove it to use an older one"));
}

// An object that a committed checkpoint must have: missing or too short, it is damage; anything else is the storage's own trouble.
absl::Status AsDamage(const absl::Status& status, const std::string& where) {
  const bool damage = absl::IsNotFound(status) || absl::IsOutOfRange(status) || absl::IsDataLoss(status);
  return damage ? Damaged(where, status.message()) : status;
}

// What a rank needs of a box.
struct Copy {
  const Box* box;
  const TensorSlab* slab;
  uint64_t row_bytes;
  size_t run = 0;

  uint64_t size() const { return (box->end - box->begin) * row_bytes; }
};

// Boxes that lie side by side in a file, read at once.
struct Run {
  std::string file;
  uint64_t begin, end;
  std::unique_ptr<char[]> bytes;

  absl::string_view of(const Copy& copy) const { return {bytes.get() + (copy.box->offset - begin), copy.size()}; }
};

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

// The boxes that hold rows of the slabs, in the order of the files.
absl::StatusOr<std::vector<Copy>> Plan(const std::string& where, const TensorIndex& index, absl::Span<const TensorSlab> slabs) {
  std::vector<Copy> copies;
  for (const TensorSlab& slab : slabs) {
    const auto it = index.find(slab.name);
    if (it == index.end()) return absl::InvalidArgumentError(absl::StrCat("checkpoint ", where, " has no tensor ", slab.name));
    const IndexedTensor& tensor = it->second;
    if (tensor.shape != slab.shape) {
      return absl::InvalidArgumentError(absl::StrCat("checkpoint ", where, ": ", slab.name, " has shape ", Shape(tensor.shape),
                                                     ", this model needs ", Shape(slab.shape)));
    }
    POLYMOE_CHECK(0 <= slab.begin && slab.begin <= slab.end && slab.end <= RowsOf(slab.shape), "rows of %s", slab.name.c_str());
    for (const Box& box : tensor.boxes) {
      if (box.begin < slab.end && slab.begin < box.end) copies.push_back({&box, &slab, tensor.row_bytes()});
    }
  }
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) {
    return std::tie(a.box->file, a.box->offset) < std::tie(b.box->file, b.box->offset);
  });
  return copies;
}

// Cuts the plan into runs, and notes in each copy which one is its.
std::vector<Run> ToRuns(std::vector<Copy>& copies) {
  std::vector<Run> runs;
  for (Copy& copy : copies) {
    const uint64_t begin = copy.box->offset, end = begin + copy.size();
    const bool within = !runs.empty() && runs.back().file == copy.box->file && begin >= runs.back().begin && end <= runs.back().end;
    const bool goes_on =
        !runs.empty() && runs.back().file == copy.box->file && begin == runs.back().end && end - runs.back().begin <= kLongestRun;
    if (goes_on) runs.back().end = end;
    if (!within && !goes_on) runs.push_back({copy.box->file, begin, end, nullptr});
    copy.run = runs.size() - 1;
  }
  return runs;
}

absl::Status ReadRuns(Storage& storage, const std::string& folder, std::vector<Run>& runs) {
  for (Run& run : runs) {
    const uint64_t size = run.end - run.begin;
    try {
      run.bytes = std::make_unique_for_overwrite<char[]>(size);
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("not enough memory to load the checkpoint beside the model");
    }
    POLYMOE_RETURN_IF_ERROR(storage.Read(absl::StrCat(folder, "/", run.file), run.begin, {run.bytes.get(), size}));
  }
  return absl::OkStatus();
}

void Fill(const Copy& copy, const Run& run) {
  const int64_t begin = std::max(copy.box->begin, copy.slab->begin), end = std::min(copy.box->end, copy.slab->end);
  char* to = reinterpret_cast<char*>(copy.slab->data) + (begin - copy.slab->begin) * copy.row_bytes;
  std::memcpy(to, run.of(copy).data() + (begin - copy.box->begin) * copy.row_bytes, (end - begin) * copy.row_bytes);
}

// A JSON file that the marker vouches for.
absl::StatusOr<std::string> GetVouchedFor(Storage& storage, const std::string& name, uint32_t crc32) {
  POLYMOE_ASSIGN_OR_RETURN(std::string text, storage.Get(name));
  if (Crc32(text) != crc32) return absl::DataLossError(absl::StrCat(storage.Where(name), " does not match its checksum"));
  return text;
}

absl::StatusOr<TensorIndex> ParseIndex(const std::string& text) {
  POLYMOE_ASSIGN_OR_RETURN(TensorIndex index, IndexFromJson(nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false)));
  POLYMOE_RETURN_IF_ERROR(CheckCoverage(index));
  return index;
}

absl::Status LoadTensors(Storage& storage, const std::string& folder, const std::string& where, uint32_t index_crc32,
                         absl::Span<const TensorSlab> slabs) {
  const absl::StatusOr<std::string> text = GetVouchedFor(storage, folder + "/index.json", index_crc32);
  if (!text.ok()) return AsDamage(text.status(), where);
  const absl::StatusOr<TensorIndex> index = ParseIndex(*text);
  if (!index.ok()) return AsDamage(index.status(), where);
  POLYMOE_ASSIGN_OR_RETURN(std::vector<Copy> copies, Plan(where, *index, slabs));
  std::vector<Run> runs = ToRuns(copies);
  POLYMOE_RETURN_IF_ERROR(AsDamage(ReadRuns(storage, folder, runs), where));
  for (const Copy& copy : copies) {
    if (Crc32(runs[copy.run].of(copy)) == copy.box->crc32) continue;
    return Damaged(where, absl::StrCat("rows [", copy.box->begin, ", ", copy.box->end, ") of ", copy.slab->name, " in ",
                                       copy.box->file, " do not match their checksum"));
  }
  for (const Copy& copy : copies) Fill(copy, runs[copy.run]);
  return absl::OkStatus();
}

}  // namespace

std::string CheckpointName(uint64_t step) {
  return absl::StrCat(kPrefix, absl::Dec(step, absl::kZeroPad8));
}

std::optional<uint64_t> ParseCheckpointName(absl::string_view name) {
  uint64_t step;
  if (absl::ConsumePrefix(&name, kPrefix) && absl::SimpleAtoi(name, &step)) return step;
  return std::nullopt;
}

absl::StatusOr<TrainerState> LoadCheckpoint(Storage& storage, const std::string& name, absl::string_view model,
                                            absl::Span<const TensorSlab> slabs) {
  const std::string where = storage.Where(name);
  const absl::StatusOr<std::string> text = storage.Get(absl::StrCat(name, "/", kCommitted));
  if (absl::IsNotFound(text.status())) return absl::NotFoundError(absl::StrCat("there is no complete checkpoint at ", where));
  POLYMOE_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<Marker> marker = MarkerFromText(*text);
  if (absl::IsInvalidArgument(marker.status())) return Annotate(marker.status(), absl::StrCat("checkpoint ", where));
  if (!marker.ok()) return Damaged(where, marker.status().message());
  const std::string folder = absl::StrCat(name, "/", AttemptName(marker->attempt));
  const absl::StatusOr<std::string> state_text = GetVouchedFor(storage, folder + "/trainer.json", marker->trainer_crc32);
  if (!state_text.ok()) return AsDamage(state_text.status(), where);
  absl::StatusOr<TrainerState> state = StateFromText(*state_text);
  if (!state.ok()) return Damaged(where, state.status().message());
  if (state->tokens != marker->tokens) return Damaged(where, "COMMITTED and trainer.json differ in tokens");
  if (state->model != model) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint ", where, " is of another model: it has ", state->model, ", the job has ", model));
  }
  POLYMOE_RETURN_IF_ERROR(LoadTensors(storage, folder, where, marker->index_crc32, slabs));
  return state;
}

absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(Storage& storage) {
  std::vector<CheckpointInfo> checkpoints;
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(""));
  for (const std::string& entry : names) {
    const std::string name(absl::StripSuffix(entry, "/"));
    const std::optional<uint64_t> step = ParseCheckpointName(name);
    if (!step || name == entry) continue;
    const absl::StatusOr<std::string> text = storage.Get(absl::StrCat(name, "/", kCommitted));
    if (absl::IsNotFound(text.status())) continue;
    POLYMOE_RETURN_IF_ERROR(text.status());
    const absl::StatusOr<Marker> marker = MarkerFromText(*text);
    checkpoints.push_back({*step, marker.ok() ? std::optional(marker->tokens) : std::nullopt, name});
  }
  std::sort(checkpoints.begin(), checkpoints.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return checkpoints;
}

absl::Status SetAside(Storage& storage, const std::string& name) {
  absl::Status renamed = storage.RenameFolder(name, name + ".superseded");
  if (!absl::IsUnimplemented(renamed)) return renamed;
  const std::string marker = absl::StrCat(name, "/", kCommitted);
  POLYMOE_ASSIGN_OR_RETURN(const std::string text, storage.Get(marker));
  POLYMOE_RETURN_IF_ERROR(storage.Put(absl::StrCat(name, "/", kSuperseded), {text}));
  return storage.Delete(marker);
}

}  // namespace polymoe
