// CHECK: for bugs, never for input. A failed check prints where, what and why, and aborts; it stays on in release builds.
//
//   POLYMOE_CHECK(rows >= 0);
//   POLYMOE_CHECK(offset + size <= capacity, "arena overrun: offset=%zu size=%zu capacity=%zu", offset, size, capacity);
#ifndef POLYMOE_COMMON_CHECK_H_
#define POLYMOE_COMMON_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace polymoe::internal {

template <typename... Args>
[[noreturn]] [[gnu::cold]] void CheckFailed(const char* file, int line, const char* condition, const char* format = "",
                                            Args... args) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: ", file, line, condition);
  if constexpr (sizeof...(args) == 0) {
    std::fputs(format, stderr);
  } else {
    std::fprintf(stderr, format, args...);
  }
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace polymoe::internal

#define POLYMOE_CHECK(condition, ...)                                                              \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      ::polymoe::internal::CheckFailed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
    }                                                                                              \
  } while (false)

#endif  // POLYMOE_COMMON_CHECK_H_
