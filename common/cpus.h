// Which CPUs programs run on.
#ifndef POLYMOE_COMMON_CPUS_H_
#define POLYMOE_COMMON_CPUS_H_

#include <cstddef>
#include <vector>

namespace polymoe {

// Numbers of the CPUs that the calling thread may run on, ascending: those of the machine, less what taskset or a container took away.
std::vector<int> UsableCpus();

// Cuts `cpus`, in order, into `parts` shares of `each`. Empty, which means no fixed CPUs, when there are too few of them, and also
// when one more share would fit: other programs like this one may be on the machine, and all would choose the same first CPUs while
// the rest idles.
std::vector<std::vector<int>> ShareCpus(const std::vector<int>& cpus, size_t parts, size_t each);

}  // namespace polymoe

#endif  // POLYMOE_COMMON_CPUS_H_
