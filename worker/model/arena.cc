#include "worker/model/arena.h"

#include <sys/mman.h>

#include <new>

namespace polymoe {

void Arena::Map(int64_t size) {
  if (size == 0) return;
  void* memory =
      mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, static_cast<size_t>(size), MADV_HUGEPAGE);  // where it fails, small pages do
  base_ = static_cast<char*>(memory);
  size_ = size;
}

Arena::~Arena() {
  if (base_ != nullptr) munmap(base_, static_cast<size_t>(size_));
}

}  // namespace polymoe
