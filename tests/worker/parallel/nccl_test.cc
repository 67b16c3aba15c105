// Groups over NCCL: refused without a GPU; with one, a world of one.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/fakes/temp_dir.h"
#include "worker/parallel/folder_key_value.h"
#include "worker/parallel/nccl_group.h"

namespace polymoe {
namespace {

bool HasGpu() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
}

TEST(NcclGroup, WithoutAGpuItSaysSo) {
  if (HasGpu()) GTEST_SKIP() << "there is a GPU";
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  const auto ranks = ConnectNccl({}, keys);
  EXPECT_EQ(ranks.status().code(), absl::StatusCode::kFailedPrecondition) << ranks.status();
}

TEST(NcclGroup, AWorldOfOne) {
  if (!HasGpu()) GTEST_SKIP() << "no GPU";
  const TempDir dir;
  FolderKeyValue keys(dir.path());
  auto ranks = ConnectNccl({}, keys);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  const std::vector<float> values = {1, 2, 3};
  std::vector<float> got(6);
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 6 * sizeof(float)), cudaSuccess);
  float* const device = static_cast<float*>(memory);
  ASSERT_EQ(cudaMemcpy(device, values.data(), 3 * sizeof(float), cudaMemcpyHostToDevice), cudaSuccess);
  for (Group* group : {ranks->world.get(), ranks->experts.get(), ranks->replicas.get()}) {
    EXPECT_EQ(group->size(), 1);
    EXPECT_TRUE(group->Barrier().ok());
    EXPECT_TRUE(group->AllReduceSum(absl::MakeSpan(device, 3)).ok());
    const std::vector<int64_t> cuts = {0, 3}, counts = {3};
    EXPECT_TRUE(group->StartReduceScatterSum(0, device, cuts).ok());
    EXPECT_TRUE(group->Finish(0).ok());
    EXPECT_TRUE(group->StartAllToAllV(1, sizeof(float), device, counts, device + 3, counts).ok());
    EXPECT_TRUE(group->Finish(1).ok());
    ASSERT_EQ(cudaMemcpy(got.data(), device, 6 * sizeof(float), cudaMemcpyDeviceToHost), cudaSuccess);
    EXPECT_EQ(got, (std::vector<float>{1, 2, 3, 1, 2, 3}));
  }
  ranks->world->Abort();
  EXPECT_EQ(ranks->experts->Barrier().code(), absl::StatusCode::kCancelled);
  cudaFree(device);
}

}  // namespace
}  // namespace polymoe
