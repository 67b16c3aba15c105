#include "worker/parallel/nccl_group.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr absl::Duration kPoll = absl::Microseconds(10);

absl::Status CudaStatus(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(doing, ": ", cudaGetErrorString(error)));
}

// What the groups of one rank share: an error of one is an error of all.
class Fate {
 public:
  // From any thread; the first one stays.
  void Fail(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
  }
  // For the thread that uses the groups: after an error has been seen here all communicators are aborted, and no buffer is in use.
  absl::Status Check() {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) return status_;
    for (ncclComm_t* communicator : communicators_) ncclCommAbort(std::exchange(*communicator, nullptr));
    communicators_.clear();
    return status_;
  }
  // `communicator` becomes null when it is aborted.
  void Add(ncclComm_t* communicator) { communicators_.push_back(communicator); }
  void Remove(ncclComm_t* communicator) { std::erase(communicators_, communicator); }

 private:
  std::mutex mutex_;
  absl::Status status_;
  std::vector<ncclComm_t*> communicators_;
};

// Waits for a communicator, which never blocks, to be through with what it was last asked for.
absl::Status Settle(ncclComm_t communicator, Fate& fate, absl::Duration until) {
  while (true) {
    POLYMOE_RETURN_IF_ERROR(fate.Check());
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(communicator, &state);
    if (asked != ncclSuccess) state = asked;
    if (state == ncclSuccess) return absl::OkStatus();
    if (state != ncclInProgress) {
      return absl::UnavailableError(absl::StrCat("NCCL: ", ncclGetErrorString(state), ": ", ncclGetLastError(communicator)));
    }
    if (Clock::Real().Monotonic() >= until) return absl::DeadlineExceededError("NCCL: not all ranks were there in time");
    absl::SleepFor(kPoll);
  }
}

class NcclGroup : public Group {
 public:
  // Owns `communicator`, which has settled.
  NcclGroup(ncclComm_t communicator, int rank, int size, absl::Duration deadline, std::shared_ptr<Fate> fate)
      : communicator_(communicator), rank_(rank), size_(size), deadline_(deadline), fate_(std::move(fate)) {
    fate_->Add(&communicator_);
  }
  NcclGroup(const NcclGroup&) = delete;
  ~NcclGroup() override {
    if (fate_->Check().ok()) {
      ncclCommDestroy(communicator_);
      fate_->Remove(&communicator_);
    }
    for (cudaStream_t stream : streams_) {
      if (stream != nullptr) cudaStreamDestroy(stream);
    }
    cudaFree(token_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  absl::Status AllReduceSum(absl::Span<float> values) override { return AllReduce(values.data(), values.size(), ncclFloat); }
  absl::Status AllReduceSum(absl::Span<double> values) override { return AllReduce(values.data(), values.size(), ncclDouble); }
  absl::Status Broadcast(absl::Span<char> bytes, int root) override {
    POLYMOE_RETURN_IF_ERROR(Start(kOwnChannel, [&](cudaStream_t stream) {
      return ncclBroadcast(bytes.data(), bytes.data(), bytes.size(), ncclChar, root, communicator_, stream);
    }));
    if (rank_ == root) bytes_sent_ += bytes.size() * (size_ - 1);
    return Finish(kOwnChannel);
  }
  absl::Status Barrier() override {
    if (token_ == nullptr) POLYMOE_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&token_, sizeof(float)), "cudaMalloc"));
    return AllReduce(token_, 1, ncclFloat);
  }

  absl::Status StartReduceScatterSum(int channel, float* data, absl::Span<const int64_t> cuts) override {
    bytes_sent_ += (cuts[size_] - cuts[0] - (cuts[rank_ + 1] - cuts[rank_])) * sizeof(float);
    return Start(channel, [&](cudaStream_t stream) {
      for (int r = 0; r < size_; ++r) {
        float* const piece = data + cuts[r];
        const ncclResult_t result = ncclReduce(piece, piece, cuts[r + 1] - cuts[r], ncclFloat, ncclSum, r, communicator_, stream);
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }
  absl::Status StartAllGather(int channel, void* data, absl::Span<const int64_t> cuts, int64_t element_bytes) override {
    bytes_sent_ += (cuts[rank_ + 1] - cuts[rank_]) * element_bytes * (size_ - 1);
    return Start(channel, [&](cudaStream_t stream) {
      for (int r = 0; r < size_; ++r) {
        char* const piece = static_cast<char*>(data) + cuts[r] * element_bytes;
        const size_t bytes = (cuts[r + 1] - cuts[r]) * element_bytes;
        const ncclResult_t result = ncclBroadcast(piece, piece, bytes, ncclChar, r, communicator_, stream);
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }
  absl::Status StartAllToAllV(int channel, int64_t row_bytes, const void* send, absl::Span<const int64_t> send_counts,
                              void* receive, absl::Span<const int64_t> receive_counts) override {
    return Start(channel, [&](cudaStream_t stream) {
      const char* from = static_cast<const char*>(send);
      char* to = static_cast<char*>(receive);
      for (int r = 0; r < size_; ++r) {  // to itself too: NCCL copies
        const size_t sent = send_counts[r] * row_bytes, received = receive_counts[r] * row_bytes;
        ncclResult_t result = sent == 0 ? ncclSuccess : ncclSend(from, sent, ncclChar, r, communicator_, stream);
        if (result != ncclSuccess && result != ncclInProgress) return result;
        result = received == 0 ? ncclSuccess : ncclRecv(to, received, ncclChar, r, communicator_, stream);
        if (result != ncclSuccess && result != ncclInProgress) return result;
        if (r != rank_) bytes_sent_ += sent;
        from += sent;
        to += received;
      }
      return ncclSuccess;
    });
  }

  absl::Status Finish(int channel) override {
    POLYMOE_RETURN_IF_ERROR(fate_->Check());
    if (!std::exchange(running_[channel], false)) return absl::OkStatus();
    const absl::Duration until = Clock::Real().Monotonic() + deadline_;
    while (true) {
      const cudaError_t state = cudaStreamQuery(streams_[channel]);
      if (state == cudaSuccess) return absl::OkStatus();
      if (state != cudaErrorNotReady) return Fail(CudaStatus(state, "a collective"));
      if (const absl::Status status = Settle(communicator_, *fate_, until); !status.ok()) return Fail(status);
      if (Clock::Real().Monotonic() >= until) {
        return Fail(absl::DeadlineExceededError(
            absl::StrCat("a collective was not done within ", absl::ToDoubleSeconds(deadline_), " s: some rank is late")));
      }
      absl::SleepFor(kPoll);
    }
  }

  void Abort() override { fate_->Fail(absl::CancelledError("the work of these ranks was aborted")); }
  uint64_t bytes_sent() const override { return bytes_sent_; }

 private:
  static constexpr int kOwnChannel = kChannels;

  absl::Status AllReduce(void* values, size_t count, ncclDataType_t type) {
    POLYMOE_RETURN_IF_ERROR(Start(kOwnChannel, [&](cudaStream_t stream) {
      return ncclAllReduce(values, values, count, type, ncclSum, communicator_, stream);
    }));
    bytes_sent_ += count * (type == ncclFloat ? sizeof(float) : sizeof(double)) * (size_ - 1);
    return Finish(kOwnChannel);
  }

  // `enqueue` asks NCCL for what runs on `channel`, as one group of calls.
  template <typename F>
  absl::Status Start(int channel, F&& enqueue) {
    POLYMOE_RETURN_IF_ERROR(fate_->Check());
    POLYMOE_CHECK(!running_[channel], "channel %d has an operation in flight", channel);
    if (streams_[channel] == nullptr) {
      const cudaError_t made = cudaStreamCreateWithFlags(&streams_[channel], cudaStreamNonBlocking);
      POLYMOE_RETURN_IF_ERROR(CudaStatus(made, "cudaStreamCreate"));
    }
    running_[channel] = true;
    ncclGroupStart();
    ncclResult_t result = enqueue(streams_[channel]);
    const ncclResult_t end = ncclGroupEnd();
    if (result == ncclSuccess || result == ncclInProgress) result = end;
    if (result != ncclSuccess && result != ncclInProgress) {
      return Fail(absl::InternalError(absl::StrCat("NCCL: ", ncclGetErrorString(result), ": ", ncclGetLastError(communicator_))));
    }
    // Only then is it on the stream.
    const absl::Status settled = Settle(communicator_, *fate_, Clock::Real().Monotonic() + deadline_);
    return settled.ok() ? settled : Fail(settled);
  }

  absl::Status Fail(const absl::Status& status) {
    fate_->Fail(status);
    return fate_->Check();
  }

  ncclComm_t communicator_;
  const int rank_, size_;
  const absl::Duration deadline_;
  const std::shared_ptr<Fate> fate_;
  std::array<cudaStream_t, kChannels + 1> streams_{};  // made when first used
  std::array<bool, kChannels + 1> running_{};
  void* token_ = nullptr;  // of barriers
  uint64_t bytes_sent_ = 0;
};

ncclConfig_t NonBlocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

// A communicator that settles, or is aborted.
absl::Status Connected(ncclResult_t result, ncclComm_t communicator, Fate& fate, absl::Duration until) {
  absl::Status status = absl::OkStatus();
  if (result != ncclSuccess && result != ncclInProgress) {
    status = absl::UnavailableError(absl::StrCat("NCCL cannot connect: ", ncclGetErrorString(result)));
  } else {
    status = Settle(communicator, fate, until);
  }
  if (!status.ok() && communicator != nullptr) ncclCommAbort(communicator);
  return status;
}

// The id that rank 0 has made.
absl::StatusOr<ncclUniqueId> ShareId(int rank, KeyValue& keys, absl::Duration until) {
  constexpr char kKey[] = "nccl-id";
  ncclUniqueId id;
  if (rank == 0) {
    if (const ncclResult_t result = ncclGetUniqueId(&id); result != ncclSuccess) {
      return absl::UnavailableError(absl::StrCat("NCCL cannot listen: ", ncclGetErrorString(result)));
    }
    POLYMOE_RETURN_IF_ERROR(keys.Put(kKey, std::string(id.internal, sizeof(id.internal))));
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> values, keys.Wait({kKey}, until));
  if (values[0].size() != sizeof(id.internal))
    return absl::InternalError("the id of NCCL has another length: another version of it?");
  values[0].copy(id.internal, sizeof(id.internal));
  return id;
}

}  // namespace

absl::StatusOr<Ranks> ConnectNccl(const NcclOptions& options, KeyValue& keys) {
  int devices = 0;
  POLYMOE_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceCount(&devices), "no GPU"));
  const absl::Duration until = Clock::Real().Monotonic() + options.meeting;
  POLYMOE_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareId(options.rank, keys, until));
  const auto fate = std::make_shared<Fate>();
  ncclConfig_t config = NonBlocking();
  ncclComm_t world = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&world, options.world_size, id, options.rank, &config);
  POLYMOE_RETURN_IF_ERROR(Connected(result, world, *fate, until));
  Ranks ranks;
  ranks.world = std::make_unique<NcclGroup>(world, options.rank, options.world_size, options.deadline, fate);

  const auto split = [&](int color, int place, int size) -> absl::StatusOr<std::unique_ptr<Group>> {
    ncclConfig_t split_config = NonBlocking();
    ncclComm_t part = nullptr;
    const ncclResult_t split_result = ncclCommSplit(world, color, place, &part, &split_config);
    POLYMOE_RETURN_IF_ERROR(Settle(world, *fate, until));  // until the part is there, its parent is asked
    POLYMOE_RETURN_IF_ERROR(Connected(split_result, part, *fate, until));
    return std::make_unique<NcclGroup>(part, place, size, options.deadline, fate);
  };
  const int group = options.rank / options.expert_parallel, position = options.rank % options.expert_parallel;
  POLYMOE_ASSIGN_OR_RETURN(ranks.experts, split(group, position, options.expert_parallel));
  POLYMOE_ASSIGN_OR_RETURN(ranks.replicas, split(position, group, options.world_size / options.expert_parallel));
  return ranks;
}

}  // namespace polymoe
