// Requests to an S3-compatible object store: signed (AWS signature 4, by libcurl), with their content's SHA-256, and tried again.
#ifndef POLYMOE_WORKER_CHECKPOINT_S3_CLIENT_H_
#define POLYMOE_WORKER_CHECKPOINT_S3_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace polymoe {

struct S3Config {
  std::string endpoint;  // http://127.0.0.1:9000; buckets are the first part of the path
  std::string region;
  std::string access_key, secret_key, session_token;  // session_token may be empty
  int tries = 7;
  absl::Duration first_delay = absl::Milliseconds(200);  // before the second try; doubles each time: 13 s in all
  uint64_t part_bytes = 64 << 20;                        // of an upload in parts; larger objects are
};

// AWS_ENDPOINT_URL (default: Amazon's), AWS_REGION (default us-east-1), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
// FAILED_PRECONDITION names the one that is missing.
absl::StatusOr<S3Config> S3ConfigFromEnvironment();

struct S3Request {
  std::string method;
  std::string key;                                         // in the bucket; empty: the bucket itself
  std::vector<std::pair<std::string, std::string>> query;  // sorted by name
  std::vector<std::string> headers;                        // "If-None-Match: *"
  std::vector<absl::string_view> body;                     // pieces, joined
};

struct S3Response {
  int code = 0;  // of HTTP
  std::string body;
  std::string etag;
};

// One thread at a time.
class S3Client {
 public:
  S3Client(std::string bucket, S3Config config);
  ~S3Client();

  // The server's answer, whatever it is. Connections that fail, answers of 5xx and requests to slow down are tried again; when the last try
  // fails too, UNAVAILABLE.
  absl::StatusOr<S3Response> Send(const S3Request& request);

  const S3Config& config() const { return config_; }
  const std::string& bucket() const { return bucket_; }

 private:
  struct Handle;

  std::string Url(const S3Request& request) const;
  absl::StatusOr<S3Response> SendOnce(const S3Request& request, const std::string& sha256);

  const std::string bucket_;
  const S3Config config_;
  const std::unique_ptr<Handle> handle_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_CHECKPOINT_S3_CLIENT_H_
