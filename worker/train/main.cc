// polymoe-train: one rank of one job. Alone on a machine it needs a job file and nothing else.
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/spec/job_file.h"
#include "common/spec/ranks.h"
#include "common/status.h"
#include "common/trainer_exit.h"
#include "common/version.h"
#include "kernels/cpu/roof.h"
#include "kernels/profile.h"
#include "worker/train/event_writer.h"
#include "worker/train/meeting.h"
#include "worker/train/points_file.h"
#include "worker/train/profile_report.h"
#include "worker/train/reporter.h"
#include "worker/train/trainer.h"

namespace polymoe {
namespace {

constexpr size_t kTracedCalls = 100'000;  // of a profile: some hundred steps of a small model

constexpr char kFooter[] = R"(Examples:
  polymoe-train --spec job.yaml                    train; checkpoints go to ./checkpoints/NAME
  polymoe-train --spec job.yaml --resume none      train again from scratch; checkpoints that are there are set aside
  polymoe-train --spec job.yaml --threads 1        with one thread
  polymoe-train --spec job.yaml --profile t.json   and say at the end where the time of a step went
  for r in 0 1; do polymoe-train --spec job.yaml --rank $r --world-size 2 --rendezvous-dir meet --threads 1 & done; wait
                                                   two ranks on this machine, in place of the job's number of ranks

SIGTERM and SIGINT finish the step, save a checkpoint and exit.
Exit codes: 0 done, 1 failed, 2 bad job file or flags, 3 stopped on request, 4 another rank was lost, 5 another rank was late.)";

std::atomic<bool> stop_requested = false;

// A thread takes the signals. Never a handler: it would run on the stack of a thread that computes, in the middle of whatever that does.
void TakeStopSignals() {
  std::thread([signals = BlockStopSignals()] {
    int signal = 0;
    sigwait(&signals, &signal);
    stop_requested.store(true, std::memory_order_relaxed);
  }).detach();
}

struct Flags {
  std::string spec, checkpoint_dir, resume = "auto", profile, metrics_file, job, server, rendezvous_dir, bind = "127.0.0.1";
  uint32_t attempt = 1, rank = 0, world_size = 1;
  int threads = 0;
  int events_fd = -1;
};

// The table goes to stdout, the trace to `path`; of a run that ends with an error neither.
absl::StatusOr<Outcome> TrainProfiled(const std::string& path, const v1::JobFile& file, TrainerOptions options, Ranks& ranks,
                                      Reporter& reporter) {
  const Roof roof = MeasureRoof();
  OpProfile profile(kTracedCalls);
  options.profile = &profile;
  POLYMOE_ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(file, options, ranks, Clock::Real(), reporter));
  POLYMOE_ASSIGN_OR_RETURN(const Outcome outcome, trainer->Run(stop_requested));
  const ProfiledSteps steps = Profiled(file.spec(), roof, trainer->profiled_steps(), trainer->profiled_seconds());
  std::fputs(RenderProfile(profile, steps).c_str(), stdout);
  POLYMOE_RETURN_IF_ERROR(WriteFileDurably(path, ChromeTrace(profile)));
  return outcome;
}

int Fail(const absl::Status& status, EventWriter& events) {
  std::fprintf(stderr, "polymoe-train: %s\n", std::string(status.message()).c_str());
  v1::TrainerEvent event;
  event.set_error(std::string(status.message()));
  events.Write(event);
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
      return kTrainerBadInput;
    case absl::StatusCode::kUnavailable:
      return kTrainerPeerLost;
    case absl::StatusCode::kDeadlineExceeded:
      return kTrainerPeerLate;
    default:
      return kTrainerFailed;
  }
}

bool Connected(const Ranks& ranks) {
  return ranks.transport == nullptr || ranks.transport->status().ok();
}

absl::StatusOr<Outcome> Train(const Flags& flags, const v1::JobFile& file, const TrainerOptions& options, Ranks& ranks,
                              Reporter& reporter, EventWriter& events) {
  if (!flags.profile.empty()) return TrainProfiled(flags.profile, file, options, ranks, reporter);
  POLYMOE_ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(file, options, ranks, Clock::Real(), reporter));
  absl::StatusOr<Outcome> outcome = trainer->Run(stop_requested);
  // Without the others nothing can be saved: the next attempt waits for our end, and the trainer's would wait for its writer.
  if (!Connected(ranks)) std::_Exit(Fail(outcome.status(), events));
  return outcome;
}

// The job as this attempt runs it: an elastic one may have got fewer ranks than it asked for.
absl::StatusOr<v1::JobFile> ReadJob(const Flags& flags) {
  const absl::StatusOr<std::string> text = ReadFile(flags.spec);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  POLYMOE_ASSIGN_OR_RETURN(v1::JobFile file, ParseJobFile(*text, flags.spec));
  if (const auto problem = FindRanksProblem(file.spec(), flags.world_size)) {
    return absl::InvalidArgumentError(absl::StrCat(flags.spec, ": ", problem->field, ": ", problem->why));
  }
  file.mutable_spec()->mutable_resources()->set_ranks(flags.world_size);
  return file;
}

absl::StatusOr<Outcome> TrainJob(const Flags& flags, EventWriter& events) {
  POLYMOE_ASSIGN_OR_RETURN(const v1::JobFile file, ReadJob(flags));
  if (flags.events_fd >= 0 && fcntl(flags.events_fd, F_GETFD) < 0) {
    return absl::InvalidArgumentError(absl::StrCat("--events-fd ", flags.events_fd, " is not open"));
  }
  std::unique_ptr<PointsFile> points;
  if (!flags.metrics_file.empty()) {
    POLYMOE_ASSIGN_OR_RETURN(points, PointsFile::Open(flags.metrics_file));
  }
  Reporter reporter(file, Clock::Real(), events, flags.events_fd < 0 && isatty(STDERR_FILENO), points.get());
  POLYMOE_ASSIGN_OR_RETURN(Ranks ranks, MeetRanks({.rank = flags.rank,
                                                   .world_size = flags.world_size,
                                                   .expert_parallel = file.spec().resources().expert_parallel(),
                                                   .bind = flags.bind,
                                                   .folder = flags.rendezvous_dir,
                                                   .server = flags.server,
                                                   .job = flags.job,
                                                   .attempt = flags.attempt,
                                                   .deadline = absl::Seconds(file.spec().restart().stall_seconds())}));
  TrainerOptions options{.checkpoint_dir = flags.checkpoint_dir, .attempt = flags.attempt, .resume = flags.resume};
  // Within a machine it is the cores that compute which copy the rows: there is nothing to hide, and two chunks are more messages.
  if (absl::StartsWith(flags.bind, "127.")) options.exchange_chunks = 1;
  if (options.checkpoint_dir.empty()) options.checkpoint_dir = absl::StrCat("checkpoints/", file.metadata().name());
  absl::StatusOr<Outcome> outcome = Train(flags, file, options, ranks, reporter, events);
  // What is unavailable or late must be another rank for Fail: a disk, which may say the same, only fails.
  if (Connected(ranks) && (absl::IsUnavailable(outcome.status()) || absl::IsDeadlineExceeded(outcome.status()))) {
    return absl::AbortedError(outcome.status().message());
  }
  return outcome;
}

int Run(const Flags& flags) {
  TakeStopSignals();
  if (flags.threads > 0) omp_set_num_threads(flags.threads);
  InitLog({.program = "polymoe-train"});
  EventWriter events(flags.events_fd);
  const absl::StatusOr<Outcome> outcome = TrainJob(flags, events);
  if (!outcome.ok()) return Fail(outcome.status(), events);
  return *outcome == Outcome::kDone ? kTrainerDone : kTrainerStopped;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Flags flags;
  CLI::App app("Trains one rank of a PolyMoE job.", "polymoe-train");
  app.footer(polymoe::kFooter);
  app.set_version_flag("--version", polymoe::kVersion);
  app.add_option("--spec", flags.spec, "job file (YAML)")->required()->type_name("FILE");
  app.add_option("--checkpoint-dir", flags.checkpoint_dir,
                 "where checkpoints go: a folder or s3://BUCKET/PREFIX (default: checkpoints/NAME)")
      ->type_name("DIR");
  app.add_option("--resume", flags.resume,
                 "auto: from the newest good checkpoint, if any; none: from scratch; or a checkpoint's path")
      ->type_name("auto|none|PATH");
  app.add_option("--threads", flags.threads, "OpenMP threads (default: one a core)")->check(CLI::Range(1, 4096))->type_name("N");
  app.add_option("--profile", flags.profile,
                 "print time, FLOP/s and bytes/s of each operation at the end, and write a trace for ui.perfetto.dev")
      ->type_name("FILE");
  app.add_option("--metrics-file", flags.metrics_file, "append every metric point to it, a line of JSON each (rank 0)")
      ->type_name("FILE");
  CLI::Option_group* several = app.add_option_group("several ranks");
  several->add_option("--rank", flags.rank, "rank of this process, from 0");
  several->add_option("--world-size", flags.world_size, "ranks in all")->check(CLI::Range(1, 65536));
  several->add_option("--rendezvous-dir", flags.rendezvous_dir, "new folder where ranks of one machine meet")->type_name("DIR");
  several->add_option("--bind", flags.bind, "address or network interface that the other ranks reach")->capture_default_str();
  CLI::Option_group* daemon = app.add_option_group("set by polymoe-worker");
  daemon->add_option("--job", flags.job, "job id");
  daemon->add_option("--attempt", flags.attempt, "attempt number");
  daemon->add_option("--server", flags.server, "coordinator, where several ranks meet");
  daemon->add_option("--events-fd", flags.events_fd, "descriptor for events");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : polymoe::kTrainerBadInput;
  }
  return polymoe::Run(flags);
}
