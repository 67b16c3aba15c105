#include "worker/train/validation.h"

#include <algorithm>

#include "common/status.h"
#include "worker/data/loader.h"

namespace polymoe {

absl::StatusOr<double> ValidationLoss(const Windows& windows, Model& model, const float* parameters, Group& world,
                                      const BatchBuffers& buffers, const std::function<void()>& alive, LayerObserver* observer) {
  const uint64_t micro = buffers.sequences, length = buffers.length, stride = micro * world.size();
  double sum = 0;
  // The last round may leave ranks without a window: they compute for the others' tokens all the same.
  for (uint64_t round = 0; round < windows.count; round += stride) {
    const uint64_t first = round + micro * world.rank();
    const uint64_t count = first < windows.count ? std::min(micro, windows.count - first) : 0;
    for (uint64_t i = 0; i < count; ++i) {
      ReadWindow(windows.dataset, (first + i) * windows.stride, buffers.length, buffers.tokens.data() + i * length,
                 buffers.targets.data() + i * length);
    }
    sum += model.Evaluate(parameters, buffers.tokens.data(), buffers.targets.data(), static_cast<int>(count), nullptr, observer)
               .cross_entropy;
    alive();
  }
  POLYMOE_RETURN_IF_ERROR(world.AllReduceSum(absl::MakeSpan(&sum, 1)));
  return sum / static_cast<double>(windows.count * length);
}

}  // namespace polymoe
