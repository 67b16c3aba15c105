// Completion: what fits at the cursor, from the parser and from the coordinator; and the scripts in the shells that are here.
#include "polyctl/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/file.h"
#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/fake_server.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

class CompletionTest : public ::testing::Test {
 protected:
  CompletionTest() {
    server_.jobs.list = [](auto&, v1::ListJobsResponse* response) {
      for (const char* id : {"moe-relu-1", "moe-swiglu-2", "dense-3"}) response->add_jobs()->set_id(id);
      return grpc::Status::OK;
    };
    server_.ablations.list = [](auto&, v1::ListAblationsResponse* response) {
      response->add_ablations()->set_id("activations-4");
      return grpc::Status::OK;
    };
    server_.workers.workers.add_workers()->set_name("node-1");
    console_.console.environment["POLYMOE_SERVER"] = server_.address();
    console_.console.environment["XDG_CONFIG_HOME"] = dir_.path();
  }
  // `words` as the shell would give them, the last one at the cursor.
  std::vector<std::string> At(const std::vector<std::string>& words) {
    std::vector<std::string> args = words;
    args.insert(args.begin(), kCompleteCommand);
    EXPECT_EQ(console_.Run(args), 0);
    return absl::StrSplit(console_.out.str(), '\n', absl::SkipEmpty());
  }

  TempDir dir_;
  FakeServer server_;
  TestConsole console_;
};

TEST_F(CompletionTest, Commands) {
  EXPECT_THAT(At({""}), IsSupersetOf({"submit", "ls", "watch", "help"}));
  EXPECT_THAT(At({"wa"}), ElementsAre("watch", "wait"));
  EXPECT_THAT(At({"local", ""}), ElementsAre("up", "status", "down"));
  EXPECT_THAT(At({"zzz"}), IsEmpty());
  EXPECT_THAT(At({}), Contains("submit"));
}

TEST_F(CompletionTest, OptionsAndTheirValues) {
  EXPECT_THAT(At({"logs", "--f"}), ElementsAre("--follow"));
  EXPECT_THAT(At({"ls", "-"}), IsSupersetOf({"--label", "--output", "--server"}));
  EXPECT_THAT(At({"ls", "-o", ""}), ElementsAre("table", "wide", "json", "yaml", "name"));
  EXPECT_THAT(At({"ls", "--state", "s"}), ElementsAre("starting", "succeeded"));
  EXPECT_THAT(At({"completion", ""}), ElementsAre("bash", "zsh", "fish"));
  EXPECT_THAT(At({"help", "ex"}), ElementsAre("export", "explain", "exit-codes"));
}

TEST_F(CompletionTest, LiveJobsAndWorkers) {
  EXPECT_THAT(At({"get", "moe"}), ElementsAre("moe-relu-1", "moe-swiglu-2"));
  EXPECT_THAT(At({"wait", "moe-relu-1", "--timeout", "5m", "d"}), ElementsAre("dense-3")) << "a command of many jobs";
  EXPECT_THAT(At({"get", "moe-relu-1", ""}), IsEmpty()) << "a command of one job";
  EXPECT_THAT(At({"workers", "drain", ""}), ElementsAre("node-1"));
  EXPECT_THAT(At({"ablation", "watch", ""}), ElementsAre("activations-4"));
  EXPECT_THAT(At({"compare", ""}), ElementsAre("activations-4", "moe-relu-1", "moe-swiglu-2", "dense-3"));
  console_.console.environment["POLYMOE_SERVER"] = "127.0.0.1:1";
  EXPECT_THAT(At({"get", ""}), IsEmpty()) << "no coordinator is no error";
  EXPECT_EQ(console_.err.str(), "");
  EXPECT_THAT(At({"--server", server_.address(), "get", "d"}), ElementsAre("dense-3"));
}

TEST_F(CompletionTest, FilesAreLeftToTheShell) {
  EXPECT_THAT(At({"submit", ""}), IsEmpty());
  EXPECT_THAT(At({"dataset", "build", "--out", ""}), IsEmpty());
}

TEST_F(CompletionTest, ContextsFromTheConfiguration) {
  EXPECT_EQ(console_.Run({"config", "use", "lab", "--address", "127.0.0.1:5"}), 0);
  EXPECT_THAT(At({"config", "use", ""}), ElementsAre("lab"));
  EXPECT_THAT(At({"--context", "l"}), ElementsAre("lab"));
}

// Where a shell is, or "".
std::string Shell(const std::string& name) {
  for (const std::string folder : {"/usr/bin/", "/bin/"}) {
    if (std::filesystem::exists(folder + name)) return folder + name;
  }
  return "";
}

class ScriptTest : public CompletionTest {
 protected:
  std::string Script(const std::string& shell) {
    const Output script = RunProgram({BuiltProgram("polyctl"), "completion", shell});
    EXPECT_EQ(script.exit_code, 0);
    std::string path = absl::StrCat(dir_.path(), "/completion.", shell);
    EXPECT_TRUE(WriteFileDurably(path, script.out).ok());
    return path;
  }
};

TEST_F(ScriptTest, Bash) {
  const std::string bash = Shell("bash");
  if (bash.empty()) GTEST_SKIP() << "no bash here";
  const std::string script = Script("bash");
  EXPECT_EQ(RunProgram({bash, "-n", script}).exit_code, 0);
  // As bash calls it for "PATH/polyctl get moe-s<TAB>"; the program is not on the PATH.
  const Output completed = RunProgram({bash, "-c",
                                       absl::StrCat(". ", script, "; COMP_WORDS=(", BuiltProgram("polyctl"),
                                                    " get moe-s); COMP_CWORD=2; _polyctl; printf '%s\\n' \"${COMPREPLY[@]}\"")},
                                      {{"POLYMOE_SERVER", server_.address()}, {"PATH", "/usr/bin:/bin"}});
  EXPECT_EQ(completed.out, "moe-swiglu-2\n") << completed.err;
  // A word at the cursor that is still empty.
  const Output empty = RunProgram({bash, "-c",
                                   absl::StrCat(". ", script, "; COMP_WORDS=(", BuiltProgram("polyctl"),
                                                " local ''); COMP_CWORD=2; _polyctl; printf '%s\\n' \"${COMPREPLY[@]}\"")});
  EXPECT_EQ(empty.out, "up\nstatus\ndown\n") << empty.err;
}

TEST_F(ScriptTest, ZshAndFishParse) {
  for (const std::string name : {"zsh", "fish"}) {
    const std::string script = Script(name);
    if (const std::string shell = Shell(name); !shell.empty()) {
      const Output parsed = RunProgram({shell, "-n", script});
      EXPECT_EQ(parsed.exit_code, 0) << name << ": " << parsed.err;
    }
  }
}

}  // namespace
}  // namespace polymoe::polyctl
