// The input files of a build.
#ifndef POLYMOE_WORKER_DATA_INPUTS_H_
#define POLYMOE_WORKER_DATA_INPUTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace polymoe {

struct Input {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified = 0;  // a stamp that changes when the file is written
  size_t source = 0;     // which of the given paths led here
};

// Files as given and all files below folders, sorted by path, each once. Hidden files and folders are passed over below a folder, and so
// is the folder `output`. INVALID_ARGUMENT when there is no file at all; else the system's reason for what cannot be read.
absl::StatusOr<std::vector<Input>> FindInputs(const std::vector<std::string>& sources, const std::string& output);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_INPUTS_H_
