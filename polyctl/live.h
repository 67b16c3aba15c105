// Screens that are drawn over themselves until what they show is over.
#ifndef POLYMOE_POLYCTL_LIVE_H_
#define POLYMOE_POLYCTL_LIVE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"

#include "polyctl/console.h"

namespace polymoe::polyctl {

// Runs `follow` in a thread of its own, which calls the function that it gets whenever there are news, and draws what `frame` returns:
// news at most four times a second, and once a second without any, since ages go on. Both share what they know under a lock of their
// own. Returns what `follow` did, after a last frame.
absl::Status DrawLive(Console& console, const std::function<absl::Status(const std::function<void()>& news)>& follow,
                      const std::function<std::string()>& frame);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_LIVE_H_
