#include "server/state/view.h"

#include "absl/strings/str_cat.h"

namespace polymoe {

absl::Status NoSuchJob(const std::string& id_or_name) {
  return absl::NotFoundError(absl::StrCat("there is no job '", id_or_name, "'; `polyctl ls` lists them"));
}

absl::StatusOr<std::shared_ptr<const v1::Job>> View::Find(const std::string& id_or_name) const {
  if (const auto it = jobs.find(id_or_name); it != jobs.end()) return it->second;
  std::shared_ptr<const v1::Job> newest;
  for (const auto& [id, job] : jobs) {
    if (job->file().metadata().name() == id_or_name && (newest == nullptr || job->created_ms() >= newest->created_ms()))
      newest = job;
  }
  if (newest == nullptr) return NoSuchJob(id_or_name);
  return newest;
}

}  // namespace polymoe
