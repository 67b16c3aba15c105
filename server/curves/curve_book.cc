#include "server/curves/curve_book.h"

#include <algorithm>
#include <bit>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/job.pb.h"

#include "common/status.h"
#include "server/curves/job_points.h"
#include "server/store/store.h"

namespace polymoe {
namespace {

constexpr size_t kMostJobs = 4096;  // curves of a hundred milestones and a dozen metrics: 40 MB
constexpr char kThroughput[] = "tokens_per_second";

absl::StatusOr<JobCurves> ReadCurves(Store& store, const v1::Job& job) {
  std::vector<std::string> names = {"loss", kThroughput};
  for (const v1::ValidationSet& set : job.file().spec().validation().sets()) {
    names.push_back(absl::StrCat("val_loss/", set.name()));
    names.push_back(absl::StrCat("val_bpb/", set.name()));
  }
  POLYMOE_ASSIGN_OR_RETURN(const SeriesByName series, ReadJobPoints(store, job, names));
  const v1::JobSpec& spec = job.file().spec();
  const uint64_t step_tokens = uint64_t{spec.train().global_batch()} * spec.data().sequence_length();
  JobCurves curves{.milestones = GridMilestones(spec.train().tokens(), kCurveGrid, step_tokens)};
  for (const auto& [name, points] : series) {
    if (points.empty()) continue;
    if (name != kThroughput) {
      curves.curves[name] = CurveOf(name, points, curves.milestones);
      continue;
    }
    for (const Point& point : points) curves.tokens_per_second += point.value / static_cast<double>(points.size());
  }
  return curves;
}

}  // namespace

CurveBook::Key CurveBook::KeyOf(const v1::Job& job) {
  const uint64_t target = std::max<uint64_t>(1, job.file().spec().train().tokens());
  const uint64_t tokens = job.progress().tokens();
  // Whole numbers: the 29th of 100 milestones of 100 tokens is reached with 29, and not a step later.
  Key key{.milestones = tokens / target * kCurveGrid + static_cast<uint64_t>(absl::uint128(tokens % target) * kCurveGrid / target),
          .attempts = job.attempts_size(),
          .over = job.finished_ms() != 0,
          .revision = job.attempts_size() > 1 && job.finished_ms() == 0 ? job.revision() : 0};
  for (const auto& [set, loss] : job.progress().validation_loss()) key.validation[set] = std::bit_cast<uint64_t>(loss);
  return key;
}

absl::StatusOr<std::shared_ptr<const JobCurves>> CurveBook::Get(const v1::Job& job) {
  const Key key = KeyOf(job);
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(job.id());
    if (it != entries_.end() && it->second.key == key) return it->second.curves;
  }
  POLYMOE_ASSIGN_OR_RETURN(JobCurves read, ReadCurves(store_, job));
  auto curves = std::make_shared<const JobCurves>(std::move(read));
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kMostJobs) entries_.clear();
  entries_[job.id()] = {key, curves};
  return curves;
}

}  // namespace polymoe
