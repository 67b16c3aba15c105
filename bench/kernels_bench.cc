// kernels_bench: every operation by itself, against the roof of this machine.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "bench/kernel_cases.h"
#include "kernels/cpu/roof.h"
#include "kernels/profile.h"

namespace polymoe {
namespace {

struct NamedShape {
  const char* name;
  BenchShape shape;
};

constexpr NamedShape kShapes[] = {
    {"moe", {8, 512, 512, 384, 16, 4, 16384}},
    {"moe64", {8, 512, 512, 384, 64, 4, 16384}},
    {"dense", {4, 256, 768, 3072, 1, 1, 50304}},
    {"tiny", {2, 32, 128, 64, 4, 2, 100}},
};
constexpr BenchShape kVerified = kShapes[3].shape;  // small enough for the reference

constexpr char kFooter[] = R"(Each operation is compared with the reference at a small shape, then timed.

Examples:
  kernels_bench                                    the shape of docs/performance.md, in bf16
  kernels_bench --shape dense --precision fp32
  kernels_bench --filter attention --repeats 50)";

struct Flags {
  std::string shape = "moe", precision = "bf16", filter;
  int repeats = 11, threads = 0;
};

// Within what roundings explain: of E where the result has that type, else of fp32 sums over at most some thousand terms.
template <class E>
bool Agrees(const std::vector<float>& got, const std::vector<float>& want) {
  double largest = 1e-3;
  for (const float w : want) largest = std::max(largest, std::abs(static_cast<double>(w)));
  const double tolerance = largest * (sizeof(E) == 2 ? 1.0 / 128 : 3e-5);
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= tolerance)) return false;
  }
  return true;
}

template <class E>
bool Verify(const std::string& filter) {
  bool good = true;
  // Two sets of equal tensors: some operations update what they read.
  std::vector<KernelCase<E>> ref = KernelCases<E>(kVerified), cpu = KernelCases<E>(kVerified);
  for (size_t i = 0; i < ref.size(); ++i) {
    if (ref[i].name.find(filter) == std::string::npos) continue;
    ref[i].run(RefOps<E>());
    const std::vector<float> want = ref[i].result();
    cpu[i].run(CpuOps<E>());
    if (Agrees<E>(cpu[i].result(), want)) continue;
    std::fprintf(stderr, "kernels_bench: %s differs from the reference; not timed\n", ref[i].name.c_str());
    good = false;
  }
  return good;
}

template <class E>
void Time(const KernelCase<E>& c, const Flags& flags, const Roof& roof, OpProfile& profile) {
  const Ops<E>& ops = profile.Wrap(CpuOps<E>());
  c.run(ops);  // takes scratch
  profile.Clear();
  profile.Record(true);
  for (int i = 0; i < flags.repeats; ++i) c.run(ops);
  profile.Record(false);
  std::vector<double> seconds;
  for (const OpProfile::Event& event : profile.events()) seconds.push_back(event.seconds);
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const OpCost& cost = profile.rows().front().cost;
  std::printf("%-28s %9.3f  %8.3f ..%8.3f", c.name.c_str(), 1e3 * median, 1e3 * seconds.front(), 1e3 * seconds.back());
  if (cost.flops > 0) {
    const double peak = sizeof(E) == 2 ? roof.bf16_flops : roof.fp32_flops;
    std::printf("  %7.1f GFLOP/s %4.0f%%\n", cost.flops / median / 1e9, 100 * cost.flops / median / peak);
  } else {
    std::printf("  %7.1f GB/s    %4.0f%%\n", cost.bytes / median / 1e9, 100 * cost.bytes / median / roof.bytes);
  }
}

template <class E>
int Run(const Flags& flags, const BenchShape& shape) {
  if (!Verify<E>(flags.filter)) return 1;
  const Roof roof = MeasureRoof();
  std::printf("%d threads; roof: bf16 %.0f, fp32 %.0f GFLOP/s, memory %.1f GB/s\n", omp_get_max_threads(), roof.bf16_flops / 1e9,
              roof.fp32_flops / 1e9, roof.bytes / 1e9);
  std::printf("%-28s %9s  %8s ..%8s  %-15s %5s\n", (flags.shape + ", " + flags.precision).c_str(), "median ms", "min", "max",
              "rate", "roof");
  OpProfile profile(flags.repeats);
  for (const KernelCase<E>& c : KernelCases<E>(shape)) {
    if (c.name.find(flags.filter) != std::string::npos) Time(c, flags, roof, profile);
  }
  return 0;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  using namespace polymoe;
  Flags flags;
  CLI::App app("Times every operation at the shapes of a model's step.", "kernels_bench");
  app.footer(kFooter);
  app.add_option("--shape", flags.shape, "moe, moe64, dense or tiny")->check(CLI::IsMember({"moe", "moe64", "dense", "tiny"}));
  app.add_option("--precision", flags.precision, "bf16 or fp32")->check(CLI::IsMember({"bf16", "fp32"}));
  app.add_option("--filter", flags.filter, "only operations whose name contains this");
  app.add_option("--repeats", flags.repeats, "timed runs of each")->check(CLI::Range(1, 100000));
  app.add_option("--threads", flags.threads, "OpenMP threads (default: one a core)")->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);
  if (flags.threads > 0) omp_set_num_threads(flags.threads);
  if (flags.precision == "bf16" && !CpuHasBf16()) {
    std::fprintf(stderr, "kernels_bench: this CPU cannot multiply bf16 (AVX512_BF16); use --precision fp32\n");
    return 2;
  }
  const auto* named = std::find_if(std::begin(kShapes), std::end(kShapes), [&](const auto& s) { return s.name == flags.shape; });
  return flags.precision == "bf16" ? Run<BF16>(flags, named->shape) : Run<float>(flags, named->shape);
}
