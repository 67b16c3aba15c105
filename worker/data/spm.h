// SentencePiece behind a wall: its header defines its own absl::string_view, so no file that sees it may see Abseil.
#ifndef POLYMOE_WORKER_DATA_SPM_H_
#define POLYMOE_WORKER_DATA_SPM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace polymoe {

class SpmModel {
 public:
  // Null and a reason when `serialized` is no model that can encode (it needs byte fallback and a </s>).
  static std::unique_ptr<SpmModel> Load(const std::string& serialized, std::string* error);
  ~SpmModel();

  std::vector<int> Encode(const std::string& text) const;
  std::string Decode(const std::vector<int>& ids) const;
  int vocab_size() const;
  int end_id() const;

  // The serialized model; empty and a reason when training failed.
  static std::string Train(const std::vector<std::string>& lines, uint32_t vocab, std::string* error);

 private:
  SpmModel();
  struct Processor;
  std::unique_ptr<Processor> processor_;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_DATA_SPM_H_
