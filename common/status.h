// Return macros for absl::Status, which Debian 12's Abseil does not have yet.
//
//   POLYMOE_RETURN_IF_ERROR(WriteHeader(file));
//   POLYMOE_ASSIGN_OR_RETURN(auto shard, Shard::Open(path));
//
// Errors say what, where and what to do: "dataset /d: shard train-00001.tok is truncated (1024 of 4096 bytes); rebuild it with
// `polyctl dataset build`".
#ifndef POLYMOE_COMMON_STATUS_H_
#define POLYMOE_COMMON_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace polymoe {

// The same code with `context` and ": " before the message.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace polymoe

#define POLYMOE_RETURN_IF_ERROR(expression)                                                      \
  do {                                                                                           \
    if (absl::Status polymoe_status = (expression); !polymoe_status.ok()) return polymoe_status; \
  } while (false)

#define POLYMOE_STATUS_CONCAT_INNER(a, b) a##b
#define POLYMOE_STATUS_CONCAT(a, b) POLYMOE_STATUS_CONCAT_INNER(a, b)
#define POLYMOE_ASSIGN_OR_RETURN_IMPL(result, target, expression) \
  auto result = (expression);                                     \
  if (!result.ok()) return std::move(result).status();            \
  target = *std::move(result)
#define POLYMOE_ASSIGN_OR_RETURN(target, expression) \
  POLYMOE_ASSIGN_OR_RETURN_IMPL(POLYMOE_STATUS_CONCAT(polymoe_result_, __LINE__), target, expression)

#endif  // POLYMOE_COMMON_STATUS_H_
