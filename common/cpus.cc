#include "common/cpus.h"

#include <sched.h>

#include <cerrno>

namespace polymoe {

std::vector<int> UsableCpus() {
  std::vector<cpu_set_t> sets(1);  // one behind the other: a longer mask
  const auto bytes = [&sets] { return sets.size() * sizeof(cpu_set_t); };
  while (sched_getaffinity(0, bytes(), sets.data()) != 0) {
    if (errno != EINVAL) return {};  // forbidden to us: nothing is known
    sets.resize(2 * sets.size());    // the kernel refuses a mask that is shorter than its own
  }
  std::vector<int> cpus;
  for (size_t cpu = 0; cpu < 8 * bytes(); ++cpu) {
    if (CPU_ISSET_S(cpu, bytes(), sets.data())) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

std::vector<std::vector<int>> ShareCpus(const std::vector<int>& cpus, size_t parts, size_t each) {
  if (each == 0 || cpus.size() / each != parts) return {};
  std::vector<std::vector<int>> shares;
  for (size_t i = 0; i < parts; ++i) shares.emplace_back(cpus.begin() + i * each, cpus.begin() + (i + 1) * each);
  return shares;
}

}  // namespace polymoe
