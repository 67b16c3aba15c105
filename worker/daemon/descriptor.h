// A file descriptor that is closed with its owner.
#ifndef POLYMOE_WORKER_DAEMON_DESCRIPTOR_H_
#define POLYMOE_WORKER_DAEMON_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace polymoe {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    other.Close();
    return *this;
  }
  ~Descriptor() { Close(); }

  int get() const { return fd_; }  // -1: none, which poll(2) passes over
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_DESCRIPTOR_H_
