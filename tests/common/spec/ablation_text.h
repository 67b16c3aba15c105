// A small valid ablation file that tests take apart.
#ifndef POLYMOE_TESTS_COMMON_SPEC_ABLATION_TEXT_H_
#define POLYMOE_TESTS_COMMON_SPEC_ABLATION_TEXT_H_

namespace polymoe {

inline constexpr char kAblationText[] = R"(apiVersion: polymoe/v1
kind: Ablation
metadata:
  name: abl
  labels: {study: demo}
spec:
  base:
    model: {layers: 2, hidden: 32, heads: 4, ffn: 48, experts: 4, topK: 2, vocab: 257}
    data: {train: /data/tiny}
    train: {globalBatch: 8, microBatch: 4}
    validation: {sets: [{name: near, path: /data/tiny}, {name: far, path: /data/far}]}
  arms:
  - {name: swiglu, set: {model.activation.kind: swiglu}}
  - {name: poly, set: {model.activation.kind: polynorm, model.activation.order: 2}}
  seeds: [7, 8]
  budget: {tokens: 100k}
  stop: {hopelessNats: 0.5}
)";

}  // namespace polymoe

#endif  // POLYMOE_TESTS_COMMON_SPEC_ABLATION_TEXT_H_
