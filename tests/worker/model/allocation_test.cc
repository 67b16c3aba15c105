// A step allocates nothing: a program of its own, for it replaces operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/worker/model/tiny_model.h"

namespace {

std::atomic<int64_t> allocations = 0;

void* Counted(void* memory) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The array and nothrow forms come down to these.
void* operator new(size_t size) {
  return Counted(std::malloc(size));
}
void* operator new(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  return Counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace polymoe {
namespace {

TEST(Allocations, AreCounted) {
  const int64_t before = allocations;
  const std::vector<int> one(100);
  EXPECT_EQ(allocations - before, 1);
}

template <class E>
void ExpectNone(const ModelConfig& config, const Ops<E>& ops, bool recompute) {
  constexpr int kSequences = 3, kLength = 17;
  Model model(config, ops, {.max_sequences = kSequences, .sequence_length = kLength, .recompute = recompute});
  const std::vector<float> parameters = Initial(config);
  std::vector<float> gradients(parameters.size()), losses(kSequences * kLength);
  const TinyBatch batch = MakeBatch(kSequences * kLength, config.vocab);
  const auto step = [&] {
    model.Round(parameters.data());
    model.ForwardBackward(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, 1, gradients.data(), false);
    model.Evaluate(parameters.data(), batch.tokens.data(), batch.targets.data(), kSequences, losses.data());
  };
  // A thread's first call of an operation may, and on a busy machine a thread may get its first item late. What allocates in every step
  // does so in the last one too.
  int64_t made = -1;
  for (int i = 0; i < 50 && made != 0; ++i) {
    const int64_t before = allocations;
    step();
    made = allocations - before;
  }
  EXPECT_EQ(made, 0);
}

TEST(Allocations, NoneInAStep) {
  for (const bool moe : {true, false}) {
    for (const bool recompute : {false, true}) {
      for (const ActivationKind kind : {ActivationKind::kPolyNorm, ActivationKind::kSwiglu}) {
        SCOPED_TRACE(absl::StrCat("moe ", moe, " recompute ", recompute, " kind ", static_cast<int>(kind)));
        const ModelConfig config = TinyConfig(kind, moe);
        ExpectNone(config, CpuOps<float>(), recompute);
        if (CpuHasBf16()) ExpectNone(config, CpuOps<BF16>(), recompute);
      }
    }
  }
}

}  // namespace
}  // namespace polymoe
