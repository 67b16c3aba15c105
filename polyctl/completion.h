// Completion in the shell. The scripts are a few lines; what fits comes from the parser and, for job ids, from the coordinator.
#ifndef POLYMOE_POLYCTL_COMPLETION_H_
#define POLYMOE_POLYCTL_COMPLETION_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace polymoe::polyctl {

struct Cli;

// The hidden command that the scripts call: `polyctl __complete WORD...`, the last word being the one at the cursor.
inline constexpr char kCompleteCommand[] = "__complete";

// What fits in place of the last word. Nothing where a file is wanted: the shell completes files by itself. Asks the coordinator
// only for jobs and workers, for at most a second, and never fails.
std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words, Cli& cli);

// For `eval` or a completion folder; `shell` is bash, zsh or fish.
std::string CompletionScript(const std::string& shell);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_COMPLETION_H_
