// Text with the statistics of a language, for tests: words of a small dictionary, frequent ones first, in lines and paragraphs.
#ifndef POLYMOE_TESTS_WORKER_DATA_CORPUS_H_
#define POLYMOE_TESTS_WORKER_DATA_CORPUS_H_

#include <cstdint>
#include <string>

#include "worker/data/hash.h"

namespace polymoe {

// About `bytes` of it; the same for the same seed.
inline std::string Corpus(size_t bytes, uint64_t seed) {
  static constexpr const char* kSyllables[] = {"ka", "lo", "mi", "ter", "sun", "wal", "dor", "pen", "gra", "ble", "ing", "est"};
  std::string text;
  for (uint64_t n = 0; text.size() < bytes; ++n) {
    const uint64_t random = Mix64(seed * 1'000'003 + n);
    const uint64_t word = Mix64((random % 1000) * (random >> 32 & 1));  // half of all words are the most frequent one
    for (uint64_t i = 0; i < 1 + word % 4; ++i) text += kSyllables[(word >> (8 + 8 * i)) % 12];
    text += random >> 40 & 15 ? " " : random >> 44 & 3 ? ".\n" : ".\n\n";
  }
  return text;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_DATA_CORPUS_H_
