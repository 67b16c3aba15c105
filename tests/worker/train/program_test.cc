// polymoe-train as users and the daemon run it: flags, exit codes, what people read, what the daemon reads, and the end on request.
#include "tests/fakes/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"

#include "common/file.h"
#include "common/process.h"
#include "common/spec/job_file.h"
#include "common/spec/memory_plan.h"
#include "common/trainer_exit.h"
#include "tests/worker/train/tiny_training.h"

namespace polymoe {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

struct Piped {
  int exit_code = 0;
  std::string bytes;
};

class TrainProgram : public TinyTraining {
 protected:
  // A job file of so many steps.
  std::string Spec(uint64_t steps, const std::string& more = "") const {
    std::string path = dir_.path() + "/job.yaml";
    const std::string text = absl::StrCat(
        "apiVersion: polymoe/v1\nkind: Job\nmetadata: {name: tiny}\nspec:\n",
        "  model: {layers: 1, hidden: 32, heads: 2, ffn: 24, experts: 4, topK: 2, vocab: 32, activation: {kind: polyrelu}}\n",
        "  data: {train: ", dir_.path(), "/train, sequenceLength: 16}\n", "  train: {tokens: ", steps * kStepTokens,
        ", globalBatch: 8, microBatch: 8}\n", more);
    POLYMOE_CHECK(WriteFileDurably(path, text).ok());
    return path;
  }
  Output Run(const std::vector<std::string>& flags) const {
    std::vector<std::string> argv = {BuiltProgram("polymoe-train"), "--threads", "1", "--checkpoint-dir", checkpoints()};
    argv.insert(argv.end(), flags.begin(), flags.end());
    return RunProgram(argv);
  }
  // For RunWithPipe on stderr: `act`, with the trainer's process id, when it has told of a step.
  static std::function<void(pid_t, const std::string&)> OnceItTrains(std::function<void(pid_t)> act) {
    return [act = std::move(act), acted = false](pid_t pid, const std::string& text) mutable {
      if (acted || !absl::StrContains(text, "tokens/s")) return;
      acted = true;
      act(pid);
    };
  }
  // Starts it with a pipe as `descriptor`, and reads that to its end. `seen` gets all that has been read, after each read.
  Piped RunWithPipe(
      std::vector<std::string> flags, int descriptor,
      const std::function<void(pid_t, const std::string&)>& seen = [](pid_t, const std::string&) {}) const {
    int ends[2];
    POLYMOE_CHECK(pipe(ends) == 0, "pipe");
    flags.insert(flags.begin(), {BuiltProgram("polymoe-train"), "--threads", "1", "--checkpoint-dir", checkpoints()});
    const auto pid = StartProcess({.argv = flags, .descriptors = {{ends[1], descriptor}}});
    close(ends[1]);
    POLYMOE_CHECK(pid.ok(), "%s", pid.status().ToString().c_str());
    Piped result;
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) {
      result.bytes.append(buffer, n);
      seen(*pid, result.bytes);
    }
    close(ends[0]);
    result.exit_code = Reap(*pid).exit_code;
    return result;
  }
};

TEST_F(TrainProgram, HelpSaysHowAndWhatItsExitCodesMean) {
  const Output out = Run({"--help"});
  EXPECT_EQ(out.exit_code, 0);
  EXPECT_EQ(out.err, "");
  for (const char* part : {"Examples:", "polymoe-train --spec job.yaml", "--resume auto|none|PATH", "--threads N", "SIGTERM",
                           "Exit codes: 0 done, 1 failed, 2 bad job file or flags, 3 stopped on request"})
    EXPECT_THAT(out.out, HasSubstr(part));
}

TEST_F(TrainProgram, BadFlagsExitWithTwoAndOneSentence) {
  const std::string spec = Spec(1);
  const struct {
    std::vector<std::string> flags;
    std::string says;
  } cases[] = {
      {{}, "--spec is required"},
      {{"--spec", spec, "--thread", "3"}, "--thread"},
      {{"--spec", spec, "--threads", "0"}, "--threads"},
      {{"--spec", spec, "--resume", "latest"}, "--resume latest is no checkpoint"},
      {{"--spec", spec, "--world-size", "2"}, "spec.train.microBatch: 8 does not divide the 4 sequences that a rank gets"},
      {{"--spec", spec, "--world-size", "0"}, "--world-size"},
      {{"--spec", spec, "--rank", "1"}, "--rank 1 is not one of 1; ranks count from 0"},
      {{"--spec", spec, "--events-fd", "77"}, "--events-fd 77 is not open"},
      {{"--spec", dir_.path() + "/nowhere.yaml"}, "nowhere.yaml"},
  };
  for (const auto& [flags, says] : cases) {
    const Output out = Run(flags);
    EXPECT_EQ(out.exit_code, 2) << says;
    EXPECT_THAT(out.err, HasSubstr(says));
    EXPECT_EQ(out.out, "");
  }
}

// Ranks that are processes, and meet in a folder.
class RankPrograms : public TrainProgram {
 protected:
  // A job of 8 sequences a step for two ranks that share the experts; who waits does so for `stall` seconds.
  std::string SpecForTwo(uint64_t steps, int stall = 60) const {
    const std::string spec =
        Spec(steps, absl::StrCat("  resources: {ranks: 2, expertParallel: 2}\n  restart: {stallSeconds: ", stall, "}\n"));
    POLYMOE_CHECK(WriteFileDurably(spec, absl::StrReplaceAll(*ReadFile(spec), {{"microBatch: 8", "microBatch: 4"}})).ok());
    return spec;
  }
  std::vector<std::string> Flags(const std::string& spec, int rank) const {
    return {"--spec",   spec,  "--rank", absl::StrCat(rank), "--world-size", "2", "--rendezvous-dir", dir_.path() + "/meet",
            "--resume", "none"};
  }
  // Started, and left to itself.
  pid_t Start(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {BuiltProgram("polymoe-train"), "--threads", "1", "--checkpoint-dir", checkpoints()});
    return StartProcess({.argv = flags}).value();
  }
};

TEST_F(RankPrograms, TrainTogether) {
  const std::string spec = SpecForTwo(30), points = dir_.path() + "/points.json";
  std::vector<std::string> flags = Flags(spec, 0);
  flags.insert(flags.end(), {"--metrics-file", points});
  Output other;
  std::thread together([&] { other = Run(Flags(spec, 1)); });
  const Output out = Run(flags);
  together.join();
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_EQ(other.exit_code, 0);
  EXPECT_EQ(other.err, "tiny: rank 1 of 2, 9.51k parameters here, experts 2 to 3 of each layer; rank 0 says how it goes\n");
  EXPECT_THAT(out.err, HasSubstr("tiny: done, 30 steps, 3.84k tokens in "));
  EXPECT_TRUE(PathExists(checkpoints() + "/step-00000030/attempt-1/rank-1.safetensors"));
  EXPECT_THAT(*ReadFile(points), ContainsRegex("\n\\{[^\n]*\"loss\":3\\.[0-9]+,[^\n]*\"step\":2,\"step_seconds\":"));
}

TEST_F(RankPrograms, TheJobOfSeveralRunsAloneToo) {
  const Output out = Run({"--spec", SpecForTwo(3), "--world-size", "1"});
  EXPECT_EQ(out.exit_code, 2) << "the experts are shared by two";
  EXPECT_THAT(out.err, HasSubstr("spec.resources.expertParallel: 1 ranks cannot form whole groups of 2"));
}

TEST_F(RankPrograms, ARankThatDoesNotComeIsNamed) {
  const Output out = Run(Flags(SpecForTwo(3, /*stall=*/1), 0));
  EXPECT_EQ(out.exit_code, kTrainerPeerLate);
  EXPECT_THAT(out.err, HasSubstr("not all ranks have come to the meeting: nobody has put rank-1 into"));
}

TEST_F(RankPrograms, ARankThatIsKilledEndsTheOthersAndIsNamed) {
  const std::string spec = SpecForTwo(100'000'000);
  const pid_t other = Start(Flags(spec, 1));
  const auto [exit_code, err] = RunWithPipe(Flags(spec, 0), STDERR_FILENO, OnceItTrains([&](pid_t) { kill(other, SIGKILL); }));
  EXPECT_EQ(exit_code, kTrainerPeerLost) << err;
  EXPECT_THAT(err, HasSubstr("rank 1"));
  EXPECT_EQ(Reap(other).signal, SIGKILL);
}

TEST_F(RankPrograms, ARankThatHangsIsNamedWhenTheDeadlineHasPassed) {
  const std::string spec = SpecForTwo(100'000'000, /*stall=*/1);
  const pid_t other = Start(Flags(spec, 1));
  const auto [exit_code, err] = RunWithPipe(Flags(spec, 0), STDERR_FILENO, OnceItTrains([&](pid_t) { kill(other, SIGSTOP); }));
  EXPECT_EQ(exit_code, kTrainerPeerLate) << err;
  EXPECT_THAT(err, HasSubstr("rank 1"));
  kill(other, SIGKILL);
  Reap(other);
}

TEST_F(RankPrograms, AreAskedToStopByOneOfThem) {
  const std::string spec = SpecForTwo(100'000'000);
  const pid_t other = Start(Flags(spec, 1));
  const auto [exit_code, err] = RunWithPipe(Flags(spec, 0), STDERR_FILENO, OnceItTrains([&](pid_t) { kill(other, SIGTERM); }));
  EXPECT_EQ(exit_code, kTrainerStopped) << err;
  EXPECT_EQ(Reap(other).exit_code, kTrainerStopped);
  EXPECT_EQ(ListCheckpoints(**OpenStorage(checkpoints()))->size(), 1u);
}

TEST_F(TrainProgram, AJobFileIsAllItNeeds) {
  const Output out = Run({"--spec", Spec(30)});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_EQ(out.out, "");
  EXPECT_THAT(out.err, HasSubstr("4 experts top-2, 1 layers, 3.84k tokens to train on\n"));
  EXPECT_THAT(out.err, ContainsRegex("\nstep 1  tokens 128 / 3.84k \\(3%\\)  loss 3\\.[0-9]+  grad norm [0-9.]+  "
                                     "[0-9.]+[kM]? tokens/s  ETA [0-9.]+ ?[a-z]+"));
  EXPECT_THAT(out.err, HasSubstr("\nstep 30  tokens 3.84k / 3.84k (100%)  loss "));
  EXPECT_THAT(out.err, HasSubstr("tiny: done, 30 steps, 3.84k tokens in "));
  EXPECT_TRUE(PathExists(checkpoints() + "/step-00000030/COMMITTED"));
  const Output again = Run({"--spec", Spec(30)});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.err, HasSubstr("resumed at step 30"));
}

// The plan that `polyctl params` shows, against the kernel's count, for a model that is large beside the program itself.
TEST_F(TrainProgram, PeakMemoryIsAsPlanned) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitiser takes memory of its own";
#endif
  const std::string path = Spec(1);
  const std::string text = absl::StrReplaceAll(
      ReadFile(path).value(),
      {{"layers: 1, hidden: 32", "layers: 4, hidden: 384"}, {"ffn: 24", "ffn: 768"}, {"vocab: 32", "vocab: 8192"}});
  ASSERT_TRUE(WriteFileDurably(path, text).ok());
  const Output out = Run({"--spec", path});
  ASSERT_EQ(out.exit_code, 0) << out.err;
  rusage usage{};
  ASSERT_EQ(getrusage(RUSAGE_CHILDREN, &usage), 0);  // of the largest child so far: this one
  const auto planned = static_cast<double>(PlanMemory(ParseJobFile(text, path)->spec(), 1).total);
  EXPECT_NEAR(static_cast<double>(usage.ru_maxrss) * 1024, planned, 0.1 * planned);
}

TEST_F(TrainProgram, ProfileSaysWhereTheTimeWent) {
  const std::string trace = dir_.path() + "/trace.json";
  const Output out = Run({"--spec", Spec(4), "--profile", trace});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, ContainsRegex("roof: [0-9.]+ GFLOP/s in products, [0-9.]+ GB/s of memory"));
  EXPECT_THAT(out.out, ContainsRegex("\nlinear 256x24x32 +1 "));  // up projection: 8 x 16 tokens to two experts each
  EXPECT_THAT(out.out, ContainsRegex("\nsum_squares "));          // of the optimiser's table too
  EXPECT_THAT(out.out, HasSubstr(" tokens/s over 3 steps\n"));    // not the first
  EXPECT_THAT(ReadFile(trace).value(), HasSubstr(R"({"name":"attention_forward","cat":"op","ph":"X")"));
}

// A handler would run on the stack of a computing thread, whatever that does (inside oneDNN's generated code the heap broke one time in
// ten). SigCgt of proc(5) is the mask of signals that have a handler.
TEST_F(TrainProgram, NoStopSignalHasAHandler) {
  std::string status;
  RunWithPipe({"--spec", Spec(100'000'000)}, STDERR_FILENO, OnceItTrains([&](pid_t pid) {
                status = ReadFile(absl::StrCat("/proc/", pid, "/status")).value();
                kill(pid, SIGTERM);
              }));
  const size_t caught = status.find("\nSigCgt:\t");
  ASSERT_NE(caught, std::string::npos) << status;
  const uint64_t mask = std::stoull(status.substr(caught + 9), nullptr, 16);
  for (const int signal : {SIGTERM, SIGINT}) EXPECT_EQ(mask >> (signal - 1) & 1, 0u) << signal;
}

TEST_F(TrainProgram, SigtermSavesTheStepAndExitsWithThree) {
  const std::string spec = Spec(100'000'000, "  checkpoint: {everyTokens: 1000000000}\n");
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto [exit_code, err] = RunWithPipe({"--spec", spec}, STDERR_FILENO, OnceItTrains([&](pid_t pid) { kill(pid, signal); }));
    EXPECT_EQ(exit_code, 3) << err;
    EXPECT_THAT(err, ContainsRegex("tiny: stopped on request after step [0-9]+, which is saved; --resume auto goes on"));
    EXPECT_EQ(absl::StrContains(err, "resumed at step "), signal == SIGINT) << "the second goes on where the first stopped";
  }
  EXPECT_EQ(ListCheckpoints(**OpenStorage(checkpoints()))->size(), 2u);
}

TEST_F(TrainProgram, TheDaemonReadsEventsFromAPipe) {
  const auto [exit_code, bytes] = RunWithPipe({"--spec", Spec(12), "--job", "tiny-1", "--attempt", "1", "--rank", "0",
                                               "--world-size", "1", "--server", "127.0.0.1:1", "--events-fd", "5"},
                                              5);
  EXPECT_EQ(exit_code, 0);
  const std::vector<v1::TrainerEvent> events = ParseEvents(bytes);
  ASSERT_FALSE(events.empty());
  EXPECT_TRUE(events.front().has_started());
  EXPECT_EQ(events.back().checkpoint().step(), 12u);
  EXPECT_EQ(events.back().checkpoint().path(), checkpoints() + "/step-00000012");
  uint64_t step = 0, steps = 0;
  for (const v1::TrainerEvent& event : events) {
    if (!event.has_points()) continue;
    EXPECT_GE(event.points().step(), step);
    EXPECT_EQ(event.points().tokens(), event.points().step() * kStepTokens);
    step = event.points().step();
    steps += event.points().values().contains("loss");
  }
  EXPECT_EQ(steps, 12u);
}

TEST_F(TrainProgram, AnErrorIsTheLastEvent) {
  const auto [exit_code, bytes] = RunWithPipe({"--spec", Spec(1, "  cheese: 1\n"), "--events-fd", "5"}, 5);
  EXPECT_EQ(exit_code, 2);
  const std::vector<v1::TrainerEvent> events = ParseEvents(bytes);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_THAT(events[0].error(), HasSubstr("spec.cheese: unknown field"));
}

}  // namespace
}  // namespace polymoe
