#include "worker/train/event_writer.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <unistd.h>

#include <cerrno>

#include "polymoe/v1/trainer.pb.h"

namespace polymoe {

EventWriter::~EventWriter() {
  if (fd_ >= 0) close(fd_);
}

void EventWriter::Write(const v1::TrainerEvent& event) {
  if (fd_ < 0) return;
  buffer_.clear();
  {
    google::protobuf::io::StringOutputStream stream(&buffer_);
    google::protobuf::util::SerializeDelimitedToZeroCopyStream(event, &stream);
  }
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t n = write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      close(fd_);
      fd_ = -1;
      return;
    }
    done += n;
  }
}

}  // namespace polymoe
