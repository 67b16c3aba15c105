#include "common/spec/spec_diff.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "polymoe/v1/job_spec.pb.h"
#include "polymoe/v1/metric.pb.h"

#include "common/spec/scalar.h"

namespace polymoe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Where a field stands in the schema: its index, and those of what it is in. Sorts paths as the file has them.
using Place = std::vector<int>;
struct Leaf {
  std::string path, value;
};
using Leaves = std::map<Place, Leaf>;

// Every single value that is set. A job's spec has no maps and no lists of values.
void Collect(const Message& message, const std::string& prefix, const Place& above, Leaves& leaves) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, field->json_name());
    Place place = above;
    place.push_back(field->index());
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      leaves[place] = {path, GetScalar(message, field)};
    } else if (!field->is_repeated()) {
      Collect(reflection->GetMessage(message, field), path + ".", place, leaves);
    } else {
      place.push_back(0);
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        place.back() = i;
        Collect(reflection->GetRepeatedMessage(message, field, i), absl::StrCat(path, "[", i, "]."), place, leaves);
      }
    }
  }
}

}  // namespace

std::vector<v1::ConfigDifference> DiffSpecs(const std::vector<const v1::JobSpec*>& specs) {
  std::vector<Leaves> all;
  Leaves any;
  for (const v1::JobSpec* spec : specs) {
    Collect(*spec, "", {}, all.emplace_back());
    any.insert(all.back().begin(), all.back().end());
  }
  std::vector<v1::ConfigDifference> differences;
  for (const auto& [place, first] : any) {
    v1::ConfigDifference difference;
    difference.set_path(first.path);
    for (Leaves& leaves : all) difference.add_values(leaves[place].value);
    const auto& values = difference.values();
    if (std::any_of(values.begin(), values.end(), [&](const std::string& value) { return value != values[0]; }))
      differences.push_back(std::move(difference));
  }
  return differences;
}

}  // namespace polymoe
