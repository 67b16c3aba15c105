#include "common/spec/memory_plan.h"

#include <algorithm>
#include <cmath>

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/model_shape.h"

namespace polymoe {
namespace {

constexpr double kFloat = 4, kIndex = 4;  // bytes
constexpr double kChunks = 2;             // ModelLimits::chunks

uint64_t ToBytes(double bytes) {
  return static_cast<uint64_t>(std::min(bytes, 0x1p63));
}

// Sizes as doubles: exact up to 2^53, and no product of legal sizes overflows.
struct Sizes {
  bool moe, bf16;
  double layers, d, heads, experts, k, ffn, up, vocab, length;
  double groups;  // of sequences with a load-balance loss of their own
  double n;       // tokens of a micro-batch
  double m;       // routed rows, when the experts share them evenly
  double nd;      // elements of the residual stream
  double s;       // bytes of an element that goes into a matrix product
  double r;       // ranks that share the experts
  double c;       // chunks that the tokens travel in, when there are several
  double nc;      // tokens of a chunk
  double q;       // rows of a chunk that travel to a rank, and from it, when they go evenly
  double nr;      // ... at most

  explicit Sizes(const v1::JobSpec& spec)
      : moe(spec.model().architecture() == v1::ARCHITECTURE_MOE),
        bf16(spec.train().precision() == v1::PRECISION_BF16),
        layers(spec.model().layers()),
        d(spec.model().hidden()),
        heads(spec.model().heads()),
        experts(moe ? spec.model().experts() : 1),
        k(moe ? spec.model().top_k() : 1),
        ffn(FfnWidth(spec.model())),
        up(IsGated(spec.model()) ? 2 * ffn : ffn),
        vocab(spec.model().vocab()),
        length(spec.data().sequence_length()),
        groups(spec.train().has_load_balance_sequences()
                   ? std::ceil(double{1} * spec.train().micro_batch() / spec.train().load_balance_sequences())
                   : 1),
        n(spec.train().micro_batch() * length),
        m(n * (moe ? spec.model().top_k() : 1)),
        nd(n * d),
        s(bf16 ? 2 : kFloat),
        r(moe ? spec.resources().expert_parallel() : 1),
        c(r > 1 ? kChunks : 1),
        nc(std::ceil(n / c)),
        q(nc * std::min<double>(r, spec.model().top_k())),
        nr(nc * r) {
    if (moe) m = c * nc * spec.model().top_k();
  }
};

// What the backward pass of a layer needs, beside the layer's input.
double LayerBytes(const Sizes& z) {
  double bytes = 0;
  bytes += kFloat * 2 * z.n;                      // rstd of both norms
  bytes += z.s * z.nd;                            // input of the attention block
  bytes += z.s * 3 * z.nd;                        // qkv
  bytes += z.s * 2 * z.nd;                        // q and k as attention reads them
  bytes += z.s * z.nd;                            // attention
  bytes += kFloat * z.n * z.heads;                // its log-sum-exp
  bytes += kFloat * z.nd;                         // residual stream after it
  bytes += z.s * z.nd;                            // input of the FFN block
  bytes += kIndex * z.c * (z.experts / z.r + 1);  // offsets
  bytes += z.s * z.m * (z.up + z.ffn);            // inside the FFNs
  if (!z.moe) return bytes;
  const double choices = z.n * z.k;
  bytes += kFloat * 2 * z.n;                           // rstd of the QK norm
  bytes += kFloat * z.n * z.experts;                   // router: probabilities
  bytes += kFloat * (choices + z.n);                   // weights, log-sum-exp
  bytes += kIndex * (choices + z.groups * z.experts);  // experts, counts
  bytes += kIndex * (2 * z.m + z.c * z.nr * z.k);      // tokens, source, inverse
  if (z.r == 1) return bytes;
  bytes += z.c * z.s * z.q * z.d;                    // rows that came,
  bytes += z.c * z.nr * (kIndex + kFloat) * z.k;     // their experts and weights
  bytes += z.c * (kIndex * 2 * z.nr + 3 * 8 * z.r);  // who was sent where, and how many
  return bytes;
}

double ActivationBytes(const Sizes& z, bool recompute) {
  return z.layers * kFloat * z.nd + (recompute ? 1 : z.layers) * LayerBytes(z);
}

double ScratchBytes(const Sizes& z) {
  double bytes = 0;
  bytes += kFloat * 2 * z.nd;                                             // gradients of the residual stream and of a block's input
  if (z.bf16) bytes += z.s * z.nd;                                        // one of them, rounded
  bytes += z.s * 4 * z.nd;                                                // gradients of attention and qkv
  bytes += kFloat * z.nd;                                                 // what the last layer gives
  bytes += z.s * z.nd;                                                    // ... after the final norm
  bytes += kFloat * 2 * z.n;                                              // rstd of the final norm, losses
  bytes += z.s * z.m / z.c * (z.up + z.ffn);                              // gradients inside the FFNs
  bytes += kFloat * z.length * (z.d / z.heads);                           // rope's sines and cosines
  bytes += std::min(z.n, double{kLogitRows}) * z.vocab * (kFloat + z.s);  // logits, their gradient
  if (!z.moe) return bytes;
  bytes += z.s * z.m / z.c * z.d;             // rows by expert
  bytes += (kFloat + z.s) * z.n * z.experts;  // router: logits, their gradient
  bytes += kFloat * z.n * z.k;                // gradient of the weights
  if (z.r == 1) return bytes;
  bytes += z.c * 3 * z.s * z.q * z.d;                        // rows on their way
  bytes += z.c * z.q * (2 * 2 * kIndex + 2 * kFloat) * z.k;  // with their routing and its gradient
  return bytes;
}

// Of a thread: the Gram matrix of an FFN matrix, the solver's copy, and 128 rows, in double.
double EffectiveRankBytes(const Sizes& z) {
  const double n = std::min(z.d, z.ffn);
  return 8 * n * (2 * n + 128);
}

}  // namespace

MemoryPlan PlanMemory(const v1::JobSpec& spec, uint32_t threads) {
  const Sizes sizes(spec);
  double parameters = 0, owned = 0;  // on this rank; of which it keeps the moments
  for (const ParameterGroup& group : ComputeShape(spec.model(), spec.data().sequence_length()).groups) {
    const bool shared = group.name == "experts" || (group.name == "coefficients" && group.total > group.active);
    parameters += static_cast<double>(group.total) / (shared ? sizes.r : 1);
    owned += static_cast<double>(group.total) / std::max(1u, spec.resources().ranks());
  }
  MemoryPlan plan;
  double total = 0;
  const auto add = [&](const char* name, double bytes) {
    plan.rows.push_back({name, ToBytes(bytes)});
    total += bytes;
    return plan.rows.back().bytes;
  };
  add("weights", kFloat * parameters);
  add("gradients", kFloat * parameters);
  add("moments", kFloat * 2 * owned);
  if (sizes.bf16) add("bf16 copy", sizes.s * parameters);
  add("checkpoint copy", kFloat * 3 * owned);
  plan.parameters = ToBytes(total);
  plan.activations = add("activations", ActivationBytes(sizes, spec.train().recompute()));
  plan.scratch = add("scratch", ScratchBytes(sizes));
  if (spec.metrics().analyses().effective_rank()) add("analyses", threads * EffectiveRankBytes(sizes));
  add("threads", double{kThreadBytes} * threads);
  add("program", double{kProgramBytes});
  plan.total = ToBytes(total);
  return plan;
}

}  // namespace polymoe
