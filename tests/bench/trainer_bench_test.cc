// trainer_bench and vs_pytorch.sh as scripts use them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "nlohmann/json.hpp"

#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

nlohmann::json RunTiny(std::vector<std::string> more) {
  std::vector<std::string> argv = {BuiltProgram("trainer_bench"), "--shape", "tiny", "--json"};
  argv.insert(argv.end(), more.begin(), more.end());
  const Output out = RunProgram(argv);
  EXPECT_EQ(out.exit_code, 0) << out.err;
  return nlohmann::json::parse(out.out);
}

TEST(TrainerBench, JsonHasSaneValues) {
  const nlohmann::json line = RunTiny({"--steps", "4", "--threads", "1"});
  EXPECT_EQ(line["engine"], "polymoe");
  EXPECT_EQ(line["shape"], "tiny");
  EXPECT_EQ(line["activation"], "polynorm");
  EXPECT_EQ(line["precision"], "fp32");
  EXPECT_EQ(line["threads"], 1);

  auto seconds = line["step_seconds"].get<std::vector<double>>();
  ASSERT_EQ(seconds.size(), 4u);
  std::sort(seconds.begin(), seconds.end());
  EXPECT_GT(seconds[0], 0);
  const double median = line["median_seconds"];
  EXPECT_DOUBLE_EQ(median, (seconds[1] + seconds[2]) / 2);
  const double rate = line["tokens_per_second"];
  EXPECT_NEAR(rate * median, 2 * 32, 1e-6);  // the tokens of a step
  // 6 FLOPs a token for each active parameter but the embedding's, and the attention's; by hand for d 32, 2 layers, 4 experts, top-2 of
  // width 24, vocabulary 128, sequences of 32.
  const double layer = 4 * 32 * 32 + 4 * 32 + 4 * 32 + 2 * 2 * 32 * 24 + 4;
  EXPECT_NEAR(line["gflops"].get<double>() * 1e9 / rate, 6 * (2 * layer + 32 + 128 * 32) + 6 * 2 * 32 * 32, 1e-3);
  EXPECT_GT(line["peak_rss_bytes"], 1 << 20);

  // An untrained model knows nothing; five updates on one batch teach it something.
  const double first = line["first_loss"], last = line["last_loss"];
  EXPECT_NEAR(first, std::log(128), 0.1);
  EXPECT_LT(last, first - 0.05);
}

TEST(TrainerBench, FlagsReachTheModel) {
  const nlohmann::json plain = RunTiny({"--steps", "1"});
  const nlohmann::json relu = RunTiny({"--steps", "1", "--activation", "relu"});
  EXPECT_EQ(relu["activation"], "relu");
  EXPECT_NE(relu["first_loss"], plain["first_loss"]);
}

TEST(TrainerBench, RecomputeChangesNoBit) {
  EXPECT_EQ(RunTiny({"--steps", "1", "--recompute"})["last_loss"], RunTiny({"--steps", "1"})["last_loss"]);
}

TEST(TrainerBench, TableForPeople) {
  const Output out = RunProgram({BuiltProgram("trainer_bench"), "--shape", "tiny", "--steps", "1"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, StartsWith("SHAPE "));
  EXPECT_THAT(out.out, HasSubstr("\ntiny "));
}

TEST(TrainerBench, ProfileInsteadOfATable) {
  const TempDir dir;
  const Output out =
      RunProgram({BuiltProgram("trainer_bench"), "--shape", "tiny", "--steps", "2", "--profile", dir.path() + "/t.json"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, HasSubstr(" tokens/s over 2 steps\n"));
  EXPECT_THAT(out.out, HasSubstr("\nadamw "));
}

TEST(KernelsBench, VerifiesAndTimesEveryOperation) {
  for (const char* precision : {"fp32", "bf16"}) {
    const Output out = RunProgram(
        {BuiltProgram("kernels_bench"), "--shape", "tiny", "--precision", precision, "--repeats", "1", "--threads", "1"});
    if (out.exit_code == 2) GTEST_SKIP() << out.err;  // no AVX512_BF16
    EXPECT_EQ(out.exit_code, 0) << out.err;
    for (const char* operation :
         {"qkv weight gradient", "attention backward", "polynorm backward", "adamw", "head input gradient"}) {
      EXPECT_THAT(out.out, HasSubstr(std::string("\n") + operation + " "));
    }
  }
}

TEST(GroupBench, VerifiesAndTimesTheCollectives) {
  for (const char* ranks : {"2", "3"}) {
    const Output out =
        RunProgram({BuiltProgram("group_bench"), "--ranks", ranks, "--least", "4096", "--most", "65536", "--repeats", "2"});
    EXPECT_EQ(out.exit_code, 0) << out.err;
    EXPECT_THAT(out.out, StartsWith(std::string(ranks) + " processes, 2 repeats; memcpy "));
    for (const char* operation : {"barrier", "all-reduce of 8 bytes", "TCP", "all-to-all", "reduce-scatter, all-gather"}) {
      EXPECT_THAT(out.out, HasSubstr(std::string("\n") + operation + " "));
    }
  }
}

TEST(TrainerBench, SaysWhatIsWrongWithFlags) {
  const Output shape = RunProgram({BuiltProgram("trainer_bench"), "--shape", "huge"});
  EXPECT_EQ(shape.exit_code, 2);
  EXPECT_THAT(shape.err, HasSubstr("huge"));
  const Output activation = RunProgram({BuiltProgram("trainer_bench"), "--activation", "rellu"});
  EXPECT_EQ(activation.exit_code, 2);
  EXPECT_THAT(activation.err, HasSubstr("expected one of relu, "));
  EXPECT_EQ(activation.out, "");
}

TEST(VsPytorch, WithoutANetworkItSaysThatItCannotInstallPytorch) {
  const TempDir dir;
  const Output out = RunProgram({std::string(POLYMOE_SOURCE_DIR) + "/bench/vs_pytorch.sh", "--venv", dir.path() + "/venv", "--bin",
                                 BuiltProgram("trainer_bench")},
                                {{"PIP_NO_INDEX", "1"}, {"PIP_FIND_LINKS", ""}, {"PIP_CONFIG_FILE", "/dev/null"}});
  EXPECT_EQ(out.exit_code, 1);
  if (absl::StrContains(out.err, "apt-get install python3-venv")) GTEST_SKIP() << "this machine has no python3-venv";
  EXPECT_THAT(out.err, HasSubstr("cannot install torch==2.13.0"));
  EXPECT_THAT(out.err, HasSubstr("network"));
}

TEST(VsPytorch, SaysWhichProgramToBuildAndWhichOptionIsUnknown) {
  const std::string script = std::string(POLYMOE_SOURCE_DIR) + "/bench/vs_pytorch.sh";
  const Output missing = RunProgram({script, "--bin", "/nowhere/trainer_bench"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere/trainer_bench"));
  EXPECT_THAT(missing.err, HasSubstr("cmake --build"));
  EXPECT_EQ(RunProgram({script, "--frobnicate"}).exit_code, 2);
  EXPECT_EQ(RunProgram({script, "--rounds"}).exit_code, 2);
}

}  // namespace
}  // namespace polymoe
