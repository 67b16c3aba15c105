// Text -> token ids and back.
#ifndef POLYMOE_WORKER_DATA_TOKENIZER_H_
#define POLYMOE_WORKER_DATA_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace polymoe {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Appends the ids of `text`, all below vocab_size() and none the end of a document. Never fails: what has no piece of its own is
  // spelled in bytes.
  virtual void Encode(absl::string_view text, std::vector<uint32_t>* ids) const = 0;
  // The text of ids below vocab_size(); the end of a document has none.
  virtual std::string Decode(const std::vector<uint32_t>& ids) const = 0;
  virtual uint32_t vocab_size() const = 0;
  virtual uint32_t end_of_document() const = 0;
};

// One id a byte, 256 for the end of a document: works for any data, needs no training.
std::unique_ptr<Tokenizer> MakeByteTokenizer();

// A SentencePiece model, from the content of its file; its </s> ends documents. Text comes back from it unchanged, except that bytes
// which are no UTF-8 become U+FFFD and U+2581 (SentencePiece's own sign for a space) a space; models of others may normalise too.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(const std::string& model);

// Trains a SentencePiece BPE model of `vocab` pieces with byte fallback on sample lines. Deterministic. Returns the model's content;
// INVALID_ARGUMENT when so many pieces cannot be made of these lines.
absl::StatusOr<std::string> TrainSentencePiece(const std::vector<std::string>& lines, uint32_t vocab);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_TOKENIZER_H_
