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

// -o and --no-headers. `formats` is the list that the command offers, "table|wide|json|yaml|name".
void AddOutputFlags(CLI::App& command, OutputOptions& options, const std::string& formats = "table|wide|json|yaml|name");

// An option or argument that takes any number of values, one each time it is given.
CLI::Option* AddRepeated(CLI::App& command, const std::string& name, std::vector<std::string>& values, const std::string& help);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_CLI_H_
