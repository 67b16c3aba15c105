#include "server/services/ablation_comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "common/spec/ablation.h"
#include "common/spec/model_shape.h"
#include "common/spec/scalar.h"
#include "common/spec/spec_diff.h"
#include "common/status.h"
#include "server/query/statistics.h"

namespace polymoe {
namespace {

constexpr uint32_t kDefaultGrid = 10;
constexpr double kSignificance = 0.05;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Run {
  const v1::AblationRun* run = nullptr;
  std::shared_ptr<const v1::Job> job;
  std::shared_ptr<const JobCurves> curves;
  std::vector<size_t> ends;  // for each milestone of the study: one past that of the run's curves
};

// Of one arm and metric, by milestone: the seeds that have a value. An infinite one is none: nothing could be said about its mean.
using ArmValues = std::vector<BySeed>;

// One ablation with all its runs, on the grid that was asked for.
struct Study {
  std::shared_ptr<const v1::Ablation> ablation;
  std::string baseline;
  std::vector<std::string> arms;
  std::map<std::string, std::vector<Run>> runs;  // by arm
  std::vector<std::string> sets;                 // whose mean is "val_loss" and "val_bpb"
  std::vector<std::string> metrics;
  std::vector<uint64_t> tokens;  // milestones: of the baseline
};

// One past the run's first milestone at or past each share of the budget. Two runs may have different ones: the steps of an arm may be
// longer than those of another.
std::vector<size_t> EndsOf(const JobCurves& curves, const std::vector<uint64_t>& shares) {
  std::vector<size_t> ends;
  for (const uint64_t share : shares) {
    const auto it = std::lower_bound(curves.milestones.begin(), curves.milestones.end(), share);
    ends.push_back(std::min<size_t>(it - curves.milestones.begin() + 1, curves.milestones.size()));
  }
  return ends;
}

// The milestones that were asked for, and where they are in the curves of each run.
void LayGrid(uint32_t grid, Study& study) {
  const JobCurves& baseline = *study.runs.at(study.baseline)[0].curves;
  std::vector<uint64_t> shares;
  for (const uint64_t share : GridMilestones(study.ablation->file().spec().budget().tokens(), grid, 1)) {
    const uint64_t end = baseline.milestones[EndsOf(baseline, {share})[0] - 1];
    if (!study.tokens.empty() && end == study.tokens.back()) continue;  // fewer steps than milestones
    study.tokens.push_back(end);
    shares.push_back(share);
  }
  for (auto& [arm, runs] : study.runs) {
    for (Run& run : runs) run.ends = EndsOf(*run.curves, shares);
  }
}

absl::StatusOr<Study> ReadStudy(CurveBook& book, const View& view, const v1::CompareAblationRequest& request) {
  Study study;
  POLYMOE_ASSIGN_OR_RETURN(study.ablation, view.FindAblation(request.ablation()));
  const uint32_t grid = request.grid() == 0 ? kDefaultGrid : request.grid();
  if (grid > kCurveGrid || kCurveGrid % grid != 0)
    return absl::InvalidArgumentError(absl::StrCat("grid is ", grid, "; write a divisor of ", kCurveGrid));
  for (const v1::AblationRun& run : study.ablation->runs()) {
    const auto job = view.jobs.find(run.job());
    if (job == view.jobs.end()) return absl::InternalError(absl::StrCat("run ", run.job(), " is no job"));
    if (!study.runs.contains(run.arm())) study.arms.push_back(run.arm());
    POLYMOE_ASSIGN_OR_RETURN(auto curves, book.Get(*job->second));
    study.runs[run.arm()].push_back({&run, job->second, std::move(curves), {}});
  }
  if (study.arms.empty()) return absl::FailedPreconditionError("the ablation has no runs");
  const v1::AblationSpec& spec = study.ablation->file().spec();
  study.baseline = spec.baseline();
  study.sets = DecidingSets(spec);
  LayGrid(grid, study);
  return study;
}

absl::Status ChooseMetrics(const v1::CompareAblationRequest& request, Study& study) {
  std::vector<std::string> all;
  for (const char* kind : {"val_loss", "val_bpb"}) {
    if (study.sets.empty()) break;
    all.emplace_back(kind);
    for (const v1::ValidationSet& set : study.ablation->file().spec().base().validation().sets())
      all.push_back(absl::StrCat(kind, "/", set.name()));
  }
  all.emplace_back("loss");
  for (const std::string& metric : request.metrics()) {
    if (std::find(all.begin(), all.end(), metric) == all.end())
      return absl::InvalidArgumentError(absl::StrCat("there is no metric '", metric, "'; there are ", absl::StrJoin(all, ", ")));
  }
  study.metrics = all;
  if (request.metrics().empty()) return absl::OkStatus();
  std::erase_if(study.metrics, [&](const std::string& metric) {
    return std::find(request.metrics().begin(), request.metrics().end(), metric) == request.metrics().end();
  });
  return absl::OkStatus();
}

// A curve of the run at the milestones of the study. `of_end`: its value there, else its last one since the milestone before.
std::vector<double> OnGrid(const Run& run, const std::string& name, bool of_end) {
  std::vector<double> values(run.ends.size(), kNone);
  const auto it = run.curves->curves.find(name);
  if (it == run.curves->curves.end()) return values;
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t end = run.ends[i], begin = of_end ? end - 1 : i == 0 ? 0 : run.ends[i - 1];
    for (size_t k = end; k > begin && std::isnan(values[i]); --k) values[i] = it->second[k - 1];
  }
  return values;
}

// "val_loss" and "val_bpb" are means over sets: there once every set is.
std::vector<double> CurveOfRun(const Study& study, const Run& run, const std::string& metric) {
  if (metric != "val_loss" && metric != "val_bpb") return OnGrid(run, metric, metric == "loss");
  std::vector<double> mean(study.tokens.size());
  for (const std::string& set : study.sets) {
    const std::vector<double> values = OnGrid(run, absl::StrCat(metric, "/", set), false);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += values[i] / static_cast<double>(study.sets.size());
  }
  return mean;
}

ArmValues ValuesOf(const Study& study, const std::string& arm, const std::string& metric) {
  ArmValues values(study.tokens.size());
  for (const Run& run : study.runs.at(arm)) {
    const std::vector<double> curve = CurveOfRun(study, run, metric);
    for (size_t i = 0; i < curve.size(); ++i) {
      if (std::isfinite(curve[i])) values[i][run.run->seed()] = curve[i];
    }
  }
  return values;
}

Sample SampleOf(const BySeed& values) {
  std::vector<double> list;
  for (const auto& [seed, value] : values) list.push_back(value);
  return Summarise(list);
}

v1::ArmPoint ToPoint(uint64_t tokens, const BySeed& values) {
  v1::ArmPoint point;
  point.set_tokens(tokens);
  const Sample sample = SampleOf(values);
  point.set_n(sample.n);
  point.set_mean(sample.mean);
  point.set_sd(sample.sd);
  point.set_min(sample.min);
  point.set_max(sample.max);
  return point;
}

// Without a verdict: that depends on the other arms.
v1::ArmCurve ToCurve(const Study& study, const std::string& arm, const std::string& metric, const ArmValues& values,
                     const ArmValues& baseline) {
  v1::ArmCurve curve;
  curve.set_arm(arm);
  curve.set_metric(metric);
  curve.set_p_value(1);
  uint32_t most = 1;
  for (size_t i = 0; i < study.tokens.size(); ++i) {
    v1::ArmPoint& point = *curve.add_points();
    point = ToPoint(study.tokens[i], values[i]);
    uint32_t pairs = point.n();
    if (arm != study.baseline) {
      const PairedDifference difference = ComparePairs(values[i], baseline[i]);
      pairs = difference.pairs;
      point.set_pairs(pairs);
      point.set_difference(difference.mean);
      point.set_low(difference.low);
      point.set_high(difference.high);
    }
    if (pairs < most) continue;
    most = pairs;
    curve.set_last(i);
  }
  return curve;
}

// Mean over the seeds that `other` has too; NaN when there are none.
double PairedMean(BySeed values, const BySeed& other) {
  std::erase_if(values, [&](const auto& entry) { return !other.contains(entry.first); });
  return values.empty() ? kNone : SampleOf(values).mean;
}

// How soon the arm was where the baseline is at the end of what both have.
void SetSpeedUp(const Study& study, const ArmValues& values, const ArmValues& baseline, v1::ArmCurve& curve) {
  const size_t last = curve.last();
  std::vector<double> mean(last + 1);
  for (size_t i = 0; i <= last; ++i) mean[i] = PairedMean(values[i], baseline[i]);
  const double goal = PairedMean(baseline[last], values[last]);
  if (std::isnan(goal)) return;
  const std::optional<double> tokens = TokensToReach({study.tokens.begin(), study.tokens.begin() + last + 1}, mean, goal);
  if (!tokens) return;
  curve.set_tokens_to_baseline(static_cast<uint64_t>(std::llround(*tokens)));
  curve.set_speed_up(static_cast<double>(study.tokens[last]) / *tokens);
}

// Verdicts of all arms of one metric; p-values are adjusted for as many as could be tested.
void SetVerdicts(const Study& study, const std::vector<PairedDifference>& differences, std::vector<v1::ArmCurve>& curves) {
  std::vector<size_t> tested;
  std::vector<double> p_values;
  for (size_t a = 0; a < curves.size(); ++a) {
    if (curves[a].arm() == study.baseline) {
      curves[a].set_verdict(v1::VERDICT_BASELINE);
    } else if (differences[a].pairs < 2) {
      curves[a].set_verdict(v1::VERDICT_TOO_FEW);
    } else {
      tested.push_back(a);
      p_values.push_back(differences[a].p_value);
    }
  }
  const std::vector<double> adjusted = HolmAdjust(p_values);
  for (size_t i = 0; i < tested.size(); ++i) {
    v1::ArmCurve& curve = curves[tested[i]];
    curve.set_p_value(adjusted[i]);
    curve.set_verdict(adjusted[i] >= kSignificance      ? v1::VERDICT_NO_DIFFERENCE
                      : differences[tested[i]].mean < 0 ? v1::VERDICT_BETTER
                                                        : v1::VERDICT_WORSE);
  }
}

void AddCurves(const Study& study, const std::string& metric, v1::AblationComparison& comparison) {
  const ArmValues baseline = ValuesOf(study, study.baseline, metric);
  std::vector<v1::ArmCurve> curves;
  std::vector<PairedDifference> differences;
  for (const std::string& arm : study.arms) {
    const ArmValues values = ValuesOf(study, arm, metric);
    v1::ArmCurve& curve = curves.emplace_back(ToCurve(study, arm, metric, values, baseline));
    differences.push_back(ComparePairs(values[curve.last()], baseline[curve.last()]));
    if (arm != study.baseline) SetSpeedUp(study, values, baseline, curve);
  }
  SetVerdicts(study, differences, curves);
  for (v1::ArmCurve& curve : curves) *comparison.add_curves() = std::move(curve);
}

void AddRuns(const Study& study, const std::string& metric, v1::AblationComparison& comparison) {
  for (const std::string& arm : study.arms) {
    for (const Run& run : study.runs.at(arm)) {
      v1::RunCurve& out = *comparison.add_runs();
      out.set_job(run.job->id());
      out.set_arm(arm);
      out.set_seed(run.run->seed());
      out.set_metric(metric);
      const std::vector<double> values = CurveOfRun(study, run, metric);
      out.mutable_values()->Add(values.begin(), values.end());
    }
  }
}

v1::ArmSummary Summary(const std::string& name, const std::vector<Run>& runs) {
  const v1::JobSpec& spec = runs[0].job->file().spec();
  const ModelShape shape = ComputeShape(spec.model(), spec.data().sequence_length());
  const v1::ActivationSpec& activation = spec.model().activation();
  v1::ArmSummary summary;
  summary.set_name(name);
  summary.set_activation(GetScalar(activation, activation.GetDescriptor()->FindFieldByName("kind")));
  summary.set_parameters(shape.total);
  summary.set_active_parameters(shape.active);
  summary.set_flops_per_token(shape.flops_per_token);
  summary.set_ffn(FfnWidth(spec.model()));
  summary.set_runs(runs.size());
  double speed = 0;
  int reported = 0;
  for (const Run& run : runs) {
    summary.set_ended(summary.ended() + (run.job->finished_ms() != 0));
    summary.set_failed(summary.failed() + (run.job->state() == v1::JOB_STATE_FAILED));
    summary.set_stopped(summary.stopped() + !run.run->stopped().empty());
    summary.set_tokens(summary.tokens() + run.job->progress().tokens());
    if (run.curves->tokens_per_second == 0) continue;
    speed += run.curves->tokens_per_second;
    ++reported;
  }
  if (reported > 0) summary.set_tokens_per_second(speed / reported);
  return summary;
}

void AddDifferences(const Study& study, v1::AblationComparison& comparison) {
  std::vector<const v1::JobSpec*> specs;
  for (const std::string& arm : study.arms) specs.push_back(&study.runs.at(arm)[0].job->file().spec());
  for (v1::ConfigDifference& difference : DiffSpecs(specs)) {
    if (difference.path() != "train.seed") *comparison.add_differences() = std::move(difference);  // seeds are paired
  }
}

}  // namespace

absl::StatusOr<v1::AblationComparison> CompareAblation(CurveBook& book, const View& view,
                                                       const v1::CompareAblationRequest& request) {
  POLYMOE_ASSIGN_OR_RETURN(Study study, ReadStudy(book, view, request));
  POLYMOE_RETURN_IF_ERROR(ChooseMetrics(request, study));
  v1::AblationComparison comparison;
  comparison.set_ablation(study.ablation->id());
  comparison.set_name(study.ablation->file().metadata().name());
  comparison.set_baseline(study.baseline);
  comparison.mutable_tokens()->Add(study.tokens.begin(), study.tokens.end());
  comparison.mutable_metrics()->Add(study.metrics.begin(), study.metrics.end());
  for (const std::string& arm : study.arms) *comparison.add_arms() = Summary(arm, study.runs.at(arm));
  for (const std::string& metric : study.metrics) {
    AddCurves(study, metric, comparison);
    if (request.runs()) AddRuns(study, metric, comparison);
  }
  AddDifferences(study, comparison);
  return comparison;
}

}  // namespace polymoe
