// The command line itself: help, unknown words, exit codes, and what goes to which stream.
#include "polyctl/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ios>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

#include "polyctl/help.h"
#include "polyctl/render/text.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;

constexpr char kTable[] =
    "    0  done; with wait, watch and submit --wait: every job succeeded\n"
    "    1  an error that no other number names\n"
    "    2  wrong command line, or a job file that is not valid\n"
    "    3  no such job, worker, context or file\n"
    "    4  not allowed: authentication or permissions\n"
    "    5  conflict: the request id belongs to another job file, or the state does not allow it\n"
    "    6  the coordinator did not answer; safe to try again\n"
    "    7  the time of --timeout was over before the jobs ended\n"
    "    8  a job failed\n"
    "    9  a job was cancelled, none failed\n"
    "  130  interrupted with Ctrl-C; jobs go on\n";

TEST(ExitCodes, AreWhatTheTableSays) {
  TestConsole console;
  EXPECT_EQ(console.Run({"help", "exit-codes"}), 0);
  EXPECT_EQ(console.out.str(), kTable);
  const auto code = [](absl::StatusCode status) { return static_cast<int>(ExitCodeOf(absl::Status(status, "x"))); };
  EXPECT_EQ(static_cast<int>(ExitCodeOf(absl::OkStatus())), 0);
  EXPECT_EQ(code(absl::StatusCode::kInternal), 1);
  EXPECT_EQ(code(absl::StatusCode::kResourceExhausted), 1) << "our own full disk; the coordinator's load is UNAVAILABLE";
  EXPECT_EQ(code(absl::StatusCode::kInvalidArgument), 2);
  EXPECT_EQ(code(absl::StatusCode::kNotFound), 3);
  EXPECT_EQ(code(absl::StatusCode::kPermissionDenied), 4);
  EXPECT_EQ(code(absl::StatusCode::kUnauthenticated), 4);
  EXPECT_EQ(code(absl::StatusCode::kAlreadyExists), 5);
  EXPECT_EQ(code(absl::StatusCode::kFailedPrecondition), 5);
  EXPECT_EQ(code(absl::StatusCode::kAborted), 5);
  EXPECT_EQ(code(absl::StatusCode::kUnavailable), 6);
  EXPECT_EQ(code(absl::StatusCode::kDeadlineExceeded), 6);
}

// Calls `visit` with every command and the words that call it.
void Walk(const CLI::App& app, std::vector<std::string> words,
          const std::function<void(const CLI::App&, const std::vector<std::string>&)>& visit) {
  visit(app, words);
  for (const std::string& name : CommandNames(app)) {
    words.push_back(name);
    Walk(*FindCommand(app, name), words, visit);
    words.pop_back();
  }
}

TEST(Help, EveryCommandHasItsExamplesAndFitsTheScreen) {
  TestConsole console;
  Cli cli{.console = console.console};
  const auto root = BuildParser(cli);
  int commands = 0;
  Walk(*root, {}, [&](const CLI::App& app, std::vector<std::string> words) {
    ++commands;
    words.push_back("--help");
    EXPECT_EQ(console.Run(words), 0);
    const std::string text = console.out.str();
    EXPECT_EQ(console.err.str(), "");
    EXPECT_THAT(text, HasSubstr(absl::StrCat("Usage: ", CommandLine(app))));
    if (CommandNames(app).empty()) {
      EXPECT_THAT(text, HasSubstr(absl::StrCat("\nExamples:\n  "))) << CommandLine(app);
      EXPECT_THAT(text, HasSubstr(absl::StrCat(CommandLine(app)))) << CommandLine(app);
    }
    const std::string reference = text.substr(0, text.find("\nExamples:"));
    for (const auto& line : absl::StrSplit(reference, '\n')) EXPECT_LE(DisplayWidth(line), 100) << line;
    EXPECT_EQ(reference.find("INT in"), std::string::npos) << "CLI11's own words: " << reference;
    EXPECT_EQ(reference.find('{'), std::string::npos) << reference;
    words.pop_back();
    words.insert(words.begin(), "help");
    EXPECT_EQ(console.Run(words), 0);
    EXPECT_EQ(console.out.str(), text) << "help COMMAND and COMMAND --help are the same";
  });
  EXPECT_GT(commands, 20);
}

TEST(Help, ListsEveryCommandOfTheTool) {
  TestConsole console;
  Cli cli{.console = console.console};
  EXPECT_THAT(CommandNames(*BuildParser(cli)),
              IsSupersetOf({"submit", "validate", "render", "ls", "get", "watch", "logs", "cancel", "wait", "compare", "workers",
                            "dataset", "params", "local", "version", "completion", "config"}));
}

TEST(Help, Version) {
  TestConsole console;
  EXPECT_EQ(console.Run({"version"}), 0);
  const std::string version = console.out.str();
  EXPECT_THAT(version, StartsWith("polyctl "));
  EXPECT_EQ(console.Run({"--version"}), 0);
  EXPECT_EQ(console.out.str(), version);
}

struct BadLine {
  std::vector<std::string> args;
  std::string what, help;
};

void PrintTo(const BadLine& line, std::ostream* os) {
  *os << absl::StrJoin(line.args, " ");
}

class BadLineTest : public ::testing::TestWithParam<BadLine> {};

TEST_P(BadLineTest, EndsWithTwoAndANextStep) {
  TestConsole console;
  EXPECT_EQ(console.Run(GetParam().args), 2);
  EXPECT_EQ(console.out.str(), "");
  EXPECT_EQ(console.err.str(), absl::StrCat("polyctl: ", GetParam().what, "\nSee `polyctl", GetParam().help, " --help`.\n"));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadLineTest,
    ::testing::Values(BadLine{{}, "a command is missing", ""}, BadLine{{"config"}, "a command is missing", " config"},
                      BadLine{{"lss"}, "unknown command 'lss'; did you mean ls?", ""},
                      BadLine{{"--server", "127.0.0.1:1", "lss"}, "unknown command 'lss'; did you mean ls?", ""},
                      BadLine{{"frobnicate"}, "unknown command 'frobnicate'", ""},
                      BadLine{{"local", "upp"}, "unknown command 'upp'; did you mean up?", " local"},
                      BadLine{{"ls", "--lable", "x"}, "unknown option '--lable'; did you mean --label?", " ls"},
                      BadLine{{"ls", "--lable=x"}, "unknown option '--lable'; did you mean --label?", " ls"},
                      BadLine{{"get", "a", "b"}, "unexpected argument 'b'", " get"},
                      BadLine{{"ls", "-o", "xml"}, "--output: 'xml' is not one of table, wide, json, yaml, name", " ls"},
                      BadLine{{"completion", "tcsh"}, "shell: 'tcsh' is not one of bash, zsh, fish", " completion"},
                      BadLine{{"compare", "--grid", "0"}, "--grid: '0' is not a whole number from 1 to 1000", " compare"},
                      BadLine{
                          {"local", "up", "--port", "70000"}, "--port: '70000' is not a whole number from 0 to 65535", " local up"},
                      BadLine{{"submit"}, "file is required", " submit"}));

TEST(CommandLine, ValuesThatACommandRefuses) {
  TestConsole console;
  for (const std::vector<std::string>& args : {std::vector<std::string>{"ls", "-l", "nolabel"},
                                               {"ls", "--state", "runing"},
                                               {"wait", "j", "--timeout", "soon"},
                                               {"ls", "--server", "nowhere"},
                                               {"help", "nothing"},
                                               {"config", "use", "x", "--address", "nowhere"}}) {
    EXPECT_EQ(console.Run(args), 2) << args[0] << " " << args[1];
    EXPECT_EQ(console.out.str(), "");
    EXPECT_THAT(console.err.str(), StartsWith("polyctl: "));
  }
}

TEST(CommandLine, OutputThatCannotBeWrittenIsAnError) {
  TestConsole console;
  console.out.setstate(std::ios::badbit);
  EXPECT_EQ(RunPolyctl({"help", "exit-codes"}, console.console), 1);
  EXPECT_THAT(console.err.str(), HasSubstr("cannot write to standard output"));
}

}  // namespace
}  // namespace polymoe::polyctl
