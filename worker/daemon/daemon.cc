#include "worker/daemon/daemon.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/worker.pb.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/rpc/channel.h"
#include "common/status.h"
#include "worker/daemon/daemon_metrics.h"
#include "worker/daemon/outbox.h"
#include "worker/daemon/session.h"
#include "worker/daemon/supervisor.h"

namespace polymoe {
namespace {

constexpr absl::Duration kDeliveryTimeout = absl::Seconds(10);
// From SIGKILL to the end of the process.
constexpr absl::Duration kReapTimeout = absl::Seconds(10);

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options, prometheus::Registry& registry,
                                                      std::function<void()> on_drain) {
  POLYMOE_RETURN_IF_ERROR(OpenChannel(options.server).status());  // the address makes sense
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(absl::StrCat(options.work_dir, "/jobs")));
  if (!IsUrl(options.checkpoint_root)) POLYMOE_RETURN_IF_ERROR(MakeDirectories(options.checkpoint_root));
  auto daemon = absl::WrapUnique(new Daemon);
  daemon->stop_grace_ = options.stop_grace;
  daemon->metrics_ = std::make_unique<DaemonMetrics>(registry);
  daemon->outbox_ = std::make_unique<Outbox>(options.reports, daemon->metrics_.get());
  daemon->stream_ = std::make_unique<ActiveStream>();
  SupervisorOptions node;
  node.worker = options.name;
  node.host = options.host;
  node.server = options.server;
  node.trainer = options.trainer;
  node.work_dir = options.work_dir;
  node.checkpoint_root = options.checkpoint_root;
  node.bind = options.bind;
  node.slots = options.slots;
  node.threads_per_slot = options.threads_per_slot;
  node.stop_grace = options.stop_grace;
  daemon->supervisor_ = std::make_unique<Supervisor>(
      std::move(node), Clock::Real(), daemon->metrics_.get(),
      [outbox = daemon->outbox_.get()](v1::Report report) { outbox->Add(std::move(report)); },
      [stream = daemon->stream_.get()] { stream->Cancel(); });
  daemon->session_ = std::make_unique<Session>(
      SessionOptions{.server = options.server, .worker = options.name, .instance = NewUuid(), .host = options.host}, Clock::Real(),
      daemon->stream_.get(), daemon->outbox_.get(), daemon->supervisor_.get(), daemon->metrics_.get(), std::move(on_drain));
  return daemon;
}

Daemon::~Daemon() = default;

bool Daemon::Drain() {
  LogInfo("draining");
  session_->AnnounceDrain();
  supervisor_->Drain();
  if (!supervisor_->WaitUntilIdle(stop_grace_ + kReapTimeout)) LogError("some ranks did not end even when killed");
  const bool delivered = outbox_->WaitUntilEmpty(kDeliveryTimeout);
  if (!delivered) LogWarning("the coordinator did not take all reports before the end");
  return delivered;
}

}  // namespace polymoe
