// absl::Status and grpc::Status share their codes; these change one into the other.
#ifndef POLYMOE_COMMON_RPC_STATUS_H_
#define POLYMOE_COMMON_RPC_STATUS_H_

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace polymoe {

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_RPC_STATUS_H_
