// Metric points as JSON lines, for a trainer that runs without a coordinator:
//   {"step":10,"tokens":20480,"time_ms":1732500000000,"loss":5.123,...}
// A value that is not finite is null. Written line by line, so that a reader sees whole lines and a killed trainer loses none before.
#ifndef POLYMOE_WORKER_TRAIN_POINTS_FILE_H_
#define POLYMOE_WORKER_TRAIN_POINTS_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace polymoe {

namespace v1 {
class StepPoints;
}

class PointsFile {
 public:
  // Appends to `path`.
  static absl::StatusOr<std::unique_ptr<PointsFile>> Open(const std::string& path);
  PointsFile(const PointsFile&) = delete;
  PointsFile& operator=(const PointsFile&) = delete;
  ~PointsFile();

  // A failure is logged once; then the file gets no more.
  void Write(const v1::StepPoints& points);

 private:
  PointsFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;
  int fd_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_POINTS_FILE_H_
