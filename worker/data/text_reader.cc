#include "worker/data/text_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "common/status.h"

namespace polymoe {
namespace {

constexpr size_t kChunk = 1 << 18;

// zlib reads plain files too, but then takes a damaged .gz header for text: plain files go their own way.
class PlainReader final : public TextReader {
 public:
  PlainReader(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  ~PlainReader() override { std::fclose(file_); }
  absl::Status Read(std::string* text) override {
    std::vector<char> chunk(kChunk);
    const size_t n = std::fread(chunk.data(), 1, chunk.size(), file_);
    if (n == 0 && std::ferror(file_)) return ErrnoStatus(errno, "read", path_);
    text->append(chunk.data(), n);
    position_ += n;
    return absl::OkStatus();
  }
  uint64_t position() const override { return position_; }

 private:
  std::string path_;
  std::FILE* file_;
  uint64_t position_ = 0;
};

class GzipReader final : public TextReader {
 public:
  GzipReader(std::string path, gzFile file) : path_(std::move(path)), file_(file) {}
  ~GzipReader() override { gzclose_r(file_); }
  absl::Status Read(std::string* text) override {
    std::vector<char> chunk(kChunk);
    const int n = gzread(file_, chunk.data(), chunk.size());
    int error = Z_OK;
    const char* message = gzerror(file_, &error);
    if (n < 0 || error == Z_BUF_ERROR || gzdirect(file_)) {
      return absl::DataLossError(
          absl::StrCat(path_, ": damaged or truncated gzip file", n < 0 ? absl::StrCat(" (", message, ")") : ""));
    }
    text->append(chunk.data(), n);
    return absl::OkStatus();
  }
  uint64_t position() const override { return gzoffset(file_); }

 private:
  std::string path_;
  gzFile file_;
};

class ZstdReader final : public TextReader {
 public:
  ZstdReader(std::string path, MappedFile file) : path_(std::move(path)), file_(std::move(file)), stream_(ZSTD_createDStream()) {
    input_ = {file_.bytes().data(), file_.bytes().size(), 0};
  }
  ~ZstdReader() override { ZSTD_freeDStream(stream_); }
  absl::Status Read(std::string* text) override {
    std::vector<char> chunk(kChunk);
    ZSTD_outBuffer output = {chunk.data(), chunk.size(), 0};
    // `left_` is 0 exactly at the end of a frame, where the file may end too.
    while (output.pos == 0 && (input_.pos < input_.size || left_ != 0)) {
      const size_t read_before = input_.pos;
      left_ = ZSTD_decompressStream(stream_, &output, &input_);
      if (ZSTD_isError(left_)) {
        return absl::DataLossError(absl::StrCat(path_, ": damaged zstd file (", ZSTD_getErrorName(left_), ")"));
      }
      if (left_ != 0 && output.pos == 0 && input_.pos == read_before) {
        return absl::DataLossError(absl::StrCat(path_, ": truncated zstd file"));
      }
    }
    text->append(chunk.data(), output.pos);
    return absl::OkStatus();
  }
  uint64_t position() const override { return input_.pos; }

 private:
  std::string path_;
  MappedFile file_;
  ZSTD_DStream* stream_;
  ZSTD_inBuffer input_;
  size_t left_ = 1;  // of the frame, as the library guesses; an empty file is a truncated one
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextReader>> TextReader::Open(const std::string& path) {
  if (absl::EndsWith(path, ".gz")) {
    errno = 0;
    const gzFile file = gzopen(path.c_str(), "rb");
    if (file == nullptr) return ErrnoStatus(errno, "open", path);
    return std::make_unique<GzipReader>(path, file);
  }
  if (absl::EndsWith(path, ".zst")) {
    POLYMOE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
    return std::make_unique<ZstdReader>(path, std::move(file));
  }
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return ErrnoStatus(errno, "open", path);
  return std::make_unique<PlainReader>(path, file);
}

}  // namespace polymoe
