// What is refused before the first step: sizes that no machine of this memory can hold, data that does not fit the job; and that
// two models with other tensors are never described by the same words.
#include "worker/train/setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "common/spec/model_shape.h"
#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class Setup : public TinyTraining {
 protected:
  v1::JobFile file_ = Job(1);
  v1::JobSpec& spec_ = *file_.mutable_spec();
};

TEST_F(Setup, AModelMustFitIntoMemoryWithGradientsAndMoments) {
  const uint64_t bytes = ComputeShape(spec_.model(), kLength).total * 16;
  EXPECT_TRUE(CheckSize(spec_, bytes).ok());
  const absl::Status status = CheckSize(spec_, bytes - 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lower layers, hidden, ffn or experts"));
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
