// A profile as people read it: a table for the terminal, and a trace for chrome://tracing or ui.perfetto.dev. Pure.
#ifndef POLYMOE_WORKER_TRAIN_PROFILE_REPORT_H_
#define POLYMOE_WORKER_TRAIN_PROFILE_REPORT_H_

#include <string>

#include "kernels/cpu/roof.h"
#include "kernels/profile.h"

namespace polymoe {

namespace v1 {
class JobSpec;
}

struct ProfiledSteps {
  int steps = 0;
  double seconds = 0;          // of all of them
  double tokens = 0;           // of all of them
  double flops_per_token = 0;  // as ComputeShape counts them
  double product_roof = 0;     // FLOP/s and bytes/s of MeasureRoof, in the precision of the job
  double memory_roof = 0;
};

// Of a job whose `steps` took `seconds`, beside what the machine can do in the job's precision.
ProfiledSteps Profiled(const v1::JobSpec& spec, const Roof& roof, int steps, double seconds);

// One line for each operation and shape, the longest first: time a step, its share, FLOP/s and bytes/s with their share of the roof. The
// last lines say what lies outside operations, and what the whole step reaches. One line that says why when there was no step.
std::string RenderProfile(const OpProfile& profile, const ProfiledSteps& steps);

// The noted calls in the Trace Event Format (complete events, microseconds from the first).
std::string ChromeTrace(const OpProfile& profile);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_TRAIN_PROFILE_REPORT_H_
