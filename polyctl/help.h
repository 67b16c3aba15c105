// The text of --help, laid out by us so that it is the same with every version of CLI11.
#ifndef POLYMOE_POLYCTL_HELP_H_
#define POLYMOE_POLYCTL_HELP_H_

#include <string>

namespace CLI {
class App;
}

namespace polymoe::polyctl {

// At most 100 columns wide. Commands without a group are hidden; an App's footer holds its examples.
std::string HelpText(const CLI::App& app);

// "polyctl config use": the words that call `app`.
std::string CommandLine(const CLI::App& app);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_HELP_H_
