// A folder that goes with its owner.
#ifndef POLYMOE_TESTS_FAKES_TEMP_DIR_H_
#define POLYMOE_TESTS_FAKES_TEMP_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "common/check.h"

namespace polymoe {

class TempDir {
 public:
  TempDir() : path_(std::filesystem::temp_directory_path() / "polymoe-test-XXXXXX") {
    POLYMOE_CHECK(mkdtemp(path_.data()) != nullptr, "mkdtemp %s", path_.c_str());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_TEMP_DIR_H_
