// Input files for tests: plain, and compressed with the libraries themselves.
#ifndef POLYMOE_TESTS_WORKER_DATA_FILES_H_
#define POLYMOE_TESTS_WORKER_DATA_FILES_H_

#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "common/check.h"

namespace polymoe {

// Not durable, hence fast. Makes the folder.
inline std::string WriteText(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content << std::flush;
  POLYMOE_CHECK(file.good(), "write %s", path.c_str());
  return path;
}

// One gzip member.
inline std::string Gzip(const std::string& text) {
  z_stream stream = {};
  POLYMOE_CHECK(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = text.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  POLYMOE_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// One zstd frame.
inline std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3);
  POLYMOE_CHECK(!ZSTD_isError(size));
  out.resize(size);
  return out;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_DATA_FILES_H_
