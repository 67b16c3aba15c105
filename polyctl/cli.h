// The command line: parsed by CLI11, run by the functions of commands/.
#ifndef POLYMOE_POLYCTL_CLI_H_
#define POLYMOE_POLYCTL_CLI_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "polyctl/client.h"
#include "polyctl/console.h"
#include "polyctl/exit_codes.h"
#include "polyctl/output.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace polymoe::polyctl {

// What a command gets: where to print, and the options that all commands share.
struct Cli {
  Console& console;
  ClientOptions client_options;
  std::string server_flag;
  std::string context_flag;
  std::function<absl::StatusOr<ExitCode>()> action;  // set by the command that was chosen

  // To the coordinator that flags, environment and configuration choose.
  absl::StatusOr<Client> Connect() const;
};

// The whole program. `args` without the program's name.
int RunPolyctl(const std::vector<std::string>& args, Console& console, const ClientOptions& client_options = {});

// All commands. Help, completion and the tests walk over it. `cli` lives as long as the parser.
std::unique_ptr<CLI::App> BuildParser(Cli& cli);

// Adds a command with its help, its examples ("  polyctl ..." lines, may be empty) and what runs it. `run` is called after parsing.
CLI::App* AddCommand(CLI::App& parent, Cli& cli, const std::string& name, const std::string& help, const std::string& examples,
                     std::function<absl::StatusOr<ExitCode>()> run);

// A command that only groups others.
CLI::App* AddGroup(CLI::App& parent, const std::string& name, const std::string& help);

// -o. `formats` is the list that the command offers, "table|wide|json|yaml|name".
void AddOutputFlag(CLI::App& command, OutputOptions& options, const std::string& formats);
// -o and, for a command that prints a table, --no-headers.
void AddOutputFlags(CLI::App& command, OutputOptions& options, const std::string& formats);

// Checks of a value: one of "a|b|c", a whole number from `least` to `most`. Their errors say what would be right.
std::function<std::string(const std::string&)> OneOf(const std::string& alternatives);
std::function<std::string(const std::string&)> Between(int least, int most);

// An option or argument that takes any number of values, one each time it is given.
CLI::Option* AddRepeated(CLI::App& command, const std::string& name, std::vector<std::string>& values, const std::string& help);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_CLI_H_
