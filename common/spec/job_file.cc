#include "common/spec/job_file.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"

#include "common/spec/model_shape.h"
#include "common/spec/ranks.h"
#include "common/spec/rules.h"
#include "common/spec/yaml_read.h"
#include "common/status.h"

namespace polymoe {
namespace {

absl::Status CheckModel(const v1::ModelSpec& model, const SourceMap& places) {
  if (model.hidden() % model.heads() != 0 || model.hidden() / model.heads() % 2 != 0) {
    return places.Error("spec.model.heads", absl::StrCat("hidden ", model.hidden(), " / heads ", model.heads(),
                                                         " must be a whole, even number (the width of one head)"));
  }
  const bool moe = model.architecture() == v1::ARCHITECTURE_MOE;
  if (moe && model.top_k() > model.experts()) {
    return places.Error("spec.model.topK",
                        absl::StrCat(model.top_k(), " is more than the ", model.experts(), " experts there are"));
  }
  if (!moe && model.activation().coefficients() == v1::COEFFICIENT_SCOPE_EXPERT) {
    return places.Error("spec.model.activation.coefficients", "a dense model has no experts; write layer");
  }
  return absl::OkStatus();
}

absl::Status CheckRanks(const v1::JobSpec& spec, const SourceMap& places) {
  const v1::ResourceSpec& resources = spec.resources();
  if (spec.model().architecture() != v1::ARCHITECTURE_MOE && resources.expert_parallel() != 1) {
    return places.Error("spec.resources.expertParallel", "a dense model has no experts; write 1");
  }
  if (spec.model().experts() % resources.expert_parallel() != 0) {
    return places.Error("spec.resources.expertParallel",
                        absl::StrCat(resources.expert_parallel(), " ranks cannot share ", spec.model().experts(),
                                     " experts (spec.model.experts) evenly"));
  }
  if (MinRanks(spec) > resources.ranks()) {
    return places.Error("spec.resources.minRanks",
                        absl::StrCat(MinRanks(spec), " is more than spec.resources.ranks, ", resources.ranks()));
  }
  if (const auto problem = FindRanksProblem(spec, resources.ranks())) return places.Error(problem->field, problem->why);
  return absl::OkStatus();
}

absl::Status CheckTraining(const v1::JobSpec& spec, const SourceMap& places) {
  const v1::TrainSpec& train = spec.train();
  if (train.has_load_balance_sequences() && train.micro_batch() % train.load_balance_sequences() != 0) {
    return places.Error("spec.train.loadBalanceSequences", absl::StrCat(train.load_balance_sequences(), " does not divide the ",
                                                                        train.micro_batch(), " sequences of a micro-batch"));
  }
  if (train.warmup_tokens() > train.tokens()) {
    return places.Error("spec.train.warmupTokens",
                        absl::StrCat(train.warmup_tokens(), " is more than spec.train.tokens, ", train.tokens()));
  }
  return absl::OkStatus();
}

absl::Status CheckValidation(const v1::ValidationSpec& validation, const SourceMap& places) {
  std::set<std::string> names;
  for (int i = 0; i < validation.sets_size(); ++i) {
    const std::string path = absl::StrCat("spec.validation.sets[", i, "].");
    const v1::ValidationSet& set = validation.sets(i);
    if (!IsName(set.name())) {
      return places.Error(path + "name",
                          absl::StrCat("'", set.name(), "' is not a name: use lower-case letters, digits and inner '-'"));
    }
    if (!names.insert(set.name()).second) return places.Error(path + "name", absl::StrCat("'", set.name(), "' names two sets"));
    if (set.split() != "train" && set.split() != "heldout") {
      return places.Error(path + "split", absl::StrCat("'", set.split(), "' is not a split; write train or heldout"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsName(const std::string& name) {
  if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  for (const char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

absl::Status CheckHead(const std::string& api_version, const std::string& kind, const std::string& right_kind,
                       const std::string& name, const SourceMap& places) {
  if (api_version != "polymoe/v1") {
    return places.Error("apiVersion", absl::StrCat("'", api_version, "' is not known here; write polymoe/v1"));
  }
  if (kind != right_kind) return places.Error("kind", absl::StrCat("'", kind, "' is not known here; write ", right_kind));
  if (!IsName(name)) {
    return places.Error("metadata.name",
                        absl::StrCat("'", name, "' is not a name: use lower-case letters, digits and inner '-', at most 63"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::JobFile> ParseJobFile(const std::string& text, const std::string& file) {
  v1::JobFile job;
  SourceMap places;
  POLYMOE_RETURN_IF_ERROR(YamlToMessage(text, file, &job, &places));
  POLYMOE_RETURN_IF_ERROR(CompleteJobFile(&job, places));
  return job;
}

absl::Status CompleteJobFile(v1::JobFile* file, const SourceMap& places) {
  ApplyDefaults(file);
  POLYMOE_RETURN_IF_ERROR(CheckRules(*file, places));
  POLYMOE_RETURN_IF_ERROR(CheckHead(file->api_version(), file->kind(), "Job", file->metadata().name(), places));
  POLYMOE_RETURN_IF_ERROR(CheckModel(file->spec().model(), places));
  POLYMOE_RETURN_IF_ERROR(CheckRanks(file->spec(), places));
  POLYMOE_RETURN_IF_ERROR(CheckTraining(file->spec(), places));
  return CheckValidation(file->spec().validation(), places);
}

}  // namespace polymoe
