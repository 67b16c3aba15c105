// What one thread of a test waits for and others bring: waiting without sleeping.
#ifndef POLYMOE_TESTS_FAKES_BLOCKING_QUEUE_H_
#define POLYMOE_TESTS_FAKES_BLOCKING_QUEUE_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "common/check.h"

namespace polymoe {

template <typename T>
class BlockingQueue {
 public:
  void Push(T value) {
    {
      const std::lock_guard lock(mutex_);
      values_.push_back(std::move(value));
    }
    changed_.notify_all();
  }

  // Ends the test program when nothing comes: a test that waits for what does not happen has failed.
  T Pop() {
    std::unique_lock lock(mutex_);
    POLYMOE_CHECK(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return !values_.empty(); }),
                  "waited 60 s for nothing");
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

  bool empty() const {
    const std::lock_guard lock(mutex_);
    return values_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> values_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_BLOCKING_QUEUE_H_
