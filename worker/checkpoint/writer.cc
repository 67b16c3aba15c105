#include "worker/checkpoint/writer.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/log.h"
#include "common/status.h"
#include "worker/checkpoint/format.h"
#include "worker/checkpoint/index.h"
#include "worker/checkpoint/safetensors.h"

namespace polymoe {
namespace {

constexpr int64_t kCopyPiece = 1 << 20;  // elements a thread copies at a time

// With all threads of OpenMP: one does not reach the memory's bandwidth.
void CopyElements(const float* from, float* to, int64_t count) {
#pragma omp parallel for schedule(static) if (count > kCopyPiece)
  for (int64_t begin = 0; begin < count; begin += kCopyPiece) {
    std::memcpy(to + begin, from + begin, std::min(kCopyPiece, count - begin) * sizeof(float));
  }
}

absl::Status CheckPart(const Part& part, const WriterOptions& options, int rank, const TrainerState& state) {
  const bool same =
      part.attempt == options.attempt && part.rank == rank && part.ranks == options.ranks && ToJson(part.state) == ToJson(state);
  if (same) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("it is of another save: rank ", part.rank, " of ", part.ranks, ", attempt ",
                                                    part.attempt, ", step ", part.state.step, " at ", part.state.tokens,
                                                    " tokens; expected rank ", rank, " of ", options.ranks, ", attempt ",
                                                    options.attempt, ", step ", state.step, " at ", state.tokens, " tokens"));
}

}  // namespace

CheckpointWriter::CheckpointWriter(Storage& storage, const WriterOptions& options) : storage_(storage), options_(options) {}

CheckpointWriter::~CheckpointWriter() {
  if (thread_.joinable()) thread_.join();
}

absl::Status CheckpointWriter::Start(const TrainerState& state, absl::Span<const TensorSlab> slabs) {
  POLYMOE_CHECK(!thread_.joinable(), "Start before Wait");
  int64_t total = 0;
  for (const TensorSlab& slab : slabs) total += slab.size();
  if (total > capacity_) {
    try {
      copy_ = nullptr;
      copy_ = std::make_unique_for_overwrite<float[]>(total);
      capacity_ = total;
    } catch (const std::bad_alloc&) {
      capacity_ = 0;
      return absl::ResourceExhaustedError(
          absl::StrCat("not enough memory for the copy that a checkpoint is written from (", total * sizeof(float), " bytes)"));
    }
  }
  state_ = state;
  name_ = CheckpointName(state.step);
  slabs_.assign(slabs.begin(), slabs.end());
  float* to = copy_.get();
  for (TensorSlab& slab : slabs_) {
    CopyElements(std::exchange(slab.data, to), to, slab.size());
    to += slab.size();
  }
  Run([this] { return WritePart(); });
  return absl::OkStatus();
}

void CheckpointWriter::Commit() {
  POLYMOE_CHECK(!thread_.joinable() && !name_.empty(), "Commit before Wait");
  POLYMOE_CHECK(options_.rank == 0, "rank %d commits", options_.rank);
  Run([this] { return MakeCheckpoint(); });
}

absl::Status CheckpointWriter::Wait() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

void CheckpointWriter::Run(std::function<absl::Status()> work) {
  done_.store(false, std::memory_order_relaxed);
  thread_ = std::thread([this, work = std::move(work)] {
    status_ = work();
    done_.store(true, std::memory_order_release);
  });
}

absl::StatusOr<bool> CheckpointWriter::Committed() {
  const absl::StatusOr<std::string> marker = storage_.Get(absl::StrCat(name_, "/", kCommitted));
  if (absl::IsNotFound(marker.status())) return false;
  POLYMOE_RETURN_IF_ERROR(marker.status());
  return true;
}

absl::Status CheckpointWriter::WritePart() {
  POLYMOE_ASSIGN_OR_RETURN(const bool committed, Committed());
  if (committed) return absl::OkStatus();
  const std::string file = RankFile(options_.rank);
  const Part part{.attempt = options_.attempt,
                  .rank = options_.rank,
                  .ranks = options_.ranks,
                  .state = state_,
                  .index = IndexSlabs(file, slabs_)};
  int64_t total = 0;
  for (const TensorSlab& slab : slabs_) total += slab.size();
  const std::string head = SafetensorsHead(slabs_, ToText(part));
  return storage_.Put(absl::StrCat(name_, "/", AttemptName(options_.attempt), "/", file),
                      {head, {reinterpret_cast<const char*>(copy_.get()), total * sizeof(float)}});
}

absl::StatusOr<TensorIndex> CheckpointWriter::JoinParts(const std::string& folder) {
  TensorIndex index;
  for (int rank = 0; rank < options_.ranks; ++rank) {
    const std::string file = absl::StrCat(folder, "/", RankFile(rank));
    POLYMOE_ASSIGN_OR_RETURN(const SafetensorsNote note, ReadSafetensorsNote(storage_, file));
    const absl::StatusOr<Part> part = PartFromText(note.note);
    absl::Status joined = part.status();
    if (joined.ok()) joined = CheckPart(*part, options_, rank, state_);
    if (joined.ok()) joined = Join(index, part->index, note.data_offset);
    POLYMOE_RETURN_IF_ERROR(Annotate(joined, storage_.Where(file)));
  }
  POLYMOE_RETURN_IF_ERROR(Annotate(CheckCoverage(index), absl::StrCat("parts of checkpoint ", path())));
  return index;
}

absl::Status CheckpointWriter::MakeCheckpoint() {
  POLYMOE_ASSIGN_OR_RETURN(const bool committed, Committed());
  if (committed) return absl::OkStatus();
  const std::string folder = absl::StrCat(name_, "/", AttemptName(options_.attempt));
  POLYMOE_ASSIGN_OR_RETURN(const TensorIndex tensors, JoinParts(folder));
  const std::string index = ToJson(tensors).dump(), trainer = ToJson(state_).dump(1);
  POLYMOE_RETURN_IF_ERROR(storage_.Put(folder + "/index.json", {index}));
  POLYMOE_RETURN_IF_ERROR(storage_.Put(folder + "/trainer.json", {trainer}));
  const Marker marker{
      .attempt = options_.attempt, .tokens = state_.tokens, .index_crc32 = Crc32(index), .trainer_crc32 = Crc32(trainer)};
  const absl::Status marked = storage_.Create(absl::StrCat(name_, "/", kCommitted), ToText(marker));
  if (!absl::IsAlreadyExists(marked)) POLYMOE_RETURN_IF_ERROR(marked);  // else another attempt was first
  const absl::Status pruned = Prune(storage_, options_.retention, state_.step, options_.attempt);
  if (!pruned.ok()) LogWarning("old checkpoints not removed", {{"error", std::string(pruned.message())}});
  return absl::OkStatus();
}

}  // namespace polymoe
