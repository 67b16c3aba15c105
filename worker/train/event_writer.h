// What the trainer tells its daemon: length-delimited TrainerEvents on an inherited pipe (proto/polymoe/v1/trainer.proto).
#ifndef POLYMOE_WORKER_TRAIN_EVENT_WRITER_H_
#define POLYMOE_WORKER_TRAIN_EVENT_WRITER_H_

#include <string>

namespace polymoe {

namespace v1 {
class TrainerEvent;
}

class EventWriter {
 public:
  // Owns the descriptor. -1: nobody listens, events go nowhere.
  explicit EventWriter(int fd) : fd_(fd) {}
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;
  ~EventWriter();

  // A reader that is gone makes further events go nowhere: the daemon died, and the kernel is about to end this process too.
  // SIGPIPE must be ignored by the program.
  void Write(const v1::TrainerEvent& event);

 private:
  int fd_;
  std::string buffer_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_EVENT_WRITER_H_
