// Exit codes of polymoe-train: what its daemon and the coordinator read from them.
#ifndef POLYMOE_COMMON_TRAINER_EXIT_H_
#define POLYMOE_COMMON_TRAINER_EXIT_H_

namespace polymoe {

enum TrainerExit {
  kTrainerDone = 0,
  kTrainerFailed = 1,
  kTrainerBadInput = 2,  // job file, flags or data: another try would end the same way
  kTrainerStopped = 3,   // on request, with a checkpoint
  kTrainerPeerLost = 4,  // another rank's connection broke: what became of that rank is the reason, not this one
  kTrainerPeerLate = 5,  // another rank was late for a collective; the last event names it
};

}  // namespace polymoe

#endif  // POLYMOE_COMMON_TRAINER_EXIT_H_
