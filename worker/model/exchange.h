// How the FFN block reaches experts that other ranks hold: all that the model knows of other ranks.
#ifndef POLYMOE_WORKER_MODEL_EXCHANGE_H_
#define POLYMOE_WORKER_MODEL_EXCHANGE_H_

#include <cstdint>

namespace polymoe {

// Rank r of `ranks()` holds the experts [r E / ranks, (r + 1) E / ranks). All of these ranks run the same passes over micro-batches of
// their own, and so make the same calls in the same order.
//
// A failure lasts: from then on nothing arrives and Finish says so. The pass goes on to its end on whatever is there, and its caller,
// who knows why it failed, throws the result away.
class ExpertExchange {
 public:
  static constexpr int kChannels = 16;

  virtual ~ExpertExchange() = default;
  virtual int ranks() const = 0;
  virtual int rank() const = 0;

  // Starts to send `send_counts[r]` rows of `row_bytes` to each rank r, one rank's behind the other's, and to receive likewise. The
  // buffers are in use until Finish of the same channel.
  virtual void Start(int channel, int64_t row_bytes, const void* send, const int64_t* send_counts, void* receive,
                     const int64_t* receive_counts) = 0;
  // Waits until both are done; false after a failure.
  virtual bool Finish(int channel) = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_EXCHANGE_H_
