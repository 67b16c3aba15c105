// One field set by its path, in the spelling of the job file: what --set and the arms of an ablation do.
#ifndef POLYMOE_COMMON_SPEC_EDIT_H_
#define POLYMOE_COMMON_SPEC_EDIT_H_

#include <string>

#include "absl/status/status.h"

namespace google::protobuf {
class Message;
}

namespace polymoe {

// "train.tokens" to "1M", "labels.seed" to "2", "validation.sets[0].path" to "/d", beginning at `message`. Lists do not grow.
// INVALID_ARGUMENT says what would be right, without the path as a whole; `message` may then have empty messages on the way.
absl::Status SetField(google::protobuf::Message* message, const std::string& path, const std::string& value);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_EDIT_H_
