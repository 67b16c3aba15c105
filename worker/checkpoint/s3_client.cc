#include "worker/checkpoint/s3_client.h"

#include <curl/curl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

#include "common/check.h"
#include "common/log.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr long kConnectSeconds = 10, kStalledSeconds = 30;
constexpr absl::Duration kLongestDelay = absl::Seconds(10);

// As the signature wants it: everything but letters, digits and -._~ as %XX.
std::string Encode(absl::string_view text, bool keep_slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain =
        absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-._~", c) || (keep_slashes && c == '/');
    if (plain) {
      out += c;
    } else {
      absl::StrAppend(&out, "%", absl::AsciiStrToUpper(absl::BytesToHexString(absl::string_view(&c, 1))));
    }
  }
  return out;
}

std::string Sha256(absl::Span<const absl::string_view> pieces) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  const auto free = absl::MakeCleanup([context] { EVP_MD_CTX_free(context); });
  POLYMOE_CHECK(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1, "SHA-256");
  for (const absl::string_view piece : pieces) EVP_DigestUpdate(context, piece.data(), piece.size());
  EVP_DigestFinal_ex(context, digest, &size);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), size});
}

// The pieces of a request's body, as libcurl asks for them.
class Body {
 public:
  explicit Body(absl::Span<const absl::string_view> pieces) : pieces_(pieces) {}

  uint64_t size() const {
    uint64_t size = 0;
    for (const absl::string_view piece : pieces_) size += piece.size();
    return size;
  }
  static size_t Read(char* to, size_t size, size_t count, void* self) {
    auto& body = *static_cast<Body*>(self);
    size_t done = 0;
    while (done < size * count && body.piece_ < body.pieces_.size()) {
      const absl::string_view rest = body.pieces_[body.piece_].substr(body.offset_);
      const size_t n = std::min(rest.size(), size * count - done);
      std::memcpy(to + done, rest.data(), n);
      done += n;
      body.offset_ += n;
      if (n == rest.size()) ++body.piece_, body.offset_ = 0;
    }
    return done;
  }
  // To the start, when a connection that was kept turns out to be closed.
  static int Seek(void* self, curl_off_t offset, int origin) {
    if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    static_cast<Body*>(self)->piece_ = static_cast<Body*>(self)->offset_ = 0;
    return CURL_SEEKFUNC_OK;
  }

 private:
  absl::Span<const absl::string_view> pieces_;
  size_t piece_ = 0, offset_ = 0;
};

size_t TakeBody(const char* data, size_t size, size_t count, void* response) {
  static_cast<S3Response*>(response)->body.append(data, size * count);
  return size * count;
}

size_t TakeHeader(const char* data, size_t size, size_t count, void* response) {
  absl::string_view line(data, size * count);
  if (absl::StartsWithIgnoreCase(line, "etag:")) {
    static_cast<S3Response*>(response)->etag = std::string(absl::StripAsciiWhitespace(line.substr(5)));
  }
  return size * count;
}

// 409: another request about the same object is not yet through.
bool TryAgain(const absl::StatusOr<S3Response>& response) {
  if (!response.ok()) return absl::IsUnavailable(response.status());
  const int code = response->code;
  return code >= 500 || code == 429 || code == 409 || code == 408 || absl::StrContains(response->body, "<Code>RequestTimeout<");
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::StatusOr<S3Config> S3ConfigFromEnvironment() {
  S3Config config{.endpoint = Variable("AWS_ENDPOINT_URL"),
                  .region = Variable("AWS_REGION"),
                  .access_key = Variable("AWS_ACCESS_KEY_ID"),
                  .secret_key = Variable("AWS_SECRET_ACCESS_KEY"),
                  .session_token = Variable("AWS_SESSION_TOKEN")};
  for (const auto& [name, value] :
       {std::pair("AWS_ACCESS_KEY_ID", &config.access_key), std::pair("AWS_SECRET_ACCESS_KEY", &config.secret_key)}) {
    if (value->empty()) return absl::FailedPreconditionError(absl::StrCat("s3:// needs ", name, " in the environment"));
  }
  if (config.region.empty()) config.region = "us-east-1";
  if (config.endpoint.empty()) config.endpoint = absl::StrCat("https://s3.", config.region, ".amazonaws.com");
  config.endpoint = std::string(absl::StripSuffix(config.endpoint, "/"));
  return config;
}

struct S3Client::Handle {
  CURL* curl = nullptr;
};

S3Client::S3Client(std::string bucket, S3Config config)
    : bucket_(std::move(bucket)), config_(std::move(config)), handle_(std::make_unique<Handle>()) {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle_->curl = curl_easy_init();
  POLYMOE_CHECK(once == CURLE_OK && handle_->curl != nullptr, "libcurl does not start: %d", once);
}

S3Client::~S3Client() {
  curl_easy_cleanup(handle_->curl);
}

std::string S3Client::Url(const S3Request& request) const {
  std::string url = absl::StrCat(config_.endpoint, "/", Encode(bucket_, false));
  if (!request.key.empty()) absl::StrAppend(&url, "/", Encode(request.key, true));
  char separator = '?';
  for (const auto& [name, value] : request.query) {
    url += std::exchange(separator, '&');
    absl::StrAppend(&url, Encode(name, false), "=", Encode(value, false));
  }
  return url;
}

absl::StatusOr<S3Response> S3Client::Send(const S3Request& request) {
  const std::string sha256 = Sha256(request.body);
  std::minstd_rand random{std::random_device{}()};
  absl::Duration delay = config_.first_delay;
  for (int tried = 1;; ++tried) {
    absl::StatusOr<S3Response> response = SendOnce(request, sha256);
    if (!TryAgain(response)) return response;
    const std::string error =
        response.ok() ? absl::StrCat("the server answers ", response->code) : std::string(response.status().message());
    if (tried >= config_.tries) {
      return absl::UnavailableError(absl::StrCat(error, ", ", tried, " times in a row; is ", config_.endpoint, " in order?"));
    }
    LogWarning("object store fails, trying again", {{"error", error}, {"request", request.method}, {"key", request.key}});
    // Ranks that failed together come back at different times.
    absl::SleepFor(delay * std::uniform_real_distribution<double>(0.5, 1)(random));
    delay = std::min(2 * delay, kLongestDelay);
  }
}

absl::StatusOr<S3Response> S3Client::SendOnce(const S3Request& request, const std::string& sha256) {
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // keeps connections
  S3Response response;
  Body body(request.body);
  curl_slist* headers = nullptr;
  const auto free = absl::MakeCleanup([&headers] { curl_slist_free_all(headers); });
  const auto add = [&headers](const std::string& line) { headers = curl_slist_append(headers, line.c_str()); };
  add(absl::StrCat("x-amz-content-sha256: ", sha256));
  if (!config_.session_token.empty()) add(absl::StrCat("x-amz-security-token: ", config_.session_token));
  for (const std::string& header : request.headers) add(header);

  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, Url(request).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, absl::StrCat("aws:amz:", config_.region, ":s3").c_str());
  curl_easy_setopt(curl, CURLOPT_USERPWD, absl::StrCat(config_.access_key, ":", config_.secret_key).c_str());
  if (request.method == "PUT" || request.method == "POST") {
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, &Body::Read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &body);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, &Body::Seek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &body);
    // Not every server says 100 Continue. (An empty Expect header would be signed, and then not sent.)
    curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
  }
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &TakeBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &response);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &TakeHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &response);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
  const CURLcode result = curl_easy_perform(curl);
  const std::string why = reason[0] != '\0' ? reason : curl_easy_strerror(result);
  if (result == CURLE_URL_MALFORMAT || result == CURLE_UNSUPPORTED_PROTOCOL) {
    return absl::InvalidArgumentError(
        absl::StrCat(why, "; AWS_ENDPOINT_URL is ", config_.endpoint, ", it must be like http://host:9000"));
  }
  if (result != CURLE_OK) return absl::UnavailableError(why);
  long code = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  response.code = static_cast<int>(code);
  return response;
}

}  // namespace polymoe
