#include "worker/data/manifest.h"

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "common/status.h"

namespace polymoe {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

}  // namespace

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestName);
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(directory, " is no dataset (it has no ", kManifestName, "); make one with `polyctl dataset build`"));
  }
  POLYMOE_RETURN_IF_ERROR(text.status());
  Manifest manifest;
  try {
    const json root = json::parse(*text);
    if (root.at("version") != kVersion) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": version ", root.at("version").dump(), " is not known here; this program reads ", kVersion));
    }
    manifest.tokenizer = root.at("tokenizer");
    manifest.vocab = root.at("vocab");
    manifest.duplicates = root.at("duplicates");
    manifest.options = root.at("options");
    for (const auto& [name, split] : root.at("splits").items()) {
      manifest.splits[name] = {split.at("shards"), split.at("tokens"), split.at("bytes"), split.at("documents"),
                               split.at("fingerprint")};
    }
  } catch (const json::exception& e) {
    return absl::DataLossError(absl::StrCat(path, ": ", e.what(), "; rebuild the dataset with `polyctl dataset build`"));
  }
  return manifest;
}

absl::Status WriteManifest(const std::string& directory, const Manifest& manifest) {
  json splits = json::object();
  for (const auto& [name, split] : manifest.splits) {
    splits[name] = {{"shards", split.shards},
                    {"tokens", split.tokens},
                    {"bytes", split.bytes},
                    {"documents", split.documents},
                    {"fingerprint", split.fingerprint}};
  }
  const json root = {{"version", kVersion},         {"tokenizer", manifest.tokenizer},
                     {"vocab", manifest.vocab},     {"duplicates", manifest.duplicates},
                     {"options", manifest.options}, {"splits", splits}};
  return WriteFileDurably(absl::StrCat(directory, "/", kManifestName), root.dump(2) + "\n");
}

}  // namespace polymoe
