#include "worker/train/step_metrics.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/metric.pb.h"

#include "worker/train/analysis.h"

namespace polymoe {
namespace {

constexpr double kDeadShare = 0.01;  // of the mean load: an expert with less is dead

}  // namespace

void AddStepMetrics(const StepResult& result, double batch_tokens, double flops_per_token, bool moe, v1::StepPoints& points) {
  auto& values = *points.mutable_values();
  values["loss"] = result.loss;
  values["grad_norm"] = result.grad_norm;
  values["learning_rate"] = result.learning_rate;
  values["step_seconds"] = result.seconds;
  values["tokens_per_second"] = batch_tokens / result.seconds;
  values["flops_per_second"] = batch_tokens / result.seconds * flops_per_token;
  values["skipped_steps"] = static_cast<double>(result.skipped_steps);
  if (result.save_seconds > 0) values["checkpoint_stall_seconds"] = result.save_seconds;
  if (result.bytes_sent > 0) {
    values["bytes_sent"] = result.bytes_sent;
    values["bytes_needed"] = result.bytes_needed;
  }
  if (moe) {
    values["load_balance_loss"] = result.load_balance;
    values["z_loss"] = result.z;
  }
}

void AddRouterMetrics(int layer, absl::Span<const double> counts, double entropy, v1::StepPoints& points) {
  auto& values = *points.mutable_values();
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  const auto experts = static_cast<double>(counts.size());
  const double mean = total / experts;
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  double squares = 0;
  for (const double count : counts) squares += (count - mean) * (count - mean);
  values[absl::StrCat("router_entropy/", layer)] = entropy;
  values[absl::StrCat("router_max_over_mean/", layer)] = *most / mean;
  values[absl::StrCat("router_min_over_mean/", layer)] = *least / mean;
  values[absl::StrCat("router_cv/", layer)] = std::sqrt(squares / experts) / mean;
  values[absl::StrCat("router_dead/", layer)] =
      static_cast<double>(std::count_if(counts.begin(), counts.end(), [&](double count) { return count < kDeadShare * mean; }));
  for (size_t e = 0; e < counts.size(); ++e) values[absl::StrCat("router_load/", layer, "/", e)] = counts[e] / total;
}

void AddAnalysisMetrics(int layer, const LayerAnalysis& analysis, v1::StepPoints& points) {
  auto& values = *points.mutable_values();
  const std::string rank = absl::StrCat("effective_rank/", layer);
  if (analysis.up_rank) values[rank + "/up"] = *analysis.up_rank;
  if (analysis.gate_rank) values[rank + "/gate"] = *analysis.gate_rank;
  if (analysis.down_rank) values[rank + "/down"] = *analysis.down_rank;
  for (size_t before = 0; before < analysis.cosines.size(); ++before) {
    values[absl::StrCat("layer_cosine/", before, "/", layer)] = analysis.cosines[before];
  }
  if (!analysis.moments) return;
  values[absl::StrCat("act_mean/", layer)] = analysis.moments->mean;
  values[absl::StrCat("act_std/", layer)] = analysis.moments->std;
  values[absl::StrCat("act_abs_max/", layer)] = analysis.moments->abs_max;
  values[absl::StrCat("act_zero_share/", layer)] = analysis.moments->zero_share;
}

void AddRankMetrics(absl::Span<const double> computing, absl::Span<const double> waiting, v1::StepPoints& points) {
  if (computing.size() < 2) return;
  auto& values = *points.mutable_values();
  for (size_t rank = 0; rank < computing.size(); ++rank) {
    values[absl::StrCat("rank_seconds/", rank)] = computing[rank];
    values[absl::StrCat("rank_wait_seconds/", rank)] = waiting[rank];
  }
}

void AddCoefficientMetrics(const ModelConfig& config, int layer, const float* coefficients, v1::StepPoints& points) {
  auto& values = *points.mutable_values();
  const int order = config.activation.order, count = config.activation.coefficient_count();
  for (int set = 0; set < config.coefficient_sets(); ++set) {
    const float* c = coefficients + int64_t{set} * count;
    const std::string prefix = config.coefficients_per_expert && config.moe ? absl::StrCat("coef/", layer, "/", set, "/")
                                                                            : absl::StrCat("coef/", layer, "/");
    for (int power = order; power >= 1; --power) values[absl::StrCat(prefix, "w", power)] = c[order - power];
    values[absl::StrCat(prefix, "bias")] = c[order];
    if (count > order + 1) values[absl::StrCat(prefix, "slope")] = c[order + 1];
  }
}

void AddValidationMetrics(const std::string& set, double loss, double tokens_per_byte, v1::StepPoints& points) {
  (*points.mutable_values())["val_loss/" + set] = loss;
  (*points.mutable_values())["val_bpb/" + set] = loss / std::numbers::ln2 * tokens_per_byte;
}

}  // namespace polymoe
