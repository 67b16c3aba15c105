// PolyNorm and PolyReLU computed with 60 digits from the definitions in arXiv 2411.03884 and the released code: weights in the order cube,
// square, linear, epsilon 1e-6 inside the root.
#ifndef POLYMOE_TESTS_KERNELS_POLYCOM_VECTORS_H_
#define POLYMOE_TESTS_KERNELS_POLYCOM_VECTORS_H_

#include <vector>

#include "kernels/ops.h"

namespace polymoe {

struct PolyComVector {
  const char* name;
  ActivationKind kind;
  std::vector<double> x, c, dy, y, dx, dc;  // c and dc: w3, w2, w1, bias
};

inline const std::vector<PolyComVector>& PolyComVectors() {
  constexpr double kThird = 1.0 / 3;
  static const std::vector<PolyComVector> vectors = {
      {"PN1Defaults",
       ActivationKind::kPolyNorm,
       {1, -2, 3, -4},
       {kThird, kThird, kThird, 0},
       {0.5, -1, 2, 0.25},
       {0.16668259173194983, -0.17796883884186745, 0.94145039760760652, -0.53008425524065839},
       {0.076186868948441705, 0.0048017066104190497, 0.92607021354250962, 0.71119848968434696},
       {1.3299291917222205, 1.9665278016647889, 2.7386126049516628, 1.75}},
      {"PN2NonUniform",
       ActivationKind::kPolyNorm,
       {0.5, -0.25, 0.125, 1, -1.5, 0.75, 0, 2},
       {0.3, -0.2, 0.7, 0.1},
       {1, -1, 0.5, 0.25, -0.5, 2, -2, 0.125},
       {0.4292333473175633, -0.082459417804032417, 0.18506463513165775, 0.77148649634719646, -1.5367866648731343,
        0.59418741266091579, 0.10000000000000001, 1.785934372819818},
       {0.4961998104415643, -0.69603169844388302, 0.2963706327087321, -0.12201685401127314, -0.31859298286433974,
        1.1298425957504521, -1.3878545102718285, -0.83120312893533199},
       {1.2678750977151623, 0.56435857300571823, 3.5315940663167065, 0.375}},
      {"PN3ConstantRow",
       ActivationKind::kPolyNorm,
       {2, 2, 2, 2},
       {kThird, kThird, kThird, 0},
       {1, 1, 1, 1},
       {0.99999994531250835, 0.99999994531250835, 0.99999994531250835, 0.99999994531250835},
       {7.0312482238774567e-08, 7.0312482238774567e-08, 7.0312482238774567e-08, 7.0312482238774567e-08},
       {3.9999999687500005, 3.9999998750000056, 3.9999995000000936, 4}},
      {"PN4ZeroRow",
       ActivationKind::kPolyNorm,
       {0, 0, 0, 0},
       {kThird, kThird, kThird, 0.25},
       {1, -1, 0.5, 2},
       {0.25, 0.25, 0.25, 0.25},
       {333.33333333333331, -333.33333333333331, 166.66666666666666, 666.66666666666663},
       {0, 0, 0, 2.5}},
      {"PN5EpsilonDominatedCube",
       ActivationKind::kPolyNorm,
       {0.05, -0.02, 0.03, -0.04},
       {kThird, kThird, kThird, 0},
       {1, 1, -1, 0.5},
       {0.94397858232205278, -0.11220004766120728, 0.44267352856750908, -0.096686568875966689},
       {22.072293586341612, 2.1968155226598785, -21.705970968076937, 1.478600063938277},
       {0.057851843123979653, 1.5085628836330229, -0.54412956179094318, 1.5}},
      {"PN6Outlier",
       ActivationKind::kPolyNorm,
       {100, 0.5, -0.5, 1},
       {kThird, kThird, kThird, 0},
       {1, 1, 1, 1},
       {1.9999500017406366, 0.003349833360694551, -0.0033165000275487185, 0.0067335000545349346},
       {-6.767174167613641e-05, 0.0066996726278225911, 0.0066336608153306142, 0.0067341685306937455},
       {2.0000019999989687, 2.0002999887482726, 2.0198485166377105, 4}},
      {"PN7OneElement",
       ActivationKind::kPolyNorm,
       {3},
       {kThird, kThird, kThird, 0},
       {1},
       {0.99999997919524619},
       {1.554640849878002e-08},
       {0.99999999931412897, 0.99999999382716054, 0.99999994444444906, 1}},
      {"PR1Defaults",
       ActivationKind::kPolyRelu,
       {1, -2, 3, -4},
       {kThird, kThird, kThird, 0},
       {0.5, -1, 2, 0.25},
       {1, 0, 13, 0},
       {1, 0, 22.666666666666668, 0},
       {54.5, 18.5, 6.5, 1.75}},
      {"PR2NonUniform",
       ActivationKind::kPolyRelu,
       {0.5, -0.25, 0, 2},
       {0.3, -0.2, 0.7, 0.1},
       {1, -1, 3, 0.125},
       {0.4375, 0.1, 0.1, 3.1},
       {0.72499999999999998, 0, 0, 0.4375},
       {1.125, 0.75, 0.75, 3.125}},
  };
  return vectors;
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_KERNELS_POLYCOM_VECTORS_H_
