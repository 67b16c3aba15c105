// A dataset, a job and a training run that take milliseconds. A run is seen as its daemon sees it, through the events it writes.
#ifndef POLYMOE_TESTS_WORKER_TRAIN_TINY_TRAINING_H_
#define POLYMOE_TESTS_WORKER_TRAIN_TINY_TRAINING_H_

#include <fcntl.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/trainer.pb.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/spec/job_file.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/data/datasets.h"
#include "worker/parallel/layout.h"
#include "worker/parallel/single_group.h"
#include "worker/train/event_writer.h"
#include "worker/train/reporter.h"
#include "worker/train/trainer.h"

namespace polymoe {

inline constexpr uint32_t kVocab = 32, kLength = 16, kBatch = 8;
inline constexpr uint64_t kStepTokens = kBatch * kLength;

// Mostly a chain in which each token says the next; one in eight is noise. Learnable, and all windows differ.
inline std::vector<uint32_t> ChainTokens(uint32_t count, uint32_t seed) {
  std::vector<uint32_t> tokens(count);
  uint32_t noise = seed, token = 0;
  for (uint32_t& t : tokens) {
    noise = noise * 1664525 + 1013904223;
    token = (noise >> 24) % 8 == 0 ? (noise >> 16) % kVocab : (token * 5 + 3) % kVocab;
    t = token;
  }
  return tokens;
}

// Every window of kLength is the same, whatever the order: what differs between two runs is not the data.
inline std::vector<uint32_t> PeriodicTokens(uint32_t count) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t i = 0; i < count; ++i) tokens[i] = (i % kLength) * 7 % kVocab;
  return tokens;
}

// A second passes at each look, so that durations are the same in every run.
class CountingClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + Monotonic(); }
  absl::Duration Monotonic() const override { return absl::Seconds(++looks_); }

 private:
  mutable std::atomic<int64_t> looks_ = 0;
};

// A group of one whose sums a test can tamper with, as if other ranks had brought the values. Steps count from 1 in each run.
class TamperedGroup final : public SingleGroup {
 public:
  using OnGradients = std::function<void(int step, absl::Span<float>)>;  // of a section of the parameter table
  using OnSums = std::function<void(int step, absl::Span<double>)>;      // StepSums
  explicit TamperedGroup(OnGradients on_gradients, OnSums on_sums = nullptr)
      : on_gradients_(std::move(on_gradients)), on_sums_(std::move(on_sums)) {}

  absl::Status StartReduceScatterSum(int, float* data, absl::Span<const int64_t> cuts) override {
    if (on_gradients_) on_gradients_(step_, absl::MakeSpan(data, cuts.back()));
    return absl::OkStatus();
  }
  using SingleGroup::AllReduceSum;
  absl::Status AllReduceSum(absl::Span<double> values) override {
    if (values.size() < StepSums::kScalars) return absl::OkStatus();  // ranks agreeing on an error
    if (on_sums_) on_sums_(step_, values);
    ++step_;
    return absl::OkStatus();
  }

 private:
  OnGradients on_gradients_;
  OnSums on_sums_;
  int step_ = 1;
};

inline std::vector<v1::TrainerEvent> ParseEvents(const std::string& bytes) {
  std::vector<v1::TrainerEvent> events;
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  bool end = false;
  for (v1::TrainerEvent event; google::protobuf::util::ParseDelimitedFromZeroCopyStream(&event, &stream, &end); event.Clear()) {
    if (event.event_case() != v1::TrainerEvent::kProgress) events.push_back(event);  // signs of life come when they like
  }
  EXPECT_TRUE(end) << "what was written is not a row of whole events";
  return events;
}

// What came of one run.
struct TrainingRun {
  absl::StatusOr<Outcome> outcome;
  TrainerState state;
  std::vector<float> parameters;
  std::vector<v1::TrainerEvent> events;

  // Values of one metric by step.
  std::map<uint64_t, double> Series(const std::string& name) const {
    std::map<uint64_t, double> series;
    for (const v1::TrainerEvent& event : events) {
      const auto it = event.points().values().find(name);
      if (it == event.points().values().end()) continue;
      EXPECT_TRUE(series.emplace(event.points().step(), it->second).second) << name << " twice at step " << event.points().step();
    }
    return series;
  }
  std::vector<uint64_t> SavedSteps() const {
    std::vector<uint64_t> steps;
    for (const v1::TrainerEvent& event : events)
      if (event.has_checkpoint()) steps.push_back(event.checkpoint().step());
    return steps;
  }
};

class TinyTraining : public ::testing::Test {
 protected:
  // One thread: such small loops only wait for each other. The count is put back.
  TinyTraining() : threads_(omp_get_max_threads()) {
    omp_set_num_threads(1);
    Write("train", ChainTokens(4001, 1));
  }
  ~TinyTraining() override { omp_set_num_threads(threads_); }

  // A dataset, with one split that is called train.
  void Write(const std::string& name, const std::vector<uint32_t>& tokens) {
    POLYMOE_CHECK(MakeDirectories(dir_.path() + "/" + name).ok());
    WriteDataset(dir_.path() + "/" + name, {tokens}, kVocab);
  }

  // PolyNorm experts, `steps` steps at a constant rate; tests change what they are about. Complete: an invalid one ends the test.
  v1::JobFile Job(int steps) const {
    const std::string text =
        absl::StrCat(R"(apiVersion: polymoe/v1
kind: Job
metadata: {name: tiny}
spec:
  model: {layers: 2, hidden: 32, heads: 2, ffn: 24, experts: 4, topK: 2, vocab: 32, activation: {kind: polynorm}}
  data: {train: )",
                     dir_.path(), "/train, sequenceLength: ", kLength, R"(}
  train: {tokens: )",
                     steps * kStepTokens, ", globalBatch: ", kBatch, ", microBatch: 4, learningRate: 0.01, schedule: constant}\n");
    return ParseJobFile(text, "tiny.yaml").value();
  }

  void AddValidation(v1::JobFile& file, const std::string& name) const {
    v1::ValidationSet& set = *file.mutable_spec()->mutable_validation()->add_sets();
    set.set_name(name);
    set.set_path(dir_.path() + "/" + name);
    set.set_split("train");
  }

  std::string checkpoints(const std::string& name = "a") const { return absl::StrCat(dir_.path(), "/checkpoints-", name); }

  TrainingRun Train(const v1::JobFile& file, TrainerOptions options, Ranks& ranks) const {
    const std::string path = absl::StrCat(dir_.path(), "/events-", ranks.world->rank());
    EventWriter events(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    const CountingClock clock;
    Reporter reporter(file, clock, events, /*terminal=*/false);
    TrainingRun run;
    if (options.checkpoint_dir.empty()) options.checkpoint_dir = absl::StrCat(dir_.path(), "/run-", ++runs_);
    const auto trainer = Trainer::Create(file, options, ranks, clock, reporter);
    if (!trainer.ok()) {
      run.outcome = trainer.status();
    } else {
      const std::atomic<bool> stop = false;
      run.outcome = (*trainer)->Run(stop);
      run.state = (*trainer)->state();
      const float* parameters = (*trainer)->parameters();
      run.parameters.assign(parameters, parameters + (*trainer)->table().total());
    }
    run.events = ParseEvents(*ReadFile(path));
    return run;
  }
  // Each in a checkpoint folder of its own unless `options` name one.
  TrainingRun Train(const v1::JobFile& file, const TrainerOptions& options = {},
                    std::unique_ptr<Group> world = std::make_unique<SingleGroup>()) const {
    Ranks ranks{nullptr, std::move(world), std::make_unique<SingleGroup>(), std::make_unique<SingleGroup>()};
    return Train(file, options, ranks);
  }
  // To the end of the budget, or the test fails.
  TrainingRun TrainToEnd(const v1::JobFile& file, const TrainerOptions& options = {}) const {
    TrainingRun run = Train(file, options);
    EXPECT_TRUE(run.outcome.ok()) << run.outcome.status();
    return run;
  }

  TempDir dir_;

 private:
  const int threads_;
  mutable int runs_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_TRAIN_TINY_TRAINING_H_
