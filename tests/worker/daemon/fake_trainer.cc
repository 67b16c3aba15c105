// Stands for polymoe-train: takes its flags, and does what the label "script" of the job file says, one command after another.
//
//   print TEXT | stderr TEXT     a line of output
//   flood LINES                  that many lines of 1000 characters
//   partial TEXT                 output without a newline
//   args | env NAME | pid | cpus prints its arguments | a variable | its process id | the CPUs that it may run on
//   started STEP | progress STEP | points STEP | checkpoint STEP PATH | error TEXT    an event
//   garbage                      bytes that are no event
//   gentle | stubborn            exits with 0 on SIGTERM | ignores it (neither: dies by it)
//   leave-child                  starts a process that keeps the pipes open and never ends by itself; prints its id
//   wait                         until a signal comes
//   await FILE                   until there is such a file
//   pause MS                     lets time pass: for tests whose promise is about time
//   exit CODE | crash SIGNAL
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/delimited_message_util.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/check.h"
#include "common/cpus.h"
#include "common/file.h"
#include "common/spec/yaml_read.h"

namespace polymoe {
namespace {

std::string Flag(const std::vector<std::string>& args, absl::string_view name) {
  for (size_t i = 1; i + 1 < args.size(); ++i) {
    if (args[i] == name) return args[i + 1];
  }
  return "";
}

void Write(int fd, absl::string_view bytes) {
  POLYMOE_CHECK(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

void Emit(int fd, const v1::TrainerEvent& event) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream out(&bytes);
    POLYMOE_CHECK(google::protobuf::util::SerializeDelimitedToZeroCopyStream(event, &out));
  }
  Write(fd, bytes);
}

void EmitCommand(int fd, absl::string_view command, const std::string& argument) {
  v1::TrainerEvent event;
  if (command == "started") event.mutable_started()->set_start_step(std::stoull(argument));
  if (command == "progress") event.set_progress(std::stoull(argument));
  if (command == "error") event.set_error(argument);
  if (command == "points") {
    event.mutable_points()->set_step(std::stoull(argument));
    (*event.mutable_points()->mutable_values())["train/loss"] = 1.5;
  }
  if (command == "checkpoint") {
    const std::vector<std::string> parts = absl::StrSplit(argument, ' ');
    event.mutable_checkpoint()->set_step(std::stoull(parts.at(0)));
    event.mutable_checkpoint()->set_path(parts.at(1));
  }
  POLYMOE_CHECK(event.event_case() != v1::TrainerEvent::EVENT_NOT_SET, "unknown command");
  Emit(fd, event);
}

void LeaveChild() {
  const pid_t child = fork();
  POLYMOE_CHECK(child >= 0);
  if (child > 0) {
    Write(1, std::to_string(child) + "\n");
    return;
  }
  while (true) pause();
}

void RunCommand(absl::string_view command, const std::string& argument, const std::vector<std::string>& args) {
  const int events = std::stoi(Flag(args, "--events-fd"));
  if (command == "print") {
    Write(1, argument + "\n");
  } else if (command == "stderr") {
    Write(2, argument + "\n");
  } else if (command == "flood") {
    for (int i = 0; i < std::stoi(argument); ++i) Write(1, std::string(1000, 'x') + "\n");
  } else if (command == "partial") {
    Write(1, argument);
  } else if (command == "args") {
    for (const std::string& arg : args) Write(1, arg + "\n");
  } else if (command == "env") {
    const char* value = std::getenv(argument.c_str());
    Write(1, std::string(value == nullptr ? "" : value) + "\n");
  } else if (command == "pid") {
    Write(1, std::to_string(getpid()) + "\n");
  } else if (command == "cpus") {
    Write(1, absl::StrJoin(UsableCpus(), ",") + "\n");
  } else if (command == "garbage") {
    Write(events, "\x05garbage garbage");
  } else if (command == "gentle") {
    signal(SIGTERM, [](int) { _exit(0); });
  } else if (command == "stubborn") {
    signal(SIGTERM, SIG_IGN);
  } else if (command == "leave-child") {
    LeaveChild();
  } else if (command == "wait") {
    while (true) pause();
  } else if (command == "await") {
    while (!PathExists(argument)) usleep(1000);
  } else if (command == "pause") {
    usleep(1000 * std::stoi(argument));
  } else if (command == "exit") {
    std::exit(std::stoi(argument));
  } else if (command == "crash") {
    signal(std::stoi(argument), SIG_DFL);  // sanitisers catch some
    raise(std::stoi(argument));
  } else {
    EmitCommand(events, command, argument);
  }
}

int Main(const std::vector<std::string>& args) {
  const std::string path = Flag(args, "--spec");
  const auto text = ReadFile(path);
  POLYMOE_CHECK(text.ok(), "%s", text.status().ToString().c_str());
  v1::JobFile job;
  SourceMap places;
  const absl::Status read = YamlToMessage(*text, path, &job, &places);
  POLYMOE_CHECK(read.ok(), "%s", read.ToString().c_str());
  for (absl::string_view line : absl::StrSplit(job.metadata().labels().at("script"), ';')) {
    const std::vector<std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(line), absl::MaxSplits(' ', 1));
    RunCommand(parts[0], parts.size() > 1 ? parts[1] : "", args);
  }
  return 0;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  return polymoe::Main({argv, argv + argc});
}
