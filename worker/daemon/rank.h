// One trainer process: started, read and reaped by the supervisor's thread, which owns it. Not thread-safe.
//
//   polymoe-train --spec FOLDER/job.yaml --checkpoint-dir DIR --resume PATH|none --job J --attempt N --rank R --world-size W
//                 --server HOST:PORT --events-fd 3 --threads T [--bind ADDRESS|INTERFACE]
//
// with OMP_NUM_THREADS=T, and a GOMP_SPINCOUNT that lets waiting threads sleep soon, unless our environment has GOMP_SPINCOUNT or
// OMP_WAIT_POLICY. Its stdout and stderr share one pipe, which becomes log lines and FOLDER/rank-R.log; TrainerEvents come on
// descriptor 3. The kernel kills it when the supervisor's thread ends, however that happens.
//
// A trainer that has started says something at least once a second or so, unless it waits for another rank or for a long piece of work.
// One that is silent for 1.5 times spec.restart.stallSeconds hangs and is killed: later than its peers end by themselves when they wait
// for it, so that this is for ranks that nobody waits for, and those that hang in their end. Before it has started, the coordinator's
// start timeout rules.
#ifndef POLYMOE_WORKER_DAEMON_RANK_H_
#define POLYMOE_WORKER_DAEMON_RANK_H_

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "common/clock.h"
#include "worker/daemon/descriptor.h"
#include "worker/daemon/event_parser.h"
#include "worker/daemon/line_splitter.h"

namespace polymoe {

namespace v1 {
class RankExited;
class Report;
}  // namespace v1

// Takes a report without a number; called on the supervisor's thread.
using ReportSink = std::function<void(v1::Report)>;

struct RankKey {
  std::string job;
  uint32_t attempt = 0;
  uint32_t rank = 0;
  friend auto operator<=>(const RankKey&, const RankKey&) = default;
};

v1::Report MakeReport(const RankKey& key);

struct RankOptions {
  RankKey key;
  uint32_t slot = 0;
  uint32_t threads = 1;
  std::vector<int> cpus;  // that it runs on; empty: as we do
  uint32_t world_size = 1;
  std::string trainer;  // path of the program
  std::string server;   // host:port of the coordinator, for the rendezvous
  std::string folder;   // holds job.yaml
  std::string checkpoint_dir;
  std::string resume_path;                          // empty: from scratch
  std::string bind;                                 // address or interface where it meets other ranks; empty: the trainer's default
  std::string host;                                 // ours, for people
  absl::Duration stall = absl::InfiniteDuration();  // silence after which it counts as hanging
};

class Rank {
 public:
  static constexpr size_t kLastLines = 20;

  // Errors say why it could not be started; then nothing runs.
  static absl::StatusOr<std::unique_ptr<Rank>> Start(RankOptions options, const Clock& clock, ReportSink sink);
  // Kills and reaps a process that still runs, without reports.
  ~Rank();

  const RankKey& key() const { return options_.key; }
  uint32_t slot() const { return options_.slot; }

  // Readable when there is something to do; -1 when closed.
  int exit_fd() const { return exited_.get(); }
  int output_fd() const { return output_.get(); }
  int events_fd() const { return events_.get(); }

  // Reads what is there, at most one buffer full, and reports it.
  void ReadOutput();
  void ReadEvents();

  // The process has ended: reads both pipes to their end, reaps it, and says how it ended. Called once; the rank is done then.
  v1::RankExited Reap();

  // SIGTERM now, SIGKILL at `kill_at` (monotonic). Called again, only an earlier `kill_at` changes something.
  void Stop(absl::Duration kill_at);
  // When KillIfDue has something to do.
  absl::Duration kill_at() const { return killed_ ? absl::InfiniteDuration() : std::min(kill_at_, hangs_at_); }
  void KillIfDue(absl::Duration now);

 private:
  Rank(RankOptions options, const Clock& clock, ReportSink sink);
  absl::Status Spawn();
  void TakeOutput(absl::string_view bytes);
  void TakeEvents(absl::string_view bytes);
  void ReportLine(absl::string_view line);
  void SeeProgress(uint64_t step);
  void Kill();

  const RankOptions options_;
  const Clock& clock_;
  const ReportSink sink_;
  pid_t pid_ = -1;  // -1: not started, or reaped
  Descriptor exited_, output_, events_, log_file_;
  LineSplitter lines_;
  EventParser parser_;
  uint64_t line_number_ = 0;
  std::deque<std::string> last_lines_;
  std::string error_;  // the trainer's own sentence
  bool stopping_ = false;
  bool killed_ = false, stalled_ = false;
  absl::Duration kill_at_ = absl::InfiniteDuration();   // of a Stop
  absl::Duration hangs_at_ = absl::InfiniteDuration();  // once it has started
  uint64_t step_ = 0;                                   // newest that it spoke of
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DAEMON_RANK_H_
