// docs/job-spec.md is what the schema says.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

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

std::string FieldTable() {
  std::string table = "| field | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const FieldDoc& doc : DescribeFields(v1::JobFile::descriptor())) {
    absl::StrAppend(&table, "| `", doc.path, "` | ", Cell(doc.type), " | ", Code(doc.default_value), " | ", doc.range, " | ",
                    Cell(doc.help), " |\n");
  }
  return table;
}

TEST(SpecReference, TheDocumentedFieldsAreThoseOfTheSchema) {
  const std::string path = POLYMOE_SOURCE_DIR "/docs/job-spec.md";
  const auto page = ReadFile(path);
  ASSERT_TRUE(page.ok()) << page.status();
  const size_t begin = page->find("| field |");
  ASSERT_NE(begin, std::string::npos) << path << " has no table of fields";
  const size_t end = page->find("\n\n", begin);
  const std::string renewed =
      absl::StrCat(page->substr(0, begin), FieldTable(), end == std::string::npos ? "" : page->substr(end + 1));
  if (*page == renewed) return;
  const std::string copy = absl::StrCat(testing::TempDir(), "job-spec.md");
  ASSERT_TRUE(WriteFileDurably(copy, renewed).ok());
  FAIL() << "the schema has changed; renew the page with: cp " << copy << " " << path;
}

}  // namespace
}  // namespace polymoe
