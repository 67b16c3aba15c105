// Contexts: what the file says, and flag before environment before file.
#include "polyctl/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/polyctl/test_console.h"

namespace polymoe::polyctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(Config, RoundTrips) {
  const Config config{.current = "lab", .contexts = {{"lab", "127.0.0.1:1"}, {"local", "127.0.0.1:7070"}}};
  const auto read = ParseConfig(FormatConfig(config), "c.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->current, "lab");
  EXPECT_THAT(read->contexts, ElementsAre(Pair("lab", "127.0.0.1:1"), Pair("local", "127.0.0.1:7070")));
  EXPECT_TRUE(ParseConfig("", "c.yaml").ok());
}

TEST(Config, ErrorsNameThePlace) {
  const auto error = [](const std::string& text) { return std::string(ParseConfig(text, "c.yaml").status().message()); };
  EXPECT_EQ(error("curent: x\n"), "c.yaml:1:1: unknown field 'curent'; known are `current` and `contexts`");
  EXPECT_EQ(error("contexts:\n  a:\n    sever: x\n"), "c.yaml:3:5: unknown field 'sever'; a context has `server`");
  EXPECT_EQ(error("contexts:\n  a: {}\n"), "c.yaml:2:6: the context has no `server`");
  EXPECT_EQ(error("- a\n"), "c.yaml:1:1: expected a mapping with `current` and `contexts`");
  EXPECT_THAT(error("contexts: [1\n"), HasSubstr("c.yaml:2:1: "));
  EXPECT_THAT(error("current: [1]\n"), HasSubstr("c.yaml:1:10: "));
}

class ContextTest : public ::testing::Test {
 protected:
  ContextTest() {
    console_.console.environment["XDG_CONFIG_HOME"] = dir_.path();
    Save({.current = "lab", .contexts = {{"lab", "127.0.0.1:1"}, {"home", "127.0.0.1:2"}}});
  }
  void Save(const Config& config) { ASSERT_TRUE(SaveConfig(console_.console, config).ok()); }
  std::string Choice(const std::string& server, const std::string& context) {
    const auto choice = ChooseServer(server, context, console_.console);
    return choice.ok() ? choice->address + " by " + choice->origin : std::string(choice.status().message());
  }

  TempDir dir_;
  TestConsole console_;
};

TEST_F(ContextTest, FlagThenEnvironmentThenFileThenDefault) {
  EXPECT_EQ(Choice("", ""), "127.0.0.1:1 by context lab");
  console_.console.environment["POLYMOE_SERVER"] = "127.0.0.1:3";
  EXPECT_EQ(Choice("", ""), "127.0.0.1:3 by POLYMOE_SERVER");
  EXPECT_EQ(Choice("", "home"), "127.0.0.1:2 by context home");
  EXPECT_EQ(Choice("127.0.0.1:4", "home"), "127.0.0.1:4 by --server");
  console_.console.environment.erase("POLYMOE_SERVER");
  Save({});
  EXPECT_EQ(Choice("", ""), "127.0.0.1:7070 by default");
  console_.console.environment.clear();
  EXPECT_EQ(Choice("", ""), "127.0.0.1:7070 by default") << "no HOME at all";
}

TEST_F(ContextTest, AContextThatIsNotThere) {
  EXPECT_EQ(Choice("", "hone"), "no context 'hone'; did you mean home?");
  EXPECT_EQ(Choice("", "zzzzzz"), "no context 'zzzzzz'; `polyctl config list` shows all, `polyctl config use` makes one");
  EXPECT_EQ(console_.Run({"ls", "--context", "hone"}), 3);
  EXPECT_EQ(console_.Run({"config", "use", "nope"}), 3);
}

TEST_F(ContextTest, AFileThatIsWrongIsSaid) {
  ASSERT_TRUE(WriteFileDurably(*ConfigPath(console_.console), "nonsense: 1\n").ok());
  EXPECT_EQ(console_.Run({"ls"}), 2);
  EXPECT_THAT(console_.err.str(), HasSubstr("config.yaml:1:1: unknown field 'nonsense'"));
}

TEST_F(ContextTest, UseAndList) {
  EXPECT_EQ(console_.Run({"config", "use", "new", "--address", "127.0.0.1:5"}), 0);
  EXPECT_EQ(console_.out.str(), "");
  EXPECT_EQ(console_.Run({"config", "list"}), 0);
  EXPECT_EQ(console_.out.str(),
            "CONTEXT  SERVER       CURRENT\n"
            "home     127.0.0.1:2\n"
            "lab      127.0.0.1:1\n"
            "new      127.0.0.1:5  *\n");
  EXPECT_EQ(console_.err.str(), "Commands talk to 127.0.0.1:5 (context new).\n");
  EXPECT_EQ(console_.Run({"config", "list", "-o", "name"}), 0);
  EXPECT_EQ(console_.out.str(), "home\nlab\nnew\n");
}

}  // namespace
}  // namespace polymoe::polyctl
