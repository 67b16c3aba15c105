// Storage in a folder. An object is written beside as NAME.tmp, fsynced, renamed (or, to create one, linked), and its folder fsynced.
#ifndef POLYMOE_WORKER_CHECKPOINT_LOCAL_STORAGE_H_
#define POLYMOE_WORKER_CHECKPOINT_LOCAL_STORAGE_H_

#include <string>
#include <vector>

#include "worker/checkpoint/storage.h"

namespace polymoe {

class LocalStorage final : public Storage {
 public:
  explicit LocalStorage(const std::string& root);

  absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) override;
  absl::Status Create(const std::string& name, absl::string_view content) override;
  absl::StatusOr<std::string> Get(const std::string& name) override;
  absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  // Both: folders that are empty then go too, as in an object store.
  absl::Status Delete(const std::string& name) override;
  absl::Status DeleteFolder(const std::string& folder) override;
  absl::Status RenameFolder(const std::string& folder, const std::string& to) override;
  const std::string& root() const override { return root_; }

 private:
  // Folder of a path, made and durable from the root down.
  absl::Status MakeParents(const std::string& path) const;
  void RemoveEmptyParents(const std::string& path) const;

  const std::string root_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_LOCAL_STORAGE_H_
