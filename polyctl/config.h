// The user's configuration: which coordinators there are, and which one commands talk to.
//
//   # ~/.config/polymoe/config.yaml  ($XDG_CONFIG_HOME/polymoe/config.yaml when set)
//   current: local
//   contexts:
//     local:
//       server: 127.0.0.1:7070
#ifndef POLYMOE_POLYCTL_CONFIG_H_
#define POLYMOE_POLYCTL_CONFIG_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "polyctl/console.h"

namespace polymoe::polyctl {

struct Config {
  std::string current;                          // name of a context; empty: none
  std::map<std::string, std::string> contexts;  // name -> server, host:port
};

// NOT_FOUND when neither XDG_CONFIG_HOME nor HOME says where.
absl::StatusOr<std::string> ConfigPath(const Console& console);

// `path` is for errors, which name line and column. An empty text is an empty configuration.
absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& path);
std::string FormatConfig(const Config& config);

// Of the user; empty when there is no file.
absl::StatusOr<Config> LoadConfig(const Console& console);
absl::Status SaveConfig(const Console& console, const Config& config);

struct ServerChoice {
  std::string address;
  std::string origin;  // what chose it: "--server", "POLYMOE_SERVER", "context local", "default"
};

// --server, then --context, then POLYMOE_SERVER, then the current context, then 127.0.0.1:7070. Empty flags count as not given.
// NOT_FOUND for a context that does not exist.
absl::StatusOr<ServerChoice> ChooseServer(const std::string& server_flag, const std::string& context_flag, const Console& console);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_CONFIG_H_
