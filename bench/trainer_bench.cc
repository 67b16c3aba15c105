// trainer_bench: what a training step costs. It takes steps as worker/train/trainer.cc does, on random tokens: no data, no files, no
// reports. bench/vs_pytorch.sh runs it beside the same model in PyTorch.
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "polymoe/v1/job_spec.pb.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/spec/job_file.h"
#include "common/spec/scalar.h"
#include "common/status.h"
#include "common/units.h"
#include "kernels/cpu/roof.h"
#include "kernels/ops.h"
#include "kernels/profile.h"
#include "worker/model/arena.h"
#include "worker/model/model.h"
#include "worker/train/optimizer.h"
#include "worker/train/profile_report.h"
#include "worker/train/setup.h"

namespace polymoe {
namespace {

constexpr char kFooter[] = R"(Examples:
  trainer_bench                                       the MoE shape in fp32
  trainer_bench --precision bf16 --activation relu    in bf16, with another activation
  trainer_bench --shape dense --json | jq .gflops     one line for scripts

Shapes: moe (d 512, 8 layers, 16 experts, top-4), moe64 (the same with 64 experts), dense (GPT-2's 124M as a LLaMA decoder), tiny.
GFLOP/s are the model's: 6 x active parameters without the embedding + 6 x layers x sequence x hidden a token. The roof is that of
products on packed operands in cache, measured at the start.
Exit codes: 0 done, 1 failed, 2 bad flags.)";

struct Shape {
  const char* name;
  v1::Architecture architecture;
  uint32_t layers, hidden, heads, ffn, experts, top_k, vocab, length, sequences;
  const char* activation;
};

// The same table is in pytorch_model.py.
constexpr Shape kShapes[] = {
    {"moe", v1::ARCHITECTURE_MOE, 8, 512, 8, 384, 16, 4, 16384, 512, 8, "polynorm"},
    {"moe64", v1::ARCHITECTURE_MOE, 8, 512, 8, 384, 64, 4, 16384, 512, 8, "polynorm"},
    {"dense", v1::ARCHITECTURE_DENSE, 12, 768, 12, 3072, 1, 1, 50304, 256, 4, "gelu"},
    {"tiny", v1::ARCHITECTURE_MOE, 2, 32, 2, 24, 4, 2, 128, 32, 2, "polynorm"},
};

struct Flags {
  std::string shape = "moe", activation, precision = "fp32";
  int steps = 5, threads = 0;
  std::string profile;
  bool recompute = false, json = false;
};

// A whole job, so that it gets the defaults of one and is checked like one.
absl::StatusOr<v1::JobSpec> ToSpec(const Flags& flags) {
  const Shape& shape = *std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) { return s.name == flags.shape; });
  v1::JobFile file;
  file.set_api_version("polymoe/v1");
  file.set_kind("Job");
  file.mutable_metadata()->set_name("bench");
  v1::JobSpec& spec = *file.mutable_spec();
  v1::ModelSpec& model = *spec.mutable_model();
  model.set_architecture(shape.architecture);
  model.set_layers(shape.layers);
  model.set_hidden(shape.hidden);
  model.set_heads(shape.heads);
  model.set_ffn(shape.ffn);
  if (shape.architecture == v1::ARCHITECTURE_MOE) {
    model.set_experts(shape.experts);
    model.set_top_k(shape.top_k);
  }
  model.set_vocab(shape.vocab);
  model.set_match(v1::WIDTH_MATCH_PARAMETERS);
  v1::ActivationSpec& activation = *model.mutable_activation();
  POLYMOE_RETURN_IF_ERROR(SetScalar(&activation, activation.GetDescriptor()->FindFieldByName("kind"),
                                    flags.activation.empty() ? shape.activation : flags.activation));
  spec.mutable_data()->set_train("none");
  spec.mutable_data()->set_sequence_length(shape.length);
  v1::TrainSpec& train = *spec.mutable_train();
  train.set_tokens(1);
  train.set_global_batch(shape.sequences);
  train.set_micro_batch(shape.sequences);
  train.set_learning_rate(4e-4);
  train.set_precision(flags.precision == "bf16" ? v1::PRECISION_BF16 : v1::PRECISION_FP32);
  train.set_recompute(flags.recompute);
  POLYMOE_RETURN_IF_ERROR(CompleteJobFile(&file));
  POLYMOE_RETURN_IF_ERROR(CheckPrecision(spec, CpuHasBf16()));
  return spec;
}

// One batch, again and again: the loss falls when the steps do what they should.
class Training {
 public:
  Training(const v1::JobSpec& spec, OpProfile* profile)
      : spec_(spec),
        model_(MakeModel(spec, profile)),
        parameter_ops_(ParameterOps(profile)),
        optimizer_({}, Sharding(model_.table(), {}, {}), parameter_ops_),
        memory_([this](Arena::Cutter& cut) {
          cut(parameters_, model_.table().total());
          cut(gradients_, model_.table().total());
        }) {
    const uint32_t count = spec.train().micro_batch() * spec.data().sequence_length();
    std::mt19937 random(1);
    for (std::vector<int32_t>* ids : {&tokens_, &targets_}) {
      for (uint32_t i = 0; i < count; ++i) ids->push_back(static_cast<int32_t>(random() % spec.model().vocab()));
    }
    model_.table().Initialize(/*seed=*/1, model_.config(), parameters_);
    model_.Round(parameters_);
  }

  // The mean cross entropy before the update.
  double Step() {
    const auto count = static_cast<double>(tokens_.size());
    const MicroBatchLosses losses =
        model_.ForwardBackward(parameters_, tokens_.data(), targets_.data(), static_cast<int>(spec_.train().micro_batch()),
                               static_cast<float>(1 / count), gradients_, /*accumulate=*/false);
    const double norm = std::sqrt(parameter_ops_.sum_squares(model_.table().total(), gradients_));
    const double clip = spec_.train().grad_clip();
    optimizer_.Step(++updates_, spec_.train().learning_rate(), norm > clip ? clip / norm : 1, gradients_, parameters_,
                    model_.rounded());
    return losses.cross_entropy / count;
  }

  double tokens() const { return static_cast<double>(tokens_.size()); }

 private:
  const v1::JobSpec spec_;
  Model model_;
  const Ops<float>& parameter_ops_;
  Optimizer optimizer_;
  float *parameters_ = nullptr, *gradients_ = nullptr;
  const Arena memory_;  // of both
  std::vector<int32_t> tokens_, targets_;
  uint64_t updates_ = 0;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Result {
  std::vector<double> seconds;  // of the timed steps
  double first_loss = 0, last_loss = 0;
  ProfiledSteps all;  // the timed steps together; below, of the median step
  double tokens_per_second = 0, gflops = 0, roof_gflops = 0;
};

Result Measure(const v1::JobSpec& spec, int steps, const Roof& roof, OpProfile* profile) {
  Training training(spec, profile);
  Result result;
  result.first_loss = training.Step();  // warm-up
  if (profile != nullptr) profile->Record(true);
  for (int i = 0; i < steps; ++i) {
    const absl::Duration start = Clock::Real().Monotonic();
    result.last_loss = training.Step();
    result.seconds.push_back(absl::ToDoubleSeconds(Clock::Real().Monotonic() - start));
  }
  if (profile != nullptr) profile->Record(false);
  result.tokens_per_second = training.tokens() / Median(result.seconds);
  result.all = Profiled(spec, roof, steps, std::accumulate(result.seconds.begin(), result.seconds.end(), 0.0));
  result.gflops = result.tokens_per_second * result.all.flops_per_token / 1e9;
  result.roof_gflops = result.all.product_roof / 1e9;
  return result;
}

int64_t PeakRssBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::string ActivationName(const v1::JobSpec& spec) {
  const v1::ActivationSpec& activation = spec.model().activation();
  return GetScalar(activation, activation.GetDescriptor()->FindFieldByName("kind"));
}

void PrintJson(const Flags& flags, const v1::JobSpec& spec, const Result& result) {
  const nlohmann::ordered_json line = {{"engine", "polymoe"},
                                       {"shape", flags.shape},
                                       {"activation", ActivationName(spec)},
                                       {"precision", flags.precision},
                                       {"threads", omp_get_max_threads()},
                                       {"median_seconds", Median(result.seconds)},
                                       {"tokens_per_second", result.tokens_per_second},
                                       {"gflops", result.gflops},
                                       {"roof_gflops", result.roof_gflops},
                                       {"step_seconds", result.seconds},
                                       {"first_loss", result.first_loss},
                                       {"last_loss", result.last_loss},
                                       {"peak_rss_bytes", PeakRssBytes()}};
  std::printf("%s\n", line.dump().c_str());
}

void PrintTable(const Flags& flags, const v1::JobSpec& spec, const Result& result) {
  const auto [least, most] = std::minmax_element(result.seconds.begin(), result.seconds.end());
  const std::string range = absl::StrFormat("%.4g..%.4g", *least, *most);
  const std::string loss = absl::StrFormat("%.3f -> %.3f", result.first_loss, result.last_loss);
  std::printf("%-6s %-12s %-9s %7s %8s %16s %9s %8s %5s %18s %10s\n", "SHAPE", "ACTIVATION", "PRECISION", "THREADS", "STEP S",
              "MIN..MAX", "TOKENS/S", "GFLOP/S", "ROOF", "LOSS", "PEAK RSS");
  std::printf("%-6s %-12s %-9s %7d %8.4g %16s %9.0f %8.1f %4.0f%% %18s %10s\n", flags.shape.c_str(), ActivationName(spec).c_str(),
              flags.precision.c_str(), omp_get_max_threads(), Median(result.seconds), range.c_str(), result.tokens_per_second,
              result.gflops, 100 * result.gflops / result.roof_gflops, loss.c_str(),
              FormatBytes(static_cast<double>(PeakRssBytes())).c_str());
}

int PrintProfile(const Flags& flags, const Result& result, const OpProfile& profile) {
  std::fputs(RenderProfile(profile, result.all).c_str(), stdout);
  const absl::Status written = WriteFileDurably(flags.profile, ChromeTrace(profile));
  if (!written.ok()) std::fprintf(stderr, "trainer_bench: %s\n", std::string(written.message()).c_str());
  return written.ok() ? 0 : 1;
}

int Run(const Flags& flags) {
  if (flags.threads > 0) omp_set_num_threads(flags.threads);
  const absl::StatusOr<v1::JobSpec> spec = ToSpec(flags);
  if (!spec.ok()) {
    std::fprintf(stderr, "trainer_bench: %s\n", std::string(spec.status().message()).c_str());
    return 2;
  }
  try {
    const Roof roof = MeasureRoof();
    OpProfile profile(/*max_events=*/flags.profile.empty() ? 0 : 100'000);
    const Result result = Measure(*spec, flags.steps, roof, flags.profile.empty() ? nullptr : &profile);
    if (!flags.profile.empty()) return PrintProfile(flags, result, profile);
    flags.json ? PrintJson(flags, *spec, result) : PrintTable(flags, *spec, result);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "trainer_bench: not enough memory for shape %s; --recompute needs less\n", flags.shape.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Flags flags;
  std::vector<std::string> shapes;
  for (const polymoe::Shape& shape : polymoe::kShapes) shapes.emplace_back(shape.name);
  CLI::App app("Measures training steps: forward, backward, clip and AdamW on random tokens.", "trainer_bench");
  app.footer(polymoe::kFooter);
  app.add_option("--shape", flags.shape, "model and batch")->check(CLI::IsMember(shapes))->capture_default_str();
  app.add_option("--activation", flags.activation, "instead of the shape's own; a gated one gets 2/3 of the width")
      ->type_name("KIND");
  app.add_option("--precision", flags.precision, "fp32, or bf16 with AVX512_BF16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--steps", flags.steps, "timed steps, after one that warms up")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "OpenMP threads (default: one a core)")->check(CLI::Range(1, 4096))->type_name("N");
  app.add_flag("--recompute", flags.recompute, "compute each layer again in the backward pass, for less memory");
  app.add_option("--profile", flags.profile, "print the time of each operation instead, and write a trace for ui.perfetto.dev")
      ->type_name("FILE");
  app.add_flag("--json", flags.json, "one line of JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  return polymoe::Run(flags);
}
