// What this machine can do at most, measured: the lines that a profile and the benchmarks draw their results against.
#ifndef POLYMOE_KERNELS_CPU_ROOF_H_
#define POLYMOE_KERNELS_CPU_ROOF_H_

namespace polymoe {

struct Roof {
  double bf16_flops = 0;  // FLOP/s of products on packed operands in L2, all OpenMP threads; 0 where CpuHasBf16() is not
  double fp32_flops = 0;
  double bytes = 0;  // bytes/s read and written by y += x over arrays far larger than the caches
};

// Takes about half a second.
Roof MeasureRoof();

}  // namespace polymoe

#endif  // POLYMOE_KERNELS_CPU_ROOF_H_
