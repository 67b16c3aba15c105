// The text of --help, laid out by us so that it is the same with every version of CLI11.
#ifndef POLYMOE_POLYCTL_HELP_H_
#define POLYMOE_POLYCTL_HELP_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace polymoe::polyctl {

// The topic of `polyctl help` that is no command.
inline constexpr char kExitCodesTopic[] = "exit-codes";

// At most 100 columns wide. Commands without a group are hidden; an App's footer holds its examples.
std::string HelpText(const CLI::App& app);

// "polyctl config use": the words that call `app`.
std::string CommandLine(const CLI::App& app);

// Names of the commands below `app` that are not hidden, in the order of the help.
std::vector<std::string> CommandNames(const CLI::App& app);
// Long options that `app` takes, its parents' included: "--output".
std::vector<std::string> OptionNames(const CLI::App& app);
// The command of this name below `app`, or nullptr.
const CLI::App* FindCommand(const CLI::App& app, const std::string& name);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_HELP_H_
