// In what job specs differ.
#ifndef POLYMOE_COMMON_SPEC_SPEC_DIFF_H_
#define POLYMOE_COMMON_SPEC_SPEC_DIFF_H_

#include <string>
#include <vector>

namespace polymoe {

namespace v1 {
class ConfigDifference;
class JobSpec;
}  // namespace v1

// Single fields that are not the same in all, in the order of the schema: the path of each, "model.activation.kind",
// "validation.sets[0].name", and a value a spec, spelled as in the job file; empty where it is not set.
std::vector<v1::ConfigDifference> DiffSpecs(const std::vector<const v1::JobSpec*>& specs);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_SPEC_SPEC_DIFF_H_
