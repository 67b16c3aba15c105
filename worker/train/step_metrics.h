// Names and values of the metrics of a step (docs/metrics.md has the units). Pure.
//
//   loss, load_balance_loss, z_loss, grad_norm, learning_rate, step_seconds, tokens_per_second, flops_per_second, skipped_steps
//   checkpoint_stall_seconds                                       of rank 0, with the step after a checkpoint
//   bytes_sent, bytes_needed                                       of several ranks, since the step before
//   val_loss/SET, val_bpb/SET
//   router_max_over_mean/L, router_min_over_mean/L, router_cv/L, router_dead/L, router_entropy/L, router_load/L/E
//                                                                  layer L, expert E; of the global batch
//   rank_seconds/R, rank_wait_seconds/R                            rank R of several: computing, and waiting for other ranks
//   effective_rank/L/up, .../gate, .../down                        of an analysis; mean over the experts of layer L
//   layer_cosine/I/J                                               layers I < J
//   act_mean/L, act_std/L, act_abs_max/L, act_zero_share/L
//   coef/L/w3, .../w2, .../w1, .../bias, .../slope                 coef/L/E/w3 with a set of coefficients an expert
#ifndef POLYMOE_WORKER_TRAIN_STEP_METRICS_H_
#define POLYMOE_WORKER_TRAIN_STEP_METRICS_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"

#include "worker/model/config.h"
#include "worker/train/step.h"

namespace polymoe {

namespace v1 {
class StepPoints;
}
struct LayerAnalysis;

// `batch_tokens` of the global batch; `flops_per_token` as ComputeShape counts them.
void AddStepMetrics(const StepResult& result, double batch_tokens, double flops_per_token, bool moe, v1::StepPoints& points);

// Router of one layer: routed rows of each expert, mean entropy of its distribution in nats.
void AddRouterMetrics(int layer, absl::Span<const double> counts, double entropy, v1::StepPoints& points);

// Seconds of each rank up to the reduction of the step's sums; nothing for one rank.
void AddRankMetrics(absl::Span<const double> computing, absl::Span<const double> waiting, v1::StepPoints& points);

// What an analysis has found of one layer; with the layers before it in layer_cosine.
void AddAnalysisMetrics(int layer, const LayerAnalysis& analysis, v1::StepPoints& points);

// `coefficients` [coefficient_sets, coefficient_count] of one layer, of an activation that has any.
void AddCoefficientMetrics(const ModelConfig& config, int layer, const float* coefficients, v1::StepPoints& points);

// `loss` in nats a token; bits per byte compares sets that are tokenised differently.
void AddValidationMetrics(const std::string& set, double loss, double tokens_per_byte, v1::StepPoints& points);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_STEP_METRICS_H_
