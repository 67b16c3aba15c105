#include "worker/data/spm.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <unordered_map>

namespace polymoe {
namespace {

class LineIterator final : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ >= lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

}  // namespace

struct SpmModel::Processor {
  sentencepiece::SentencePieceProcessor spm;
};

SpmModel::SpmModel() : processor_(std::make_unique<Processor>()) {}
SpmModel::~SpmModel() = default;

std::unique_ptr<SpmModel> SpmModel::Load(const std::string& serialized, std::string* error) {
  std::unique_ptr<SpmModel> model(new SpmModel());
  const auto status = model->processor_->spm.LoadFromSerializedProto(serialized);
  if (!status.ok()) {
    *error = status.ToString();
    return nullptr;
  }
  if (model->end_id() < 0 || !model->processor_->spm.IsByte(model->processor_->spm.PieceToId("<0x0A>"))) {
    *error = "it has no </s> or no byte pieces; train it with --byte_fallback and an eos_id";
    return nullptr;
  }
  return model;
}

std::vector<int> SpmModel::Encode(const std::string& text) const {
  return processor_->spm.EncodeAsIds(text);
}
std::string SpmModel::Decode(const std::vector<int>& ids) const {
  return processor_->spm.DecodeIds(ids);
}
int SpmModel::vocab_size() const {
  return processor_->spm.GetPieceSize();
}
int SpmModel::end_id() const {
  return processor_->spm.eos_id();
}

std::string SpmModel::Train(const std::vector<std::string>& lines, uint32_t vocab, std::string* error) {
  // Text goes in and out unchanged: no normalisation, no added or removed spaces.
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab)},
      {"byte_fallback", "true"},
      {"character_coverage", "0.9995"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", "true"},
      {"unk_id", "0"},
      {"eos_id", "1"},
      {"bos_id", "-1"},
      {"pad_id", "-1"},
      {"minloglevel", "3"},
      {"num_threads", "1"},
  };
  LineIterator iterator(lines);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &model);
  if (!status.ok()) {
    *error = status.ToString();
    return "";
  }
  return model;
}

}  // namespace polymoe
