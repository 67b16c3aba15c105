#include "worker/daemon/event_parser.h"

#include <google/protobuf/io/coded_stream.h>

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/trainer.pb.h"

namespace polymoe {
namespace {

constexpr size_t kMaxVarint32Bytes = 5;

}  // namespace

absl::StatusOr<std::vector<v1::TrainerEvent>> EventParser::Feed(absl::string_view bytes) {
  if (!failed_.ok()) return failed_;
  pending_.append(bytes.data(), bytes.size());
  std::vector<v1::TrainerEvent> events;
  size_t done = 0;
  while (done < pending_.size()) {
    const absl::string_view rest = absl::string_view(pending_).substr(done);
    google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(rest.data()), static_cast<int>(rest.size()));
    uint32_t size = 0;
    if (!in.ReadVarint32(&size)) {
      if (rest.size() >= kMaxVarint32Bytes) return Fail("a length that is no varint");
      break;
    }
    if (size > kMaxEventBytes) return Fail(absl::StrCat("a message of ", size, " bytes, more than ", kMaxEventBytes));
    const size_t header = in.CurrentPosition();
    if (rest.size() - header < size) break;
    if (!events.emplace_back().ParseFromArray(rest.data() + header, static_cast<int>(size))) {
      return Fail("bytes that are no TrainerEvent");
    }
    done += header + size;
  }
  pending_.erase(0, done);
  return events;
}

absl::Status EventParser::Fail(absl::string_view what) {
  pending_.clear();
  failed_ = absl::DataLossError(absl::StrCat("the trainer's events pipe is garbled: ", what));
  return failed_;
}

}  // namespace polymoe
