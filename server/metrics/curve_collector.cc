#include "server/metrics/curve_collector.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "polymoe/v1/job.pb.h"

#include "common/log.h"
#include "common/spec/names.h"

namespace polymoe {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

void AddCurve(const Labels& labels, const std::vector<uint64_t>& milestones, const std::vector<double>& values,
              prometheus::MetricFamily& family) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    prometheus::ClientMetric& sample = family.metric.emplace_back();
    sample.label.reserve(labels.size() + 1);
    sample.label = labels;
    sample.label.push_back({"tokens", absl::StrCat(milestones[i])});
    sample.gauge.value = values[i];
  }
}

}  // namespace

std::vector<prometheus::MetricFamily> CurveCollector::FamiliesOf(const View& view) const {
  prometheus::MetricFamily loss{"polymoe_curve_loss",
                                "Loss of a run at a milestone of its tokens, nats per token: mean of the steps since the milestone "
                                "before (train), last validation since then (val).",
                                prometheus::MetricType::Gauge,
                                {}};
  prometheus::MetricFamily bpb{
      "polymoe_curve_bpb", "The same in bits per byte of validation text.", prometheus::MetricType::Gauge, {}};
  std::vector<const v1::Job*> jobs;
  for (const auto& [id, job] : view.jobs) {
    if (job->progress().tokens() > 0) jobs.push_back(job.get());
  }
  for (const v1::Job* job : LastEnded(std::move(jobs), ended_runs_kept_)) {
    const absl::StatusOr<std::shared_ptr<const JobCurves>> read = curves_(*job);
    if (!read.ok()) {
      LogWarning("curves left out of /metrics", {{"job", job->id()}, {"error", std::string(read.status().message())}});
      continue;
    }
    const Labels run = {{"run", job->id()},
                        {"ablation", job->ablation().id()},
                        {"arm", job->ablation().arm()},
                        {"activation", ActivationKindName(*job)},
                        {"seed", absl::StrCat(job->file().spec().train().seed())}};
    for (const auto& [metric, values] : (*read)->curves) {
      absl::string_view domain = metric;
      const bool train = metric == "loss", val_loss = absl::ConsumePrefix(&domain, "val_loss/");
      if (!train && !val_loss && !absl::ConsumePrefix(&domain, "val_bpb/")) continue;
      Labels labels = run;
      labels.push_back({"split", train ? "train" : "val"});
      labels.push_back({"domain", train ? "train" : std::string(domain)});
      AddCurve(labels, (*read)->milestones, values, train || val_loss ? loss : bpb);
    }
  }
  std::vector<prometheus::MetricFamily> families;
  if (!loss.metric.empty()) families.push_back(std::move(loss));
  if (!bpb.metric.empty()) families.push_back(std::move(bpb));
  return families;
}

}  // namespace polymoe
