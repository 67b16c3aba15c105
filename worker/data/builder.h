// Builds a dataset from text. Every input file is tokenised on its own into a part file; when all parts are there, they are put
// together into shards: documents in the order of the (sorted) inputs, an exact duplicate dropped, each document to the train or the
// held-out split by the hash of its content. A build that was interrupted goes on with the inputs that have no part yet, and the
// result is the same to the byte; a finished dataset with the same options and inputs is checked and left alone, or built again where
// it is damaged. Beside the dataset, building takes 2 or 4 bytes of disk a token (the parts), 8 bytes of memory a document (to know
// duplicates) and a shard's tokens of each split at 4 bytes.
#ifndef POLYMOE_WORKER_DATA_BUILDER_H_
#define POLYMOE_WORKER_DATA_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "worker/data/manifest.h"

namespace polymoe {

struct BuildProgress {
  uint64_t files_done = 0, files_total = 0;
  uint64_t bytes_done = 0, bytes_total = 0;  // of the input files as they lie on disk
  uint64_t documents = 0, tokens = 0;        // of this run, duplicates included
};

struct BuildOptions {
  std::vector<std::string> inputs;  // files, or folders that are read through; hidden files are passed over
  std::string output;
  std::string tokenizer = "bytes";   // bytes | spm:MODEL_FILE | train-spm:VOCAB
  std::string text_field = "text";   // of JSON lines
  double heldout = 0.02;             // share of the documents, 0 to 1
  uint64_t shard_tokens = 64 << 20;  // a shard ends with the document that reaches it
  // Called after every document and every file; a status that is not OK ends the build, which can be taken up again.
  std::function<absl::Status(const BuildProgress&)> progress;
};

// ALREADY_EXISTS when `output` holds a dataset of other options or inputs (files by path, size and time of change; a tokenizer's model by
// content); INVALID_ARGUMENT for bad options, a bad JSON line or inputs without text.
absl::StatusOr<Manifest> BuildDataset(const BuildOptions& options);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_BUILDER_H_
