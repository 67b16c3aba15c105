#include "kernels/profile.h"

#include <algorithm>

#include "common/check.h"

namespace polymoe {
namespace {

OpProfile* current = nullptr;

// A function of the table that calls the same one of `base` and reports kCost(arguments).
template <class E, auto kOp, auto kCost>
struct Timed;

template <class E, class Result, class... Args, Result (*Ops<E>::*kOp)(Args...), auto kCost>
struct Timed<E, kOp, kCost> {
  static inline Result (*base)(Args...) = nullptr;

  static Result Call(Args... args) {
    struct Note {
      OpCost cost;
      OpProfile::Clock::time_point start = OpProfile::Clock::now();
      ~Note() { current->Add(cost, start, OpProfile::Clock::now()); }
    } note{kCost(args...)};
    return base(args...);
  }
};

template <auto kOp, auto kCost, class E>
void Replace(const Ops<E>& base, Ops<E>& wrapped) {
  Timed<E, kOp, kCost>::base = base.*kOp;
  wrapped.*kOp = Timed<E, kOp, kCost>::Call;
}

template <class E>
double Product(double rows, double n, double k, double weights, double result_bytes) {
  return sizeof(E) * (rows * k + weights * n * k) + result_bytes * rows * n;
}

// The products: rows x columns x depth.
template <class E>
void WrapLinear(const Ops<E>& base, Ops<E>& ops) {
  constexpr double kE = sizeof(E);
  Replace<&Ops<E>::linear, [](RowGroups g, int n, int k, auto...) {
    return OpCost{"linear", {g.rows(), n, k}, 2.0 * g.rows() * n * k, Product<E>(g.rows(), n, k, g.count, kE)};
  }>(base, ops);
  Replace<&Ops<E>::linear_fp32, [](RowGroups g, int n, int k, const E*, const E*, const float* residual, float*) {
    return OpCost{
        "linear_fp32", {g.rows(), n, k}, 2.0 * g.rows() * n * k, Product<E>(g.rows(), n, k, g.count, residual == nullptr ? 4 : 8)};
  }>(base, ops);
  Replace<&Ops<E>::linear_backward_input, [](RowGroups g, int n, int k, auto...) {
    return OpCost{"linear_backward_input", {g.rows(), k, n}, 2.0 * g.rows() * n * k, Product<E>(g.rows(), k, n, g.count, kE)};
  }>(base, ops);
  Replace<&Ops<E>::linear_backward_input_fp32, [](RowGroups g, int n, int k, const E*, const E*, bool accumulate, float*) {
    return OpCost{"linear_backward_input_fp32",
                  {g.rows(), k, n},
                  2.0 * g.rows() * n * k,
                  Product<E>(g.rows(), k, n, g.count, accumulate ? 8 : 4)};
  }>(base, ops);
  Replace<&Ops<E>::linear_backward_weight,
          [](RowGroups g, int n, int k, const E*, const int32_t*, const E*, const int32_t*, bool accumulate, float*) {
            return OpCost{"linear_backward_weight",
                          {n, k, g.rows()},
                          2.0 * g.rows() * n * k,
                          kE * g.rows() * (double{1} * n + k) + (accumulate ? 8.0 : 4.0) * g.count * n * k};
          }>(base, ops);
}

template <class E>
void WrapAttention(const Ops<E>& base, Ops<E>& ops) {
  constexpr double kE = sizeof(E);
  Replace<&Ops<E>::qk_forward, [](const AttentionShape& s, auto...) {
    return OpCost{"qk_forward", {s.tokens(), s.width(), 0}, 0, 4 * kE * s.tokens() * s.width()};
  }>(base, ops);
  Replace<&Ops<E>::qk_backward, [](const AttentionShape& s, auto...) {
    return OpCost{"qk_backward", {s.tokens(), s.width(), 0}, 0, 6 * kE * s.tokens() * s.width()};
  }>(base, ops);
  // Two products forward and five backward over half of all pairs of positions.
  Replace<&Ops<E>::attention_forward, [](const AttentionShape& s, auto...) {
    return OpCost{"attention_forward",
                  {s.tokens(), s.length, s.width()},
                  2.0 * s.tokens() * (s.length + 1) * s.width(),
                  4 * kE * s.tokens() * s.width()};
  }>(base, ops);
  Replace<&Ops<E>::attention_backward, [](const AttentionShape& s, auto...) {
    return OpCost{"attention_backward",
                  {s.tokens(), s.length, s.width()},
                  5.0 * s.tokens() * (s.length + 1) * s.width(),
                  8 * kE * s.tokens() * s.width()};
  }>(base, ops);
}

template <class E>
void WrapRouting(const Ops<E>& base, Ops<E>& ops) {
  constexpr double kE = sizeof(E);
  Replace<&Ops<E>::router_forward, [](int n, int e, int k, auto...) {
    return OpCost{"router_forward", {n, e, k}, 0, 8.0 * n * (e + k)};
  }>(base, ops);
  Replace<&Ops<E>::router_backward, [](int n, int e, int k, auto...) {
    return OpCost{"router_backward", {n, e, k}, 0, n * ((4.0 + kE) * e + 8.0 * k)};
  }>(base, ops);
  Replace<&Ops<E>::dispatch_plan, [](int n, int, int e, int k, auto...) {
    return OpCost{"dispatch_plan", {n, e, k}, 0, 16.0 * n * k};
  }>(base, ops);
  Replace<&Ops<E>::gather, [](int n, int d, auto...) { return OpCost{"gather", {n, d, 0}, 0, 2 * kE * n * d}; }>(base, ops);
  Replace<&Ops<E>::combine_rows, [](int n, int d, int k, auto...) {
    return OpCost{"combine_rows", {n, d, k}, 0, kE * n * d * (k + 1.0)};
  }>(base, ops);
  Replace<&Ops<E>::combine, [](int n, int d, int k, const int32_t*, const E*, const float* residual, float*) {
    return OpCost{"combine", {n, d, k}, 0, double{1} * n * d * (kE * k + (residual == nullptr ? 4 : 8))};
  }>(base, ops);
}

template <class E>
void WrapRows(const Ops<E>& base, Ops<E>& ops) {
  constexpr double kE = sizeof(E);
  Replace<&Ops<E>::embedding_forward, [](int n, int d, auto...) {
    return OpCost{"embedding_forward", {n, d, 0}, 0, 8.0 * n * d};
  }>(base, ops);
  Replace<&Ops<E>::embedding_backward, [](int n, int d, auto...) {
    return OpCost{"embedding_backward", {n, d, 0}, 0, 12.0 * n * d};
  }>(base, ops);
  Replace<&Ops<E>::rmsnorm_forward, [](int rows, int d, auto...) {
    return OpCost{"rmsnorm_forward", {rows, d, 0}, 0, (4 + kE) * rows * d};
  }>(base, ops);
  Replace<&Ops<E>::rmsnorm_backward, [](int rows, int d, const float*, const float*, const float*, const float*, float*,
                                        bool accumulate, E* rounded, float*) {
    return OpCost{"rmsnorm_backward", {rows, d, 0}, 0, (8.0 + (accumulate ? 8 : 4) + (rounded == nullptr ? 0 : kE)) * rows * d};
  }>(base, ops);
  Replace<&Ops<E>::activation_forward, [](const Activation& a, RowGroups g, int f, auto...) {
    return OpCost{"activation_forward", {g.rows(), f, 0}, 0, (a.gated() ? 3 : 2) * kE * g.rows() * f};
  }>(base, ops);
  Replace<&Ops<E>::activation_backward, [](const Activation& a, RowGroups g, int f, auto...) {
    return OpCost{"activation_backward", {g.rows(), f, 0}, 0, (a.gated() ? 5 : 3) * kE * g.rows() * f};
  }>(base, ops);
  Replace<&Ops<E>::cross_entropy, [](int n, int v, const float*, const int32_t*, float, float*, E* dlogits) {
    return OpCost{"cross_entropy", {n, v, 0}, 0, (4 + (dlogits == nullptr ? 0 : kE)) * n * v};
  }>(base, ops);
}

template <class E>
void WrapVectors(const Ops<E>& base, Ops<E>& ops) {
  Replace<&Ops<E>::round, [](int64_t n, auto...) {
    return OpCost{"round", {n, 0, 0}, 0, 6.0 * static_cast<double>(n)};
  }>(base, ops);
  Replace<&Ops<E>::sum_squares, [](int64_t n, auto...) {
    return OpCost{"sum_squares", {n, 0, 0}, 0, 4.0 * static_cast<double>(n)};
  }>(base, ops);
  Replace<&Ops<E>::adamw, [](int64_t n, const AdamWParams&, const float*, float*, float*, float*, BF16* rounded) {
    return OpCost{"adamw", {n, 0, 0}, 0, (rounded == nullptr ? 28.0 : 30.0) * static_cast<double>(n)};
  }>(base, ops);
}

}  // namespace

OpProfile::OpProfile(size_t max_events) : max_events_(max_events) {
  POLYMOE_CHECK(current == nullptr, "a second profile beside the first");
  current = this;
  events_.reserve(max_events);
}

OpProfile::~OpProfile() {
  current = nullptr;
}

template <class E>
const Ops<E>& OpProfile::Wrap(const Ops<E>& base) {
  static Ops<E> wrapped;
  wrapped = base;
  WrapLinear(base, wrapped);
  WrapAttention(base, wrapped);
  WrapRouting(base, wrapped);
  WrapRows(base, wrapped);
  WrapVectors(base, wrapped);
  return wrapped;
}

template const Ops<float>& OpProfile::Wrap(const Ops<float>&);
template const Ops<BF16>& OpProfile::Wrap(const Ops<BF16>&);

void OpProfile::Clear() {
  rows_.clear();
  events_.clear();
}

void OpProfile::Add(const OpCost& cost, Clock::time_point start, Clock::time_point end) {
  if (!recording_) return;
  auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) {
    return r.cost.op == cost.op && r.cost.sizes == cost.sizes && r.cost.bytes == cost.bytes;
  });
  if (row == rows_.end()) row = rows_.insert(row, {.cost = cost});
  const double seconds = std::chrono::duration<double>(end - start).count();
  ++row->calls;
  row->seconds += seconds;
  if (events_.size() < max_events_) events_.push_back({static_cast<int32_t>(row - rows_.begin()), start, seconds});
}

}  // namespace polymoe
