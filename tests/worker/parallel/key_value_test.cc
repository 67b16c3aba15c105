// Meetings in a folder and through the coordinator's RendezvousService, which may be killed in the middle.
#include <gmock/gmock.h>
#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include "polymoe/v1/rendezvous.grpc.pb.h"

#include "common/clock.h"
#include "tests/fakes/loopback_server.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/services/service_harness.h"
#include "worker/parallel/coordinator_key_value.h"
#include "worker/parallel/folder_key_value.h"
#include "worker/parallel/gloo_transport.h"
#include "worker/parallel/layout.h"

namespace polymoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::Duration In(absl::Duration time) {
  return Clock::Real().Monotonic() + time;
}

TEST(FolderKeyValue, WaitsForAllKeysInTheirOrder) {
  const TempDir dir;
  FolderKeyValue a(dir.path() + "/new/folder"), b(dir.path() + "/new/folder");
  ASSERT_TRUE(a.Put("one", std::string("1\0\xff", 3)).ok());
  auto waiting = std::async(std::launch::async, [&] { return a.Wait({"two", "one"}, In(absl::Minutes(2))); });
  ASSERT_TRUE(b.Put("two", "2").ok());
  const auto values = waiting.get();
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(*values, ElementsAre("2", std::string("1\0\xff", 3)));
}

TEST(FolderKeyValue, NamesWhatIsMissing) {
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  ASSERT_TRUE(keys.Put("there", "1").ok());
  const auto values = keys.Wait({"gone", "there", "away"}, In(absl::ZeroDuration()));
  EXPECT_EQ(values.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(values.status().message(), HasSubstr("nobody has put gone, away into " + dir.path()));
}

// The real service.
class CoordinatorKeyValueTest : public ServiceTest {
 protected:
  CoordinatorKeyValueTest() {
    worker_.Register(Registration("a", 1, "i"));
    job_ = Train(ServiceFile("j"), worker_);
  }
  std::unique_ptr<KeyValue> Open(uint32_t attempt = 1) {
    auto keys = OpenCoordinatorKeyValue(address_, job_, attempt);
    POLYMOE_CHECK(keys.ok());
    return *std::move(keys);
  }
  WorkerSession worker_{channel_};
  std::string job_;
};

TEST_F(CoordinatorKeyValueTest, RanksMeet) {
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] {
      const auto keys = Open();
      auto transport = ConnectRanks({.world_size = 4, .rank = rank}, *keys);
      ASSERT_TRUE(transport.ok()) << transport.status();
      const Ranks ranks = MakeRanks(*std::move(transport), 2, absl::Minutes(2));
      EXPECT_EQ(ranks.world->rank(), rank);
      EXPECT_TRUE(ranks.world->Barrier().ok());
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST_F(CoordinatorKeyValueTest, NamesWhatIsMissing) {
  const auto keys = Open();
  ASSERT_TRUE(keys->Put("there", "1").ok());
  ASSERT_TRUE(keys->Wait({"there"}, In(absl::Minutes(2))).ok());
  const auto values = keys->Wait({"gone", "there", "away"}, In(absl::Milliseconds(50)));
  EXPECT_EQ(values.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(values.status().message(), HasSubstr("nobody has put gone, away"));
}

TEST_F(CoordinatorKeyValueTest, AnAttemptThatIsOverIsFinal) {
  const auto keys = Open();
  auto waiting = std::async(std::launch::async, [&] { return keys->Wait({"never"}, In(absl::Minutes(2))); });
  worker_.Report(Exited(Ref(job_, 1, 0), 1));
  EXPECT_EQ(waiting.get().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Open(7)->Wait({"never"}, In(absl::Minutes(2))).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CoordinatorKeyValueTest, LimitsOfTheService) {
  const auto keys = Open();
  EXPECT_TRUE(keys->Put(std::string(256, 'k'), std::string(64 << 10, 'v')).ok());
  EXPECT_EQ(keys->Put(std::string(257, 'k'), "v").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(keys->Put("k", std::string((64 << 10) + 1, 'v')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenCoordinatorKeyValue("nowhere", job_, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

// A coordinator that forgets everything when it is killed, as the real one does with its keys.
class ForgetfulCoordinator final : public v1::RendezvousService::Service {
 public:
  ~ForgetfulCoordinator() override { Kill(); }
  std::string address() const { return server_.address(); }
  void Start() { server_.Start(this); }
  void Kill() {
    if (!server_.running()) return;
    {
      const std::lock_guard lock(mutex_);
      killed_ = true;
      values_.clear();
    }
    changed_.notify_all();
    server_.Stop();
    killed_ = false;
  }
  // Returns when somebody waits for `key`.
  void AwaitWaiter(const std::string& key) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return awaited_.contains(key); });
  }

 private:
  grpc::Status Put(grpc::ServerContext*, const v1::PutRequest* request, v1::PutResponse*) override {
    const std::lock_guard lock(mutex_);
    values_[request->key()] = request->value();
    changed_.notify_all();
    return grpc::Status::OK;
  }
  grpc::Status Wait(grpc::ServerContext*, const v1::WaitRequest* request, v1::WaitResponse* response) override {
    std::unique_lock lock(mutex_);
    awaited_.insert(request->keys().begin(), request->keys().end());
    changed_.notify_all();
    const auto there = [&](const std::string& key) { return values_.contains(key); };
    changed_.wait(lock, [&] { return killed_ || std::all_of(request->keys().begin(), request->keys().end(), there); });
    if (killed_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "killed");
    for (const std::string& key : request->keys()) response->add_values(values_[key]);
    return grpc::Status::OK;
  }

  LoopbackServer server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool killed_ = false;
  std::map<std::string, std::string> values_;
  std::set<std::string> awaited_;
};

std::unique_ptr<KeyValue> OpenAt(const std::string& address) {
  auto keys = OpenCoordinatorKeyValue(address, "job", 1);
  POLYMOE_CHECK(keys.ok());
  return *std::move(keys);
}

TEST(CoordinatorKeyValueRestart, WhoWaitsDoesNotNotice) {
  ForgetfulCoordinator coordinator;
  coordinator.Start();
  const auto a = OpenAt(coordinator.address()), b = OpenAt(coordinator.address());
  ASSERT_TRUE(a->Put("a", "1").ok());
  auto waiting = std::async(std::launch::async, [&] { return a->Wait({"a", "b"}, In(absl::Minutes(2))); });
  coordinator.AwaitWaiter("b");
  coordinator.Kill();
  ASSERT_TRUE(b->Put("b", "2").ok()) << "while nobody is there";
  coordinator.Start();
  const auto values = waiting.get();
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(*values, ElementsAre("1", "2"));
}

// One rank has all that it waited for before the coordinator is killed; the other has not.
TEST(CoordinatorKeyValueRestart, WhoHasAllPutsItsKeysAgainForTheOthers) {
  ForgetfulCoordinator coordinator;
  coordinator.Start();
  const auto a = OpenAt(coordinator.address()), b = OpenAt(coordinator.address());
  ASSERT_TRUE(a->Put("a", "1").ok());
  ASSERT_TRUE(b->Put("b", "2").ok());
  ASSERT_TRUE(a->Wait({"a", "b"}, In(absl::Minutes(2))).ok());
  coordinator.Kill();
  coordinator.Start();
  const auto values = b->Wait({"a", "b"}, In(absl::Minutes(2)));
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_THAT(*values, ElementsAre("1", "2"));
}

TEST(CoordinatorKeyValueRestart, ACoordinatorThatStaysAwayIsSaid) {
  ForgetfulCoordinator coordinator;
  coordinator.Start();
  const std::string address = coordinator.address();
  coordinator.Kill();
  const auto keys = OpenAt(address);
  ASSERT_TRUE(keys->Put("a", "1").ok());
  const auto values = keys->Wait({"a"}, In(absl::Milliseconds(100)));
  EXPECT_EQ(values.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(values.status().message(), HasSubstr(absl::StrCat("the coordinator at ", address, " does not answer")));
}

}  // namespace
}  // namespace polymoe
