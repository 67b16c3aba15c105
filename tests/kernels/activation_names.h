// Names of the activations for the names of parameterised tests.
#ifndef POLYMOE_TESTS_KERNELS_ACTIVATION_NAMES_H_
#define POLYMOE_TESTS_KERNELS_ACTIVATION_NAMES_H_

#include <ostream>

#include "kernels/ops.h"

namespace polymoe {

inline const char* Name(ActivationKind kind) {
  constexpr const char* kNames[] = {"Relu", "Relu2", "Gelu", "Swiglu", "PolyRelu", "PolyNorm", "PolyPRelu", "PolyReluNorm"};
  return kNames[static_cast<int>(kind)];
}

inline void PrintTo(ActivationKind kind, std::ostream* os) {
  *os << Name(kind);
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_ACTIVATION_NAMES_H_
