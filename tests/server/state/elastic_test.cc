// Elastic jobs: they start on what is free, and go on with more ranks at a checkpoint when nobody else waits for the slots.
#include "common/trainer_exit.h"
#include "tests/server/state/cluster_harness.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ElasticTest : public ClusterTest {
 protected:
  // From 1 to 4 ranks, of which 3 cannot share the batch of 8.
  static v1::JobFile Elastic(const std::string& name = "j") {
    v1::JobFile file = File(name, 4);
    v1::JobSpec& spec = *file.mutable_spec();
    spec.mutable_resources()->set_min_ranks(1);
    spec.mutable_resources()->set_expert_parallel(1);
    spec.mutable_train()->set_global_batch(8);
    spec.mutable_train()->set_micro_batch(1);
    return file;
  }
  // Job j-1 trains on the two slots of "a".
  void TrainOnTwo() {
    Register("a", 2);
    Submit(Elastic());
    Pass();
    StartRanks("j-1");
    cluster_->Take();
  }
  void StopGently(const std::string& id) {
    const v1::Attempt attempt = Newest(id);
    for (const v1::Placement& placement : attempt.placements()) {
      Report(Stopped(Ref(id, attempt.number(), placement.rank()), placement.worker()), placement.worker());
    }
  }
};

TEST_F(ElasticTest, StartsOnTheMostThatFits) {
  Register("a", 3);
  Submit(Elastic());
  Pass();
  EXPECT_THAT(Newest("j-1").placements(), SizeIs(2));
  EXPECT_EQ(cluster_->Take().messages.back().second.launch().world_size(), 2u);
}

TEST_F(ElasticTest, GrowsAtACheckpoint) {
  TrainOnTwo();
  Register("b", 2);
  Pass();
  EXPECT_THAT(TakeOrders(), ElementsAre("b: registered"));  // what is trained since the last checkpoint is not thrown away
  Report(Saved(Ref("j-1", 1, 0), 10));
  Pass();
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1"));  // with the long grace: it saves
  EXPECT_THAT(Job("j-1").message(), HasSubstr("goes on with 4 ranks instead of 2"));
  Report(Saved(Ref("j-1", 1, 0), 11));
  StopGently("j-1");
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_RESIZED);
  Pass();
  EXPECT_THAT(TakeOrders(), ElementsAre("a: launch j-1/2 ranks 0 1", "b: launch j-1/2 ranks 2 3"));
  EXPECT_EQ(Job("j-1").checkpoint().step(), 11u);
  EXPECT_EQ(Job("j-1").failures() + Job("j-1").worker_losses(), 0u);
}

TEST_F(ElasticTest, DoesNotGrowTowardsANumberItCannotRunOn) {
  TrainOnTwo();
  Register("b", 1);
  Report(Saved(Ref("j-1", 1, 0), 10));
  Pass();
  EXPECT_THAT(TakeOrders(), ElementsAre("b: registered"));
}

TEST_F(ElasticTest, ACheckpointIsOneChance) {
  TrainOnTwo();
  Report(Saved(Ref("j-1", 1, 0), 10));
  Pass();
  Register("b", 2);
  Pass();
  Pass(1000);
  EXPECT_FALSE(Newest("j-1").stopping());
  Report(Saved(Ref("j-1", 1, 0), 10));  // sent again
  Pass();
  EXPECT_FALSE(Newest("j-1").stopping());
}

TEST_F(ElasticTest, TheLastCheckpointIsNone) {
  TrainOnTwo();
  Register("b", 2);
  Report(Saved(Ref("j-1", 1, 0), 100));  // 1000 tokens: all
  Pass();
  EXPECT_FALSE(Newest("j-1").stopping());
}

TEST_F(ElasticTest, GrowsIntoNoSlotsThatAnotherJobWaitsFor) {
  TrainOnTwo();
  Register("b", 2);
  Submit(File("big", 3));  // waits for the slots of j
  Pass();
  ASSERT_EQ(Job("big-1").waiting().reason(), v1::WAIT_REASON_SLOTS_BUSY);
  Report(Saved(Ref("j-1", 1, 0), 10));
  Pass();
  EXPECT_FALSE(Newest("j-1").stopping());
  ASSERT_TRUE(cluster_->Cancel("big-1", now_ms_).ok());
  Submit(File("huge", 30));  // no worker could hold it
  Report(Saved(Ref("j-1", 1, 0), 20));
  Pass();
  EXPECT_TRUE(Newest("j-1").stopping());
}

TEST_F(ElasticTest, OneGrowsAtATime) {
  Register("a", 1);
  Register("b", 1);
  Submit(Elastic("j"));
  Pass();
  ASSERT_THAT(Newest("j-1").placements(), SizeIs(2));
  Register("c", 1);
  Submit(Elastic("k"));
  Pass();
  StartRanks("j-1");
  StartRanks("k-1");
  Register("d", 2);
  cluster_->Take();
  Report(Saved(Ref("j-1", 1, 0), 10));
  Report(Saved(Ref("k-1", 1, 0), 10), "c");
  Pass();
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1", "b: stop j-1/1"));
  Report(Saved(Ref("k-1", 1, 0), 20), "c");  // what is free is for j
  Pass();
  EXPECT_THAT(TakeOrders(), IsEmpty());
}

TEST_F(ElasticTest, ARankThatFailsWhileTheJobIsResizedIsNotCharged) {
  TrainOnTwo();
  Register("b", 2);
  Report(Saved(Ref("j-1", 1, 0), 10));
  Pass();
  cluster_->Take();
  Report(Exited(Ref("j-1", 1, 0), kTrainerFailed));
  EXPECT_THAT(TakeOrders(), ElementsAre("a: stop j-1/1 soon"));  // nothing can be saved any more
  Report(Exited(Ref("j-1", 1, 1), kTrainerPeerLost));
  EXPECT_EQ(Newest("j-1").end_reason(), v1::END_REASON_RESIZED);
  EXPECT_EQ(Job("j-1").failures() + Job("j-1").worker_losses(), 0u);
}

TEST_F(ElasticTest, GoesOnWithFewerWhenAWorkerIsLost) {
  Register("a", 2);
  Register("b", 2);
  Submit(Elastic());
  Pass();
  ASSERT_THAT(Newest("j-1").placements(), SizeIs(4));
  StartRanks("j-1");
  Report(Exited(Ref("j-1", 1, 0), kTrainerPeerLost));
  cluster_->Disconnect("b");
  Report(Exited(Ref("j-1", 1, 1), kTrainerPeerLost));
  Pass();
  EXPECT_THAT(Newest("j-1").placements(), SizeIs(2));
  EXPECT_EQ(Newest("j-1").number(), 2u);
  EXPECT_EQ(Job("j-1").attempts(0).end_reason(), v1::END_REASON_WORKER_LOST);
}

}  // namespace
}  // namespace polymoe
