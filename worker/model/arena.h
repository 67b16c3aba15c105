// Memory for many tensors in one allocation: zeroed, in huge pages where the system has them, which a pass over gigabytes needs.
//
//   struct Tensors {
//     float* x;
//     BF16* h;
//     void Place(Arena::Cutter& cut) { cut(x, n * d), cut(h, n * d); }
//   };
//   Tensors tensors;
//   Arena arena([&](Arena::Cutter& cut) { tensors.Place(cut); });
//
// The function runs twice: first to add up the sizes, then to set the pointers. Each piece starts at a multiple of 64 bytes.
#ifndef POLYMOE_WORKER_MODEL_ARENA_H_
#define POLYMOE_WORKER_MODEL_ARENA_H_

#include <cstdint>

namespace polymoe {

class Arena {
 public:
  class Cutter {
   public:
    // The next piece: `count` elements.
    template <class T>
    void operator()(T*& piece, int64_t count) {
      Reserve(piece, count, count);
    }
    // Room for `count` elements of which about `used` will be touched: only those take memory.
    template <class T>
    void Reserve(T*& piece, int64_t count, int64_t used) {
      if (base_ != nullptr) piece = reinterpret_cast<T*>(base_ + end_);
      const auto size = static_cast<int64_t>(sizeof(T));
      bytes_ += used * size;
      end_ += (count * size + kAlignment - 1) / kAlignment * kAlignment;
    }

   private:
    friend class Arena;
    explicit Cutter(char* base) : base_(base) {}

    char* const base_;
    int64_t bytes_ = 0, end_ = 0;
  };

  // std::bad_alloc when the system refuses. What it grants it may still find only at the first touch.
  template <class Place>
  explicit Arena(const Place& place) {
    Cutter count(nullptr);
    place(count);
    Map(count.end_);
    bytes_ = count.bytes_;
    Cutter cut(base_);
    place(cut);
  }
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Of all pieces as far as they are used, without the gaps between them.
  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kAlignment = 64;

  void Map(int64_t size);

  char* base_ = nullptr;
  int64_t size_ = 0, bytes_ = 0;
};

}  // namespace polymoe

#endif  // POLYMOE_WORKER_MODEL_ARENA_H_
