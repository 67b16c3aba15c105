// A small valid job file that tests take apart.
#ifndef POLYMOE_TESTS_COMMON_SPEC_JOB_TEXT_H_
#define POLYMOE_TESTS_COMMON_SPEC_JOB_TEXT_H_

namespace polymoe {

inline constexpr char kJobText[] = R"(apiVersion: polymoe/v1
kind: Job
metadata:
  name: tiny
  labels: {study: demo}
spec:
  model:
    layers: 2
    hidden: 32
    heads: 4
    ffn: 48
    experts: 4
    topK: 2
    vocab: 257
    activation: {kind: polynorm}
  data: {train: /data/tiny}
  train:
    tokens: 1.5M
    globalBatch: 8
    microBatch: 4
  validation:
    sets:
    - {name: near, path: /data/tiny}
    - {name: far, path: /data/far, split: train}
)";

}  // namespace polymoe

#endif  // POLYMOE_TESTS_COMMON_SPEC_JOB_TEXT_H_
