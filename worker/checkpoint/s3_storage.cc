#include "worker/checkpoint/s3_storage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

#include "common/status.h"

namespace polymoe {
namespace {

constexpr uint64_t kMostParts = 10'000;  // S3's limit

// What is between <TAG> and </TAG>, from *at on, which then is behind it. Enough for S3's answers: no attributes in what we read.
bool NextElement(absl::string_view xml, absl::string_view tag, size_t* at, std::string* content) {
  const std::string open = absl::StrCat("<", tag, ">"), close = absl::StrCat("</", tag, ">");
  const size_t begin = xml.find(open, *at);
  if (begin == absl::string_view::npos) return false;
  const size_t end = xml.find(close, begin);
  if (end == absl::string_view::npos) return false;
  *content = absl::StrReplaceAll(xml.substr(begin + open.size(), end - begin - open.size()),
                                 {{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&#39;", "'"}});
  *at = end + close.size();
  return true;
}

std::string Element(absl::string_view xml, absl::string_view tag) {
  std::string content;
  size_t at = 0;
  NextElement(xml, tag, &at, &content);
  return content;
}

class S3Storage final : public Storage {
 public:
  S3Storage(std::string root, const std::string& bucket, std::string prefix, const S3Config& config)
      : root_(std::move(root)), prefix_(std::move(prefix)), client_(bucket, config) {}

  absl::Status Put(const std::string& name, absl::Span<const absl::string_view> pieces) override;
  absl::Status Create(const std::string& name, absl::string_view content) override;
  absl::StatusOr<std::string> Get(const std::string& name) override;
  absl::Status Read(const std::string& name, uint64_t offset, absl::Span<char> to) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  absl::Status Delete(const std::string& name) override;
  absl::Status DeleteFolder(const std::string& folder) override;
  absl::Status RenameFolder(const std::string&, const std::string&) override {
    return absl::UnimplementedError("an object store cannot rename");
  }
  const std::string& root() const override { return root_; }

 private:
  // The answer if its code is one of `good`; else an error that says what was to be done with which object.
  absl::StatusOr<S3Response> Send(const char* doing, const std::string& name, const S3Request& request,
                                  std::initializer_list<int> good);
  absl::Status Refused(const std::string& context, const S3Response& response) const;
  absl::Status PutInParts(const std::string& name, absl::Span<const absl::string_view> pieces, uint64_t size);
  absl::StatusOr<std::string> PutParts(const std::string& name, absl::Span<const absl::string_view> pieces, uint64_t size,
                                       const std::string& upload);

  std::string Key(const std::string& name) const { return prefix_ + name; }

  const std::string root_, prefix_;  // the prefix is empty or ends with '/'
  S3Client client_;
};

// `size` bytes of the joined pieces, from byte `offset`.
std::vector<absl::string_view> Cut(absl::Span<const absl::string_view> pieces, uint64_t offset, uint64_t size) {
  std::vector<absl::string_view> cut;
  for (absl::string_view piece : pieces) {
    const uint64_t skip = std::min<uint64_t>(offset, piece.size()), take = std::min<uint64_t>(size, piece.size() - skip);
    if (take > 0) cut.push_back(piece.substr(skip, take));
    offset -= skip;
    size -= take;
  }
  return cut;
}

absl::Status S3Storage::Refused(const std::string& context, const S3Response& response) const {
  const std::string code = Element(response.body, "Code"), message = Element(response.body, "Message");
  const std::string what =
      absl::StrCat(context, ": the server answers ", response.code, " ", code, message.empty() ? "" : ": ", message);
  if (code == "NoSuchBucket") {
    return absl::FailedPreconditionError(
        absl::StrCat(what, "; create the bucket ", client_.bucket(), ", or check AWS_ENDPOINT_URL"));
  }
  if (response.code == 401 || response.code == 403) {
    return absl::PermissionDeniedError(
        absl::StrCat(what, "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may list, read, ",
                     "write and delete in the bucket ", client_.bucket()));
  }
  if (response.code == 404) return absl::NotFoundError(what);
  if (response.code == 412) return absl::AlreadyExistsError(what);
  if (response.code == 416) return absl::OutOfRangeError(what);
  if (response.code == 301 || response.code == 307) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, "; is the bucket ", client_.bucket(), " in AWS_REGION ", client_.config().region, "?"));
  }
  return absl::UnavailableError(what);
}

absl::StatusOr<S3Response> S3Storage::Send(const char* doing, const std::string& name, const S3Request& request,
                                           std::initializer_list<int> good) {
  const std::string context = absl::StrCat("cannot ", doing, " ", name.empty() ? root_ : Where(name));
  absl::StatusOr<S3Response> response = client_.Send(request);
  if (!response.ok()) return Annotate(response.status(), context);
  if (std::find(good.begin(), good.end(), response->code) == good.end()) return Refused(context, *response);
  return response;
}

absl::Status S3Storage::Put(const std::string& name, absl::Span<const absl::string_view> pieces) {
  uint64_t size = 0;
  for (const absl::string_view piece : pieces) size += piece.size();
  if (size > client_.config().part_bytes) return PutInParts(name, pieces, size);
  return Send("write", name, {.method = "PUT", .key = Key(name), .body = {pieces.begin(), pieces.end()}}, {200}).status();
}

absl::Status S3Storage::PutInParts(const std::string& name, absl::Span<const absl::string_view> pieces, uint64_t size) {
  POLYMOE_ASSIGN_OR_RETURN(const S3Response begun,
                           Send("begin to write", name, {.method = "POST", .key = Key(name), .query = {{"uploads", ""}}}, {200}));
  const std::string upload = Element(begun.body, "UploadId");
  const absl::StatusOr<std::string> parts = PutParts(name, pieces, size, upload);
  absl::Status status = parts.status();
  if (status.ok()) {
    const absl::StatusOr<S3Response> completed =
        Send("complete", name, {.method = "POST", .key = Key(name), .query = {{"uploadId", upload}}, .body = {*parts}}, {200});
    status = completed.status();
    // An error may come behind a 200, which is sent early lest the connection time out.
    if (status.ok() && !absl::StrContains(completed->body, "<ETag>"))
      status = Refused("cannot complete " + Where(name), *completed);
  }
  if (!status.ok()) {
    // Parts cost money until they are removed. When that fails too, the bucket's own rule for old uploads has to do it.
    Send("abandon", name, {.method = "DELETE", .key = Key(name), .query = {{"uploadId", upload}}}, {204}).status().IgnoreError();
  }
  return status;
}

// Returns the list that completes the upload.
absl::StatusOr<std::string> S3Storage::PutParts(const std::string& name, absl::Span<const absl::string_view> pieces, uint64_t size,
                                                const std::string& upload) {
  const uint64_t part_bytes = std::max(client_.config().part_bytes, (size + kMostParts - 1) / kMostParts);
  std::string list = "<CompleteMultipartUpload>";
  for (uint64_t offset = 0, number = 1; offset < size; offset += part_bytes, ++number) {
    S3Request request{.method = "PUT",
                      .key = Key(name),
                      .query = {{"partNumber", absl::StrCat(number)}, {"uploadId", upload}},
                      .body = Cut(pieces, offset, part_bytes)};
    POLYMOE_ASSIGN_OR_RETURN(const S3Response part, Send("write a part of", name, request, {200}));
    absl::StrAppend(&list, "<Part><PartNumber>", number, "</PartNumber><ETag>", part.etag, "</ETag></Part>");
  }
  return list + "</CompleteMultipartUpload>";
}

absl::Status S3Storage::Create(const std::string& name, absl::string_view content) {
  S3Request request{.method = "PUT", .key = Key(name), .headers = {"If-None-Match: *"}, .body = {content}};
  return Send("create", name, request, {200}).status();
}

absl::StatusOr<std::string> S3Storage::Get(const std::string& name) {
  POLYMOE_ASSIGN_OR_RETURN(S3Response response, Send("read", name, {.method = "GET", .key = Key(name)}, {200}));
  return std::move(response.body);
}

absl::Status S3Storage::Read(const std::string& name, uint64_t offset, absl::Span<char> to) {
  if (to.empty()) return absl::OkStatus();
  S3Request request{
      .method = "GET", .key = Key(name), .headers = {absl::StrCat("Range: bytes=", offset, "-", offset + to.size() - 1)}};
  POLYMOE_ASSIGN_OR_RETURN(const S3Response response, Send("read", name, request, {206}));
  if (response.body.size() != to.size()) {
    return absl::OutOfRangeError(absl::StrCat(Where(name), " ends before byte ", offset + to.size()));
  }
  std::memcpy(to.data(), response.body.data(), to.size());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> S3Storage::List(const std::string& folder) {
  const std::string prefix = folder.empty() ? prefix_ : absl::StrCat(Key(folder), "/");
  std::vector<std::string> names;
  for (std::string token;;) {
    S3Request request{.method = "GET"};
    if (!token.empty()) request.query.emplace_back("continuation-token", token);
    request.query.insert(request.query.end(), {{"delimiter", "/"}, {"list-type", "2"}, {"prefix", prefix}});
    POLYMOE_ASSIGN_OR_RETURN(const S3Response response, Send("list", folder, request, {200}));
    const auto add = [&](absl::string_view key) {
      if (absl::ConsumePrefix(&key, prefix)) names.emplace_back(key);
    };
    std::string element;
    for (size_t at = 0; NextElement(response.body, "Key", &at, &element);) add(element);
    for (size_t at = 0; NextElement(response.body, "CommonPrefixes", &at, &element);) add(Element(element, "Prefix"));
    if (Element(response.body, "IsTruncated") != "true") break;
    token = Element(response.body, "NextContinuationToken");
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status S3Storage::Delete(const std::string& name) {
  return Send("remove", name, {.method = "DELETE", .key = Key(name)}, {200, 204, 404}).status();
}

absl::Status S3Storage::DeleteFolder(const std::string& folder) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(folder));
  for (const std::string& name : names) {
    const std::string child = absl::StrCat(folder, "/", name);
    if (absl::EndsWith(name, "/")) {
      POLYMOE_RETURN_IF_ERROR(DeleteFolder(child.substr(0, child.size() - 1)));
    } else {
      POLYMOE_RETURN_IF_ERROR(Delete(child));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Storage>> OpenS3Storage(const std::string& root, const S3Config& config) {
  absl::string_view rest = root;
  absl::ConsumePrefix(&rest, kS3Scheme);
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string bucket(rest.substr(0, slash));
  std::string prefix(rest.substr(std::min(slash + 1, rest.size())));
  while (absl::EndsWith(prefix, "/")) prefix.pop_back();
  if (bucket.empty() || absl::StrContains(prefix, "//") || absl::StartsWith(prefix, "/")) {
    return absl::InvalidArgumentError(absl::StrCat(root, " names no place in an object store; give s3://BUCKET/PREFIX"));
  }
  if (absl::StrContains(prefix, "+")) {
    return absl::InvalidArgumentError(absl::StrCat(root,
                                                   " has a '+', which some versions of libcurl do not sign as they send it; "
                                                   "choose another prefix"));
  }
  std::string clean = absl::StrCat(kS3Scheme, bucket, prefix.empty() ? "" : "/", prefix);
  if (!prefix.empty()) prefix += "/";
  return std::make_unique<S3Storage>(std::move(clean), bucket, std::move(prefix), config);
}

}  // namespace polymoe
