// A trainer's output, cut into log lines that fit into a protobuf string.
#ifndef POLYMOE_WORKER_DAEMON_LINE_SPLITTER_H_
#define POLYMOE_WORKER_DAEMON_LINE_SPLITTER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace polymoe {

// Bytes in pieces -> lines without their '\n' or "\r\n". A line longer than kMaxLineBytes comes in several lines, cut between
// characters; nothing is left out.
class LineSplitter {
 public:
  static constexpr size_t kMaxLineBytes = 8192;

  std::vector<std::string> Feed(absl::string_view bytes);
  // The last line, if it has no newline.
  std::vector<std::string> Finish();

 private:
  std::string pending_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_LINE_SPLITTER_H_
