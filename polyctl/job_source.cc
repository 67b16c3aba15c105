#include "polyctl/job_source.h"

#include <yaml-cpp/yaml.h>

#include <iterator>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "common/file.h"
#include "common/spec/ablation.h"
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

// The kind that the text says it has; empty when it says none. What is no YAML at all has its error from whoever reads it.
std::string KindOf(const std::string& text) {
  try {
    const YAML::Node kind = YAML::Load(text)["kind"];
    return kind.IsDefined() && kind.IsScalar() ? kind.Scalar() : "";
  } catch (const YAML::Exception&) {
    return "";
  }
}

absl::Status ApplyEdit(const std::string& edit, google::protobuf::Message* file) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(edit, absl::MaxSplits('=', 1));
  if (!absl::StrContains(edit, '=')) {
    return absl::InvalidArgumentError(absl::StrCat("--set ", edit, ": write PATH=VALUE, for example spec.train.tokens=1M"));
  }
  return Annotate(SetField(file, parts.first, parts.second), absl::StrCat("--set ", edit));
}

// A file whose kind is not `other`, completed by `complete`. `hint` is what takes files of the other kind.
template <typename File>
absl::StatusOr<File> Read(const FileSource& source, const Console& console, const std::string& other, const std::string& hint,
                          absl::FunctionRef<absl::Status(File*, const SourceMap&)> complete) {
  POLYMOE_ASSIGN_OR_RETURN(const std::string text, ReadSource(source.file, console));
  const std::string name = source.file == "-" ? "<stdin>" : source.file;
  if (KindOf(text) == other) return absl::InvalidArgumentError(absl::StrCat(name, ": kind: its kind is ", other, "; ", hint));
  File file;
  SourceMap places;
  POLYMOE_RETURN_IF_ERROR(YamlToMessage(text, name, &file, &places));
  for (const std::string& edit : source.edits) POLYMOE_RETURN_IF_ERROR(ApplyEdit(edit, &file));
  const absl::Status status = complete(&file, places);
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

}  // namespace

absl::StatusOr<v1::JobFile> ReadJobFile(const FileSource& source, const Console& console) {
  return Read<v1::JobFile>(source, console, "Ablation", "use `polyctl ablation submit`, with --dry-run to look at it first",
                           &CompleteJobFile);
}

absl::StatusOr<v1::AblationFile> ReadAblationFile(const FileSource& source, const std::string& base, const Console& console) {
  v1::JobFile job;
  if (!base.empty()) {
    POLYMOE_ASSIGN_OR_RETURN(job, ReadJobFile({.file = base}, console));
    job.mutable_spec()->mutable_train()->clear_seed();
  }
  return Read<v1::AblationFile>(source, console, "Job", "use `polyctl submit`, or give it as --base of an ablation",
                                [&](v1::AblationFile* file, const SourceMap& places) {
                                  v1::AblationSpec& spec = *file->mutable_spec();
                                  if (!base.empty()) {
                                    if (spec.budget().has_tokens()) job.mutable_spec()->mutable_train()->clear_tokens();
                                    job.mutable_spec()->MergeFrom(spec.base());
                                    *spec.mutable_base() = job.spec();
                                  }
                                  return CompleteAblationFile(file, places);
                                });
}

}  // namespace polymoe::polyctl
