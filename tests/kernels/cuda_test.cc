// kernels/cuda against the reference. The code of the rows runs on the host, in one lane and in a block of threads, for both storage
// types, at all orders and widths around a pack; the launches themselves only where there is a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/rows.h"
#include "kernels/ref/activation.h"
#include "tests/kernels/activation_names.h"
#include "tests/kernels/error_bounds.h"
#include "tests/kernels/polycom_vectors.h"
#include "tests/kernels/random_data.h"
#include "tests/kernels/thread_lanes.h"

namespace polymoe::cuda {
namespace {

constexpr int kSpareRows = 2;  // there is room for more rows than the offsets have
constexpr float kUntouched = 42;

template <typename T>
std::vector<T> Rounded(const std::vector<double>& values) {
  std::vector<T> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) Round(static_cast<float>(values[i]), &rounded[i]);
  return rounded;
}

template <typename T>
std::vector<double> Doubles(const std::vector<T>& values) {
  std::vector<double> doubles(values.size());
  std::transform(values.begin(), values.end(), doubles.begin(), [](T v) { return ToFloat(v); });
  return doubles;
}

// The inputs of a call on the host.
template <typename T>
struct Problem {
  Activation activation;
  int f, stride;
  std::vector<int32_t> offsets;
  int max_rows, width;
  std::vector<T> x, dy;
  std::vector<float> c, dc;

  Problem(const Activation& a, int row, bool one_set, std::vector<int32_t> bounds = {0, 0, 3, 3, 7, 7})
      : activation(a), f(row), stride(one_set ? 0 : a.coefficient_count()), offsets(std::move(bounds)) {
    max_rows = offsets.back() + kSpareRows;
    width = a.gated() ? 2 * f : f;
    x = Rounded<T>(RandomVector<double>(int64_t{max_rows} * width, 1));
    dy = Rounded<T>(RandomVector<double>(int64_t{max_rows} * f, 2));
    c = RandomVector<float>(groups().count * a.coefficient_count(), 3);
    dc = RandomVector<float>(c.size(), 4);
  }

  RowGroups groups() const { return {static_cast<int>(offsets.size()) - 1, offsets.data()}; }
};

template <typename T>
struct Outputs {
  std::vector<T> y, dx;
  std::vector<float> dc;

  explicit Outputs(const Problem<T>& p)
      : y(Rounded<T>(std::vector<double>(int64_t{p.max_rows} * p.f, kUntouched))),
        dx(Rounded<T>(std::vector<double>(int64_t{p.max_rows} * p.width, kUntouched))),
        dc(p.dc) {}
};

template <typename V>
bool SameBits(const std::vector<V>& a, const std::vector<V>& b) {
  using Bits = std::conditional_t<sizeof(V) == 2, uint16_t, uint32_t>;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](V v, V w) { return std::bit_cast<Bits>(v) == std::bit_cast<Bits>(w); });
}

template <typename T>
bool SameBits(const Outputs<T>& a, const Outputs<T>& b) {
  return SameBits(a.y, b.y) && SameBits(a.dx, b.dx) && SameBits(a.dc, b.dc);
}

// ---- what must come out

template <typename T>
void ExpectClose(const char* what, const std::vector<T>& got, const std::vector<double>& want, int64_t count, int terms,
                 double magnitude = 0) {
  // A rounding to bf16 is at most 2^-8 of the value; error_bounds.h has the rest.
  const double rounding = sizeof(T) == 2 ? 1.0 / 256 : 0;
  for (int64_t i = 0; i < count; ++i) magnitude = std::max(magnitude, std::abs(want[i]));
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_NEAR(ToFloat(got[i]), want[i], Tolerance(magnitude, terms) + rounding * std::abs(want[i])) << what << "[" << i << "]";
  }
  for (size_t i = count; i < got.size(); ++i) ASSERT_EQ(ToFloat(got[i]), kUntouched) << what << "[" << i << "] of no row";
}

template <typename T>
void ExpectRight(const Problem<T>& p, const Outputs<T>& out) {
  const std::vector<double> x = Doubles(p.x), dy = Doubles(p.dy), c = Doubles(p.c);
  std::vector<double> y(out.y.size()), dx(out.dx.size()), dc = Doubles(p.dc);
  ref::ActivationForward(p.activation, p.groups(), p.f, x.data(), c.data(), p.stride, {}, y.data());
  ref::ActivationBackward<double>(p.activation, p.groups(), p.f, x.data(), c.data(), p.stride, {}, dy.data(), dx.data(), nullptr,
                                  dc.data());
  const int rows = p.groups().rows();
  const double term = LargestTerms(p.activation, p.groups(), p.f, x.data(), c.data(), p.stride, dy.data()).dx;
  ExpectClose("y", out.y, y, int64_t{rows} * p.f, p.f);
  ExpectClose("dx", out.dx, dx, int64_t{rows} * p.width, p.f, term);
  ExpectClose("dc", out.dc, dc, static_cast<int64_t>(dc.size()), rows * p.f + 1);
}

// f(problem) for both storage types, with one set of coefficients for all groups and one for each.
template <class F>
void ForProblems(const Activation& a, std::initializer_list<int> widths, const F& f) {
  for (const int width : widths) {
    for (const bool one_set : {true, false}) {
      SCOPED_TRACE(testing::Message() << "order " << a.order << ", width " << width << (one_set ? ", one set" : ""));
      f(Problem<float>(a, width, one_set));
      f(Problem<__nv_bfloat16>(a, width, one_set));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// ---- on the host

// A problem with memory for everything that a call points to.
template <typename T>
struct HostCall {
  Outputs<T> out;
  std::vector<float> shares;
  std::vector<Pack<T>> stage;
  Call<T> call;

  explicit HostCall(const Problem<T>& p)
      : out(p),
        shares(ActivationWorkspaceBytes(p.activation, p.max_rows) / sizeof(float), NAN),
        stage(2 * StageSize<T>(p.f) / kPack<T>) {
    call = {.activation = p.activation,
            .groups = {p.groups().count, p.offsets.data(), p.max_rows},
            .shape = {p.f, false},
            .x = p.x.data(),
            .c = p.c.data(),
            .coefficient_stride = p.stride,
            .y = out.y.data(),
            .dy = p.dy.data(),
            .dx = out.dx.data(),
            .dc = out.dc.data(),
            .shares = shares.data()};
  }
};

// What activation.cu launches, block after block.
template <class Lanes, typename T>
void RunCall(const Lanes& lanes, HostCall<T>& host, bool staged, int blocks) {
  Call<T> call = host.call;
  call.shape.aligned = Aligned(call);
  T* stage = staged ? host.stage[0].v : nullptr;
  WithKind(call.activation.kind, [&](auto kind) {
    for (int b = 0; b < blocks; ++b) ForwardRows<kind()>(lanes, call, b, blocks, stage);
    for (int b = 0; b < blocks; ++b) BackwardRows<kind()>(lanes, call, b, blocks, stage);
  });
  lanes.Sync();  // the next kernel begins when one has ended
  const int sets = call.coefficient_stride == 0 ? 1 : call.groups.count;
  for (int set = 0; set < sets; ++set) {
    for (int i = 0; i < call.activation.coefficient_count(); ++i) AddShares(lanes, call, set, i);
  }
}

template <typename T>
Outputs<T> InOneLane(const Problem<T>& p, bool staged = true) {
  HostCall<T> host(p);
  RunCall(OneLane(), host, staged, 1);
  return host.out;
}

template <typename T>
Outputs<T> InThreads(const Problem<T>& p, bool staged, int blocks) {
  HostCall<T> host(p);
  ThreadLanes::Run([&](const ThreadLanes& lanes) { RunCall(lanes, host, staged, blocks); });
  return host.out;
}

TEST(CudaLanes, EachLaneHasTheSameSumInAFixedOrder) {
  // In another order, of the lanes in a warp or of the warps, the ones are lost.
  const float v[12] = {1e8f, 0, 0, 0, -1e8f, 0, 0, 0, 1e8f, 1, -1e8f, 1};
  int right[12] = {};
  ThreadLanes::Run([&](const ThreadLanes& lanes) {
    for (int time = 0; time < 300; ++time) {  // sums that follow each other closely must not meet
      const float scale = static_cast<float>(1 << time % 8);
      float sums[2] = {v[lanes.lane()] * scale, 1};
      SumOverLanes(lanes, sums);
      right[lanes.lane()] += sums[0] == 2 * scale && sums[1] == 12;
    }
  });
  for (const int count : right) EXPECT_EQ(count, 300);
}

class CudaActivation : public testing::TestWithParam<ActivationKind> {};

TEST_P(CudaActivation, OneLaneMatchesTheReference) {
  for (int order = 1; order <= 4; ++order) {
    ForProblems({.kind = GetParam(), .order = order}, {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 513, 1536}, [](const auto& p) {
      const auto out = InOneLane(p);
      ExpectRight(p, out);
      EXPECT_TRUE(SameBits(out, InOneLane(p, false))) << "without a stage";
    });
  }
}

TEST_P(CudaActivation, ABlockOfLanesMatchesTheReference) {
  ForProblems({.kind = GetParam()}, {1, 8, 33, 64, 72, 513}, [](const auto& p) {
    const auto out = InThreads(p, true, 1);
    ExpectRight(p, out);
    EXPECT_TRUE(SameBits(out, InThreads(p, true, 1))) << "again";
    EXPECT_TRUE(SameBits(out, InThreads(p, false, 3))) << "in three blocks, without a stage";
  });
}

TEST_P(CudaActivation, MemoryThatIsNotAligned) {
  ForProblems({.kind = GetParam()}, {8, 64}, [](const auto& p) {
    auto x = p.x;
    x.insert(x.begin(), x[0]);
    HostCall host(p);
    EXPECT_TRUE(Aligned(host.call));
    host.call.x = x.data() + 1;
    EXPECT_FALSE(Aligned(host.call));
    RunCall(OneLane(), host, true, 1);
    EXPECT_TRUE(SameBits(host.out, InOneLane(p)));
  });
}

TEST_P(CudaActivation, TheGradientMayReplaceTheOneThatComesIn) {
  if (Activation{GetParam()}.gated()) return;  // dx is wider than dy
  ForProblems({.kind = GetParam()}, {9, 64}, [](const auto& p) {
    const auto want = InOneLane(p);
    for (const bool staged : {true, false}) {
      HostCall host(p);
      auto in_place = p.dy;
      host.call.dy = host.call.dx = in_place.data();
      RunCall(OneLane(), host, staged, 1);
      in_place.resize(int64_t{p.groups().rows()} * p.f);
      auto dx = want.dx;
      dx.resize(in_place.size());
      EXPECT_TRUE(SameBits(in_place, dx));
      EXPECT_TRUE(SameBits(host.out.dc, want.dc));
    }
  });
}

TEST_P(CudaActivation, NoRows) {
  const Problem<float> p({.kind = GetParam()}, 8, false, {0, 0, 0});
  const Outputs<float> out = InOneLane(p);
  ExpectRight(p, out);
  EXPECT_EQ(out.dc, p.dc);
}

TEST_P(CudaActivation, ANaNStaysInItsRow) {
  Problem<float> p({.kind = GetParam()}, 64, false);
  p.x[1 * p.width + 5] = std::numeric_limits<float>::quiet_NaN();
  const Outputs<float> out = InOneLane(p);
  EXPECT_TRUE(std::isnan(out.y[1 * p.f + 5]));
  for (int i = 0; i < 7 * p.f; ++i) EXPECT_TRUE(i / p.f == 1 || std::isfinite(out.y[i])) << i;
  for (int i = 0; i < 7 * p.width; ++i) EXPECT_TRUE(i / p.width == 1 || std::isfinite(out.dx[i])) << i;
}

TEST(CudaRow, LargeInputsStayFinite) {
  Problem<float> p({.kind = ActivationKind::kPolyNorm}, 513, true);
  p.x.assign(p.x.size(), 1e6f);  // x^6 = 1e36, just below the end of fp32
  const Outputs<float> out = InThreads(p, true, 1);
  for (int i = 0; i < 7 * p.f; ++i) EXPECT_TRUE(std::isfinite(out.y[i]) && std::isfinite(out.dx[i])) << i;
}

TEST(CudaRow, ReferenceVectors) {
  for (const PolyComVector& v : PolyComVectors()) {
    Problem<float> p({.kind = v.kind}, static_cast<int>(v.x.size()), true, {0, 1});
    p.x = Rounded<float>(v.x), p.dy = Rounded<float>(v.dy), p.c = Rounded<float>(v.c);
    p.dc.assign(4, 0);
    p.max_rows = 1;
    const Outputs<float> out = InOneLane(p);
    double largest = 0;  // of the terms, as in polycom_vectors_test.cc
    for (const auto* values : {&v.y, &v.dx, &v.dc, &v.dy}) {
      for (const double value : *values) largest = std::max(largest, std::abs(value));
    }
    for (int j = 0; j < p.f; ++j) {
      EXPECT_NEAR(out.y[j], v.y[j], 1.2e-6 * largest) << v.name << " y[" << j << "]";
      EXPECT_NEAR(out.dx[j], v.dx[j], 1.2e-6 * largest) << v.name << " dx[" << j << "]";
    }
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(out.dc[i], v.dc[i], 1.2e-6 * largest) << v.name << " dc[" << i << "]";
  }
}

// ---- on a GPU

std::string WhyNoDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count == 0 ? "none is visible" : "";
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, std::max<size_t>(1, size_) * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() { return static_cast<T*>(data_); }
  void CopyTo(std::vector<T>& values) const {
    EXPECT_EQ(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

template <typename T>
Outputs<T> OnDevice(const Problem<T>& p) {
  Outputs<T> out(p);
  DeviceArray x(p.x), dy(p.dy), y(out.y), dx(out.dx);
  DeviceArray c(p.c), dc(out.dc);
  DeviceArray offsets(p.offsets);
  DeviceArray workspace(std::vector<float>(ActivationWorkspaceBytes(p.activation, p.max_rows) / sizeof(float), NAN));
  const DeviceRowGroups groups{p.groups().count, offsets.data(), p.max_rows};
  const absl::Status forward = ActivationForward<T>(p.activation, groups, p.f, x.data(), c.data(), p.stride, y.data(), nullptr);
  EXPECT_TRUE(forward.ok()) << forward;
  const absl::Status backward = ActivationBackward<T>(p.activation, groups, p.f, x.data(), c.data(), p.stride, dy.data(), dx.data(),
                                                      dc.data(), workspace.data(), nullptr);
  EXPECT_TRUE(backward.ok()) << backward;
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  y.CopyTo(out.y), dx.CopyTo(out.dx), dc.CopyTo(out.dc);
  return out;
}

TEST_P(CudaActivation, OnAGpuMatchesTheReference) {
  if (const std::string why = WhyNoDevice(); !why.empty()) GTEST_SKIP() << "no CUDA device: " << why;
  for (int order = 1; order <= 4; ++order) {
    // 6144 floats twice are all shared memory that a block has; 20000 do not fit there for either type.
    ForProblems({.kind = GetParam(), .order = order}, {1, 7, 8, 64, 513, 1536, 6144, 8256, 20000}, [](const auto& p) {
      const auto out = OnDevice(p);
      ExpectRight(p, out);
      EXPECT_TRUE(SameBits(out, OnDevice(p))) << "again";
    });
  }
}

TEST(CudaLaunch, WithoutAGpuItSaysWhy) {
  const std::string why = WhyNoDevice();
  if (why.empty()) GTEST_SKIP() << "there is a GPU";
  const Activation a{.kind = ActivationKind::kPolyNorm};
  const DeviceRowGroups groups{.count = 1, .offsets = nullptr, .max_rows = 4};
  const absl::Status forward = ActivationForward<float>(a, groups, 8, nullptr, nullptr, 0, nullptr, nullptr);
  EXPECT_EQ(forward.code(), absl::StatusCode::kUnavailable) << forward;
  EXPECT_NE(forward.message().find(why), std::string::npos) << forward;
  EXPECT_FALSE(ActivationBackward<float>(a, groups, 8, nullptr, nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr).ok());
}

TEST(CudaLaunch, NothingToDoNeedsNoGpu) {
  const Activation a{.kind = ActivationKind::kPolyNorm};
  EXPECT_TRUE(ActivationForward<float>(a, {}, 8, nullptr, nullptr, 0, nullptr, nullptr).ok());
  EXPECT_TRUE(ActivationBackward<float>(a, {.count = 3}, 8, nullptr, nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr).ok());
  EXPECT_EQ(ActivationWorkspaceBytes(a, 0), 0u);
  EXPECT_EQ(ActivationWorkspaceBytes({.kind = ActivationKind::kGelu}, 100), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, CudaActivation,
                         testing::Values(ActivationKind::kRelu, ActivationKind::kRelu2, ActivationKind::kGelu,
                                         ActivationKind::kSwiglu, ActivationKind::kPolyRelu, ActivationKind::kPolyNorm,
                                         ActivationKind::kPolyPRelu, ActivationKind::kPolyReluNorm),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace polymoe::cuda
