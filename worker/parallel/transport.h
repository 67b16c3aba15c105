// Messages between the ranks of one attempt, seen from one of them: asynchronous, tagged, straight from buffer to buffer.
//
// A message goes from one rank to another under a tag; a send meets the receive with the same ranks and tag, in the order in which
// they were started. Sender and receiver must agree on the number of bytes; a tag that differs never meets (MessageGroup puts the
// number of bytes into it, so that ranks that disagree are late to each other, and overwrite nothing).
//
// One thread uses a transport; only Close and status may be called from others. Buffers are the caller's and in use from Start until
// Wait, or until Close has returned: after it no buffer is touched any more.
#ifndef POLYMOE_WORKER_PARALLEL_TRANSPORT_H_
#define POLYMOE_WORKER_PARALLEL_TRANSPORT_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace polymoe {

class Transport {
 public:
  using Message = int;  // a message on its way, until Wait

  virtual ~Transport() = default;  // what has been waited for still arrives
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Return at once. `to` and `from` are other ranks. UNAVAILABLE when that rank's connection is broken.
  virtual absl::StatusOr<Message> StartSend(int to, uint64_t tag, const void* data, size_t bytes) = 0;
  virtual absl::StatusOr<Message> StartReceive(int from, uint64_t tag, void* data, size_t bytes) = 0;

  // Until the buffer is free (sent) or filled (received). `until` is on Clock::Real()'s monotonic clock; one that has passed asks and
  // does not wait. UNAVAILABLE when the connection to the other rank broke, saying how; DEADLINE_EXCEEDED when it is not there in time:
  // the transport is of no use then but to ask for other messages, and to be closed.
  virtual absl::Status Wait(Message message, absl::Duration until) = 0;

  // Ends everything, at once: a blocked Wait and every later call return `why` (the first one given), other ranks see their connection
  // to this one break.
  virtual void Close(const absl::Status& why) = 0;
  // OK until Close.
  virtual absl::Status status() const = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_TRANSPORT_H_
