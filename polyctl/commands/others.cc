// version, completion, help.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <CLI/CLI.hpp>

#include "common/version.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/completion.h"
#include "polyctl/help.h"

namespace polymoe::polyctl {

namespace {

constexpr char kShells[] = "bash|zsh|fish";

absl::StatusOr<ExitCode> RunHelp(const CLI::App& root, Cli& cli, const std::vector<std::string>& topic) {
  if (topic == std::vector<std::string>{kExitCodesTopic}) {
    cli.console.out << ExitCodeTable();
    return ExitCode::kOk;
  }
  const CLI::App* app = &root;
  for (const std::string& word : topic) {
    app = FindCommand(*app, word);
    if (app == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("no help on '", absl::StrJoin(topic, " "),
                                                     "'; `polyctl help` lists the commands, `polyctl help ", kExitCodesTopic,
                                                     "` the exit codes"));
    }
  }
  cli.console.out << HelpText(*app);
  return ExitCode::kOk;
}

}  // namespace

void AddVersion(CLI::App& root, Cli& cli) {
  AddCommand(root, cli, "version", "print the version", "  polyctl version\n", [&cli]() -> absl::StatusOr<ExitCode> {
    cli.console.out << "polyctl " << kVersion << "\n";
    return ExitCode::kOk;
  })->group(kOtherCommands);
}

void AddCompletion(CLI::App& root, Cli& cli) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = AddCommand(root, cli, "completion", "completion script for a shell",
                                 "  eval \"$(polyctl completion bash)\"\n"
                                 "  polyctl completion fish | source\n",
                                 [&cli, shell]() -> absl::StatusOr<ExitCode> {
                                   cli.console.out << CompletionScript(*shell);
                                   return ExitCode::kOk;
                                 });
  command->group(kOtherCommands);
  command->add_option("shell", *shell, "shell")->type_name(kShells)->check(OneOf(kShells))->required();
}

void AddHelp(CLI::App& root, Cli& cli) {
  auto topic = std::make_shared<std::vector<std::string>>();
  CLI::App* command = AddCommand(root, cli, "help", "help on a command, or on the exit codes",
                                 "  polyctl help exit-codes\n"
                                 "  polyctl help config use\n",
                                 [&root, &cli, topic] { return RunHelp(root, cli, *topic); });
  command->group(kOtherCommands);
  command->add_option("topic", *topic, "a command, or exit-codes")->type_name("TOPIC");
}

}  // namespace polymoe::polyctl
