// Loss, optimiser and roundings of the CPU's table, and that its vectors stay within their rows.
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <limits>
#include <random>

#include "tests/kernels/cpu_test.h"

namespace polymoe {
namespace {

template <class E>
class CpuVector : public CpuTable<E> {};
TYPED_TEST_SUITE(CpuVector, ElementTypes, ElementName);

TYPED_TEST(CpuVector, CrossEntropy) {
  using E = TypeParam;
  for (const int v : {1, 2, 15, 16, 17, 1000, 2048, 2049, 5000}) {  // around a vector and a block of 2048
    for (const bool rising : {false, true}) {
      SCOPED_TRACE(testing::Message() << v << (rising ? " rising" : ""));
      const int n = 9;
      Floats logits = RandomVector<float>(n * v, 1, 3);
      for (int i = 0; i < n * v; ++i) logits[i] += rising ? 0.1f * static_cast<float>(i % v) : -30;  // peaks late; far below 0
      std::vector<int32_t> targets(n);
      for (int i = 0; i < n; ++i) targets[i] = i * 31 % v;
      std::vector<E> dlogits[2];
      Floats losses[2];
      this->OnBoth([&](const Ops<E>& ops, int t) {
        losses[t] = Room<float>(n), dlogits[t] = Room<E>(n * v);
        ops.cross_entropy(n, v, logits.data(), targets.data(), 0.5f, losses[t].data(), dlogits[t].data());
      });
      // A loss is a difference of logits, of up to 500 here.
      ASSERT_NO_FATAL_FAILURE(ExpectClose("losses", losses[1], losses[0], 4, 500));
      ExpectClose("dlogits", dlogits[1], dlogits[0], 4, 30);  // their error in the exponent
      Floats evaluated = Room<float>(n);
      CpuOps<E>().cross_entropy(n, v, logits.data(), targets.data(), 0, evaluated.data(), nullptr);
      EXPECT_TRUE(SameBits(evaluated, losses[1]));
    }
  }
}

TYPED_TEST(CpuVector, CrossEntropyKeepsANaN) {
  using E = TypeParam;
  for (const int at : {0, 7, 99}) {
    Floats logits = RandomVector<float>(100, 1), losses(1);
    logits[at] = NAN;
    const int32_t target = 50;
    std::vector<E> dlogits(100);
    CpuOps<E>().cross_entropy(1, 100, logits.data(), &target, 1, losses.data(), dlogits.data());
    EXPECT_TRUE(std::isnan(losses[0])) << at;
    EXPECT_TRUE(std::isnan(static_cast<float>(dlogits[50]))) << at;
    EXPECT_TRUE(std::isnan(static_cast<float>(dlogits[3]))) << at;
  }
}

TYPED_TEST(CpuVector, AdamW) {
  for (const int n : {0, 1, 17, 8192, 8193, 20000}) {
    const Floats x = RandomVector<float>(n, 1);
    const AdamWParams params{1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, 0.19f, 0.0975f};
    Floats grad[2], p[2], m[2], v[2];
    std::vector<BF16> rounded[2];
    for (const bool round : {true, false}) {
      this->OnBoth([&](const auto& ops, int t) {
        grad[t] = Bordered(RandomVector<float>(n, 2)), p[t] = Bordered(x), m[t] = Bordered(RandomVector<float>(n, 4, 0.1));
        v[t] = Bordered(Floats(n, 0.01f)), rounded[t] = Room<BF16>(n);
        ops.adamw(n, params, grad[t].data(), p[t].data(), m[t].data(), v[t].data(), round ? rounded[t].data() : nullptr);
      });
      ExpectClose("p", p[1], p[0], 4);
      ExpectClose("m", m[1], m[0], 4);
      ExpectClose("v", v[1], v[0], 4);
      EXPECT_TRUE(SameBits(grad[1], Bordered(RandomVector<float>(n, 2)))) << "changed";
      if (!round) continue;
      ExpectBorder("rounded", rounded[1]);
      for (int i = 0; i < n; ++i) ASSERT_EQ(rounded[1][i].bits, BF16(p[1][i]).bits) << i;
    }
  }
}

TYPED_TEST(CpuVector, AdamWByHand) {
  // One step from zero moments: m_hat = g, v_hat = g^2, so p moves by lr (weight decay aside) against the sign of g.
  this->OnBoth([](const auto& ops, int) {
    float p = 2, m = 0, v = 0, g = -0.5f;
    ops.adamw(1, {0.1f, 0.9f, 0.95f, 0, 0.01f, 1, 1 - 0.9f, 1 - 0.95f}, &g, &p, &m, &v, nullptr);
    EXPECT_NEAR(p, 2 - 0.1 * 0.01 * 2 + 0.1, 1e-6);
    EXPECT_NEAR(m, -0.05, 1e-7);
    EXPECT_NEAR(v, 0.0125, 1e-7);
    EXPECT_EQ(g, -0.5f);
  });
}

TYPED_TEST(CpuVector, SumSquares) {
  for (const int n : {0, 1, 17, 63, 64, 65, 2047, 2048, 2049, 20000}) {
    const Floats x = RandomVector<float>(n, 1);
    EXPECT_NEAR(CpuOps<TypeParam>().sum_squares(n, x.data()), RefOps<TypeParam>().sum_squares(n, x.data()), 1e-6 * (n + 1));
  }
}

TYPED_TEST(CpuVector, TheSameBitsWithAnyThreads) {
  const int n = 100000;
  const Floats x = RandomVector<float>(n, 1);
  const std::vector<int32_t> targets(100, 3);
  ExpectSameBitsWithAnyThreads([&] {
    std::vector<TypeParam> dlogits(n);
    Floats losses(100);
    CpuOps<TypeParam>().cross_entropy(100, n / 100, x.data(), targets.data(), 1, losses.data(), dlogits.data());
    return Bytes(dlogits, losses, std::vector<double>{CpuOps<TypeParam>().sum_squares(n, x.data())});
  });
}

// ---- Roundings: the fp32 table has them too.

void ExpectRounded(const Floats& x) {
  std::vector<BF16> rounded = Room<BF16>(x.size());
  CpuOps<float>().round(x.size(), x.data(), rounded.data());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(rounded[i].bits, BF16(x[i]).bits) << std::bit_cast<uint32_t>(x[i]);
  ExpectBorder("rounded", rounded);
}

TEST(CpuRound, AnyBitsAsTheConstructor) {
  std::mt19937 generator(1);
  Floats x(100003);
  for (float& v : x) v = std::bit_cast<float>(static_cast<uint32_t>(generator()));  // NaNs and infinities among them
  ExpectRounded(x);
  for (int n = 0; n < 70; ++n) ExpectRounded(Floats(x.begin() + n, x.begin() + 2 * n));
}

TEST(CpuRound, ToTheNearestAndTiesToEven) {
  struct Case {
    uint32_t from;
    uint16_t to;
  };
  const float inf = std::numeric_limits<float>::infinity();
  for (const Case& c : {Case{0x3f800000, 0x3f80},
                        {0x3f807fff, 0x3f80},
                        {0x3f808000, 0x3f80},  // a tie, to the even one below
                        {0x3f808001, 0x3f81},
                        {0x3f818000, 0x3f82},  // a tie, to the even one above
                        {0xbf818000, 0xbf82},
                        {0x7f7fffff, 0x7f80},  // the largest float, to infinity
                        {std::bit_cast<uint32_t>(inf), 0x7f80},
                        {0x80000000, 0x8000},
                        {0x00000001, 0x0000}}) {
    const float x = std::bit_cast<float>(c.from);
    BF16 y;
    CpuOps<float>().round(1, &x, &y);
    EXPECT_EQ(y.bits, c.to) << std::hex << c.from;
    EXPECT_EQ(BF16(x).bits, c.to) << std::hex << c.from;
  }
}

TEST(CpuRound, ANaNStaysOne) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu, 0x7f80ffffu}) {
    const Floats x(20, std::bit_cast<float>(bits));  // in whole vectors and in a part
    std::vector<BF16> y(20);
    CpuOps<float>().round(20, x.data(), y.data());
    for (const BF16 v : y) EXPECT_TRUE(std::isnan(static_cast<float>(v))) << std::hex << bits;
    EXPECT_TRUE(std::isnan(static_cast<float>(BF16(x[0])))) << std::hex << bits;
  }
}

// Memory that ends where a page begins which no one may touch.
class LastPage {
 public:
  LastPage() : page_(sysconf(_SC_PAGESIZE)) {
    memory_ = static_cast<char*>(mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + page_, page_, PROT_NONE);
  }
  ~LastPage() { munmap(memory_, 2 * page_); }
  LastPage(const LastPage&) = delete;
  LastPage& operator=(const LastPage&) = delete;

  template <class T>
  T* Last(size_t n) const {
    return reinterpret_cast<T*>(memory_ + page_) - n;
  }

 private:
  const size_t page_;
  char* memory_;
};

TEST(CpuRound, TouchesNothingBehindItsRows) {
  const LastPage from, to;
  for (size_t n = 1; n < 70; ++n) {
    float *x = from.Last<float>(n), *y32 = to.Last<float>(n);
    std::fill_n(x, n, 1.5f);
    BF16* y = to.Last<BF16>(n);
    CpuOps<float>().round(n, x, y);
    EXPECT_EQ(y[n - 1], 1.5f);
    std::copy_n(y, n, from.Last<BF16>(n));
    const int32_t row = 0;
    if (CpuHasBf16()) {
      CpuOps<BF16>().combine(1, static_cast<int>(n), 1, &row, from.Last<BF16>(n), nullptr, y32);
      EXPECT_EQ(y32[n - 1], 1.5f);
    }
  }
}

}  // namespace
}  // namespace polymoe
