#include "common/log.h"

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace polymoe {
namespace {

struct Sink {
  LogFormat format = LogFormat::kText;
  std::shared_ptr<spdlog::logger> logger;
};

Sink& TheSink() {
  static Sink& sink = *new Sink{.logger = [] {
    auto logger = std::make_shared<spdlog::logger>("polymoe", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %L %v");
    return logger;
  }()};
  return sink;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

void AppendJsonString(std::string& out, absl::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&out, "\\u", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad4));
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

void InitLog(const LogOptions& options) {
  Sink& sink = TheSink();
  sink.format = options.format;
  sink.logger->set_level(ToSpdlog(options.level));
  if (options.format == LogFormat::kJson) {
    std::string program;
    AppendJsonString(program, options.program);
    sink.logger->set_pattern(absl::StrCat("{\"time\":\"%Y-%m-%dT%H:%M:%S.%e%z\",\"level\":\"%l\",\"program\":", program, ",%v}"));
  }
}

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  Sink& sink = TheSink();
  if (!sink.logger->should_log(ToSpdlog(level))) return;
  std::string line;
  if (sink.format == LogFormat::kJson) {
    line = "\"message\":";
    AppendJsonString(line, message);
    for (const LogField& field : fields) {
      line += ',';
      AppendJsonString(line, field.key);
      line += ':';
      AppendJsonString(line, field.value);
    }
  } else {
    line = std::string(message);
    for (const LogField& field : fields) absl::StrAppend(&line, " ", field.key, "=", field.value);
  }
  sink.logger->log(ToSpdlog(level), "{}", line);
  if (level >= LogLevel::kWarning) sink.logger->flush();
}

}  // namespace polymoe
