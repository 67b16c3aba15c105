// Channels to the coordinator, set up alike in polyctl and in the worker daemon.
#ifndef POLYMOE_COMMON_RPC_CHANNEL_H_
#define POLYMOE_COMMON_RPC_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class ServerBuilder;
}  // namespace grpc

namespace polymoe {

inline constexpr char kDefaultServer[] = "127.0.0.1:7070";

// Plain text; connects on first use and reconnects within a second. `server` is host:port.
// INVALID_ARGUMENT for an address that is not loopback: nothing leaves the machine without TLS.
// With a call open, both sides notice within ten seconds when the other has vanished without closing the connection.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const std::string& server);
// The same for the server's side of such channels.
void WatchConnections(grpc::ServerBuilder& builder);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_RPC_CHANNEL_H_
