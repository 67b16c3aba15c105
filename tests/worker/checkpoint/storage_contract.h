// What every Storage promises, whatever it is made of.
#ifndef POLYMOE_TESTS_WORKER_CHECKPOINT_STORAGE_CONTRACT_H_
#define POLYMOE_TESTS_WORKER_CHECKPOINT_STORAGE_CONTRACT_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "worker/checkpoint/storage.h"

namespace polymoe {

// `storage` is empty, and is again when this returns.
inline void ExpectContract(Storage& storage) {
  using ::testing::ElementsAre;
  using ::testing::HasSubstr;
  using ::testing::IsEmpty;
  EXPECT_THAT(*storage.List(""), IsEmpty());
  EXPECT_THAT(*storage.List("nowhere"), IsEmpty());

  ASSERT_TRUE(storage.Put("f/g/x", {"hel", "", "lo"}).ok());
  EXPECT_EQ(*storage.Get("f/g/x"), "hello");
  ASSERT_TRUE(storage.Put("f/g/x", {"HELLO!"}).ok());
  EXPECT_EQ(*storage.Get("f/g/x"), "HELLO!") << "Put replaces";
  ASSERT_TRUE(storage.Put("f/empty", {}).ok());
  EXPECT_EQ(*storage.Get("f/empty"), "");

  std::string bytes(3, '\0');
  ASSERT_TRUE(storage.Read("f/g/x", 2, absl::MakeSpan(bytes.data(), 3)).ok());
  EXPECT_EQ(bytes, "LLO");
  EXPECT_TRUE(storage.Read("f/g/x", 2, {}).ok());
  EXPECT_EQ(storage.Read("f/g/x", 4, absl::MakeSpan(bytes.data(), 3)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(storage.Read("f/g/x", 60, absl::MakeSpan(bytes.data(), 3)).code(), absl::StatusCode::kOutOfRange);
  const absl::Status missing = storage.Read("f/none", 0, absl::MakeSpan(bytes.data(), 3));
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(storage.root() + "/f/none"));
  EXPECT_EQ(storage.Get("f/none").status().code(), absl::StatusCode::kNotFound);

  ASSERT_TRUE(storage.Create("f/once", "first").ok());
  EXPECT_EQ(storage.Create("f/once", "second").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*storage.Get("f/once"), "first");

  EXPECT_THAT(*storage.List(""), ElementsAre("f/"));
  EXPECT_THAT(*storage.List("f"), ElementsAre("empty", "g/", "once"));
  EXPECT_TRUE(storage.Delete("f/none").ok());
  EXPECT_TRUE(storage.Delete("f/g/x").ok());
  EXPECT_THAT(*storage.List("f"), ElementsAre("empty", "once")) << "a folder goes with its last object";
  ASSERT_TRUE(storage.Put("f/g/h/y & <z>", {"1"}).ok());
  EXPECT_THAT(*storage.List("f/g/h"), ElementsAre("y & <z>"));
  ASSERT_TRUE(storage.DeleteFolder("f").ok());
  EXPECT_THAT(*storage.List(""), IsEmpty());
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_CHECKPOINT_STORAGE_CONTRACT_H_
