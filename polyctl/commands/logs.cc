#include <algorithm>
#include <memory>
#include <tuple>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/jobs.h"

namespace polymoe::polyctl {
namespace {

constexpr char kAllRanks[] = "all";

struct Options {
  std::string job;
  bool follow = false;
  uint32_t attempt = 0;
  std::string rank = "0";
  uint32_t tail = 0;
};

// How many ranks the attempt had, or the attempt that had most: an elastic job has not always the same number.
uint32_t RanksOf(const v1::Job& job, uint32_t attempt) {
  int ranks = 0;
  for (const v1::Attempt& each : job.attempts()) {
    if (attempt == 0 || each.number() == attempt) ranks = std::max(ranks, each.placements_size());
  }
  return ranks > 0 ? static_cast<uint32_t>(ranks) : job.file().spec().resources().ranks();
}

// Prints lines, with a line between attempts.
class Printer {
 public:
  Printer(Console& console, const Options& options) : console_(console), options_(options) {}

  void Print(const v1::LogLine& line) {
    if (line.attempt() != attempt_ && (attempt_ > 0 || line.attempt() > 1) && options_.attempt == 0)
      console_.err << "--- attempt " << line.attempt() << " ---" << std::endl;
    attempt_ = line.attempt();
    if (options_.rank == kAllRanks) console_.out << "[" << line.rank() << "] ";
    console_.out << line.text() << std::endl;
  }
  bool printed() const { return attempt_ > 0; }

 private:
  Console& console_;
  const Options& options_;
  uint32_t attempt_ = 0;
};

// Lines of all ranks in the order of their times.
absl::Status PrintAllRanks(const Client& client, v1::StreamLogsRequest request, uint32_t ranks, Printer& printer) {
  std::vector<v1::LogLine> lines;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    request.set_rank(rank);
    POLYMOE_RETURN_IF_ERROR(client.Logs(request, [&](const v1::LogLine& line) { lines.push_back(line); }));
  }
  const auto place = [](const v1::LogLine& line) {
    return std::make_tuple(line.attempt(), line.time_ms(), line.rank(), line.number());
  };
  std::sort(lines.begin(), lines.end(), [&](const v1::LogLine& a, const v1::LogLine& b) { return place(a) < place(b); });
  const size_t skip = request.tail() > 0 && lines.size() > request.tail() ? lines.size() - request.tail() : 0;
  for (size_t i = skip; i < lines.size(); ++i) printer.Print(lines[i]);
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> Run(Cli& cli, const Options& options) {
  const bool all = options.rank == kAllRanks;
  uint32_t rank = 0;
  if (!all && !absl::SimpleAtoi(options.rank, &rank))
    return absl::InvalidArgumentError(absl::StrCat("--rank is '", options.rank, "'; write a number or ", kAllRanks));
  if (all && options.follow) return absl::InvalidArgumentError("--follow goes with one rank; give its number to --rank");
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const v1::Job job, client.Get(options.job));
  const uint32_t ranks = RanksOf(job, options.attempt);
  if (rank >= ranks) {
    return absl::NotFoundError(absl::StrCat(options.attempt > 0 ? absl::StrCat("attempt ", options.attempt, " of ") : "", "job ",
                                            job.id(), " has ", ranks, ranks == 1 ? " rank" : " ranks", "; --rank goes from 0 to ",
                                            ranks - 1));
  }
  v1::StreamLogsRequest request;
  request.set_job(job.id());  // by id: a name may come to mean a newer job when the stream is opened again
  request.set_follow(options.follow);
  request.set_attempt(options.attempt);
  request.set_rank(rank);
  request.set_tail(options.tail);
  Printer printer(cli.console, options);
  POLYMOE_RETURN_IF_ERROR(all ? PrintAllRanks(client, request, ranks, printer)
                              : client.Logs(request, [&](const v1::LogLine& line) { printer.Print(line); }));
  if (!printer.printed()) cli.console.err << "No lines: " << JobLine(job, cli.console.clock.Now()) << "\n";
  return ExitCode::kOk;
}

}  // namespace

void AddLogs(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(root, cli, "logs", "what a rank of a job printed",
                                 "  polyctl logs moe-polynorm -f\n"
                                 "  polyctl logs moe-polynorm --attempt 2 --rank 1 --tail 20\n"
                                 "  polyctl logs moe-polynorm --rank all\n",
                                 [&cli, options] { return Run(cli, *options); });
  command->group(kJobCommands);
  command->add_option("job", options->job, "job id, or a name (the newest job of that name)")->type_name("JOB")->required();
  command->add_flag("-f,--follow", options->follow, "go on until the job ends");
  command->add_option("--attempt", options->attempt, "only this attempt (default: all, in order)")->type_name("N");
  command->add_option("--rank", options->rank, "whose log; all: of every rank, sorted by time, behind its number")
      ->type_name("R|all")
      ->default_str("0");
  command->add_option("--tail", options->tail, "only the last N lines")->type_name("N");
}

}  // namespace polymoe::polyctl
