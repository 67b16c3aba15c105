#include "worker/train/step_metrics.h"

#include <algorithm>
#include <numbers>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/metric.pb.h"

namespace polymoe {

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
  const double most = *std::max_element(counts.begin(), counts.end());
  values[absl::StrCat("router_entropy/", layer)] = entropy;
  values[absl::StrCat("router_max_over_mean/", layer)] = most * static_cast<double>(counts.size()) / total;
  for (size_t e = 0; e < counts.size(); ++e) values[absl::StrCat("router_load/", layer, "/", e)] = counts[e] / total;
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
