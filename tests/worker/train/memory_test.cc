// What common/spec plans for a job before it starts is what its model then takes.
#include <gtest/gtest.h>

#include "common/spec/memory_plan.h"
#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

class PlannedMemory : public TinyTraining {
 protected:
  static int64_t Taken(const v1::JobSpec& spec) {
    const ModelConfig config = ToModelConfig(spec);
    const ModelLimits limits{.max_sequences = static_cast<int>(spec.train().micro_batch()),
                             .sequence_length = static_cast<int>(spec.data().sequence_length()),
                             .recompute = spec.train().recompute()};
    NoExchange others(static_cast<int>(spec.resources().expert_parallel()));
    ExpertExchange* exchange = others.ranks() == 1 ? nullptr : &others;
    if (spec.train().precision() == v1::PRECISION_BF16) return Model(config, RefOps<BF16>(), limits, exchange).memory_bytes();
    return Model(config, RefOps<float>(), limits, exchange).memory_bytes();
  }

 private:
  // To be the first of several ranks, without a pass.
  class NoExchange final : public ExpertExchange {
   public:
    explicit NoExchange(int ranks) : ranks_(ranks) {}
    int ranks() const override { return ranks_; }
    int rank() const override { return 0; }
    void Start(int, int64_t, const void*, const int64_t*, void*, const int64_t*) override {}
    bool Finish(int) override { return false; }

   private:
    const int ranks_;
  };
};

TEST_F(PlannedMemory, IsWhatTheModelTakes) {
  v1::JobFile file = Job(1);
  v1::JobSpec& spec = *file.mutable_spec();
  for (const v1::Architecture architecture : {v1::ARCHITECTURE_MOE, v1::ARCHITECTURE_DENSE}) {
    spec.mutable_model()->set_architecture(architecture);
    for (const v1::ActivationKind kind : {v1::ACTIVATION_KIND_POLYNORM, v1::ACTIVATION_KIND_SWIGLU}) {
      spec.mutable_model()->mutable_activation()->set_kind(kind);
      for (const v1::Precision precision : {v1::PRECISION_FP32, v1::PRECISION_BF16}) {
        spec.mutable_train()->set_precision(precision);
        for (const bool recompute : {false, true}) {
          spec.mutable_train()->set_recompute(recompute);
          for (const uint32_t micro_batch : {1, 40}) {  // fewer tokens than rows of logits, and more
            spec.mutable_train()->set_micro_batch(micro_batch);
            const MemoryPlan plan = PlanMemory(spec, 1);
            EXPECT_EQ(static_cast<uint64_t>(Taken(spec)), plan.activations + plan.scratch) << spec.ShortDebugString();
          }
        }
      }
    }
  }
}

TEST_F(PlannedMemory, IsWhatAModelOfSharedExpertsTakesWhenTheyShareEvenly) {
  v1::JobFile file = Job(1);
  v1::JobSpec& spec = *file.mutable_spec();
  for (const uint32_t ranks : {2, 4}) {
    for (const uint32_t micro_batch : {1, 3, 40}) {
      spec.mutable_resources()->set_ranks(ranks);
      spec.mutable_resources()->set_expert_parallel(ranks);
      spec.mutable_train()->set_micro_batch(micro_batch);
      spec.mutable_train()->set_load_balance_sequences(1);
      const MemoryPlan plan = PlanMemory(spec, 1);
      EXPECT_EQ(static_cast<uint64_t>(Taken(spec)), plan.activations + plan.scratch) << spec.ShortDebugString();
    }
  }
}

}  // namespace
}  // namespace polymoe
