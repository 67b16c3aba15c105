#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/live.h"
#include "polyctl/render/format.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

struct Options {
  std::vector<std::string> jobs;
  std::vector<std::string> labels;
  bool once = false;
};

// The curves of the losses, asked for again only when the job has gone on.
class Curves {
 public:
  explicit Curves(const Client& client) : client_(client) {}

  const std::map<std::string, std::vector<double>>& Update(const std::vector<v1::Job>& jobs) {
    for (const v1::Job& job : jobs) {
      if (job.progress().tokens() == 0 || !Advanced(job)) continue;
      v1::QueryRequest request;
      request.set_job(job.id());
      request.add_names("loss");
      request.set_max_points(32);
      const absl::StatusOr<v1::QueryResponse> response = client_.Query(request);
      if (!response.ok() || response->series().empty()) continue;  // a curve less; the figures are there
      std::vector<double>& curve = curves_[job.id()];
      curve.clear();
      for (const v1::SeriesPoint& point : response->series(0).points()) curve.push_back(point.value());
    }
    return curves_;
  }

 private:
  bool Advanced(const v1::Job& job) { return std::exchange(tokens_[job.id()], job.progress().tokens()) != job.progress().tokens(); }

  const Client& client_;
  std::map<std::string, uint64_t> tokens_;
  std::map<std::string, std::vector<double>> curves_;
};

std::vector<v1::Job> InOrder(const std::map<std::string, v1::Job>& jobs, const std::vector<std::string>& ids) {
  std::vector<v1::Job> ordered;
  for (const std::string& id : ids) {
    if (const auto it = jobs.find(id); it != jobs.end()) ordered.push_back(it->second);
  }
  return ordered;
}

std::string DrawTable(std::vector<v1::Job> jobs, const std::map<std::string, std::vector<double>>& curves, const Console& console) {
  const size_t room = console.height > 4 ? static_cast<size_t>(console.height) - 3 : 1;
  const size_t hidden = console.height > 0 && jobs.size() > room ? jobs.size() - room : 0;
  jobs.resize(jobs.size() - hidden);
  std::string text = RenderTable(WatchTable(jobs, curves, console.clock.Now(), console.width),
                                 {.colour = console.colour, .utf8 = console.utf8, .width = console.width});
  if (hidden > 0) absl::StrAppend(&text, "and ", hidden, " more\n");
  return text;
}

absl::StatusOr<ExitCode> WatchLive(const Client& client, const std::vector<std::string>& ids, Console& console) {
  std::mutex mutex;
  std::map<std::string, v1::Job> latest;  // filled by the thread of the stream, read by the one that draws
  absl::StatusOr<std::vector<v1::Job>> result = absl::UnknownError("not finished");
  Curves curves(client);
  const auto follow = [&](const std::function<void()>& news) {
    result = AwaitJobs(client, ids, absl::InfiniteFuture(), [&](const v1::Job& job) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        latest[job.id()] = job;
      }
      news();
    });
    return result.status();
  };
  POLYMOE_RETURN_IF_ERROR(DrawLive(console, follow, [&] {
    std::vector<v1::Job> jobs;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      jobs = InOrder(latest, ids);
    }
    return DrawTable(jobs, curves.Update(jobs), console);
  }));
  return OutcomeOf(*result);
}

// What makes a new line: another state, reason or attempt, or another twentieth of the way.
std::string Milestone(const v1::Job& job) {
  return absl::StrCat(job.state(), " ", job.waiting().reason(), " ", job.attempts_size(), " ", job.cancel_requested(), " ",
                      static_cast<int>(ProgressShare(job.progress()) * 20));
}

absl::StatusOr<ExitCode> WatchLines(const Client& client, const std::vector<std::string>& ids, Console& console) {
  std::map<std::string, std::string> milestones;
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, AwaitJobs(client, ids, absl::InfiniteFuture(), [&](const v1::Job& job) {
                             const std::string milestone = Milestone(job);
                             if (std::exchange(milestones[job.id()], milestone) == milestone) return;
                             console.out << JobLine(job, console.clock.Now()) << std::endl;
                           }));
  return OutcomeOf(jobs);
}

// The jobs named and those with the labels, or all that have not ended.
absl::StatusOr<std::vector<v1::Job>> Choose(const Client& client, const Options& options) {
  if (!options.jobs.empty() || !options.labels.empty()) return ChooseJobs(client, options.jobs, options.labels);
  v1::ListJobsRequest open;
  for (const v1::JobState state : {v1::JOB_STATE_PENDING, v1::JOB_STATE_STARTING, v1::JOB_STATE_RUNNING}) open.add_states(state);
  return ListOldestFirst(client, open);
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> jobs, Choose(client, options));
  if (jobs.empty()) {
    cli.console.err << (options.labels.empty() ? "Nothing to watch: no job waits or runs.\n" : "No job has these labels.\n");
    return ExitCode::kOk;
  }
  if (options.once) {
    cli.console.out << DrawTable(jobs, Curves(client).Update(jobs), cli.console);
    return ExitCode::kOk;
  }
  const std::vector<std::string> ids = IdsOf(jobs);
  return cli.console.out_is_terminal ? WatchLive(client, ids, cli.console) : WatchLines(client, ids, cli.console);
}

}  // namespace

void AddWatch(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "watch", "live progress with the curve of the loss, until all watched jobs have ended",
                                 "  polyctl watch                      all jobs that wait or run\n"
                                 "  polyctl watch -l study=activations\n"
                                 "  polyctl watch moe-relu --once\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  AddJobs(*command, options->jobs, 0);
  AddRepeated(*command, "-l,--label", options->labels, "also the jobs with these labels; may be repeated")->type_name("KEY=VALUE");
  command->add_flag("--once", options->once, "print the table once and leave");
}

}  // namespace polymoe::polyctl
