#include "polyctl/render/ablation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

#include "common/spec/model_shape.h"
#include "common/spec/names.h"
#include "common/spec/spec_diff.h"
#include "common/units.h"
#include "polyctl/render/ablation_tables.h"
#include "polyctl/render/config_diff.h"
#include "polyctl/render/format.h"
#include "polyctl/render/jobs.h"
#include "polyctl/render/plot.h"

namespace polymoe::polyctl {
namespace {

constexpr Align kRight = Align::kRight;

double Share(double part, double whole) {
  return whole > 0 ? std::min(1.0, part / whole) : 0;
}

double ProgressOf(const v1::Ablation& ablation) {
  return Share(static_cast<double>(ablation.progress().tokens()), static_cast<double>(ablation.progress().tokens_target()));
}

// What is left at the present rate; empty when nobody can say.
std::string TimeLeft(const v1::Ablation& ablation) {
  const v1::AblationProgress& progress = ablation.progress();
  if (ablation.state() != v1::ABLATION_STATE_ACTIVE || progress.tokens_per_second() <= 0) return "";
  if (progress.tokens() >= progress.tokens_target()) return "";
  return ShortDuration(
      absl::Seconds(static_cast<double>(progress.tokens_target() - progress.tokens()) / progress.tokens_per_second()));
}

std::string RunsText(const v1::AblationProgress& progress) {
  return absl::StrCat(
      FormatCount(static_cast<double>(progress.tokens())), "/", FormatCount(static_cast<double>(progress.tokens_target())),
      " tokens, ", progress.ended(), "/", progress.runs(), " runs ended, ", progress.running(), " running",
      progress.tokens_per_second() > 0 ? absl::StrCat(", ", FormatCount(progress.tokens_per_second()), " tokens/s") : "");
}

// A bar with what is left.
std::string BarText(const v1::Ablation& ablation) {
  const std::string left = TimeLeft(ablation);
  return absl::StrCat(ProgressBar(ProgressOf(ablation), 30), " ", FormatShare(ProgressOf(ablation)),
                      left.empty() ? "" : absl::StrCat("  about ", left, " left"));
}

std::string StateText(const v1::Ablation& ablation) {
  const bool cancelling = ablation.cancel_requested() && !IsFinal(ablation.state());
  return cancelling ? "being cancelled" : StateName(ablation.state());
}

// Arms in the order in which they first run, with their runs.
std::vector<std::pair<std::string, std::vector<const v1::AblationRun*>>> ByArm(const v1::Ablation& ablation) {
  std::vector<std::pair<std::string, std::vector<const v1::AblationRun*>>> arms;
  std::map<std::string, size_t> index;
  for (const v1::AblationRun& run : ablation.runs()) {
    const auto [it, is_new] = index.try_emplace(run.arm(), arms.size());
    if (is_new) arms.push_back({run.arm(), {}});
    arms[it->second].second.push_back(&run);
  }
  return arms;
}

const v1::Job& JobOf(const v1::AblationRun& run, const JobsById& jobs) {
  const auto it = jobs.find(run.job());
  return it == jobs.end() ? v1::Job::default_instance() : it->second;
}

Cell RunCell(const v1::AblationRun& run, const JobsById& jobs) {
  const v1::Job& job = JobOf(run, jobs);
  if (!run.stopped().empty() && IsFinal(job.state())) return {"stopped", Style::kYellow};
  if (job.state() == v1::JOB_STATE_PENDING && (job.held() || job.waiting().reason() == v1::WAIT_REASON_HELD))
    return {"held", Style::kDim};
  if (job.state() == v1::JOB_STATE_SUCCEEDED) return {"done", StateStyle(job.state())};
  std::string text = StateName(job.state());
  if (!IsFinal(job.state()) && job.progress().tokens() > 0) absl::StrAppend(&text, " ", FormatShare(ProgressShare(job.progress())));
  return {text, StateStyle(job.state())};
}

std::string Sign(const v1::AblationRun& run, const JobsById& jobs) {
  const v1::Job& job = JobOf(run, jobs);
  if (!run.stopped().empty() && IsFinal(job.state())) return "s";
  switch (job.state()) {
    case v1::JOB_STATE_STARTING:
    case v1::JOB_STATE_RUNNING:
      return "▶";
    case v1::JOB_STATE_SUCCEEDED:
      return "✓";
    case v1::JOB_STATE_FAILED:
      return "✗";
    case v1::JOB_STATE_CANCELLED:
      return "c";
    default:
      return job.held() ? "h" : "·";
  }
}

constexpr char kSigns[] = "✓ done  ▶ running  · waits  h held  s stopped by rule  ✗ failed  c cancelled";

// Why the first run that waits does so; what is told of a pause need not be told again.
std::string WaitNote(const v1::Ablation& ablation, const JobsById& jobs, absl::Time now) {
  for (const v1::AblationRun& run : ablation.runs()) {
    const v1::Job& job = JobOf(run, jobs);
    if (job.state() == v1::JOB_STATE_PENDING) return absl::StrCat(run.arm(), " seed ", run.seed(), ": ", JobNote(job, now));
  }
  return "";
}

double ArmShare(const std::vector<const v1::AblationRun*>& runs, const JobsById& jobs) {
  double share = 0;
  for (const v1::AblationRun* run : runs) {
    const v1::Job& job = JobOf(*run, jobs);
    share += IsFinal(job.state()) ? 1 : ProgressShare(job.progress());
  }
  return runs.empty() ? 0 : share / static_cast<double>(runs.size());
}

Table MatrixTable(const v1::Ablation& ablation, const JobsById& jobs) {
  Table table{{{"ARM"}}, {}};
  std::vector<uint64_t> seeds;
  for (const v1::AblationRun& run : ablation.runs()) {
    if (std::find(seeds.begin(), seeds.end(), run.seed()) == seeds.end()) seeds.push_back(run.seed());
  }
  for (const uint64_t seed : seeds) table.columns.push_back({absl::StrCat("SEED ", seed)});
  for (const auto& [arm, runs] : ByArm(ablation)) {
    std::vector<Cell> row = {arm};
    for (const uint64_t seed : seeds) {
      const auto run = std::find_if(runs.begin(), runs.end(), [&](const auto* r) { return r->seed() == seed; });
      row.push_back(run == runs.end() ? Cell("-") : RunCell(**run, jobs));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// What an arm differs in, without "model." where that is plain.
std::string DeltaOf(const std::vector<v1::ConfigDifference>& differences, size_t arm, size_t baseline) {
  std::vector<std::string> deltas;
  for (const v1::ConfigDifference& difference : differences) {
    const std::string& value = difference.values(static_cast<int>(arm));
    if (arm != baseline && value == difference.values(static_cast<int>(baseline))) continue;
    deltas.push_back(absl::StrCat(absl::StripPrefix(difference.path(), "model."), "=", value.empty() ? "-" : value));
  }
  return deltas.empty() ? "-" : absl::StrJoin(deltas, " ");
}

}  // namespace

std::optional<v1::AblationState> ParseAblationState(absl::string_view name) {
  v1::AblationState state;
  if (!v1::AblationState_Parse(absl::StrCat("ABLATION_STATE_", absl::AsciiStrToUpper(name)), &state)) return std::nullopt;
  return state;
}

Style StateStyle(v1::AblationState state) {
  switch (state) {
    case v1::ABLATION_STATE_ACTIVE:
      return Style::kBlue;
    case v1::ABLATION_STATE_PAUSED:
      return Style::kYellow;
    case v1::ABLATION_STATE_SUCCEEDED:
      return Style::kGreen;
    case v1::ABLATION_STATE_FAILED:
      return Style::kRed;
    case v1::ABLATION_STATE_CANCELLED:
      return Style::kDim;
    default:
      return Style::kPlain;
  }
}

std::string DryRunPage(const v1::AblationFile& file, const std::vector<DryArm>& arms, const TableOptions& options) {
  Table table{
      {{"ARM"}, {"FFN", kRight}, {"PARAMS", kRight}, {"ACTIVE", kRight}, {"FLOP/TOKEN", kRight}, {"RUNS", kRight}, {"DIFFERS IN"}},
      {}};
  std::vector<const v1::JobSpec*> specs;
  size_t baseline = 0;
  for (const DryArm& arm : arms) {
    if (arm.name == file.spec().baseline()) baseline = specs.size();
    specs.push_back(&arm.spec);
  }
  const std::vector<v1::ConfigDifference> differences = DiffSpecs(specs);
  double flops = 0;
  const double tokens = static_cast<double>(file.spec().budget().tokens());
  for (size_t i = 0; i < arms.size(); ++i) {
    const v1::ModelSpec& model = arms[i].spec.model();
    const ModelShape shape = ComputeShape(model, arms[i].spec.data().sequence_length());
    flops += shape.flops_per_token * tokens * file.spec().seeds_size();
    table.rows.push_back({absl::StrCat(arms[i].name, i == baseline ? " (baseline)" : ""), absl::StrCat(FfnWidth(model)),
                          FormatCount(static_cast<double>(shape.total)), FormatCount(static_cast<double>(shape.active)),
                          FormatCount(shape.flops_per_token), absl::StrCat(file.spec().seeds_size()),
                          DeltaOf(differences, i, baseline)});
  }
  const double runs = static_cast<double>(arms.size()) * file.spec().seeds_size();
  return absl::StrCat(RenderTable(table, options), "\n", arms.size(), " arms x ", file.spec().seeds_size(), " seeds = ", runs,
                      " runs of ", FormatCount(tokens), " tokens: ", FormatCount(runs * tokens), " tokens, ", FormatCount(flops),
                      " FLOP in all\n");
}

Table AblationsTable(const std::vector<v1::Ablation>& ablations, absl::Time now) {
  Table table{{{"ID"},
               {"STATE"},
               {"ARMS", kRight},
               {"SEEDS", kRight},
               {"RUNS ENDED", kRight},
               {"RUNNING", kRight},
               {"%", kRight},
               {"LEFT", kRight},
               {"AGE", kRight}},
              {}};
  for (const v1::Ablation& ablation : ablations) {
    const std::string left = TimeLeft(ablation);
    table.rows.push_back({ablation.id(),
                          {StateText(ablation), StateStyle(ablation.state())},
                          absl::StrCat(ByArm(ablation).size()),
                          absl::StrCat(ablation.file().spec().seeds_size()),
                          absl::StrCat(ablation.progress().ended(), "/", ablation.progress().runs()),
                          absl::StrCat(ablation.progress().running()),
                          FormatShare(ProgressOf(ablation)),
                          left.empty() ? "-" : left,
                          FormatAge(ablation.created_ms(), now)});
  }
  return table;
}

std::string AblationPage(const v1::Ablation& ablation, const JobsById& jobs, absl::Time now, const TableOptions& options) {
  const v1::AblationSpec& spec = ablation.file().spec();
  std::string text;
  const auto row = [&](absl::string_view label, absl::string_view value, Style style = Style::kPlain) {
    const std::string shown = options.utf8 ? Printable(value) : ToAscii(Printable(value));
    absl::StrAppend(&text, Paint(absl::StrFormat("%-12s", label), Style::kDim, options.colour), Paint(shown, style, options.colour),
                    "\n");
  };
  row("Ablation", ablation.id(), Style::kBold);
  row("State", StateText(ablation), StateStyle(ablation.state()));
  row("Created", absl::StrCat(FormatTime(ablation.created_ms()), " (", FormatAge(ablation.created_ms(), now), " ago)"));
  if (ablation.finished_ms() != 0) row("Finished", FormatTime(ablation.finished_ms()));
  row("Baseline", spec.baseline());
  row("Budget", absl::StrCat(FormatCount(static_cast<double>(spec.budget().tokens())), " tokens a run",
                             spec.budget().has_parallel_slots()
                                 ? absl::StrCat(", at most ", spec.budget().parallel_slots(), " slots at a time")
                                 : ""));
  row("Progress", BarText(ablation));
  row("", RunsText(ablation.progress()));
  if (const std::string note = WaitNote(ablation, jobs, now); !note.empty() && !IsFinal(ablation.state())) row("Next waits", note);
  absl::StrAppend(&text, "\n", RenderTable(MatrixTable(ablation, jobs), options));
  std::string notes;
  for (const v1::AblationRun& run : ablation.runs()) {
    const v1::Job& job = JobOf(run, jobs);
    const std::string why = !run.stopped().empty() ? run.stopped() : job.state() == v1::JOB_STATE_FAILED ? job.message() : "";
    if (!why.empty()) absl::StrAppend(&notes, "  ", run.job(), ": ", Printable(why), "\n");
  }
  return notes.empty() ? text : absl::StrCat(text, "\n", Paint("Ended early", Style::kBold, options.colour), "\n", notes);
}

std::string AblationScreen(const v1::Ablation& ablation, const JobsById& jobs, const v1::AblationComparison& comparison, int height,
                           const TableOptions& options) {
  const std::string metric = MainMetric(comparison);
  Table table{{{"ARM"},
               {"SEEDS"},
               {"%", kRight},
               {absl::AsciiStrToUpper(metric), kRight},
               {"DIFFERENCE", kRight},
               {"AT", kRight},
               {"VERDICT SO FAR"}},
              {}};
  for (const auto& [arm, runs] : ByArm(ablation)) {
    const v1::ArmCurve* curve = FindCurve(comparison, arm, metric);
    const v1::ArmPoint* point = FinalPoint(curve);
    std::string signs;
    for (const v1::AblationRun* run : runs) signs += Sign(*run, jobs);
    const bool compared = point != nullptr && point->pairs() > 0 && arm != comparison.baseline();
    table.rows.push_back({arm, signs, FormatShare(ArmShare(runs, jobs)), point == nullptr ? "-" : FormatLoss(point->mean()),
                          compared ? absl::StrFormat("%+.4f", point->difference()) : "-",
                          point == nullptr ? "-" : FormatCount(static_cast<double>(point->tokens())),
                          point == nullptr ? Cell("-") : Cell(VerdictName(curve->verdict()), VerdictStyle(curve->verdict()))});
  }
  const size_t room = height > 8 ? static_cast<size_t>(height) - 7 : 2;
  const size_t hidden = height > 0 && table.rows.size() > room ? table.rows.size() - room : 0;
  table.rows.erase(table.rows.end() - static_cast<long>(hidden), table.rows.end());
  const auto fit = [&](const std::string& line) {
    const std::string shown = options.utf8 ? line : ToAscii(line);
    return options.width > 0 ? Truncate(shown, options.width) : shown;
  };
  return absl::StrCat(Paint(fit(ablation.id()), Style::kBold, options.colour), "  ",
                      Paint(StateText(ablation), StateStyle(ablation.state()), options.colour), "\n", fit(BarText(ablation)), "\n",
                      fit(RunsText(ablation.progress())), "\n", RenderTable(table, options),
                      hidden > 0 ? absl::StrCat("and ", hidden, " more\n") : "", Paint(fit(kSigns), Style::kDim, options.colour),
                      "\n");
}

std::string AblationLine(const v1::Ablation& ablation) {
  const std::string left = TimeLeft(ablation);
  return absl::StrCat(ablation.id(), "  ", StateText(ablation), "  ", FormatShare(ProgressOf(ablation)), "  ",
                      RunsText(ablation.progress()), left.empty() ? "" : absl::StrCat(", about ", left, " left"));
}

}  // namespace polymoe::polyctl
