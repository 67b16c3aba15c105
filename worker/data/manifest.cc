#include "worker/data/manifest.h"

#include <exception>
#include <limits>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr int kVersion = 3;

// The library converts 1e300 and -1 to integers without a word.
template <typename Integer>
Integer ReadCount(const json& object, const char* key) {
  const json& value = object.at(key);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<Integer>::max()) {
    throw std::out_of_range(absl::StrCat(key, " is ", value.dump(), ", which is no count that fits"));
  }
  return value.get<Integer>();
}

ShardInfo ToShard(const json& shard) {
  return {shard.at("file").get<std::string>(), ReadCount<uint64_t>(shard, "tokens"), ReadCount<uint32_t>(shard, "checksum")};
}

SplitInfo ToSplit(const json& split) {
  SplitInfo info{.tokens = ReadCount<uint64_t>(split, "tokens"),
                 .bytes = ReadCount<uint64_t>(split, "bytes"),
                 .documents = ReadCount<uint64_t>(split, "documents"),
                 .fingerprint = split.at("fingerprint").get<std::string>(),
                 .unigram_entropy = split.at("unigram_entropy").get<double>()};
  for (const json& shard : split.at("shards")) info.shards.push_back(ToShard(shard));
  return info;
}

SourceInfo ToSource(const json& source) {
  return {.path = source.at("path").get<std::string>(),
          .files = ReadCount<uint64_t>(source, "files"),
          .documents = ReadCount<uint64_t>(source, "documents"),
          .tokens = ReadCount<uint64_t>(source, "tokens"),
          .bytes = ReadCount<uint64_t>(source, "bytes"),
          .duplicates = ReadCount<uint64_t>(source, "duplicates")};
}

Manifest ToManifest(const json& root) {
  Manifest manifest{.tokenizer = root.at("tokenizer").get<std::string>(),
                    .vocab = ReadCount<uint32_t>(root, "vocab"),
                    .options = root.at("options").get<std::string>()};
  for (const auto& [name, split] : root.at("splits").items()) manifest.splits[name] = ToSplit(split);
  for (const json& source : root.at("sources")) manifest.sources.push_back(ToSource(source));
  return manifest;
}

json ToJson(const SplitInfo& split) {
  json shards = json::array();
  for (const ShardInfo& shard : split.shards) {
    shards.push_back({{"file", shard.file}, {"tokens", shard.tokens}, {"checksum", shard.checksum}});
  }
  return {{"shards", shards},
          {"tokens", split.tokens},
          {"bytes", split.bytes},
          {"documents", split.documents},
          {"fingerprint", split.fingerprint},
          {"unigram_entropy", split.unigram_entropy}};
}

json ToJson(const SourceInfo& source) {
  return {{"path", source.path},     {"files", source.files}, {"documents", source.documents},
          {"tokens", source.tokens}, {"bytes", source.bytes}, {"duplicates", source.duplicates}};
}

}  // namespace

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestName);
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is no dataset (it has no ", kManifestName, "); make one with `polyctl dataset build`"));
  }
  POLYMOE_RETURN_IF_ERROR(text.status());
  try {
    const json root = json::parse(*text);
    if (const json& version = root.at("version"); version != kVersion) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": version ", version.dump(), " of the format, where this program reads ", kVersion, kRebuildHint));
    }
    return ToManifest(root);
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat(path, ": damaged: ", e.what(), kRebuildHint));
  }
}

absl::Status WriteManifest(const std::string& directory, const Manifest& manifest) {
  json splits = json::object(), sources = json::array();
  for (const auto& [name, split] : manifest.splits) splits[name] = ToJson(split);
  for (const SourceInfo& source : manifest.sources) sources.push_back(ToJson(source));
  const json root = {{"version", kVersion},     {"tokenizer", manifest.tokenizer},
                     {"vocab", manifest.vocab}, {"options", manifest.options},
                     {"splits", splits},        {"sources", sources}};
  // Paths need not be UTF-8; JSON must.
  const std::string text = root.dump(2, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  return WriteFileDurably(absl::StrCat(directory, "/", kManifestName), text + "\n");
}

}  // namespace polymoe
