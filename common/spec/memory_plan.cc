#include "common/spec/memory_plan.h"

#include <algorithm>

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/model_shape.h"

namespace polymoe {
namespace {

constexpr double kFloat = 4, kIndex = 4;  // bytes

uint64_t ToBytes(double bytes) {
  return static_cast<uint64_t>(std::min(bytes, 0x1p63));
}

// Sizes as doubles: exact up to 2^53, and no product of legal sizes overflows.
struct Sizes {
  bool moe, bf16;
  double layers, d, heads, experts, ffn, up, vocab, length;
  double n;   // tokens of a micro-batch
  double m;   // routed rows
  double nd;  // elements of the residual stream
  double s;   // bytes of an element that goes into a matrix product

  explicit Sizes(const v1::JobSpec& spec)
      : moe(spec.model().architecture() == v1::ARCHITECTURE_MOE),
        bf16(spec.train().precision() == v1::PRECISION_BF16),
        layers(spec.model().layers()),
        d(spec.model().hidden()),
        heads(spec.model().heads()),
        experts(moe ? spec.model().experts() : 1),
        ffn(FfnWidth(spec.model())),
        up(IsGated(spec.model()) ? 2 * ffn : ffn),
        vocab(spec.model().vocab()),
        length(spec.data().sequence_length()),
        n(spec.train().micro_batch() * length),
        m(n * (moe ? spec.model().top_k() : 1)),
        nd(n * d),
        s(bf16 ? 2 : kFloat) {}
};

// What the backward pass of a layer needs, beside the layer's input.
double LayerBytes(const Sizes& z) {
  double bytes = 0;
  bytes += kFloat * 2 * z.n;            // rstd of both norms
  bytes += z.s * z.nd;                  // input of the attention block
  bytes += z.s * 3 * z.nd;              // qkv
  bytes += z.s * 2 * z.nd;              // q and k as attention reads them
  bytes += z.s * z.nd;                  // attention
  bytes += kFloat * z.n * z.heads;      // its log-sum-exp
  bytes += kFloat * z.nd;               // residual stream after it
  bytes += z.s * z.nd;                  // input of the FFN block
  bytes += kIndex * (z.experts + 1);    // offsets
  bytes += z.s * z.m * (z.up + z.ffn);  // inside the FFNs
  if (!z.moe) return bytes;
  bytes += kFloat * 2 * z.n;                // rstd of the QK norm
  bytes += kFloat * z.n * z.experts;        // router: probabilities
  bytes += kFloat * (z.m + z.n);            // weights, log-sum-exp
  bytes += kIndex * (4 * z.m + z.experts);  // experts, tokens, source, inverse; counts
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
  bytes += z.s * z.m * (z.up + z.ffn);                                    // gradients inside the FFNs
  bytes += kFloat * z.length * (z.d / z.heads);                           // rope's sines and cosines
  bytes += std::min(z.n, double{kLogitRows}) * z.vocab * (kFloat + z.s);  // logits, their gradient
  if (!z.moe) return bytes;
  bytes += z.s * z.m * z.d;                   // rows by expert
  bytes += (kFloat + z.s) * z.n * z.experts;  // router: logits, their gradient
  bytes += kFloat * z.m;                      // gradient of the weights
  return bytes;
}

}  // namespace

MemoryPlan PlanMemory(const v1::JobSpec& spec, uint32_t threads) {
  const Sizes sizes(spec);
  const auto parameters = static_cast<double>(ComputeShape(spec.model(), spec.data().sequence_length()).total);
  MemoryPlan plan;
  double total = 0;
  const auto add = [&](const char* name, double bytes) {
    plan.rows.push_back({name, ToBytes(bytes)});
    total += bytes;
    return plan.rows.back().bytes;
  };
  add("weights", kFloat * parameters);
  add("gradients", kFloat * parameters);
  add("moments", kFloat * 2 * parameters);
  if (sizes.bf16) add("bf16 copy", sizes.s * parameters);
  plan.parameters = ToBytes(total);
  plan.activations = add("activations", ActivationBytes(sizes, spec.train().recompute()));
  plan.scratch = add("scratch", ScratchBytes(sizes));
  add("threads", double{kThreadBytes} * threads);
  add("program", double{kProgramBytes});
  plan.total = ToBytes(total);
  return plan;
}

}  // namespace polymoe
