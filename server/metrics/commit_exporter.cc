#include "server/metrics/commit_exporter.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "polymoe/v1/metric.pb.h"

namespace polymoe {

void CommitExporter::ShowAll(const View& view) {
  // In the order in which they ended, so that the oldest ones make room. Those that go on have 0.
  std::vector<const v1::Job*> jobs;
  for (const auto& [id, job] : view.jobs) jobs.push_back(job.get());
  std::stable_sort(jobs.begin(), jobs.end(),
                   [](const v1::Job* a, const v1::Job* b) { return a->finished_ms() < b->finished_ms(); });
  for (const v1::Job* job : jobs) runs_.OnJob(*job);
}

void CommitExporter::OnCommit(const Committed& committed) {
  for (const auto& job : committed.jobs) runs_.OnJob(*job);
  std::map<std::pair<std::string, uint64_t>, v1::StepPoints> steps;  // ascending by step, so that the newest value stays
  for (const PointRow& row : committed.points) {
    const auto job = committed.view->jobs.find(row.job);
    if (job == committed.view->jobs.end() || row.point.attempt != static_cast<uint32_t>(job->second->attempts_size())) continue;
    v1::StepPoints& points = steps[{row.job, row.point.step}];
    points.set_step(row.point.step);
    points.set_tokens(row.point.tokens);
    points.set_time_ms(row.point.time_ms);
    (*points.mutable_values())[row.name] = row.point.value;
  }
  for (const auto& [key, points] : steps) runs_.OnPoints(key.first, points);
}

}  // namespace polymoe
