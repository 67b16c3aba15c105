#include "common/spec/ablation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "common/spec/edit.h"
#include "common/spec/job_file.h"
#include "common/spec/model_shape.h"
#include "common/spec/rules.h"
#include "common/spec/yaml_read.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr uint32_t kWidestFfn = 1'048'576;  // the upper bound of model.ffn in job_spec.proto

// One value that an arm gives to a field, and where the file says so.
struct Edit {
  std::string path, value, place;
};

// An arm before its spec is made.
struct Draft {
  std::string name, place;
  std::vector<Edit> edits;
};

// "1e-3" and "0.5" as they may stand in a name.
std::string InName(const std::string& value) {
  std::string name;
  for (const char c : absl::AsciiStrToLower(value)) name += absl::ascii_isalnum(c) ? c : '-';
  return name;
}

std::string AxisName(const v1::AblationAxis& axis) {
  return axis.name().empty() ? axis.path().substr(axis.path().rfind('.') + 1) : axis.name();
}

absl::StatusOr<std::vector<Draft>> DraftArms(const v1::AblationSpec& spec, const SourceMap& places) {
  std::vector<Draft> drafts;
  for (int i = 0; i < spec.arms_size(); ++i) {
    Draft draft{.name = spec.arms(i).name(), .place = absl::StrCat("spec.arms[", i, "]")};
    const std::map<std::string, std::string> sorted(spec.arms(i).set().begin(), spec.arms(i).set().end());
    for (const auto& [path, value] : sorted) draft.edits.push_back({path, value, absl::StrCat(draft.place, ".set.", path)});
    drafts.push_back(std::move(draft));
  }
  if (drafts.empty() && spec.axes_size() > 0) drafts.push_back({.name = "", .place = "spec.axes", .edits = {}});
  for (int a = 0; a < spec.axes_size(); ++a) {
    const v1::AblationAxis& axis = spec.axes(a);
    std::vector<Draft> grid;
    if (drafts.size() * axis.values_size() > kMostRuns)
      return places.Error("spec.axes", absl::StrCat("the grid has more than ", kMostRuns, " arms; leave values out"));
    for (const Draft& draft : drafts) {
      for (int v = 0; v < axis.values_size(); ++v) {
        Draft& arm = grid.emplace_back(draft);
        absl::StrAppend(&arm.name, arm.name.empty() ? "" : "-", InName(AxisName(axis)), "-", InName(axis.values(v)));
        arm.edits.push_back({axis.path(), axis.values(v), absl::StrCat("spec.axes[", a, "].values[", v, "]")});
      }
    }
    drafts = std::move(grid);
  }
  if (drafts.empty()) return places.Error("spec.arms", "there is nothing to compare; give arms, axes or both");
  return drafts;
}

absl::Status CheckDrafts(const v1::AblationSpec& spec, const std::vector<Draft>& drafts, const SourceMap& places) {
  std::set<std::string> names;
  for (const Draft& draft : drafts) {
    if (!IsName(draft.name)) {
      return places.Error(draft.place, absl::StrCat("'", draft.name,
                                                    "' is not a name of an arm: use lower-case letters, digits and "
                                                    "inner '-', at most 63 (an axis has a `name` to shorten it)"));
    }
    if (!names.insert(draft.name).second) return places.Error(draft.place, absl::StrCat("two arms are called '", draft.name, "'"));
    std::set<std::string> paths;
    for (const Edit& edit : draft.edits) {
      if (edit.path == "train.seed" || edit.path == "train.tokens") {
        return places.Error(edit.place, absl::StrCat("an arm must not set ", edit.path,
                                                     ": arms are compared at equal tokens and over the "
                                                     "same seeds (spec.budget.tokens, spec.seeds)"));
      }
      if (spec.match() != v1::MATCH_TARGET_NONE &&
          (edit.path == "model.match" || (edit.path == "model.ffn" && draft.name != spec.baseline()))) {
        return places.Error(edit.place,
                            absl::StrCat("spec.match chooses model.ffn; leave ", edit.path, " out, or write match: none"));
      }
      if (!paths.insert(edit.path).second) {
        return places.Error(edit.place, absl::StrCat("arm ", draft.name, " sets ", edit.path, " twice"));
      }
    }
  }
  if (!names.contains(spec.baseline())) {
    return places.Error("spec.baseline", absl::StrCat("there is no arm '", spec.baseline(), "'; the first is ", drafts[0].name));
  }
  return absl::OkStatus();
}

// Where errors about a run's job belong: to what its arm sets, else to the base.
SourceMap PlacesOf(const Draft& draft, const SourceMap& places) {
  std::vector<std::pair<std::string, std::string>> renamed;
  for (const Edit& edit : draft.edits) renamed.emplace_back(absl::StrCat("spec.", edit.path), edit.place);
  renamed.emplace_back("spec", "spec.base");
  return places.Renamed(std::move(renamed), absl::StrCat(" (arm ", draft.name, ")"));
}

absl::StatusOr<v1::JobSpec> SpecOf(const v1::AblationFile& file, const Draft& draft, const SourceMap& places) {
  v1::JobFile job;
  job.set_api_version("polymoe/v1");
  job.set_kind("Job");
  job.mutable_metadata()->set_name("arm");
  *job.mutable_spec() = file.spec().base();
  job.mutable_spec()->mutable_train()->set_tokens(file.spec().budget().tokens());
  job.mutable_spec()->mutable_train()->set_seed(file.spec().seeds(0));
  for (const Edit& edit : draft.edits) {
    if (const absl::Status set = SetField(job.mutable_spec(), edit.path, edit.value); !set.ok()) {
      return places.Error(edit.place, absl::StrCat("arm ", draft.name, ", ", edit.path, ": ", set.message()));
    }
  }
  POLYMOE_RETURN_IF_ERROR(CompleteJobFile(&job, PlacesOf(draft, places)));
  return job.spec();
}

double CountOf(const v1::JobSpec& spec, v1::MatchTarget match) {
  const ModelShape shape = ComputeShape(spec.model(), spec.data().sequence_length());
  return match == v1::MATCH_TARGET_FLOPS               ? shape.flops_per_token
         : match == v1::MATCH_TARGET_ACTIVE_PARAMETERS ? static_cast<double>(shape.active)
                                                       : static_cast<double>(shape.total);
}

// The count grows with model.ffn: the two widths around the target are found by halving, and the nearer one is taken.
void MatchWidth(v1::JobSpec* spec, v1::MatchTarget match, double target) {
  uint32_t below = 1, above = kWidestFfn;
  while (above - below > 1) {
    const uint32_t middle = below + (above - below) / 2;
    spec->mutable_model()->set_ffn(middle);
    (CountOf(*spec, match) <= target ? below : above) = middle;
  }
  spec->mutable_model()->set_ffn(above);
  const double over = std::fabs(CountOf(*spec, match) - target);
  spec->mutable_model()->set_ffn(below);
  if (over < std::fabs(CountOf(*spec, match) - target)) spec->mutable_model()->set_ffn(above);
}

absl::Status CheckBaseOfMatch(const v1::AblationSpec& spec, const SourceMap& places) {
  if (spec.match() == v1::MATCH_TARGET_NONE || spec.base().model().match() == v1::WIDTH_MATCH_NONE) return absl::OkStatus();
  return places.Error("spec.base.model.match", "spec.match chooses the widths already; leave this out");
}

absl::Status CheckArm(const v1::AblationSpec& spec, const PlannedArm& arm, const SourceMap& places) {
  const uint32_t ranks = arm.spec.resources().ranks();
  if (spec.budget().has_parallel_slots() && ranks > spec.budget().parallel_slots()) {
    return places.Error("spec.budget.parallelSlots", absl::StrCat(spec.budget().parallel_slots(), " is less than the ", ranks,
                                                                  " ranks of arm ", arm.name, ", which could never start"));
  }
  std::set<std::string> sets;
  for (const v1::ValidationSet& set : arm.spec.validation().sets()) sets.insert(set.name());
  for (int i = 0; i < spec.compare().sets_size(); ++i) {
    if (sets.contains(spec.compare().sets(i))) continue;
    return places.Error(absl::StrCat("spec.compare.sets[", i, "]"),
                        absl::StrCat("arm ", arm.name, " has no validation set '", spec.compare().sets(i), "'"));
  }
  if (spec.stop().has_hopeless_nats() && sets.empty()) {
    return places.Error("spec.stop.hopelessNats", "compares validation losses, and there are no sets in spec.base.validation");
  }
  return absl::OkStatus();
}

// What the base says of tokens and seeds must be what the ablation says.
absl::Status CheckGiven(const v1::AblationSpec& spec, const SourceMap& places) {
  const v1::TrainSpec& train = spec.base().train();
  if (train.has_tokens() && spec.budget().has_tokens() && train.tokens() != spec.budget().tokens()) {
    return places.Error("spec.base.train.tokens",
                        absl::StrCat(train.tokens(), " is not spec.budget.tokens, ", spec.budget().tokens(), "; leave it out"));
  }
  for (const uint64_t seed : spec.seeds()) {
    if (train.has_seed() && train.seed() != seed)
      return places.Error("spec.base.train.seed", absl::StrCat(train.seed(), " is not what spec.seeds says; leave it out"));
  }
  return absl::OkStatus();
}

absl::Status CheckSeeds(const v1::AblationSpec& spec, const SourceMap& places) {
  std::set<uint64_t> seeds;
  for (int i = 0; i < spec.seeds_size(); ++i) {
    if (!seeds.insert(spec.seeds(i)).second)
      return places.Error(absl::StrCat("spec.seeds[", i, "]"), absl::StrCat(spec.seeds(i), " is given twice"));
  }
  return absl::OkStatus();
}

void FillIn(v1::AblationFile* file) {
  v1::AblationSpec& spec = *file->mutable_spec();
  v1::TrainSpec& train = *spec.mutable_base()->mutable_train();  // may be absent, for what it must say is said elsewhere
  if (!spec.budget().has_tokens() && train.has_tokens()) spec.mutable_budget()->set_tokens(train.tokens());
  if (spec.budget().has_tokens()) train.set_tokens(spec.budget().tokens());
  ApplyDefaults(file);
  spec.mutable_base()->mutable_train()->clear_seed();
  if (spec.stop().has_hopeless_nats() && !spec.stop().has_hopeless_after_tokens())
    spec.mutable_stop()->set_hopeless_after_tokens(spec.budget().tokens() / 2);
}

absl::StatusOr<std::vector<PlannedRun>> RunsOf(const v1::AblationFile& file, const std::vector<PlannedArm>& arms,
                                               const SourceMap& places) {
  const v1::AblationSpec& spec = file.spec();
  if (arms.size() * spec.seeds_size() > kMostRuns) {
    return places.Error("spec.seeds", absl::StrCat(arms.size(), " arms with ", spec.seeds_size(), " seeds are more than ",
                                                   kMostRuns, " runs; split the ablation"));
  }
  std::vector<PlannedRun> runs;
  for (const uint64_t seed : spec.seeds()) {
    for (const PlannedArm& arm : arms) {
      PlannedRun& run = runs.emplace_back(PlannedRun{arm.name, seed, {}});
      run.job.set_api_version("polymoe/v1");
      run.job.set_kind("Job");
      *run.job.mutable_metadata() = file.metadata();
      const std::string name = absl::StrCat(file.metadata().name(), "-", arm.name, "-s", seed);
      if (!IsName(name)) {
        return places.Error("metadata.name",
                            absl::StrCat("the job of a run would be called '", name, "', which has ", name.size(),
                                         " of at most 63 characters; shorten the name of the ablation or of arm ", arm.name));
      }
      run.job.mutable_metadata()->set_name(name);
      auto& labels = *run.job.mutable_metadata()->mutable_labels();
      labels["ablation"] = file.metadata().name();
      labels["arm"] = arm.name;
      labels["seed"] = absl::StrCat(seed);
      *run.job.mutable_spec() = arm.spec;
      run.job.mutable_spec()->mutable_train()->set_seed(seed);
    }
  }
  return runs;
}

}  // namespace

absl::StatusOr<v1::AblationFile> ParseAblationFile(const std::string& text, const std::string& file) {
  v1::AblationFile ablation;
  SourceMap places;
  POLYMOE_RETURN_IF_ERROR(YamlToMessage(text, file, &ablation, &places));
  POLYMOE_RETURN_IF_ERROR(CompleteAblationFile(&ablation, places));
  return ablation;
}

absl::Status CompleteAblationFile(v1::AblationFile* file, const SourceMap& places) {
  POLYMOE_RETURN_IF_ERROR(CheckGiven(file->spec(), places));
  if (file->has_spec() && file->spec().has_base()) FillIn(file);
  POLYMOE_RETURN_IF_ERROR(CheckRules(*file, places, "spec.base"));
  POLYMOE_RETURN_IF_ERROR(CheckHead(file->api_version(), file->kind(), "Ablation", file->metadata().name(), places));
  v1::AblationSpec& spec = *file->mutable_spec();
  POLYMOE_RETURN_IF_ERROR(CheckSeeds(spec, places));
  if (spec.baseline().empty()) {
    POLYMOE_ASSIGN_OR_RETURN(const std::vector<Draft> drafts, DraftArms(spec, places));
    spec.set_baseline(drafts[0].name);
  }
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<PlannedArm> arms, PlanArms(*file, places));
  for (const PlannedArm& arm : arms) POLYMOE_RETURN_IF_ERROR(CheckArm(spec, arm, places));
  return RunsOf(*file, arms, places).status();
}

absl::StatusOr<std::vector<PlannedArm>> PlanArms(const v1::AblationFile& file, const SourceMap& places) {
  const v1::AblationSpec& spec = file.spec();
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<Draft> drafts, DraftArms(spec, places));
  POLYMOE_RETURN_IF_ERROR(CheckDrafts(spec, drafts, places));
  POLYMOE_RETURN_IF_ERROR(CheckBaseOfMatch(spec, places));
  std::vector<PlannedArm> arms;
  double target = 0;
  for (const Draft& draft : drafts) {
    POLYMOE_ASSIGN_OR_RETURN(v1::JobSpec arm, SpecOf(file, draft, places));
    if (draft.name == spec.baseline()) target = CountOf(arm, spec.match());
    arms.push_back({draft.name, std::move(arm)});
  }
  if (spec.match() == v1::MATCH_TARGET_NONE) return arms;
  for (PlannedArm& arm : arms) {
    if (arm.name != spec.baseline()) MatchWidth(&arm.spec, spec.match(), target);
  }
  return arms;
}

std::vector<std::string> DecidingSets(const v1::AblationSpec& spec) {
  std::vector<std::string> sets(spec.compare().sets().begin(), spec.compare().sets().end());
  if (!sets.empty()) return sets;
  for (const v1::ValidationSet& set : spec.base().validation().sets()) sets.push_back(set.name());
  return sets;
}

absl::StatusOr<std::vector<PlannedRun>> PlanRuns(const v1::AblationFile& file, const SourceMap& places) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<PlannedArm> arms, PlanArms(file, places));
  return RunsOf(file, arms, places);
}

}  // namespace polymoe
