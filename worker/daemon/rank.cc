#include "worker/daemon/rank.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/trainer.pb.h"
#include "polymoe/v1/worker.pb.h"

#include "common/check.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/status.h"
#include "common/utf8.h"

namespace polymoe {
namespace {

constexpr int kEventsFd = 3;
// OpenMP's threads spin for milliseconds by default before they sleep, and take the CPU from other trainers on the machine; this many
// turns take microseconds.
constexpr char kSpinCount[] = "10000";
constexpr size_t kReadBytes = size_t{64} << 10;
// Nothing that a dead process wrote is left after this much: pipes hold at most 1 MiB (pipe(7), pipe-max-size), 64 KiB as they are
// made. More can only come from a process that the trainer left behind, which must not keep us here.
constexpr size_t kDrainBytes = size_t{1} << 20;

struct Pipe {
  Descriptor read, write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make", "a pipe");
  Pipe pipe{Descriptor(fds[0]), Descriptor(fds[1])};
  // Only our end: the two ends are separate open files.
  if (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus(errno, "set up", "a pipe");
  return pipe;
}

// One read: the bytes, which are empty when there are none now. Closes `fd` at the end of the pipe.
absl::string_view ReadSome(Descriptor* fd, std::vector<char>* buffer) {
  buffer->resize(kReadBytes);
  ssize_t n;
  do {
    n = read(fd->get(), buffer->data(), buffer->size());
  } while (n < 0 && errno == EINTR);
  if (n == 0 || (n < 0 && errno != EAGAIN)) fd->Close();
  return {buffer->data(), static_cast<size_t>(std::max<ssize_t>(n, 0))};
}

}  // namespace

v1::Report MakeReport(const RankKey& key) {
  v1::Report report;
  report.mutable_rank()->set_job(key.job);
  report.mutable_rank()->set_attempt(key.attempt);
  report.mutable_rank()->set_rank(key.rank);
  return report;
}

Rank::Rank(RankOptions options, const Clock& clock, ReportSink sink)
    : options_(std::move(options)), clock_(clock), sink_(std::move(sink)) {}

Rank::~Rank() {
  if (pid_ < 0) return;
  Kill();
  waitpid(pid_, nullptr, 0);
}

absl::StatusOr<std::unique_ptr<Rank>> Rank::Start(RankOptions options, const Clock& clock, ReportSink sink) {
  auto rank = absl::WrapUnique(new Rank(std::move(options), clock, std::move(sink)));
  POLYMOE_RETURN_IF_ERROR(rank->Spawn());
  return rank;
}

absl::Status Rank::Spawn() {
  const std::string log_path = absl::StrCat(options_.folder, "/rank-", options_.key.rank, ".log");
  log_file_ = Descriptor(open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (log_file_.get() < 0) return ErrnoStatus(errno, "open", log_path);
  POLYMOE_ASSIGN_OR_RETURN(Pipe output, MakePipe());
  POLYMOE_ASSIGN_OR_RETURN(Pipe events, MakePipe());
  const std::string threads = absl::StrCat(options_.threads);
  ProcessOptions process;
  process.argv = {options_.trainer,
                  "--spec",
                  absl::StrCat(options_.folder, "/job.yaml"),
                  "--checkpoint-dir",
                  options_.checkpoint_dir,
                  "--resume",
                  options_.resume_path.empty() ? "none" : options_.resume_path,
                  "--job",
                  options_.key.job,
                  "--attempt",
                  absl::StrCat(options_.key.attempt),
                  "--rank",
                  absl::StrCat(options_.key.rank),
                  "--world-size",
                  absl::StrCat(options_.world_size),
                  "--server",
                  options_.server,
                  "--events-fd",
                  absl::StrCat(kEventsFd),
                  "--threads",
                  threads};
  if (!options_.bind.empty()) process.argv.insert(process.argv.end(), {"--bind", options_.bind});
  process.environment = {{"OMP_NUM_THREADS", threads}};
  if (std::getenv("GOMP_SPINCOUNT") == nullptr && std::getenv("OMP_WAIT_POLICY") == nullptr) {
    process.environment.emplace_back("GOMP_SPINCOUNT", kSpinCount);
  }
  process.cpus = options_.cpus;
  process.descriptors = {{output.write.get(), 1}, {output.write.get(), 2}, {events.write.get(), kEventsFd}};
  const auto pid = StartProcess(process);
  if (!pid.ok()) {
    return absl::Status(pid.status().code(), absl::StrCat(pid.status().message(), "; polymoe-worker --trainer gives its path"));
  }
  pid_ = *pid;
  exited_ = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (exited_.get() < 0) return ErrnoStatus(errno, "watch", options_.trainer);
  output_ = std::move(output.read);
  events_ = std::move(events.read);
  return absl::OkStatus();
}

void Rank::ReadOutput() {
  std::vector<char> buffer;
  TakeOutput(ReadSome(&output_, &buffer));
}

void Rank::ReadEvents() {
  std::vector<char> buffer;
  TakeEvents(ReadSome(&events_, &buffer));
}

void Rank::TakeOutput(absl::string_view bytes) {
  if (log_file_.get() >= 0 && write(log_file_.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    LogWarning("cannot write a rank's log file, its lines go to the coordinator only",
               {{"job", key().job}, {"rank", absl::StrCat(key().rank)}, {"error", std::strerror(errno)}});
    log_file_.Close();
  }
  for (const std::string& line : lines_.Feed(bytes)) ReportLine(line);
}

void Rank::ReportLine(absl::string_view line) {
  last_lines_.push_back(ToUtf8(line));
  if (last_lines_.size() > kLastLines) last_lines_.pop_front();
  v1::Report report = MakeReport(key());
  v1::LogLine* log = report.mutable_log();
  log->set_attempt(key().attempt);
  log->set_rank(key().rank);
  log->set_number(++line_number_);
  log->set_time_ms(UnixMillis(clock_));
  log->set_text(last_lines_.back());
  sink_(std::move(report));
}

void Rank::TakeEvents(absl::string_view bytes) {
  auto events = parser_.Feed(bytes);
  if (!events.ok()) {
    // Points and checkpoints would be lost from here on without anybody noticing: end it, loudly.
    error_ = std::string(events.status().message());
    events_.Close();
    Kill();
    return;
  }
  for (v1::TrainerEvent& event : *events) {
    v1::Report report = MakeReport(key());
    switch (event.event_case()) {
      case v1::TrainerEvent::kStarted:
        SeeProgress(event.started().start_step());
        *report.mutable_started() = event.started();
        break;
      case v1::TrainerEvent::kPoints:
        SeeProgress(event.points().step());
        report.mutable_points()->Swap(event.mutable_points());
        break;
      case v1::TrainerEvent::kCheckpoint:
        SeeProgress(event.checkpoint().step());
        *report.mutable_checkpoint() = event.checkpoint();
        break;
      case v1::TrainerEvent::kError:
        error_ = event.error();
        continue;
      case v1::TrainerEvent::kProgress:  // for us alone
        SeeProgress(event.progress());
        continue;
      case v1::TrainerEvent::EVENT_NOT_SET:  // of a newer trainer
        continue;
    }
    sink_(std::move(report));
  }
}

// Its first event is `started`.
void Rank::SeeProgress(uint64_t step) {
  step_ = step;
  if (!stopping_) hangs_at_ = clock_.Monotonic() + options_.stall;
}

v1::RankExited Rank::Reap() {
  std::vector<char> buffer;
  for (size_t drained = 0; events_.get() >= 0 && drained < kDrainBytes;) {
    const absl::string_view bytes = ReadSome(&events_, &buffer);
    if (bytes.empty()) break;
    TakeEvents(bytes);
    drained += bytes.size();
  }
  for (size_t drained = 0; output_.get() >= 0 && drained < kDrainBytes;) {
    const absl::string_view bytes = ReadSome(&output_, &buffer);
    if (bytes.empty()) break;
    TakeOutput(bytes);
    drained += bytes.size();
  }
  for (const std::string& line : lines_.Finish()) ReportLine(line);
  int status = 0;
  POLYMOE_CHECK(waitpid(pid_, &status, 0) == pid_, "waitpid: %s", std::strerror(errno));
  pid_ = -1;
  const ProcessExit end = ToProcessExit(status);
  v1::RankExited exited;
  exited.mutable_exit()->set_rank(key().rank);
  exited.mutable_exit()->set_exit_code(end.exit_code);
  exited.mutable_exit()->set_signal(end.signal);
  for (std::string& line : last_lines_) exited.mutable_exit()->add_last_lines(std::move(line));
  exited.set_error(error_);
  // A signal that we did not send is news, though we wanted it to end.
  exited.set_stopped(stopping_ && (end.signal == 0 || end.signal == SIGTERM || (end.signal == SIGKILL && killed_)));
  exited.set_stalled(stalled_);
  return exited;
}

void Rank::Stop(absl::Duration kill_at) {
  if (!std::exchange(stopping_, true)) kill(pid_, SIGTERM);
  kill_at_ = std::min(kill_at_, kill_at);
  hangs_at_ = absl::InfiniteDuration();  // the grace rules
}

void Rank::KillIfDue(absl::Duration now) {
  if (now < kill_at()) return;
  if (now >= hangs_at_) {
    stalled_ = true;
    error_ = absl::StrCat("rank ", key().rank, " on ", options_.host, " made no progress for ",
                          absl::FormatDuration(options_.stall), " after step ", step_, "; it was killed");
  }
  Kill();
}

void Rank::Kill() {
  killed_ = true;
  kill(pid_, SIGKILL);
}

}  // namespace polymoe
