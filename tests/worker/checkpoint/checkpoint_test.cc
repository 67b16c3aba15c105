#include "worker/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

// Two tensors whose values depend on `seed`.
struct State {
  explicit State(float seed) : weight(6, seed), moment(3, -seed) {
    weight[1] = 1 / seed;
    moment[0] = std::numeric_limits<float>::denorm_min();
  }
  std::vector<TensorRef> refs() { return {{"w", {2, 3}, weight.data()}, {"adam_m.w", {3}, moment.data()}}; }
  bool operator==(const State&) const = default;
  std::vector<float> weight, moment;
};

TrainerState At(uint64_t step) {
  return {.step = step, .tokens = step * 10, .sequences = step * 2, .updates = step, .data_order = "d", .model = "m"};
}

class Checkpoint : public ::testing::Test {
 protected:
  std::string Save(uint64_t step) {
    State state(static_cast<float>(step));
    const auto path = SaveCheckpoint(dir_.path(), At(step), state.refs());
    EXPECT_TRUE(path.ok()) << path.status();
    return path.value_or("");
  }
  absl::Status Load(const std::string& path, State* state) { return LoadCheckpoint(path, "m", state->refs()).status(); }

  TempDir dir_;
};

TEST_F(Checkpoint, RoundTripsToTheBit) {
  const std::string path = Save(3);
  State loaded(1);
  const auto state = LoadCheckpoint(path, "m", loaded.refs());
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(loaded, State(3));
  EXPECT_EQ(state->tokens, 30u);
  EXPECT_EQ(state->sequences, 6u);
  EXPECT_EQ(state->updates, 3u);
}

TEST_F(Checkpoint, EveryDamageIsNoticedAndTouchesNothing) {
  const std::string path = Save(1);
  for (const std::string name : {"rank-0.safetensors", "index.json", "trainer.json", "COMMITTED"}) {
    const std::string file = path + "/" + name, whole = *ReadFile(file);
    ASSERT_TRUE(RemoveTree(file).ok());
    State untouched(9);
    EXPECT_FALSE(Load(path, &untouched).ok()) << name << " missing";
    EXPECT_EQ(untouched, State(9));
    if (name == "COMMITTED") continue;
    for (const size_t cut : {size_t{0}, whole.size() / 2, whole.size() - 1}) {
      ASSERT_TRUE(WriteFileDurably(file, whole.substr(0, cut)).ok());
      EXPECT_FALSE(Load(path, &untouched).ok()) << name << " cut to " << cut;
    }
    ASSERT_TRUE(WriteFileDurably(file, whole).ok());
  }
  ASSERT_TRUE(WriteFileDurably(path + "/COMMITTED", "").ok());
  const std::string tensors = path + "/rank-0.safetensors", whole = *ReadFile(tensors);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string broken = whole;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    ASSERT_TRUE(WriteFileDurably(tensors, broken).ok());
    State untouched(9);
    EXPECT_FALSE(Load(path, &untouched).ok()) << "bit of byte " << i;
    EXPECT_EQ(untouched, State(9));
  }
}

TEST_F(Checkpoint, AnotherModelIsTheUsersMistakeNotDamage) {
  const std::string path = Save(1);
  State state(1);
  EXPECT_THAT(std::string(LoadCheckpoint(path, "other", state.refs()).status().message()),
              HasSubstr("it has m, the job has other"));
  std::vector<TensorRef> refs = state.refs();
  refs[0].shape = {3, 2};
  EXPECT_THAT(std::string(LoadCheckpoint(path, "m", refs).status().message()),
              HasSubstr("w has shape [2,3], this model needs [3,2]"));
  refs.pop_back();
  refs[0].shape = {2, 3};
  EXPECT_EQ(LoadCheckpoint(path, "m", refs).status().code(), absl::StatusCode::kInvalidArgument);
  refs.push_back({"extra", {1}, state.weight.data()});
  EXPECT_THAT(std::string(LoadCheckpoint(path, "m", refs).status().message()), HasSubstr("has no tensor extra"));
}

TEST_F(Checkpoint, PruneKeepsTheNewestAndClearsLeftovers) {
  for (const uint64_t step : {1, 2, 3}) Save(step);
  std::filesystem::create_directory(dir_.path() + "/step-00000009");      // never committed
  std::filesystem::create_directory(dir_.path() + "/step-00000010.tmp");  // interrupted
  ASSERT_TRUE(PruneCheckpoints(dir_.path(), 2).ok());
  EXPECT_THAT(*ListDirectory(dir_.path()), ::testing::ElementsAre("step-00000002", "step-00000003"));
  ASSERT_TRUE(PruneCheckpoints(dir_.path(), 0).ok());
  EXPECT_THAT(*ListDirectory(dir_.path()), ::testing::ElementsAre("step-00000003")) << "the newest is never removed";
  EXPECT_TRUE(ListCheckpoints(dir_.path() + "/nowhere")->empty());
}

TEST_F(Checkpoint, AFullDiskIsAnErrorAndTheOlderOneStays) {
  Save(1);
  // In a child: files may grow to 100 bytes only, as on a disk that is full.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100, 100};
    setrlimit(RLIMIT_FSIZE, &limit);
    State state(2);
    _exit(SaveCheckpoint(dir_.path(), At(2), state.refs()).ok() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the save must fail";
  const auto list = ListCheckpoints(dir_.path());
  ASSERT_EQ(list->size(), 1u);
  State loaded(9);
  EXPECT_TRUE(Load((*list)[0].path, &loaded).ok());
  EXPECT_EQ(Save(2), dir_.path() + "/step-00000002") << "once there is room again, it works";
}

// A save that is cut off after any of its file operations: what a crash leaves is built from a whole checkpoint, piece by piece.
TEST_F(Checkpoint, ACrashAtAnyPointLeavesTheOlderOne) {
  Save(1);
  const std::string whole = Save(2);
  const std::string temporary = whole + ".tmp";
  const auto expect_only_first = [&](const std::string& where) {
    const auto list = ListCheckpoints(dir_.path());
    ASSERT_EQ(list->size(), 1u) << where;
    EXPECT_EQ((*list)[0].step, 1u) << where;
  };
  ASSERT_TRUE(RemoveTree(whole + "/COMMITTED").ok());
  expect_only_first("renamed, not yet marked");
  std::filesystem::rename(whole, temporary);
  expect_only_first("not yet renamed");
  for (const char* name : {"/trainer.json", "/index.json", "/rank-0.safetensors"}) {
    ASSERT_TRUE(RemoveTree(temporary + name).ok());
    expect_only_first(name);
  }
  EXPECT_EQ(Save(2), whole) << "the next try starts over";
  State loaded(9);
  EXPECT_TRUE(Load(whole, &loaded).ok());
  EXPECT_EQ(loaded, State(2));
}

TEST_F(Checkpoint, SavingACompleteStepAgainChangesNothing) {
  const std::string path = Save(1), before = *ReadFile(path + "/rank-0.safetensors");
  State other(5);
  ASSERT_TRUE(SaveCheckpoint(dir_.path(), At(1), other.refs()).ok());
  EXPECT_EQ(*ReadFile(path + "/rank-0.safetensors"), before);
}

}  // namespace
}  // namespace polymoe
