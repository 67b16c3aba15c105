// What is refused before the first step: sizes that no machine of this memory can hold, data that does not fit the job; and that
// two models with other tensors are never described by the same words.
#include "worker/train/setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "common/spec/memory_plan.h"
#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class Setup : public TinyTraining {
 protected:
  v1::JobFile file_ = Job(1);
  v1::JobSpec& spec_ = *file_.mutable_spec();
};

TEST_F(Setup, AJobMustFitIntoMemory) {
  spec_.mutable_train()->set_micro_batch(1);
  spec_.mutable_train()->set_recompute(true);
  spec_.mutable_model()->set_hidden(256);
  spec_.mutable_model()->set_ffn(1024);
  const uint64_t bytes = PlanMemory(spec_, 1).total;
  EXPECT_TRUE(CheckSize(spec_, bytes).ok());
  EXPECT_EQ(CheckSize(spec_, bytes - 1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(CheckSize(spec_, 100 << 20).message()),
            "this job needs 171.4 MiB: 126.6 MiB for 4.74M parameters with gradients, moments and the copy of a checkpoint, 862.1 "
            "KiB for a micro-batch of 1 x 16 "
            "tokens, 44.0 MiB for the program; this machine has 100.0 MiB; lower layers, hidden, ffn or experts of spec.model");
}

// The job just does not fit; what is named must be able to help, and be something that can still be changed.
TEST_F(Setup, WhatToLowerIsWhatHelps) {
  const auto advice = [this](uint32_t micro_batch, bool recompute, uint32_t length) {
    v1::JobSpec spec = spec_;
    spec.mutable_train()->set_micro_batch(micro_batch);
    spec.mutable_train()->set_recompute(recompute);
    spec.mutable_data()->set_sequence_length(length);
    const std::string message(CheckSize(spec, PlanMemory(spec, 1).total - 1).message());
    return message.substr(message.rfind("; ") + 2);
  };
  EXPECT_EQ(advice(8, false, 1024), "lower spec.train.microBatch or set spec.train.recompute: true");
  EXPECT_EQ(advice(8, true, 1024), "lower spec.train.microBatch");
  EXPECT_EQ(advice(1, false, 1024), "set spec.train.recompute: true");
  EXPECT_EQ(advice(1, true, 1 << 16), "lower spec.data.sequenceLength");
}

TEST_F(Setup, RowsOfAMicroBatchMustFitTheKernelsIndices) {
  spec_.mutable_train()->set_global_batch(1 << 26);  // x 16 tokens x top-2 are 2^31 rows
  spec_.mutable_train()->set_micro_batch(1 << 26);
  const absl::Status status = CheckSize(spec_, ~uint64_t{0});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2147483648 routed rows, more than 2^31 - 1; lower microBatch"));
  spec_.mutable_model()->set_architecture(v1::ARCHITECTURE_DENSE);
  EXPECT_TRUE(CheckSize(spec_, ~uint64_t{0}).ok()) << "a dense model has one row a token";
}

TEST_F(Setup, Bf16NeedsACpuThatMultipliesIt) {
  EXPECT_TRUE(CheckPrecision(spec_, false).ok());
  spec_.mutable_train()->set_precision(v1::PRECISION_BF16);
  EXPECT_TRUE(CheckPrecision(spec_, true).ok());
  const absl::Status status = CheckPrecision(spec_, false);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "spec.train.precision is bf16, but this CPU cannot multiply bf16 (AVX512_BF16); set it to fp32");
}

TEST_F(Setup, DataMustFitTheJob) {
  EXPECT_TRUE(OpenData(spec_).ok());
  spec_.mutable_model()->set_vocab(kVocab - 1);
  const absl::Status vocab = OpenData(spec_).status();
  EXPECT_EQ(vocab.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(vocab.message()), HasSubstr("spec.data.train: spec.model.vocab is 31"));
  EXPECT_THAT(std::string(vocab.message()), HasSubstr("set it to at least 32"));
  spec_.mutable_model()->set_vocab(kVocab);
  spec_.mutable_data()->set_sequence_length(5000);
  EXPECT_THAT(std::string(OpenData(spec_).status().message()), HasSubstr("spec.data.train: the split has 4001 tokens"));
}

TEST_F(Setup, AnotherShapeHasOtherWords) {
  std::map<std::string, std::string> described;
  const auto describe = [&](const std::string& what, const std::function<void(v1::ModelSpec&)>& change) {
    v1::JobSpec spec = spec_;
    change(*spec.mutable_model());
    const auto [it, fresh] = described.emplace(DescribeModel(ToModelConfig(spec)), what);
    EXPECT_TRUE(fresh) << what << " and " << it->second << " are both " << it->first;
  };
  describe("the model", [](v1::ModelSpec&) {});
  describe("layers", [](v1::ModelSpec& m) { m.set_layers(3); });
  describe("hidden", [](v1::ModelSpec& m) { m.set_hidden(64); });
  describe("heads", [](v1::ModelSpec& m) { m.set_heads(4); });
  describe("ffn", [](v1::ModelSpec& m) { m.set_ffn(25); });
  describe("experts", [](v1::ModelSpec& m) { m.set_experts(8); });
  describe("top-k", [](v1::ModelSpec& m) { m.set_top_k(1); });
  describe("vocab", [](v1::ModelSpec& m) { m.set_vocab(33); });
  describe("kind", [](v1::ModelSpec& m) { m.mutable_activation()->set_kind(v1::ACTIVATION_KIND_POLYRELU); });
  describe("order", [](v1::ModelSpec& m) { m.mutable_activation()->set_order(2); });
  describe("scope", [](v1::ModelSpec& m) { m.mutable_activation()->set_coefficients(v1::COEFFICIENT_SCOPE_EXPERT); });
  describe("architecture", [](v1::ModelSpec& m) { m.set_architecture(v1::ARCHITECTURE_DENSE); });
}

}  // namespace
}  // namespace polymoe
