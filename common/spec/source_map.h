// Where each field of a parsed job file stood, by its path ("spec.train.tokens", "spec.validation.sets[0].path").
#ifndef POLYMOE_COMMON_SPEC_SOURCE_MAP_H_
#define POLYMOE_COMMON_SPEC_SOURCE_MAP_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace polymoe {

class SourceMap {
 public:
  SourceMap() = default;  // of a message that came from no file: errors give the path alone
  explicit SourceMap(std::string file) : file_(std::move(file)) {}

  void Add(const std::string& path, int line, int column) { places_[path] = {line, column}; }

  // The same places for a message that was made from this file: errors about a path that begins with the first of a pair name the second
  // instead, the first pair that fits, and end with `note`.
  SourceMap Renamed(std::vector<std::pair<std::string, std::string>> prefixes, std::string note) const;

  // INVALID_ARGUMENT "job.yaml:3:7: spec.model.heads: WHAT". For an absent field, the place of the nearest enclosing one.
  absl::Status Error(const std::string& path, absl::string_view what) const;

 private:
  struct Place {
    int line, column;  // from 1
  };
  std::string file_;
  std::map<std::string, Place> places_;
  std::vector<std::pair<std::string, std::string>> renamed_;
  std::string note_;
};

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_SOURCE_MAP_H_
