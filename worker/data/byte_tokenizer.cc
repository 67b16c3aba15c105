#include "worker/data/tokenizer.h"

namespace polymoe {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  void Encode(absl::string_view text, std::vector<uint32_t>* ids) const override {
    for (const char c : text) ids->push_back(static_cast<unsigned char>(c));
  }
  std::string Decode(const std::vector<uint32_t>& ids) const override {
    std::string text;
    for (const uint32_t id : ids) {
      if (id < 256) text += static_cast<char>(id);
    }
    return text;
  }
  uint32_t vocab_size() const override { return 257; }
  uint32_t end_of_document() const override { return 256; }
};

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer() {
  return std::make_unique<ByteTokenizer>();
}

}  // namespace polymoe
