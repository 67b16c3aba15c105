#include "server/state/view.h"

namespace polymoe {

std::shared_ptr<const v1::Job> View::Find(const std::string& id_or_name) const {
  if (const auto it = jobs.find(id_or_name); it != jobs.end()) return it->second;
  std::shared_ptr<const v1::Job> newest;
  for (const auto& [id, job] : jobs) {
    if (job->file().metadata().name() == id_or_name && (newest == nullptr || job->created_ms() >= newest->created_ms()))
      newest = job;
  }
  return newest;
}

}  // namespace polymoe
