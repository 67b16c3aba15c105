#include "polyctl/commands/common.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {

void AddFileSource(CLI::App& command, FileSource& source, const std::string& what, const std::string& example) {
  command.add_option("file", source.file, absl::StrCat(what, "; - reads standard input"))->type_name("FILE")->required();
  AddRepeated(command, "--set", source.edits, absl::StrCat("changes one value, for example ", example, "; may be repeated"))
      ->type_name("PATH=VALUE");
}

void AddRequestId(CLI::App& command, std::string& request_id, const std::string& what) {
  command
      .add_option("--request-id", request_id,
                  absl::StrCat("the same id with the same file makes one ", what, " only (default: a new UUID)"))
      ->type_name("ID");
}

absl::Status MayHaveHappened(const absl::Status& error, const std::string& request_id, const std::string& two) {
  if (ExitCodeOf(error) != ExitCode::kUnavailable) return error;
  return absl::Status(error.code(), absl::StrCat(error.message(), "\nIf you submit again, add `--request-id ", request_id,
                                                 "`: then it cannot become ", two, "."));
}

void AddAblation(CLI::App& command, std::string& ablation) {
  command.add_option("ablation", ablation, "ablation id, or a name (the newest of that name)")->type_name("ABLATION")->required();
}

void AddJobs(CLI::App& command, std::vector<std::string>& jobs, int least) {
  CLI::Option* option = command.add_option("jobs", jobs, "job ids, or names (the newest job of that name)")->type_name("JOB");
  if (least > 0) option->required();
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& labels) {
  std::map<std::string, std::string> pairs;
  for (const std::string& label : labels) {
    const std::vector<std::string> parts = absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (parts.size() != 2 || parts[0].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("label '", label, "' is not KEY=VALUE"));
    }
    pairs[parts[0]] = parts[1];
  }
  return pairs;
}

absl::StatusOr<std::vector<v1::Job>> ListOldestFirst(const Client& client, const v1::ListJobsRequest& filter) {
  POLYMOE_ASSIGN_OR_RETURN(std::vector<v1::Job> jobs, client.List(filter));
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

absl::StatusOr<std::vector<v1::Job>> ChooseJobs(const Client& client, const std::vector<std::string>& names,
                                                const std::vector<std::string>& labels) {
  std::vector<v1::Job> chosen;
  for (const std::string& name : names) {
    POLYMOE_ASSIGN_OR_RETURN(chosen.emplace_back(), client.Get(name));
  }
  if (!labels.empty()) {
    v1::ListJobsRequest filter;
    POLYMOE_ASSIGN_OR_RETURN(const auto pairs, ParseLabels(labels));
    for (const auto& [key, value] : pairs) (*filter.mutable_labels())[key] = value;
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Job> labelled, ListOldestFirst(client, filter));
    chosen.insert(chosen.end(), labelled.begin(), labelled.end());
  }
  std::set<std::string> seen;
  std::erase_if(chosen, [&](const v1::Job& job) { return !seen.insert(job.id()).second; });
  return chosen;
}

bool IsNoAblation(const absl::Status& error) {
  return absl::IsNotFound(error) || absl::IsUnimplemented(error);
}

std::vector<std::string> IdsOf(const std::vector<v1::Job>& jobs) {
  std::vector<std::string> ids;
  for (const v1::Job& job : jobs) ids.push_back(job.id());
  return ids;
}

absl::StatusOr<std::vector<v1::Job>> AwaitJobs(const Client& client, const std::vector<std::string>& ids, absl::Time deadline,
                                               const std::function<void(const v1::Job&)>& on_change) {
  std::map<std::string, v1::Job> latest;
  std::map<std::string, bool> open;
  for (const std::string& id : ids) open[id] = true;
  POLYMOE_RETURN_IF_ERROR(client.Watch(ids, deadline, [&](const v1::Job& job) {
    latest[job.id()] = job;
    if (IsFinal(job.state())) open.erase(job.id());
    on_change(job);
    return !open.empty();
  }));
  std::vector<v1::Job> jobs;
  for (const std::string& id : ids) jobs.push_back(latest[id]);
  return jobs;
}

ExitCode OutcomeOf(const std::vector<v1::Job>& jobs) {
  ExitCode outcome = ExitCode::kOk;
  for (const v1::Job& job : jobs) {
    if (job.state() == v1::JOB_STATE_FAILED) return ExitCode::kJobFailed;
    if (job.state() == v1::JOB_STATE_CANCELLED) outcome = ExitCode::kJobCancelled;
  }
  return outcome;
}

}  // namespace polymoe::polyctl
