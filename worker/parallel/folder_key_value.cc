#include "worker/parallel/folder_key_value.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/status.h"

namespace polymoe {

absl::Status FolderKeyValue::Put(const std::string& key, const std::string& value) {
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(folder_));
  return WriteFileDurably(absl::StrCat(folder_, "/", key), value);
}

absl::StatusOr<std::vector<std::string>> FolderKeyValue::Wait(const std::vector<std::string>& keys, absl::Duration until) {
  constexpr auto kPoll = std::chrono::milliseconds(5);
  while (true) {
    std::vector<std::string> missing;
    for (const std::string& key : keys) {
      if (!PathExists(absl::StrCat(folder_, "/", key))) missing.push_back(key);
    }
    if (missing.empty()) break;
    if (Clock::Real().Monotonic() >= until) {
      return absl::DeadlineExceededError(absl::StrCat("nobody has put ", absl::StrJoin(missing, ", "), " into ", folder_));
    }
    std::this_thread::sleep_for(kPoll);
  }
  std::vector<std::string> values;
  for (const std::string& key : keys) {
    POLYMOE_ASSIGN_OR_RETURN(std::string value, ReadFile(absl::StrCat(folder_, "/", key)));
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace polymoe
