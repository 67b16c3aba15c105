// What a model holds: the bytes that a sum over its tensors gives, and less with recompute, for the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/worker/model/tiny_model.h"
#include "worker/model/arena.h"

namespace polymoe {
namespace {

TEST(Arena, GivesZeroedPiecesThatStartAt64AndDoNotMeet) {
  char *a = nullptr, *c = nullptr;
  double* b = nullptr;
  const Arena arena([&](Arena::Cutter& cut) {
    cut(a, 1);
    cut(b, 9);
    cut(c, 64);
  });
  EXPECT_EQ(arena.bytes(), 1 + 72 + 64);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<char*>(b), a + 64);
  EXPECT_EQ(c, a + 64 + 128);
  EXPECT_TRUE(std::all_of(a, c + 64, [](char byte) { return byte == 0; }));
  std::fill(a, c + 64, 1);  // all of it is ours
}

TEST(Arena, OfNothingIsEmpty) {
  float* piece = nullptr;
  const Arena arena([&](Arena::Cutter& cut) { cut(piece, 0); });
  EXPECT_EQ(arena.bytes(), 0);
  EXPECT_EQ(piece, nullptr);
}

TEST(Arena, WhatTheSystemDoesNotHaveIsBadAlloc) {
  char* piece = nullptr;
  EXPECT_THROW(Arena([&](Arena::Cutter& cut) { cut(piece, int64_t{1} << 60); }), std::bad_alloc);
}

struct Case {
  bool moe, bf16, recompute;
  ActivationKind kind;
};

// The sum, tensor by tensor: N tokens, M routed rows, s bytes of what products read.
int64_t Bytes(const ModelConfig& c, const Case& is, int64_t n, int64_t t) {
  const int64_t s = is.bf16 ? 2 : 4, d = c.hidden, h = c.heads, e = c.experts, f = c.ffn, v = c.vocab;
  const int64_t m = n * c.top_k, u = is.kind == ActivationKind::kSwiglu ? 2 * f : f;
  int64_t layer = 2 * 4 * n;                                                      // rstd1, rstd2
  layer += s * n * (d + 3 * d + 2 * d + d + d);                                   // h1, qkv, qk, attention, h2
  layer += 4 * n * h;                                                             // lse
  layer += 4 * n * d;                                                             // x_mid
  layer += 4 * (e + 1);                                                           // offsets
  layer += s * m * (u + f);                                                       // up, act
  if (is.moe) layer += 4 * (2 * n + n * e + m + n);                               // rstd_qk, probs, weights, router_lse
  if (is.moe) layer += 4 * (4 * m + e);                                           // experts, tokens, source, inverse, counts
  int64_t scratch = 3 * 4 * n * d;                                                // dx, dh, last
  if (is.bf16) scratch += 2 * n * d;                                              // rounded dx
  scratch += s * n * (d + 3 * d + d);                                             // dattention, dqkv, hidden
  scratch += 2 * 4 * n;                                                           // rstd, losses
  scratch += s * m * (f + u);                                                     // dact, dup
  scratch += 4 * t * (d / h);                                                     // rope
  scratch += (4 + s) * std::min<int64_t>(n, 512) * v;                             // logits, dlogits
  if (is.moe) scratch += s * m * d + (4 + s) * n * e + 4 * m;                     // rows, router logits, dlogits, dweights
  return c.layers * 4 * n * d + (is.recompute ? 1 : c.layers) * layer + scratch;  // 4 n d: x
}

TEST(Memory, IsTheSumOfItsTensors) {
  for (const bool moe : {true, false}) {
    for (const ActivationKind kind : {ActivationKind::kPolyNorm, ActivationKind::kSwiglu}) {
      for (const bool bf16 : {false, true}) {
        for (const bool recompute : {false, true}) {
          for (const int sequences : {2, 50}) {  // fewer tokens than rows of logits, and more
            ModelConfig config = TinyConfig(kind, moe);
            config.layers = 3;
            const ModelLimits limits{.max_sequences = sequences, .sequence_length = 7, .recompute = recompute};
            const int64_t bytes =
                bf16 ? Model(config, RefOps<BF16>(), limits).memory_bytes() : Model(config, RefOps<float>(), limits).memory_bytes();
            EXPECT_EQ(bytes, Bytes(config, {moe, bf16, recompute, kind}, sequences * 7, 7))
                << "moe " << moe << " bf16 " << bf16 << " recompute " << recompute << " sequences " << sequences;
          }
        }
      }
    }
  }
}

template <class E>
void ExpectTheSameBits(const ModelConfig& config, const Ops<E>& ops) {
  const std::vector<float> parameters = Initial(config);
  const TinyBatch batch = MakeBatch(3 * 17, config.vocab);
  const Pass kept = RunModel(config, ops, parameters, batch, {.max_sequences = 3, .sequence_length = 17}),
             again = RunModel(config, ops, parameters, batch, {.max_sequences = 3, .sequence_length = 17, .recompute = true});
  EXPECT_EQ(kept.losses.cross_entropy, again.losses.cross_entropy);
  EXPECT_EQ(kept.losses.load_balance, again.losses.load_balance);
  EXPECT_EQ(kept.losses.z, again.losses.z);
  EXPECT_EQ(kept.router.counts, again.router.counts);
  EXPECT_EQ(kept.router.entropy, again.router.entropy);
  EXPECT_EQ(std::memcmp(kept.gradients.data(), again.gradients.data(), kept.gradients.size() * sizeof(float)), 0);
}

TEST(Recompute, GivesTheSameBits) {
  for (const bool moe : {true, false}) {
    for (const ActivationKind kind : {ActivationKind::kPolyPRelu, ActivationKind::kSwiglu}) {
      ModelConfig config = TinyConfig(kind, moe);
      config.layers = 3;
      SCOPED_TRACE(absl::StrCat("moe ", moe, " kind ", static_cast<int>(kind)));
      ExpectTheSameBits(config, CpuOps<float>());
      ExpectTheSameBits(config, RefOps<BF16>());
      if (CpuHasBf16()) ExpectTheSameBits(config, CpuOps<BF16>());
    }
  }
}

}  // namespace
}  // namespace polymoe
