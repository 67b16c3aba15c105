// Text to train a tokenizer on.
#ifndef POLYMOE_WORKER_DATA_TOKENIZER_SAMPLE_H_
#define POLYMOE_WORKER_DATA_TOKENIZER_SAMPLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "worker/data/inputs.h"

namespace polymoe {

// Lines from the start of every input, about `bytes` in all and from each input in proportion to its size; everything when there is
// less. Without empty lines; lines longer than 2000 bytes come in pieces, since SentencePiece passes over long ones.
absl::StatusOr<std::vector<std::string>> SampleLines(const std::vector<Input>& inputs, const std::string& text_field, size_t bytes);

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_TOKENIZER_SAMPLE_H_
