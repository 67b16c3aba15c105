#include "polyctl/render/jobs.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "common/spec/model_shape.h"
#include "common/spec/names.h"
#include "common/spec/ranks.h"
#include "common/units.h"
#include "polyctl/render/format.h"
#include "polyctl/render/plot.h"

namespace polymoe::polyctl {
namespace {

std::string TokensOf(const v1::Progress& progress) {
  return absl::StrCat(FormatCount(progress.tokens()), "/", FormatCount(progress.tokens_target()));
}

// Empty for a job that waits: its last rate is no rate of now.
std::string Rate(const v1::Job& job) {
  const double rate = job.progress().tokens_per_second();
  return rate > 0 && job.state() != v1::JOB_STATE_PENDING ? FormatCount(rate) : "";
}

std::string RateCell(const v1::Job& job) {
  const std::string rate = Rate(job);
  return rate.empty() ? "-" : rate;
}

// What is left at the present rate; empty when nobody can say.
std::string TimeLeft(const v1::Job& job) {
  const v1::Progress& progress = job.progress();
  if (job.state() != v1::JOB_STATE_RUNNING || progress.tokens_per_second() <= 0 || progress.tokens() >= progress.tokens_target()) {
    return "";
  }
  const double tokens = static_cast<double>(progress.tokens_target() - progress.tokens());
  return ShortDuration(absl::Seconds(tokens / progress.tokens_per_second()));
}

template <typename Map>
std::string Pairs(const Map& map) {
  std::vector<std::string> pairs;
  for (const auto& [key, value] : map) pairs.push_back(absl::StrCat(key, "=", value));
  std::sort(pairs.begin(), pairs.end());
  return pairs.empty() ? "-" : absl::StrJoin(pairs, ",");
}

ModelShape ShapeOf(const v1::JobSpec& spec) {
  return ComputeShape(spec.model(), spec.data().sequence_length());
}

// "4", of an elastic job "3 of 2-4", or "2-4" while it has none.
std::string Ranks(const v1::Job& job) {
  const v1::JobSpec& spec = job.file().spec();
  if (!IsElastic(spec)) return absl::StrCat(spec.resources().ranks());
  const std::string range = absl::StrCat(MinRanks(spec), "-", spec.resources().ranks());
  const bool live = !job.attempts().empty() && job.attempts().rbegin()->ended_ms() == 0;
  return live ? absl::StrCat(job.attempts().rbegin()->placements_size(), " of ", range) : range;
}

std::string Workers(const v1::Attempt& attempt) {
  return absl::StrJoin(attempt.placements(), ",", [](std::string* out, const v1::Placement& placement) {
    absl::StrAppend(out, placement.worker(), "/", placement.slot());
  });
}

std::string EndOf(const v1::Attempt& attempt) {
  if (attempt.ended_ms() == 0) return "runs";
  std::string text = ReasonName(attempt.end_reason());
  if (!attempt.has_exit()) return text;
  const v1::ExitInfo& exit = attempt.exit();
  absl::StrAppend(&text, ": rank ", exit.rank(), " on ", exit.worker(), ", ",
                  exit.signal() != 0 ? absl::StrCat("signal ", exit.signal()) : absl::StrCat("exit code ", exit.exit_code()));
  return text;
}

// The rows of a page: a label, padded, and what is known.
class Page {
 public:
  explicit Page(bool colour) : colour_(colour) {}

  void Row(absl::string_view label, absl::string_view value, Style style = Style::kPlain) {
    absl::StrAppend(&text_, Paint(absl::StrFormat("%-12s", label), Style::kDim, colour_), Paint(Printable(value), style, colour_),
                    "\n");
  }
  void Section(absl::string_view title) { absl::StrAppend(&text_, "\n", Paint(title, Style::kBold, colour_), "\n"); }
  void Append(absl::string_view text) { absl::StrAppend(&text_, text); }
  std::string Take() { return std::move(text_); }

 private:
  bool colour_;
  std::string text_;
};

std::string ModelText(const v1::ModelSpec& model) {
  const bool moe = model.architecture() == v1::ARCHITECTURE_MOE;
  return absl::StrCat(moe ? "moe" : "dense", ", ", model.layers(), " layers, hidden ", model.hidden(), ", ", model.heads(),
                      " heads, ", moe ? absl::StrCat(model.experts(), " experts (top ", model.top_k(), "), ") : "", "ffn ",
                      FfnWidth(model), ", ", ActivationName(model.activation()));
}

void AddProgress(const v1::Job& job, Page& page) {
  const v1::Progress& progress = job.progress();
  const std::string left = TimeLeft(job);
  page.Row("Progress", absl::StrCat(ProgressBar(ProgressShare(progress), 20), " ", FormatShare(ProgressShare(progress)), "  step ",
                                    progress.step(), ", ", TokensOf(progress), " tokens",
                                    Rate(job).empty() ? "" : absl::StrCat(", ", Rate(job), " tokens/s"),
                                    left.empty() ? "" : absl::StrCat(", about ", left, " left")));
  if (progress.loss() != 0) page.Row("Loss", FormatLoss(progress.loss()));
  std::vector<std::string> losses;
  for (const auto& [set, loss] : progress.validation_loss()) losses.push_back(absl::StrCat(set, " ", FormatLoss(loss)));
  std::sort(losses.begin(), losses.end());
  if (!losses.empty()) page.Row("Validation", absl::StrJoin(losses, ", "));
}

void AddCheckpoint(const v1::Job& job, absl::Time now, Page& page) {
  if (!job.has_checkpoint()) {
    page.Row("Checkpoint", "none yet");
    return;
  }
  const v1::Checkpoint& checkpoint = job.checkpoint();
  page.Row("Checkpoint", absl::StrCat("step ", checkpoint.step(), " (", FormatCount(checkpoint.tokens()), " tokens, attempt ",
                                      checkpoint.attempt(), ", ", FormatAge(checkpoint.committed_ms(), now), " ago)"));
  page.Row("", checkpoint.path());
}

void AddAttempts(const v1::Job& job, absl::Time now, bool colour, Page& page) {
  if (job.attempts().empty()) return;
  page.Section("Attempts");
  Table table{{{"#", Align::kRight}, {"FROM STEP", Align::kRight}, {"STARTED"}, {"RAN", Align::kRight}, {"RANKS ON"}, {"END"}}, {}};
  for (const v1::Attempt& attempt : job.attempts()) {
    const absl::Time end = attempt.ended_ms() == 0 ? now : absl::FromUnixMillis(attempt.ended_ms());
    table.rows.push_back({absl::StrCat(attempt.number()), absl::StrCat(attempt.start_step()), FormatTime(attempt.started_ms()),
                          FormatAge(attempt.started_ms(), end), Workers(attempt), EndOf(attempt)});
  }
  page.Append(RenderTable(table, {.colour = colour}));
  // The log's end of the newest attempt that died, since it usually has the reason.
  for (auto attempt = job.attempts().rbegin(); attempt != job.attempts().rend(); ++attempt) {
    if (attempt->exit().last_lines().empty()) continue;
    page.Section(absl::StrCat("Last lines of rank ", attempt->exit().rank(), ", attempt ", attempt->number()));
    for (const std::string& line : attempt->exit().last_lines()) page.Append(absl::StrCat("  ", Printable(line), "\n"));
    break;
  }
}

}  // namespace

std::string JobNote(const v1::Job& job, absl::Time now) {
  if (job.state() == v1::JOB_STATE_PENDING) {
    std::string note = ReasonName(job.waiting().reason());
    if (job.waiting().reason() == v1::WAIT_REASON_BACKOFF) {
      const absl::Duration left = absl::FromUnixMillis(job.waiting().until_ms()) - now;
      if (left > absl::ZeroDuration()) absl::StrAppend(&note, " ", ShortDuration(left));
    }
    if (!job.waiting().detail().empty()) absl::StrAppend(&note, ": ", job.waiting().detail());
    return Printable(note);
  }
  if (IsFinal(job.state())) return job.state() == v1::JOB_STATE_SUCCEEDED ? "" : Printable(job.message());
  if (job.cancel_requested()) return "being cancelled";
  std::vector<std::string> notes;
  if (job.attempts_size() > 1) notes.push_back(absl::StrCat("attempt ", job.attempts_size()));
  if (IsElastic(job.file().spec())) notes.push_back(absl::StrCat(Ranks(job), " ranks"));
  return absl::StrJoin(notes, ", ");
}

Table JobsTable(const std::vector<v1::Job>& jobs, absl::Time now, bool wide) {
  constexpr Align kRight = Align::kRight;
  Table table{{{"ID"},
               {"STATE"},
               {"STEP", kRight},
               {"TOKENS", kRight},
               {"%", kRight},
               {"LOSS", kRight},
               {"TOK/S", kRight},
               {"AGE", kRight}},
              {}};
  if (wide) {
    for (const Column& column : {Column{"ACTIVATION"}, {"PARAMS", kRight}, {"RANKS", kRight}, {"ATTEMPT", kRight}, {"LABELS"}}) {
      table.columns.push_back(column);
    }
  }
  table.columns.push_back({"NOTE"});
  for (const v1::Job& job : jobs) {
    const v1::Progress& progress = job.progress();
    std::vector<Cell> row = {job.id(),
                             {StateName(job.state()), StateStyle(job.state())},
                             absl::StrCat(progress.step()),
                             TokensOf(progress),
                             FormatShare(ProgressShare(progress)),
                             FormatLoss(progress.loss()),
                             RateCell(job),
                             FormatAge(job.created_ms(), now)};
    if (wide) {
      const v1::JobSpec& spec = job.file().spec();
      row.push_back(ActivationName(spec.model().activation()));
      row.push_back(FormatCount(ShapeOf(spec).total));
      row.push_back(Ranks(job));
      row.push_back(absl::StrCat(job.attempts_size()));
      row.push_back(Pairs(job.file().metadata().labels()));
    }
    row.push_back(JobNote(job, now));
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string JobPage(const v1::Job& job, absl::Time now, bool colour) {
  const v1::JobSpec& spec = job.file().spec();
  const ModelShape shape = ShapeOf(spec);
  Page page(colour);
  page.Row("Job", job.id(), Style::kBold);
  page.Row("Labels", Pairs(job.file().metadata().labels()));
  page.Row("State", StateName(job.state()), StateStyle(job.state()));
  if (const std::string note = JobNote(job, now); !note.empty())
    page.Row(job.state() == v1::JOB_STATE_PENDING ? "Waits for" : "", note);
  if (job.state() == v1::JOB_STATE_SUCCEEDED && !job.message().empty()) page.Row("", job.message());
  page.Row("Created", absl::StrCat(FormatTime(job.created_ms()), " (", FormatAge(job.created_ms(), now), " ago)"));
  if (job.finished_ms() != 0) {
    page.Row("Finished", absl::StrCat(FormatTime(job.finished_ms()), " (after ",
                                      FormatAge(job.created_ms(), absl::FromUnixMillis(job.finished_ms())), ")"));
  }
  page.Row("Model", ModelText(spec.model()));
  page.Row("Parameters", absl::StrCat(FormatCount(shape.total), ", ", FormatCount(shape.active), " active a token"));
  page.Row("Ranks", Ranks(job));
  AddProgress(job, page);
  AddCheckpoint(job, now, page);
  page.Row("Restarts", absl::StrCat(job.failures(), " of ", spec.restart().max_failures(), " failures, ", job.worker_losses(),
                                    " of ", spec.restart().max_worker_losses(), " worker losses"));
  AddAttempts(job, now, colour, page);
  return page.Take();
}

Table WatchTable(const std::vector<v1::Job>& jobs, const std::map<std::string, std::vector<double>>& losses, absl::Time now,
                 int width) {
  const bool narrow = width > 0 && width < 100;
  constexpr Align kRight = Align::kRight;
  Table table{
      {{"ID"}, {"STATE"}, {"PROGRESS"}, {"%", kRight}, {"LOSS", kRight}, {"CURVE"}, {"TOK/S", kRight}, {"LEFT", kRight}, {"NOTE"}},
      {}};
  for (const v1::Job& job : jobs) {
    const double share = ProgressShare(job.progress());
    const auto curve = losses.find(job.id());
    table.rows.push_back({job.id(),
                          {StateName(job.state()), StateStyle(job.state())},
                          ProgressBar(share, narrow ? 5 : 10),
                          FormatShare(share),
                          FormatLoss(job.progress().loss()),
                          Sparkline(curve == losses.end() ? std::vector<double>() : curve->second, narrow ? 6 : 16),
                          RateCell(job),
                          TimeLeft(job),
                          JobNote(job, now)});
  }
  return table;
}

std::string JobLine(const v1::Job& job, absl::Time now) {
  const v1::Progress& progress = job.progress();
  std::string line = absl::StrCat(job.id(), "  ", StateName(job.state()), "  step ", progress.step(), "  ", TokensOf(progress),
                                  " tokens (", FormatShare(ProgressShare(progress)), ")");
  if (progress.loss() != 0) absl::StrAppend(&line, "  loss ", FormatLoss(progress.loss()));
  if (const std::string rate = Rate(job); !rate.empty()) absl::StrAppend(&line, "  ", rate, " tokens/s");
  if (const std::string note = JobNote(job, now); !note.empty()) absl::StrAppend(&line, "  ", note);
  return line;
}

}  // namespace polymoe::polyctl
