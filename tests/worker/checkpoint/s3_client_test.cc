// What the client makes of an object store that fails: no server needed, a script plays it.
#include "worker/checkpoint/s3_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include "tests/worker/checkpoint/scripted_server.h"
#include "worker/checkpoint/s3_storage.h"

namespace polymoe {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

S3Config ConfigOf(const std::string& endpoint) {
  return {.endpoint = endpoint,
          .region = "eu-x",
          .access_key = "key",
          .secret_key = "secret",
          .session_token = "token",
          .tries = 4,
          .first_delay = absl::Milliseconds(1)};
}

TEST(S3Client, TriesAgainWithTheWholeBody) {
  ScriptedServer server(
      {Answer("503 Slow Down", "<Error><Code>SlowDown</Code></Error>"), "", Answer("500 Internal Server Error"), Answer("200 OK")});
  const auto storage = OpenS3Storage("s3://b/p", ConfigOf(server.endpoint())).value();
  EXPECT_TRUE(storage->Put("x", {"hel", "lo"}).ok());
  ASSERT_EQ(server.requests().size(), 4u);
  for (const std::string& request : server.requests())
    EXPECT_THAT(request, AllOf(StartsWith("PUT /b/p/x HTTP/1.1"), EndsWith("\r\n\r\nhello")));
}

TEST(S3Client, SignsWithTokenAndContent) {
  ScriptedServer server({Answer("200 OK")});
  const auto storage = OpenS3Storage("s3://b/p", ConfigOf(server.endpoint())).value();
  ASSERT_TRUE(storage->Put("x", {"hello"}).ok());
  EXPECT_THAT(server.requests()[0],
              AllOf(HasSubstr("Credential=key/"), HasSubstr("/eu-x/s3/aws4_request"),
                    HasSubstr("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token"),
                    HasSubstr("x-amz-content-sha256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
                    HasSubstr("x-amz-security-token: token")));
}

TEST(S3Client, GivesUpInTheEnd) {
  ScriptedServer server({"", "", "", ""});
  const auto storage = OpenS3Storage("s3://b/p", ConfigOf(server.endpoint())).value();
  const absl::Status status = storage->Put("x", {"hello"});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), AllOf(StartsWith("cannot write s3://b/p/x: "),
                                                   HasSubstr("4 times in a row; is " + server.endpoint() + " in order?")));
}

TEST(S3Client, DoesNotRepeatWhatIsRefused) {
  ScriptedServer server({Answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"), Answer("200 OK")});
  const auto storage = OpenS3Storage("s3://b/p", ConfigOf(server.endpoint())).value();
  EXPECT_EQ(storage->Put("x", {"hello"}).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(server.requests().size(), 1u);
}

// S3 sends its 200 before it has put the parts together.
TEST(S3Client, AnErrorBehindA200IsAnError) {
  ScriptedServer server(
      {Answer("200 OK", "<UploadId>u</UploadId>"), Answer("200 OK\r\nETag: \"e1\""), Answer("200 OK\r\nETag: \"e2\""),
       Answer("200 OK", "<Error><Code>InternalError</Code><Message>m</Message></Error>"), Answer("204 No Content")});
  S3Config config = ConfigOf(server.endpoint());
  config.part_bytes = 3;
  const auto storage = OpenS3Storage("s3://b", config).value();
  EXPECT_THAT(std::string(storage->Put("x", {"he", "llo"}).message()),
              HasSubstr("cannot complete s3://b/x: the server answers 200 InternalError: m"));
  ASSERT_EQ(server.requests().size(), 5u);
  EXPECT_THAT(server.requests()[1], AllOf(StartsWith("PUT /b/x?partNumber=1&uploadId=u "), EndsWith("\r\n\r\nhel")));
  EXPECT_THAT(server.requests()[2], AllOf(StartsWith("PUT /b/x?partNumber=2&uploadId=u "), EndsWith("\r\n\r\nlo")));
  EXPECT_THAT(server.requests()[3],
              AllOf(StartsWith("POST /b/x?uploadId=u "), HasSubstr("<Part><PartNumber>2</PartNumber><ETag>\"e2\"</ETag>")));
  EXPECT_THAT(server.requests()[4], StartsWith("DELETE /b/x?uploadId=u "));
}

TEST(S3Client, NonsenseIsAnErrorNotACrash) {
  for (const std::string body :
       {"", "<Key>", "<Key></Key><CommonPrefixes><Prefix>", "<IsTruncated>false</IsTruncated><Key>other</Key>"}) {
    ScriptedServer server({Answer("200 OK", body)});
    const auto names = OpenS3Storage("s3://b/p", ConfigOf(server.endpoint())).value()->List("f");
    ASSERT_TRUE(names.ok()) << names.status();
    EXPECT_TRUE(names->empty());
  }
}

TEST(S3Client, TheEnvironmentSaysHow) {
  for (const char* name : {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
    unsetenv(name);
  EXPECT_THAT(std::string(OpenStorage("s3://b/p").status().message()),
              HasSubstr("s3:// needs AWS_ACCESS_KEY_ID in the environment"));
  setenv("AWS_ACCESS_KEY_ID", "k", 1);
  EXPECT_THAT(std::string(OpenStorage("s3://b/p").status().message()), HasSubstr("AWS_SECRET_ACCESS_KEY"));
  setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
  EXPECT_EQ(S3ConfigFromEnvironment()->endpoint, "https://s3.us-east-1.amazonaws.com");
  setenv("AWS_REGION", "eu-west-3", 1);
  EXPECT_EQ(S3ConfigFromEnvironment()->endpoint, "https://s3.eu-west-3.amazonaws.com");
  setenv("AWS_ENDPOINT_URL", "http://minio:9000/", 1);
  EXPECT_EQ(S3ConfigFromEnvironment()->endpoint, "http://minio:9000");
  EXPECT_EQ(OpenStorage("s3://b/p/").value()->root(), "s3://b/p");
  EXPECT_EQ(OpenStorage("s3://").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenStorage("s3:///p").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenStorage("s3://b/p+q").status().code(), absl::StatusCode::kInvalidArgument);
  setenv("AWS_ENDPOINT_URL", "nonsense://x y", 1);
  const absl::Status status = OpenStorage("s3://b/p").value()->List("").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("AWS_ENDPOINT_URL is nonsense"));
}

}  // namespace
}  // namespace polymoe
