// A dataset and a job file small enough to train in seconds and long enough to be interrupted.
#ifndef POLYMOE_TESTS_E2E_TRAINING_JOB_H_
#define POLYMOE_TESTS_E2E_TRAINING_JOB_H_

#include <string>

#include "absl/strings/str_cat.h"

#include "common/check.h"
#include "common/file.h"
#include "tests/e2e/cluster.h"

namespace polymoe {

inline constexpr int kSteps = 400, kTokensPerStep = 256;

// Text with some structure, so that there is something to learn.
inline std::string SampleText() {
  static constexpr const char* kWords[] = {"the ",   "expert ", "router ",     "sends ",   "a ",
                                           "token ", "to ",     "polynomial ", "norm.\n\n"};
  std::string text;
  for (uint32_t x = 1; text.size() < 300'000; x = x * 1664525 + 1013904223) absl::StrAppend(&text, kWords[(x >> 16) % 9]);
  return text;
}

// Builds DIR/data once and writes DIR/job.yaml: `steps` steps on `ranks` ranks, a checkpoint every `save_every`.
inline std::string WriteJob(const std::string& dir, int steps = kSteps, int ranks = 1, int save_every = 40) {
  if (!PathExists(dir + "/data/manifest.json")) {
    POLYMOE_CHECK(WriteFileDurably(dir + "/text.txt", SampleText()).ok());
    const Output built = RunProgram(
        {BuiltProgram("polyctl"), "dataset", "build", "--input", dir + "/text.txt", "--out", dir + "/data", "--heldout", "0.2"});
    POLYMOE_CHECK(built.exit_code == 0, "dataset build: %s", built.err.c_str());
  }
  const std::string job = absl::StrCat(R"(apiVersion: polymoe/v1
kind: Job
metadata: {name: tiny, labels: {suite: e2e}}
spec:
  model: {layers: 2, hidden: 64, heads: 2, ffn: 96, experts: 4, topK: 2, vocab: 257, activation: {kind: polynorm}}
  data: {train: )",
                                       dir, R"(/data, sequenceLength: 32}
  train: {tokens: )",
                                       steps * kTokensPerStep, R"(, globalBatch: 8, microBatch: 4, learningRate: 0.003}
  validation: {everyTokens: 20k, maxTokens: 2k, sets: [{name: near, path: )",
                                       dir, R"(/data}]}
  checkpoint: {everyTokens: )",
                                       save_every * kTokensPerStep, R"(}
  resources: {ranks: )",
                                       ranks, R"(}
  restart: {backoffSeconds: 0.1}
)");
  POLYMOE_CHECK(WriteFileDurably(dir + "/job.yaml", job).ok());
  return dir + "/job.yaml";
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_E2E_TRAINING_JOB_H_
