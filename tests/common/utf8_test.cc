#include "common/utf8.h"

#include <gtest/gtest.h>

namespace polymoe {
namespace {

TEST(ToUtf8, KeepsTextAndReplacesTheRest) {
  EXPECT_EQ(ToUtf8("gr\u00fcn \u20ac \U0001F600"), "gr\u00fcn \u20ac \U0001F600");
  EXPECT_EQ(ToUtf8("a\xff"
                   "b"),
            "a\ufffdb");
  EXPECT_EQ(ToUtf8("\xe2\x82"), "\ufffd\ufffd");  // cut off
  EXPECT_EQ(ToUtf8("\xc0\x80"), "\ufffd\ufffd");  // overlong
  EXPECT_EQ(ToUtf8("\xe0\x80\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(ToUtf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // surrogate
  EXPECT_EQ(ToUtf8("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");
}

}  // namespace
}  // namespace polymoe
