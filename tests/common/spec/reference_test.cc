// docs/job-spec.md is what the schema says.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "polymoe/v1/ablation.pb.h"
#include "polymoe/v1/job_spec.pb.h"

#include "common/file.h"
#include "common/spec/rules.h"

namespace polymoe {
namespace {

std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

std::string Code(const std::string& text) {
  return text.empty() || text == "required" ? text : absl::StrCat("`", text, "`");
}

std::string FieldTable(const google::protobuf::Descriptor* type) {
  std::string table = "| field | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const FieldDoc& doc : DescribeFields(type)) {
    if (absl::StartsWith(doc.path, "spec.base.")) continue;  // a job's spec, which has a table of its own
    absl::StrAppend(&table, "| `", doc.path, "` | ", Cell(doc.type), " | ", Code(doc.default_value), " | ", doc.range, " | ",
                    Cell(doc.help), " |\n");
  }
  return table;
}

// The first table of fields behind `heading`, renewed.
std::string Renew(const std::string& page, const std::string& heading, const google::protobuf::Descriptor* type) {
  const size_t section = page.find(heading);
  const size_t begin = section == std::string::npos ? section : page.find("| field |", section);
  if (begin == std::string::npos) return absl::StrCat(page, "\n", heading, "\n", FieldTable(type));
  const size_t end = page.find("\n\n", begin);
  return absl::StrCat(page.substr(0, begin), FieldTable(type), end == std::string::npos ? "" : page.substr(end + 1));
}

TEST(SpecReference, TheDocumentedFieldsAreThoseOfTheSchema) {
  const std::string path = POLYMOE_SOURCE_DIR "/docs/job-spec.md";
  const auto page = ReadFile(path);
  ASSERT_TRUE(page.ok()) << page.status();
  const std::string renewed =
      Renew(Renew(*page, "\n## Fields\n", v1::JobFile::descriptor()), "\n## The ablation file\n", v1::AblationFile::descriptor());
  if (*page == renewed) return;
  const std::string copy = absl::StrCat(testing::TempDir(), "job-spec.md");
  ASSERT_TRUE(WriteFileDurably(copy, renewed).ok());
  FAIL() << "the schema has changed; renew the page with: cp " << copy << " " << path;
}

}  // namespace
}  // namespace polymoe
