#include "bench/kernel_cases.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

namespace polymoe {
namespace {

template <class T>
using Tensor = std::shared_ptr<std::vector<T>>;  // lives as long as the cases that use it

template <class T>
Tensor<T> Zeros(int64_t n) {
  return std::make_shared<std::vector<T>>(n);
}

template <class T>
std::function<std::vector<float>()> ResultOf(Tensor<T> tensor) {
  return [tensor] { return std::vector<float>(tensor->begin(), tensor->end()); };
}

template <class E>
class Cases {
 public:
  explicit Cases(const BenchShape& shape) : s_(shape) {
    Route();
    Products();
    Attention();
    Experts();
    Rows();
    Head();
  }

  std::vector<KernelCase<E>> Take() { return std::move(cases_); }

 private:
  template <class T>
  Tensor<T> Random(int64_t n, double scale = 1) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    Tensor<T> tensor = Zeros<T>(n);
    for (T& value : *tensor) value = static_cast<T>(scale * uniform(generator_));
    return tensor;
  }

  template <class F, class T>
  void Add(std::string name, Tensor<T> result, F run) {
    cases_.push_back({std::move(name), std::move(run), ResultOf(std::move(result))});
  }

  void Route() {
    const int n = s_.tokens(), e = s_.experts, k = s_.top_k;
    const auto logits = Random<float>(int64_t{n} * e, 2), probs = Zeros<float>(int64_t{n} * e), lse = Zeros<float>(n);
    const auto counts = Zeros<int32_t>(e);
    const auto sums = Zeros<double>(e + 2);
    experts_ = Zeros<int32_t>(s_.rows()), weights_ = Zeros<float>(s_.rows());
    offsets_ = Zeros<int32_t>(e + 1), source_ = Zeros<int32_t>(s_.rows()), tokens_ = Zeros<int32_t>(s_.rows());
    inverse_ = Zeros<int32_t>(s_.rows());
    const auto forward = [=, experts = experts_, weights = weights_](const Ops<E>& ops) {
      ops.router_forward(n, e, k, logits->data(), probs->data(), experts->data(), weights->data(), lse->data(), counts->data(),
                         sums->data());
    };
    const auto plan = [n, e, k, experts = experts_, offsets = offsets_, source = source_, tokens = tokens_,
                       inverse = inverse_](const Ops<E>& ops) {
      ops.dispatch_plan(n, 0, e, k, experts->data(), offsets->data(), source->data(), tokens->data(), inverse->data());
    };
    forward(RefOps<E>());
    plan(RefOps<E>());
    Add("router", probs, forward);
    Add("dispatch plan", inverse_, plan);
    const auto dlogits = Zeros<E>(int64_t{n} * e);
    const auto dweights = Random<float>(s_.rows());
    Add("router backward", dlogits, [=, experts = experts_](const Ops<E>& ops) {
      ops.router_backward(n, e, k, probs->data(), experts->data(), lse->data(), counts->data(), dweights->data(), 1e-3f, 1e-3f,
                          dlogits->data());
    });
  }

  // x [M,k] -> y [M,n] and back; M is N for one group, N * K for experts.
  void Product(const std::string& name, const Tensor<int32_t>& offsets, int n, int k, const Tensor<int32_t>& gather) {
    const RowGroups groups{static_cast<int>(offsets->size()) - 1, offsets->data()};
    const int64_t m = groups.rows(), x_rows = gather == nullptr ? m : s_.tokens(), weights = int64_t{groups.count} * n * k;
    const auto x = Random<E>(x_rows * k), w = Random<E>(weights, 1 / std::sqrt(k)), y = Zeros<E>(m * n), dy = Random<E>(m * n),
               dx = Zeros<E>(m * k);
    const auto dw = Zeros<float>(weights);
    const int32_t* rows = gather == nullptr ? nullptr : gather->data();
    const auto keep = std::pair(offsets, gather);  // what `groups` and `rows` point into
    Add(name, y, [=, keep = keep](const Ops<E>& ops) { ops.linear(groups, n, k, x->data(), rows, w->data(), y->data()); });
    Add(name + " input gradient", dx, [=, keep = keep](const Ops<E>& ops) {
      ops.linear_backward_input(groups, n, k, dy->data(), nullptr, w->data(), dx->data());
    });
    Add(name + " weight gradient", dw, [=, keep = keep](const Ops<E>& ops) {
      ops.linear_backward_weight(groups, n, k, dy->data(), nullptr, x->data(), rows, /*accumulate=*/false, dw->data());
    });
  }

  void Products() {
    all_ = std::make_shared<std::vector<int32_t>>(std::vector<int32_t>{0, s_.tokens()});
    Product("qkv", all_, 3 * s_.hidden, s_.hidden, nullptr);
    Product("o", all_, s_.hidden, s_.hidden, nullptr);
    Product("experts up", offsets_, s_.ffn, s_.hidden, tokens_);
    Product("experts down", offsets_, s_.hidden, s_.ffn, nullptr);
  }

  void Attention() {
    const AttentionShape shape{s_.sequences, s_.length, s_.hidden / 64, 64};
    const int64_t nd = int64_t{s_.tokens()} * s_.hidden;
    const auto qkv = Random<E>(3 * nd), qk = Random<E>(2 * nd), y = Zeros<E>(nd), dy = Random<E>(nd), dqkv = Zeros<E>(3 * nd);
    const auto lse = Zeros<float>(int64_t{s_.tokens()} * shape.heads), rstd = Zeros<float>(int64_t{2} * s_.tokens());
    const auto rope = Zeros<float>(int64_t{s_.length} * 64), w = Random<float>(s_.hidden),
               dw = Zeros<float>(int64_t{2} * s_.hidden);
    RopeTable(s_.length, 64, 10000, rope->data());
    const auto rotated = Zeros<E>(2 * nd);
    Add("qk norm and rope", rotated, [=](const Ops<E>& ops) {
      ops.qk_forward(shape, 1e-5f, rope->data(), qkv->data(), w->data(), w->data(), rotated->data(), rstd->data());
    });
    const int64_t d = s_.hidden;
    Add("qk norm and rope backward", dw, [=](const Ops<E>& ops) {
      std::fill(dw->begin(), dw->end(), 0.0f);
      ops.qk_backward(shape, rope->data(), qkv->data(), w->data(), w->data(), rstd->data(), dqkv->data(), dw->data(),
                      dw->data() + d);
    });
    const auto forward = [=](const Ops<E>& ops) { ops.attention_forward(shape, qk->data(), qkv->data(), y->data(), lse->data()); };
    Add("attention", y, forward);
    Add("attention backward", dqkv, [=](const Ops<E>& ops) {
      ops.attention_backward(shape, qk->data(), qkv->data(), y->data(), lse->data(), dy->data(), dqkv->data());
    });
  }

  void Experts() {
    const int64_t mf = int64_t{s_.rows()} * s_.ffn, md = int64_t{s_.rows()} * s_.hidden, nd = int64_t{s_.tokens()} * s_.hidden;
    const RowGroups groups{s_.experts, offsets_->data()};
    const RowWeights weights{weights_->data(), source_->data()};
    const auto up = Random<E>(mf), act = Zeros<E>(mf), dact = Random<E>(mf), dup = Zeros<E>(mf);
    const auto c = std::make_shared<std::vector<float>>(std::vector<float>{0.3f, 0.4f, 0.3f, 0.1f, 0});
    const auto dc = Zeros<float>(5), dweights = Zeros<float>(s_.rows());
    const int f = s_.ffn;
    const std::pair<const char*, ActivationKind> kinds[] = {
        {"relu", ActivationKind::kRelu}, {"polyrelu", ActivationKind::kPolyRelu}, {"polynorm", ActivationKind::kPolyNorm}};
    for (const auto& [name, kind] : kinds) {
      const Activation activation{.kind = kind};
      // The tensors of routing must outlive the pointers in `groups` and `weights`.
      Add(name, act, [=, keep = std::pair(offsets_, weights_), source = source_](const Ops<E>& ops) {
        ops.activation_forward(activation, groups, f, up->data(), c->data(), 0, weights, act->data());
      });
      Add(std::string(name) + " backward", dup, [=, keep = std::pair(offsets_, weights_), source = source_](const Ops<E>& ops) {
        ops.activation_backward(activation, groups, f, up->data(), c->data(), 0, weights, dact->data(), dup->data(),
                                dweights->data(), dc->data());
      });
    }
    const auto rows = Random<E>(md);
    const auto residual = Random<float>(nd), y = Zeros<float>(nd);
    Add("combine", y, [=, s = s_, inverse = inverse_](const Ops<E>& ops) {
      ops.combine(s.tokens(), s.hidden, s.top_k, inverse->data(), rows->data(), residual->data(), y->data());
    });
  }

  void Rows() {
    const int n = s_.tokens(), d = s_.hidden;
    const int64_t nd = int64_t{n} * d;
    const auto x = Random<float>(nd), w = Random<float>(d), rstd = Zeros<float>(n), dy = Random<float>(nd), dx = Zeros<float>(nd),
               dw = Zeros<float>(d);
    const auto y = Zeros<E>(nd), rounded = Zeros<E>(nd);
    const auto forward = [=](const Ops<E>& ops) {
      ops.rmsnorm_forward(n, d, 1e-5f, x->data(), w->data(), y->data(), rstd->data());
    };
    forward(RefOps<E>());
    Add("rmsnorm", y, forward);
    Add("rmsnorm backward", dx, [=](const Ops<E>& ops) {
      ops.rmsnorm_backward(n, d, x->data(), w->data(), rstd->data(), dy->data(), dx->data(), false, rounded->data(), dw->data());
    });
    const int64_t parameters = int64_t{2} * s_.experts * s_.hidden * s_.ffn;  // of a layer's experts
    const auto p = Random<float>(parameters), m = Zeros<float>(parameters), v = Zeros<float>(parameters),
               g = Random<float>(parameters);
    const auto copy = Zeros<BF16>(parameters);
    const AdamWParams params{1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1, 0.1f, 0.05f};
    Add("adamw", p,
        [=](const Ops<E>& ops) { ops.adamw(parameters, params, g->data(), p->data(), m->data(), v->data(), copy->data()); });
  }

  void Head() {
    const int n = std::min(256, s_.tokens()), v = s_.vocab;
    const auto logits = Random<float>(int64_t{n} * v, 3), losses = Zeros<float>(n);
    const auto dlogits = Zeros<E>(int64_t{n} * v);
    const auto targets = Zeros<int32_t>(n);
    Add("cross entropy", dlogits,
        [=](const Ops<E>& ops) { ops.cross_entropy(n, v, logits->data(), targets->data(), 1, losses->data(), dlogits->data()); });
    const auto chunk = std::make_shared<std::vector<int32_t>>(std::vector<int32_t>{0, n});
    Product("head", chunk, v, s_.hidden, nullptr);
  }

  const BenchShape s_;
  std::mt19937 generator_{1};
  std::vector<KernelCase<E>> cases_;
  Tensor<int32_t> experts_, offsets_, source_, tokens_, inverse_, all_;
  Tensor<float> weights_;
};

}  // namespace

template <class E>
std::vector<KernelCase<E>> KernelCases(const BenchShape& shape) {
  return Cases<E>(shape).Take();
}

template std::vector<KernelCase<float>> KernelCases(const BenchShape&);
template std::vector<KernelCase<BF16>> KernelCases(const BenchShape&);

}  // namespace polymoe
