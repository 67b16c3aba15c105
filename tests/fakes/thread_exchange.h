// Ranks that share the experts of a model, as threads of one process: an ExpertExchange that copies from buffer to buffer.
#ifndef POLYMOE_TESTS_FAKES_THREAD_EXCHANGE_H_
#define POLYMOE_TESTS_FAKES_THREAD_EXCHANGE_H_

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "worker/model/exchange.h"

namespace polymoe {

class ExchangeTable {
 public:
  explicit ExchangeTable(int ranks) : ranks_(ranks) {}
  int ranks() const { return ranks_; }

  // f(exchange) on a thread for each rank.
  template <class F>
  void Run(const F& f) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back([this, rank, &f] {
        Exchange exchange(*this, rank);
        f(exchange);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // From then on every Finish fails, on all ranks.
  void Break() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    changed_.notify_all();
  }

 private:
  // One rank's part of one operation.
  struct Part {
    int64_t row_bytes = 0;
    const char* send = nullptr;
    std::vector<int64_t> send_counts;
    char* receive = nullptr;
    std::vector<int64_t> receive_counts;
  };
  struct Operation {
    std::map<int, Part> parts;
    int taken = 0;
  };

  class Exchange final : public ExpertExchange {
   public:
    Exchange(ExchangeTable& table, int rank) : table_(table), rank_(rank), next_(kChannels) {}
    int ranks() const override { return table_.ranks_; }
    int rank() const override { return rank_; }
    void Start(int channel, int64_t row_bytes, const void* send, const int64_t* send_counts, void* receive,
               const int64_t* receive_counts) override {
      const std::lock_guard lock(table_.mutex_);
      Part& part = table_.operations_[{channel, next_[channel]}].parts[rank_];
      part = {row_bytes,
              static_cast<const char*>(send),
              {send_counts, send_counts + table_.ranks_},
              static_cast<char*>(receive),
              {receive_counts, receive_counts + table_.ranks_}};
      table_.changed_.notify_all();
    }
    bool Finish(int channel) override { return table_.Finish(channel, next_[channel]++, rank_); }

   private:
    ExchangeTable& table_;
    const int rank_;
    std::vector<int64_t> next_;  // operation of each channel
  };

  bool Finish(int channel, int64_t number, int rank) {
    std::unique_lock lock(mutex_);
    Operation& operation = operations_[{channel, number}];
    changed_.wait(lock, [&] { return broken_ || static_cast<int>(operation.parts.size()) == ranks_; });
    if (broken_) return false;
    const Part& mine = operation.parts.at(rank);
    int64_t to = 0;
    for (int peer = 0; peer < ranks_; ++peer) {
      const Part& from = operation.parts.at(peer);
      int64_t begin = 0;
      for (int r = 0; r < rank; ++r) begin += from.send_counts[r];
      // What is sent is what is expected, or the test is over.
      if (from.send_counts[rank] != mine.receive_counts[peer] || from.row_bytes != mine.row_bytes) std::abort();
      const int64_t bytes = mine.receive_counts[peer] * mine.row_bytes;
      if (bytes > 0) std::memcpy(mine.receive + to, from.send + begin * mine.row_bytes, bytes);
      to += bytes;
    }
    ++operation.taken;
    changed_.notify_all();
    changed_.wait(lock, [&] { return broken_ || operation.taken == ranks_; });
    return !broken_;
  }

  const int ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool broken_ = false;
  std::map<std::pair<int, int64_t>, Operation> operations_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_THREAD_EXCHANGE_H_
