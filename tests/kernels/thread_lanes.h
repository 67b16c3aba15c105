// Lanes of the host (kernels/cuda/lanes.h): one, and a block of a GPU played by threads.
#ifndef POLYMOE_TESTS_KERNELS_THREAD_LANES_H_
#define POLYMOE_TESTS_KERNELS_THREAD_LANES_H_

#include <algorithm>
#include <barrier>
#include <thread>
#include <vector>

#include "kernels/cuda/lanes.h"

namespace polymoe {

struct OneLane {
  static constexpr int kWarp = 1;

  int lane() const { return 0; }
  int count() const { return 1; }
  template <typename V, int n>
  void Xor(const V (&)[n], int, V (&)[n]) const {}
  void Sync() const {}
  void* Scratch() const { return nullptr; }
};

// 3 warps of 4, which really run at the same time, so that what a lane reads too early or of another's is seen.
class ThreadLanes {
 public:
  static constexpr int kWarp = 4, kCount = 12;

  // f(lanes) in all lanes of a block.
  template <class F>
  static void Run(const F& f) {
    Block block;
    std::vector<std::jthread> threads;
    for (int lane = 0; lane < kCount; ++lane) threads.emplace_back([&, lane] { f(ThreadLanes(&block, lane)); });
  }

  int lane() const { return lane_; }
  int count() const { return kCount; }
  template <typename V, int n>
  void Xor(const V (&v)[n], int mask, V (&to)[n]) const {
    std::copy_n(v, n, block_->values[lane_]);
    SyncWarp();
    std::copy_n(block_->values[lane_ ^ mask], n, to);
    SyncWarp();
  }
  void Sync() const { block_->barrier.arrive_and_wait(); }
  void* Scratch() const { return block_->scratch; }

 private:
  struct Block {
    std::barrier<> barrier{kCount};
    std::barrier<> warps[kCount / kWarp] = {std::barrier<>(kWarp), std::barrier<>(kWarp), std::barrier<>(kWarp)};
    double values[kCount][cuda::kMaxRowSums];  // holds floats exactly
    alignas(8) unsigned char scratch[cuda::kScratchBytes];
  };

  ThreadLanes(Block* block, int lane) : block_(block), lane_(lane) {}
  void SyncWarp() const { block_->warps[lane_ / kWarp].arrive_and_wait(); }

  Block* block_;
  int lane_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_THREAD_LANES_H_
