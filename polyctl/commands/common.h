// What several commands share: groups of the help, flags, waiting for jobs.
#ifndef POLYMOE_POLYCTL_COMMANDS_COMMON_H_
#define POLYMOE_POLYCTL_COMMANDS_COMMON_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "polymoe/v1/job.pb.h"

#include "polyctl/cli.h"
#include "polyctl/job_source.h"

namespace polymoe::polyctl {

inline constexpr char kJobCommands[] = "Jobs";
inline constexpr char kAblationCommands[] = "Ablations and comparisons";
inline constexpr char kFileCommands[] = "Files and data";
inline constexpr char kClusterCommands[] = "Cluster";
inline constexpr char kOtherCommands[] = "Other";

// FILE and --set. `what` the file is, and an edit of one as an example.
void AddFileSource(CLI::App& command, FileSource& source, const std::string& what = "job file",
                   const std::string& example = "spec.train.tokens=1M");

// --request-id of a submit; `what` comes of it.
void AddRequestId(CLI::App& command, std::string& request_id, const std::string& what);
// The error of a submit. Where it may have happened all the same, with how to repeat it without making `two`.
absl::Status MayHaveHappened(const absl::Status& error, const std::string& request_id, const std::string& two);

// ABLATION, one that must be given.
void AddAblation(CLI::App& command, std::string& ablation);

// JOB..., required when `least` is 1.
void AddJobs(CLI::App& command, std::vector<std::string>& jobs, int least);

// "key=value" pairs. INVALID_ARGUMENT for what is none.
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& labels);

// The jobs given by id or name, then those that have all the labels, oldest first; without labels none of these. Each job once.
// NOT_FOUND as soon as one is not there.
absl::StatusOr<std::vector<v1::Job>> ChooseJobs(const Client& client, const std::vector<std::string>& names,
                                                const std::vector<std::string>& labels);
// All jobs that pass the filter, oldest first.
absl::StatusOr<std::vector<v1::Job>> ListOldestFirst(const Client& client, const v1::ListJobsRequest& filter);

// The error of a call that asked for an ablation by a name that may be a job's: is it that there is no such ablation? A coordinator that
// knows no ablations has none.
bool IsNoAblation(const absl::Status& error);

std::vector<std::string> IdsOf(const std::vector<v1::Job>& jobs);

// Until every job (by id) is final. `on_change` gets each job first and after each change. DEADLINE_EXCEEDED: the time was over.
absl::StatusOr<std::vector<v1::Job>> AwaitJobs(const Client& client, const std::vector<std::string>& ids, absl::Time deadline,
                                               const std::function<void(const v1::Job&)>& on_change);

// Of jobs that are final: 8 when one failed, else 9 when one was cancelled, else 0.
ExitCode OutcomeOf(const std::vector<v1::Job>& jobs);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_COMMANDS_COMMON_H_
