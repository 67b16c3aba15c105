#include "worker/data/loader.h"

#include "absl/strings/str_cat.h"

#include "common/status.h"

namespace polymoe {

absl::StatusOr<uint64_t> CountWindows(const Dataset& dataset, uint32_t sequence_length) {
  const uint64_t windows = dataset.tokens() == 0 ? 0 : (dataset.tokens() - 1) / sequence_length;
  if (windows == 0) {
    return absl::FailedPreconditionError(absl::StrCat("the split has ", dataset.tokens(), " tokens, fewer than one sequence of ",
                                                      sequence_length,
                                                      " and its target; use more text or a shorter data.sequenceLength"));
  }
  return windows;
}

absl::StatusOr<BatchLoader> BatchLoader::Shuffled(const Dataset& dataset, uint32_t sequence_length, uint64_t seed) {
  POLYMOE_ASSIGN_OR_RETURN(const uint64_t windows, CountWindows(dataset, sequence_length));
  return BatchLoader(dataset, Sampler(seed, dataset.fingerprint(), windows), sequence_length);
}

void BatchLoader::Fill(uint64_t first_index, uint32_t count, int32_t* tokens, int32_t* targets) const {
  for (uint64_t i = 0; i < count; ++i) {
    ReadWindow(*dataset_, sampler_.Window(first_index + i), length_, tokens + i * length_, targets + i * length_);
  }
}

void ReadWindow(const Dataset& dataset, uint64_t window, uint32_t sequence_length, int32_t* tokens, int32_t* targets) {
  dataset.Read(window * sequence_length, absl::MakeSpan(tokens, sequence_length));
  dataset.Read(window * sequence_length + 1, absl::MakeSpan(targets, sequence_length));
}

}  // namespace polymoe
