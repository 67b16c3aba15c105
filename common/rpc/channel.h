// Channels to the coordinator, set up alike in polyctl and in the worker daemon.
#ifndef POLYMOE_COMMON_RPC_CHANNEL_H_
#define POLYMOE_COMMON_RPC_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
}

namespace polymoe {

inline constexpr char kDefaultServer[] = "127.0.0.1:7070";

// Plain text; connects on first use and reconnects within a second. `server` is host:port.
// INVALID_ARGUMENT for an address that is not loopback: nothing leaves the machine without TLS.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& server);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_RPC_CHANNEL_H_
