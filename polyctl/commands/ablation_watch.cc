#include "polyctl/commands/ablation_watch.h"

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <CLI/CLI.hpp>

#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/commands/common.h"
#include "polyctl/live.h"

namespace polymoe::polyctl {
namespace {

// Comparing many runs is work for the coordinator, and nobody reads faster.
constexpr absl::Duration kBetweenComparisons = absl::Seconds(2);

// The comparison, asked for again only when the runs have gone on.
class Losses {
 public:
  explicit Losses(const Client& client) : client_(client) {}

  const v1::AblationComparison& Update(const v1::Ablation& ablation) {
    const bool moved = ablation.progress().tokens() != tokens_ || IsFinal(ablation.state());
    const absl::Time now = absl::Now();
    if (ablation.id().empty() || !moved || (now - asked_ < kBetweenComparisons && !IsFinal(ablation.state()))) return comparison_;
    asked_ = now;
    v1::CompareAblationRequest request;
    request.set_ablation(ablation.id());
    request.set_grid(100);
    request.add_metrics("val_loss");
    absl::StatusOr<v1::AblationComparison> answer = client_.CompareAblation(request);
    if (!answer.ok()) return comparison_;  // figures of before; the states are there
    tokens_ = ablation.progress().tokens();
    comparison_ = *std::move(answer);
    return comparison_;
  }

 private:
  const Client& client_;
  uint64_t tokens_ = 0;
  absl::Time asked_ = absl::InfinitePast();
  v1::AblationComparison comparison_;
};

std::string Draw(const AblationNews& news, Losses& losses, const Console& console) {
  return AblationScreen(news.ablation, news.jobs, losses.Update(news.ablation), console.height,
                        {.colour = console.colour, .utf8 = console.utf8, .width = console.width});
}

ExitCode OutcomeOf(const v1::Ablation& ablation) {
  if (ablation.state() == v1::ABLATION_STATE_FAILED) return ExitCode::kJobFailed;
  return ablation.state() == v1::ABLATION_STATE_CANCELLED ? ExitCode::kJobCancelled : ExitCode::kOk;
}

absl::StatusOr<ExitCode> WatchScreen(const Client& client, const std::string& ablation, Console& console) {
  std::mutex mutex;
  AblationNews latest;  // filled by the thread of the stream, read by the one that draws
  Losses losses(client);
  const auto follow = [&](const std::function<void()>& changed) {
    return client.WatchAblation(ablation, [&](const v1::WatchAblationResponse& response) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        latest.Take(response);
      }
      changed();
      return true;
    });
  };
  POLYMOE_RETURN_IF_ERROR(DrawLive(console, follow, [&] {
    AblationNews news;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      news = latest;
    }
    return news.ablation.id().empty() ? std::string() : Draw(news, losses, console);
  }));
  return OutcomeOf(latest.ablation);
}

// What makes a new line: another state, a run that ended or began, or another twentieth of the way.
std::string Milestone(const v1::Ablation& ablation) {
  const v1::AblationProgress& progress = ablation.progress();
  const uint64_t twentieth = progress.tokens_target() > 0 ? progress.tokens() * 20 / progress.tokens_target() : 0;
  return absl::StrCat(ablation.state(), " ", ablation.cancel_requested(), " ", ablation.runs_size(), " ", progress.ended(), " ",
                      progress.running(), " ", twentieth);
}

absl::StatusOr<ExitCode> WatchLines(const Client& client, const std::string& ablation, Console& console) {
  AblationNews news;
  std::string milestone;
  POLYMOE_RETURN_IF_ERROR(client.WatchAblation(ablation, [&](const v1::WatchAblationResponse& response) {
    news.Take(response);
    const std::string now = Milestone(news.ablation);
    if (std::exchange(milestone, now) != now) console.out << AblationLine(news.ablation) << std::endl;
    return true;
  }));
  return OutcomeOf(news.ablation);
}

absl::StatusOr<ExitCode> WatchOnce(const Client& client, const std::string& ablation, Console& console) {
  AblationNews news;
  POLYMOE_RETURN_IF_ERROR(client.WatchAblation(ablation, [&news](const v1::WatchAblationResponse& response) {
    news.Take(response);
    return false;
  }));
  Losses losses(client);
  console.out << Draw(news, losses, console);
  return ExitCode::kOk;
}

struct Options {
  std::string ablation;
  bool once = false;
};

}  // namespace

void AblationNews::Take(const v1::WatchAblationResponse& response) {
  ablation = response.ablation();
  for (const v1::Job& job : response.jobs()) jobs[job.id()] = job;
}

absl::StatusOr<ExitCode> WatchAblation(const Client& client, const std::string& ablation, Console& console) {
  return console.out_is_terminal ? WatchScreen(client, ablation, console) : WatchLines(client, ablation, console);
}

void AddAblationWatch(CLI::App& group, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* command = AddCommand(group, cli, "watch", "live progress of all arms, until every run has ended",
                                 "  polyctl ablation watch activations\n"
                                 "  polyctl ablation watch activations --once\n",
                                 [&cli, options]() -> absl::StatusOr<ExitCode> {
                                   POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
                                   return options->once ? WatchOnce(client, options->ablation, cli.console)
                                                        : WatchAblation(client, options->ablation, cli.console);
                                 });
  AddAblation(*command, options->ablation);
  command->add_flag("--once", options->once, "print the screen once and leave");
}

}  // namespace polymoe::polyctl
