// Bad input: one clear error, the documented exit code, nothing lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "common/file.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/training_job.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

TEST(BadInput, NoServer) {
  const TempDir dir;
  const Output out = RunProgram({BuiltProgram("polyctl"), "--server", "127.0.0.1:1", "ls"}, {{"HOME", dir.path()}});
  EXPECT_EQ(out.exit_code, 6);
  EXPECT_EQ(out.out, "");
  EXPECT_THAT(out.err, HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(out.err, HasSubstr("polyctl local up"));
}

TEST(BadInput, AJobFileWithATypo) {
  const TempDir dir;
  const std::string job = WriteJob(dir.path());
  ASSERT_TRUE(WriteFileDurably(job, absl::StrReplaceAll(*ReadFile(job), {{"topK", "topk"}})).ok());
  const Output out = RunProgram({BuiltProgram("polyctl"), "validate", "--offline", job});
  EXPECT_EQ(out.exit_code, 2);
  EXPECT_EQ(out.err, absl::StrCat("polyctl: ", job, ":5:65: spec.model.topk: unknown field; did you mean topK?\n"));
}

TEST(BadInput, APortInUseAndAStoreInUse) {
  Cluster cluster;
  cluster.StartServer();
  const Output store = RunProgram({BuiltProgram("polymoe-server"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--store",
                                   absl::StrCat("sqlite:", cluster.dir(), "/polymoe.db")});
  EXPECT_EQ(store.exit_code, 1);
  EXPECT_THAT(store.err, HasSubstr("is in use by another polymoe-server"));
  const Output port = RunProgram({BuiltProgram("polymoe-server"), "--listen", cluster.server_address(), "--metrics", "127.0.0.1:0",
                                  "--store", absl::StrCat("sqlite:", cluster.dir(), "/other.db")});
  EXPECT_EQ(port.exit_code, 1);
  EXPECT_THAT(port.err, HasSubstr(absl::StrCat("cannot listen on ", cluster.server_address())));
}

TEST(BadInput, AStoreThatIsNone) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileDurably(dir.path() + "/p.db", std::string(10000, 'x')).ok());
  const Output out = RunProgram({BuiltProgram("polymoe-server"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--store",
                                 absl::StrCat("sqlite:", dir.path(), "/p.db")});
  EXPECT_EQ(out.exit_code, 1);
  EXPECT_THAT(out.err, HasSubstr("store: cannot open"));
}

// What the trainer says, and that it says so with exit code 2: the coordinator does not try again.
class TrainerInput : public ::testing::Test {
 protected:
  TrainerInput() : job_(WriteJob(dir_.path())) {}
  void Edit(const std::string& from, const std::string& to) {
    const std::string text = *ReadFile(job_), edited = absl::StrReplaceAll(text, {{from, to}});
    ASSERT_NE(text, edited) << from;
    ASSERT_TRUE(WriteFileDurably(job_, edited).ok());
  }
  Output Train(const std::string& resume = "auto") {
    return RunProgram({BuiltProgram("polymoe-train"), "--spec", job_, "--checkpoint-dir", dir_.path() + "/ck", "--threads", "1",
                       "--resume", resume});
  }
  TempDir dir_;
  std::string job_;
};

TEST_F(TrainerInput, VocabularySmallerThanTheData) {
  Edit("vocab: 257", "vocab: 200");
  const Output out = Train();
  EXPECT_EQ(out.exit_code, 2);
  EXPECT_THAT(out.err, HasSubstr("spec.model.vocab is 200, but the data in"));
  EXPECT_THAT(out.err, HasSubstr("set it to at least 257"));
}

TEST_F(TrainerInput, DataThatIsNotThere) {
  Edit("train: " + dir_.path() + "/data", "train: /no/data");
  const Output out = Train();
  EXPECT_EQ(out.exit_code, 1);
  EXPECT_THAT(out.err, HasSubstr("spec.data.train: /no/data is no dataset"));
}

TEST_F(TrainerInput, ATruncatedShard) {
  const std::string shard = dir_.path() + "/data/train-00000.tok";
  ASSERT_TRUE(WriteFileDurably(shard, ReadFile(shard)->substr(0, 1000)).ok());
  const Output out = Train();
  EXPECT_EQ(out.exit_code, 1);
  EXPECT_THAT(out.err, HasSubstr("train-00000.tok: has 1000 bytes where its header promises"));
}

TEST_F(TrainerInput, CheckpointsOfAnotherShapeAndBrokenOnes) {
  Edit("tokens: 102400", "tokens: 20480");  // 80 steps, checkpoints at 40 and 80
  ASSERT_EQ(Train().exit_code, 0);
  Edit("hidden: 64", "hidden: 32");
  const Output other = Train();
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("is of another model: it has moe layers=2 hidden=64"));
  Edit("hidden: 32", "hidden: 64");
  Edit("tokens: 20480", "tokens: 25600");
  const std::string newest = dir_.path() + "/ck/step-00000080/rank-0.safetensors";
  ASSERT_TRUE(WriteFileDurably(newest, ReadFile(newest)->substr(0, 5000)).ok());
  const Output fallen_back = Train();
  EXPECT_EQ(fallen_back.exit_code, 0) << fallen_back.err;
  EXPECT_THAT(fallen_back.err, HasSubstr("checkpoint not usable, trying another one"));
  EXPECT_THAT(fallen_back.err, HasSubstr("resumed at step 40"));
  EXPECT_THAT(Train("/no/such/step-00000001").err, HasSubstr("there is no complete checkpoint at"));
}

TEST_F(TrainerInput, AFullDiskAtACheckpoint) {
  // Every file that the trainer writes may grow to 20 KB, as on a disk that is full.
  const Output out = RunProgram({"/bin/bash", "-c",
                                 absl::StrCat("ulimit -f 20; trap '' XFSZ; exec ", BuiltProgram("polymoe-train"),
                                              " --threads 1 --spec ", job_, " --checkpoint-dir ", dir_.path(), "/ck")});
  EXPECT_EQ(out.exit_code, 1);
  EXPECT_THAT(out.err, HasSubstr("checkpoint of step 40: cannot write"));
}

TEST_F(TrainerInput, AJobThatCannotWorkIsNotRetried) {
  Cluster cluster;
  cluster.StartServer();
  cluster.StartWorker("w1");
  const Output submitted = cluster.Polyctl({"submit", job_, "--set", "spec.model.vocab=100", "--wait"});
  EXPECT_EQ(submitted.exit_code, 8) << submitted.err;
  const std::string job(absl::StripAsciiWhitespace(submitted.out));
  EXPECT_EQ(cluster.JobField(job, "/state"), "JOB_STATE_FAILED");
  EXPECT_EQ(cluster.JobField(job, "/attempts/1"), "");
  EXPECT_THAT(cluster.JobField(job, "/message"), HasSubstr("spec.model.vocab is 100"));
}

}  // namespace
}  // namespace polymoe
