// Keys are files in a folder that all ranks see: for ranks of one machine without a coordinator, and for tests. A folder is for one
// meeting: what an earlier one left there would be taken for its keys.
#ifndef POLYMOE_WORKER_PARALLEL_FOLDER_KEY_VALUE_H_
#define POLYMOE_WORKER_PARALLEL_FOLDER_KEY_VALUE_H_

#include <string>
#include <vector>

#include "worker/parallel/key_value.h"

namespace polymoe {

class FolderKeyValue : public KeyValue {
 public:
  // The folder is made when it is not there; it stays.
  explicit FolderKeyValue(std::string folder) : folder_(std::move(folder)) {}
  absl::Status Put(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::vector<std::string>> Wait(const std::vector<std::string>& keys, absl::Duration until) override;

 private:
  const std::string folder_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_PARALLEL_FOLDER_KEY_VALUE_H_
