// Following an ablation.
#ifndef POLYMOE_POLYCTL_COMMANDS_ABLATION_WATCH_H_
#define POLYMOE_POLYCTL_COMMANDS_ABLATION_WATCH_H_

#include <string>

#include "absl/status/statusor.h"

#include "polymoe/v1/ablation.pb.h"

#include "polyctl/cli.h"
#include "polyctl/render/ablation.h"

namespace polymoe::polyctl {

// What a stream has told so far.
struct AblationNews {
  v1::Ablation ablation;
  JobsById jobs;

  void Take(const v1::WatchAblationResponse& response);
};

// Until it is final: a live screen on terminals, lines elsewhere. 8 when it failed, 9 when it was cancelled.
absl::StatusOr<ExitCode> WatchAblation(const Client& client, const std::string& ablation, Console& console);

void AddAblationWatch(CLI::App& group, Cli& cli);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_COMMANDS_ABLATION_WATCH_H_
