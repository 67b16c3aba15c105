#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"

#include "polyctl/render/memory.h"
#include "polyctl/render/text.h"

namespace polymoe::polyctl {
namespace {

MemoryPlan Plan() {
  return {.rows = {{"weights", 3u << 20}, {"scratch", 512}, {"program", (1u << 20) - 512}}, .total = 4u << 20};
}

TEST(MemoryTable, RowsAndTheirSumAreAligned) {
  EXPECT_EQ(RenderTable(MemoryTable(Plan(), 1), {}),
            "MEMORY WITH 1 THREAD         SIZE   SHARE\n"
            "weights                   3.0 MiB   75.0%\n"
            "scratch                     512 B    0.0%\n"
            "program                1023.5 KiB   25.0%\n"
            "peak memory of a rank     4.0 MiB  100.0%\n");
}

TEST(MemoryTable, KeepsItsNumbersOnANarrowTerminal) {
  const std::string text = RenderTable(MemoryTable(Plan(), 16), {.width = 32});
  for (const absl::string_view line : absl::StrSplit(text, '\n')) EXPECT_LE(DisplayWidth(line), 32) << line;
  EXPECT_NE(text.find("peak memory…     4.0 MiB  100.0%"), std::string::npos) << text;
}

}  // namespace
}  // namespace polymoe::polyctl
