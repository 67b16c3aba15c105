// version, completion, help.
#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/version.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/completion.h"

namespace polymoe::polyctl {

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
  command->add_option("shell", *shell, "shell")
      ->type_name("bash|zsh|fish")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->required();
}

void AddHelp(CLI::App& root, Cli& cli) {
  auto topic = std::make_shared<std::string>();
  CLI::App* command =
      AddCommand(root, cli, "help", "help on a topic", "  polyctl help exit-codes\n", [&cli, topic]() -> absl::StatusOr<ExitCode> {
        cli.console.out << ExitCodeTable();
        return ExitCode::kOk;
      });
  command->group(kOtherCommands);
  command->add_option("topic", *topic, "topic")->type_name("exit-codes")->check(CLI::IsMember({"exit-codes"}))->required();
}

}  // namespace polymoe::polyctl
