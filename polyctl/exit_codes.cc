#include "polyctl/exit_codes.h"

#include "absl/strings/str_format.h"

namespace polymoe::polyctl {
namespace {

struct Row {
  ExitCode code;
  const char* meaning;
};

constexpr Row kRows[] = {
    {ExitCode::kOk, "done; with wait, watch and submit --wait: every job succeeded"},
    {ExitCode::kError, "an error that no other number names"},
    {ExitCode::kUsage, "wrong command line, or a job file that is not valid"},
    {ExitCode::kNotFound, "no such job, worker, context or file"},
    {ExitCode::kAuth, "not allowed: authentication or permissions"},
    {ExitCode::kConflict, "conflict: the request id belongs to another job file, or the state does not allow it"},
    {ExitCode::kUnavailable, "the coordinator did not answer; safe to try again"},
    {ExitCode::kWaitTimeout, "the time of --timeout was over before the jobs ended"},
    {ExitCode::kJobFailed, "a job failed"},
    {ExitCode::kJobCancelled, "a job was cancelled, none failed"},
    {ExitCode::kInterrupted, "interrupted with Ctrl-C; jobs go on"},
};

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return ExitCode::kUsage;
    case absl::StatusCode::kNotFound:
      return ExitCode::kNotFound;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kAuth;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
      return ExitCode::kConflict;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kUnavailable;
    default:
      return ExitCode::kError;
  }
}

std::string ExitCodeTable() {
  std::string text;
  for (const Row& row : kRows) absl::StrAppendFormat(&text, "%5d  %s\n", static_cast<int>(row.code), row.meaning);
  return text;
}

}  // namespace polymoe::polyctl
