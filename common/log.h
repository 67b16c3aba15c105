// Logs of the daemons, to stderr, one line an event: text for a terminal, JSON for a collector.
//
//   InitLog({.format = LogFormat::kJson, .program = "polymoe-server"});
//   LogInfo("worker connected", {{"worker", name}, {"slots", absl::StrCat(n)}});
//
// The message is a constant; what varies goes into fields (job, attempt, worker, ...), so that lines can be searched and counted.
// Thread-safe. Never called in a training step.
#ifndef POLYMOE_COMMON_LOG_H_
#define POLYMOE_COMMON_LOG_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace polymoe {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevel level = LogLevel::kInfo;
  std::string program;
};

struct LogField {
  absl::string_view key;
  absl::string_view value;
};

// Once, at the start of main. Before it, logs go to stderr as text.
void InitLog(const LogOptions& options);

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

inline void LogInfo(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(absl::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, message, fields);
}

}  // namespace polymoe

#endif  // POLYMOE_COMMON_LOG_H_
