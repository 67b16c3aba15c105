#include "polyctl/completion.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

#include "common/check.h"
#include "polyctl/cli.h"
#include "polyctl/config.h"
#include "polyctl/help.h"

namespace polymoe::polyctl {
namespace {

// Each calls the program as it was typed: it need not be on the PATH.
constexpr char kBash[] = R"sh(# polyctl completion for bash: eval "$(polyctl completion bash)"
_polyctl() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]/#\~/$HOME}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _polyctl polyctl
)sh";

constexpr char kZsh[] = R"sh(#compdef polyctl
# polyctl completion for zsh: eval "$(polyctl completion zsh)"
_polyctl() {
  local -a candidates
  candidates=("${(@f)$(${~words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${candidates[*]}" ]]; then
    compadd -- "${candidates[@]}"
  else
    _files
  fi
}
compdef _polyctl polyctl
)sh";

constexpr char kFish[] = R"sh(# polyctl completion for fish: polyctl completion fish | source
function __polyctl_complete
  set -l words (commandline -opc) (commandline -ct)
  eval $words[1] __complete (string escape -- $words[2..-1]) 2>/dev/null
end
complete -c polyctl -a '(__polyctl_complete)'
)sh";

std::vector<std::string> JobIds(const Client& client) {
  std::vector<std::string> ids;
  v1::ListJobsRequest request;
  request.set_page_size(100);
  const absl::StatusOr<std::vector<v1::Job>> jobs = client.List(request);
  if (!jobs.ok()) return ids;
  for (const v1::Job& job : *jobs) ids.push_back(job.id());
  return ids;
}

std::vector<std::string> WorkerNames(const Client& client) {
  std::vector<std::string> names;
  const absl::StatusOr<v1::ListWorkersResponse> response = client.ListWorkers();
  if (!response.ok()) return names;
  for (const v1::Worker& worker : response->workers()) names.push_back(worker.name());
  return names;
}

std::vector<std::string> AblationIds(const Client& client) {
  std::vector<std::string> ids;
  v1::ListAblationsRequest request;
  request.set_page_size(100);
  const absl::StatusOr<std::vector<v1::Ablation>> ablations = client.ListAblations(request);
  if (!ablations.ok()) return ids;
  for (const v1::Ablation& ablation : *ablations) ids.push_back(ablation.id());
  return ids;
}

// Values of an option or argument, by the name of its type: "JOB", "WORKER", "ABLATION", "ABLATION/JOB", "CONTEXT",
// "TOPIC", or the values themselves, "a|b|c".
std::vector<std::string> ValuesOf(const std::string& type, const CLI::App& root, Cli& cli) {
  if (absl::StrContains(type, '|')) return absl::StrSplit(type, '|');
  if (type == "TOPIC") {
    std::vector<std::string> topics = CommandNames(root);
    topics.push_back(kExitCodesTopic);
    return topics;
  }
  if (type == "CONTEXT") {
    std::vector<std::string> names;
    if (const absl::StatusOr<Config> config = LoadConfig(cli.console); config.ok()) {
      for (const auto& [name, server] : config->contexts) names.push_back(name);
    }
    return names;
  }
  const bool jobs = type == "JOB" || type == "ABLATION/JOB", ablations = type == "ABLATION" || type == "ABLATION/JOB";
  if (!jobs && !ablations && type != "WORKER") return {};
  cli.client_options.call_timeout = absl::Seconds(1);
  const absl::StatusOr<Client> client = cli.Connect();
  if (!client.ok()) return {};
  if (type == "WORKER") return WorkerNames(*client);
  std::vector<std::string> ids = ablations ? AblationIds(*client) : std::vector<std::string>();
  if (jobs) {
    for (std::string& id : JobIds(*client)) ids.push_back(std::move(id));
  }
  return ids;
}

const CLI::Option* FindOption(const CLI::App& app, const std::string& word) {
  for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
    for (const CLI::Option* option : at->get_options()) {
      if (option->nonpositional() && option->check_name(word)) return option;
    }
  }
  return nullptr;
}

// The argument that the next word without dash fills, or nullptr.
const CLI::Option* ArgumentAt(const CLI::App& app, int given) {
  for (const CLI::Option* argument : app.get_options([](const CLI::Option* option) { return option->get_positional(); })) {
    if (given < argument->get_expected_max()) return argument;
    given -= argument->get_expected_max();
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> Complete(const CLI::App& root, const std::vector<std::string>& words, Cli& cli) {
  const CLI::App* app = &root;
  const CLI::Option* open = nullptr;  // the option that waits for its value
  int arguments = 0;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (open != nullptr) {
      if (open->check_name("--server")) cli.server_flag = words[i];
      if (open->check_name("--context")) cli.context_flag = words[i];
      open = nullptr;
    } else if (absl::StartsWith(words[i], "-")) {
      const CLI::Option* option = FindOption(*app, words[i]);
      if (option != nullptr && option->get_expected_max() > 0) open = option;
    } else if (const CLI::App* command = FindCommand(*app, words[i])) {
      app = command;
    } else {
      ++arguments;
    }
  }
  const std::string start = words.empty() ? "" : words.back();
  std::vector<std::string> candidates;
  if (open != nullptr) {
    candidates = ValuesOf(open->get_type_name(), root, cli);
  } else if (absl::StartsWith(start, "-")) {
    candidates = OptionNames(*app);
  } else if (const std::vector<std::string> commands = CommandNames(*app); !commands.empty()) {
    candidates = commands;
  } else if (const CLI::Option* argument = ArgumentAt(*app, arguments)) {
    candidates = ValuesOf(argument->get_type_name(), root, cli);
  }
  std::erase_if(candidates, [&](const std::string& candidate) { return !absl::StartsWith(candidate, start); });
  return candidates;
}

std::string CompletionScript(const std::string& shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  POLYMOE_CHECK(shell == "fish", "the parser let shell %s through", shell.c_str());
  return kFish;
}

}  // namespace polymoe::polyctl
