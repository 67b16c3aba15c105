#include "worker/train/profile_report.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/model_shape.h"

namespace polymoe {
namespace {

std::string Sizes(const OpCost& cost) {
  std::vector<int64_t> sizes(cost.sizes.begin(), cost.sizes.end());
  while (!sizes.empty() && sizes.back() == 0) sizes.pop_back();
  return absl::StrJoin(sizes, "x");
}

// "123.4 GFLOP/s  57%" of a rate and its roof; blank without work of that kind.
std::string Rate(double amount, double seconds, double roof) {
  if (amount == 0 || seconds <= 0 || roof <= 0) return std::string(13, ' ');
  return absl::StrFormat("%7.1f %4.0f%%", amount / seconds / 1e9, 100 * amount / seconds / roof);
}

std::string Line(const std::string& name, double calls, double seconds, double share, const std::string& flops,
                 const std::string& bytes) {
  const std::string times = calls == 0 ? std::string(6, ' ') : absl::StrFormat("%6.0f", calls);
  std::string line = absl::StrFormat("%-46s %s %9.2f %5.1f%%  %s  %s", name, times, 1e3 * seconds, 100 * share, flops, bytes);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

ProfiledSteps Profiled(const v1::JobSpec& spec, const Roof& roof, int steps, double seconds) {
  const v1::TrainSpec& train = spec.train();
  const uint32_t length = spec.data().sequence_length();
  return {.steps = steps,
          .seconds = seconds,
          .tokens = static_cast<double>(train.global_batch()) * length * steps,
          .flops_per_token = ComputeShape(spec.model(), length).flops_per_token,
          .product_roof = train.precision() == v1::PRECISION_BF16 ? roof.bf16_flops : roof.fp32_flops,
          .memory_roof = roof.bytes};
}

std::string RenderProfile(const OpProfile& profile, const ProfiledSteps& steps) {
  if (steps.steps == 0) return "nothing to show: the first step warms up and is not measured; train for more\n";
  std::vector<OpProfile::Row> rows = profile.rows();
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  std::string text = absl::StrFormat("roof: %.1f GFLOP/s in products, %.1f GB/s of memory (measured at the start)\n",
                                     steps.product_roof / 1e9, steps.memory_roof / 1e9);
  absl::StrAppend(&text, absl::StrFormat("%-46s %6s %9s %6s  %7s %5s  %7s %5s\n", "operation", "calls", "ms/step", "share",
                                         "GFLOP/s", "roof", "GB/s", "roof"));
  double inside = 0;
  for (const OpProfile::Row& row : rows) {
    const double calls = static_cast<double>(row.calls);
    inside += row.seconds;
    absl::StrAppend(&text, Line(absl::StrCat(row.cost.op, " ", Sizes(row.cost)), calls / steps.steps, row.seconds / steps.steps,
                                row.seconds / steps.seconds, Rate(row.cost.flops * calls, row.seconds, steps.product_roof),
                                Rate(row.cost.bytes * calls, row.seconds, steps.memory_roof)));
  }
  const double outside = steps.seconds - inside;
  absl::StrAppend(&text, Line("outside operations", 0, outside / steps.steps, outside / steps.seconds, "", ""));
  absl::StrAppend(&text, Line("step", 0, steps.seconds / steps.steps, 1,
                              Rate(steps.tokens * steps.flops_per_token, steps.seconds, steps.product_roof), ""));
  absl::StrAppend(&text, absl::StrFormat("%.0f tokens/s over %d steps\n", steps.tokens / steps.seconds, steps.steps));
  return text;
}

std::string ChromeTrace(const OpProfile& profile) {
  std::vector<std::string> events;
  events.reserve(profile.events().size());
  for (const OpProfile::Event& event : profile.events()) {
    const OpCost& cost = profile.rows()[event.row].cost;
    const double start = std::chrono::duration<double, std::micro>(event.start - profile.events().front().start).count();
    events.push_back(
        absl::StrFormat(R"({"name":"%s","cat":"op","ph":"X","pid":0,"tid":0,"ts":%.3f,"dur":%.3f,"args":{"sizes":"%s"}})", cost.op,
                        start, 1e6 * event.seconds, Sizes(cost)));
  }
  return absl::StrCat("{\"traceEvents\":[\n", absl::StrJoin(events, ",\n"), "\n]}\n");
}

}  // namespace polymoe
