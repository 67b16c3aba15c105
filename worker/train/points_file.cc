#include "worker/train/points_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include <nlohmann/json.hpp>

#include "polymoe/v1/metric.pb.h"

#include "common/file.h"
#include "common/log.h"

namespace polymoe {

absl::StatusOr<std::unique_ptr<PointsFile>> PointsFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  return absl::WrapUnique(new PointsFile(path, fd));
}

PointsFile::~PointsFile() {
  if (fd_ >= 0) close(fd_);
}

void PointsFile::Write(const v1::StepPoints& points) {
  if (fd_ < 0) return;
  nlohmann::json line = {{"step", points.step()}, {"tokens", points.tokens()}, {"time_ms", points.time_ms()}};
  for (const auto& [name, value] : points.values()) line[name] = value;
  const std::string text = line.dump() + "\n";
  if (write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size())) return;
  LogWarning("cannot write metric points, no more of them go there", {{"path", path_}, {"error", std::strerror(errno)}});
  close(std::exchange(fd_, -1));
}

}  // namespace polymoe
