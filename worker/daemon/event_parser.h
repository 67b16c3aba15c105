// The trainer's events pipe: length-delimited TrainerEvent messages (a varint length, then that many bytes), in pieces as read(2)
// gives them.
#ifndef POLYMOE_WORKER_DAEMON_EVENT_PARSER_H_
#define POLYMOE_WORKER_DAEMON_EVENT_PARSER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace polymoe {

namespace v1 {
class TrainerEvent;
}

class EventParser {
 public:
  static constexpr size_t kMaxEventBytes = size_t{1} << 20;

  // Takes the next bytes; gives the events that are complete now, in order. DATA_LOSS for bytes that cannot be a TrainerEvent; there
  // is no way to find the next message after that, so every later call fails too.
  absl::StatusOr<std::vector<v1::TrainerEvent>> Feed(absl::string_view bytes);

 private:
  absl::Status Fail(absl::string_view what);

  std::string pending_;  // start of an incomplete message
  absl::Status failed_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_EVENT_PARSER_H_
