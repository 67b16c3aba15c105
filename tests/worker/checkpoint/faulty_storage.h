// A storage whose n-th operation goes wrong.
#ifndef POLYMOE_TESTS_WORKER_CHECKPOINT_FAULTY_STORAGE_H_
#define POLYMOE_TESTS_WORKER_CHECKPOINT_FAULTY_STORAGE_H_

#include <string>
#include <vector>

#include "worker/checkpoint/storage.h"

namespace polymoe {

enum class Fault {
  kRefused,  // one operation fails
  kLost,     // one operation works, its answer gets lost
  kDead,     // from that operation on, nothing works: what a crash leaves
};

class FaultyStorage final : public Storage {
 public:
  FaultyStorage(Storage& real, Fault fault, int at) : real_(real), fault_(fault), at_(at) {}

  absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) override {
    return Do([&] { return real_.Put(name, pieces); });
  }
  absl::Status Create(const std::string& name, absl::string_view content) override {
    return Do([&] { return real_.Create(name, content); });
  }
  absl::StatusOr<std::string> Get(const std::string& name) override {
    return Do([&] { return real_.Get(name); });
  }
  absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) override {
    return Do([&] { return real_.Read(name, offset, to); });
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    return Do([&] { return real_.List(folder); });
  }
  absl::Status Delete(const std::string& name) override {
    return Do([&] { return real_.Delete(name); });
  }
  absl::Status DeleteFolder(const std::string& folder) override {
    return Do([&] { return real_.DeleteFolder(folder); });
  }
  absl::Status RenameFolder(const std::string& folder, const std::string& to) override {
    return Do([&] { return real_.RenameFolder(folder, to); });
  }
  const std::string& root() const override { return real_.root(); }

  // Whether there were operations enough for the fault to strike.
  bool struck() const { return count_ > at_; }

 private:
  template <typename Operation>
  auto Do(Operation operation) -> decltype(operation()) {
    const int index = count_++;
    if (index < at_ || (index > at_ && fault_ != Fault::kDead)) return operation();
    if (fault_ == Fault::kLost) static_cast<void>(operation());
    return absl::UnavailableError("fault");
  }

  Storage& real_;
  const Fault fault_;
  const int at_;
  int count_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_CHECKPOINT_FAULTY_STORAGE_H_
