#include "polyctl/job_source.h"

#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/file.h"
#include "common/spec/edit.h"
#include "common/spec/job_file.h"
#include "common/spec/source_map.h"
#include "common/spec/yaml_read.h"
#include "common/status.h"

namespace polymoe::polyctl {
namespace {

absl::StatusOr<std::string> ReadSource(const std::string& file, const Console& console) {
  if (file != "-") return ReadFile(file);
  return std::string(std::istreambuf_iterator<char>(console.in), {});
}

}  // namespace

absl::Status ApplyEdit(const std::string& edit, v1::JobFile* file) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(edit, absl::MaxSplits('=', 1));
  if (!absl::StrContains(edit, '=')) {
    return absl::InvalidArgumentError(absl::StrCat("--set ", edit, ": write PATH=VALUE, for example spec.train.tokens=1M"));
  }
  return Annotate(SetField(file, parts.first, parts.second), absl::StrCat("--set ", edit));
}

absl::StatusOr<v1::JobFile> ReadJobFile(const JobSource& source, const Console& console) {
  POLYMOE_ASSIGN_OR_RETURN(const std::string text, ReadSource(source.file, console));
  v1::JobFile file;
  SourceMap places;
  POLYMOE_RETURN_IF_ERROR(YamlToMessage(text, source.file == "-" ? "<stdin>" : source.file, &file, &places));
  for (const std::string& edit : source.edits) POLYMOE_RETURN_IF_ERROR(ApplyEdit(edit, &file));
  const absl::Status status = CompleteJobFile(&file, places);
  for (const std::string& edit : source.edits) {
    // The place in the error is the file's; the value that it complains about may be an edit's.
    const std::string path = edit.substr(0, edit.find('='));
    if (absl::StrContains(status.message(), absl::StrCat(path, ": "))) {
      return absl::InvalidArgumentError(absl::StrCat(status.message(), " (given by --set ", edit, ")"));
    }
  }
  POLYMOE_RETURN_IF_ERROR(status);
  return file;
}

}  // namespace polymoe::polyctl
