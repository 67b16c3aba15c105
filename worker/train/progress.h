// What a trainer tells people, on stderr: one line rewritten in place on a terminal, a line now and then anywhere else.
#ifndef POLYMOE_WORKER_TRAIN_PROGRESS_H_
#define POLYMOE_WORKER_TRAIN_PROGRESS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/parameters.h"
#include "worker/train/step.h"

namespace polymoe {

class Clock;

namespace v1 {
class JobFile;
}

class Progress {
 public:
  Progress(const v1::JobFile& file, const Clock& clock, bool terminal);
  // Ends the line, so that what comes next (an error) starts a new one.
  ~Progress();

  void Start(const TrainerState& state, const ModelConfig& config);
  // In place of Start and all that follows it, on ranks other than 0.
  void StartAsOther(const TrainerState& state, int rank, const ParameterTable& table);
  void Step(const StepResult& result);
  void Validation(const std::string& set, double loss) { validation_[set] = loss; }
  void Done(const TrainerState& state);
  void Stopped(const TrainerState& state);

 private:
  void EndLine();

  const v1::JobFile& file_;
  const Clock& clock_;
  const bool terminal_;
  uint64_t start_tokens_ = 0;
  absl::Duration started_, last_ = -absl::InfiniteDuration();
  bool open_line_ = false;
  std::map<std::string, double> validation_;  // latest loss of each set
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_PROGRESS_H_
