#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "worker/data/spm.h"
#include "worker/data/tokenizer.h"

namespace polymoe {
namespace {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(std::unique_ptr<SpmModel> model) : model_(std::move(model)) {}

  void Encode(absl::string_view text, std::vector<uint32_t>* ids) const override {
    const std::vector<int> encoded = model_->Encode(std::string(text));
    ids->insert(ids->end(), encoded.begin(), encoded.end());
  }
  std::string Decode(const std::vector<uint32_t>& ids) const override { return model_->Decode({ids.begin(), ids.end()}); }
  uint32_t vocab_size() const override { return model_->vocab_size(); }
  uint32_t end_of_document() const override { return model_->end_id(); }

 private:
  std::unique_ptr<SpmModel> model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(const std::string& model) {
  std::string error;
  std::unique_ptr<SpmModel> loaded = SpmModel::Load(model, &error);
  if (loaded == nullptr) return absl::InvalidArgumentError(absl::StrCat("not a usable SentencePiece model: ", error));
  return std::make_unique<SentencePieceTokenizer>(std::move(loaded));
}

absl::StatusOr<std::string> TrainSentencePiece(const std::vector<std::string>& lines, uint32_t vocab) {
  std::string error;
  std::string model = SpmModel::Train(lines, vocab, &error);
  if (model.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot train a SentencePiece model of ", vocab, " pieces on ", lines.size(),
                                                   " lines: ", error, "; try a smaller vocabulary or more text"));
  }
  return model;
}

}  // namespace polymoe
