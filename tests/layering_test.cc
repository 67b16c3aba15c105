// The include direction of docs/architecture.md: which folder may include which, of ours and of the heavy libraries. A line that points
// the wrong way fails here with its file and line.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace polymoe {
namespace {

using Prefixes = std::vector<std::string>;

// A folder, without the folders in it that have a row of their own -> what its #include lines may begin with, beside its own folder.
const std::map<std::string, Prefixes>& Rules() {
  static const auto& rules = *new std::map<std::string, Prefixes>{
      {"common", {"spdlog/"}},
      {"common/spec", {"common/", "polymoe/v1/", "yaml-cpp/"}},
      {"common/metrics", {"common/", "prometheus/"}},
      {"common/rpc", {"common/", "grpcpp/", "grpc/"}},
      {"bench", {"common/", "kernels/", "server/", "worker/model/", "worker/parallel/", "worker/train/", "polymoe/v1/"}},
      {"kernels", {"common/check.h", "hwy/"}},
      {"kernels/cuda", {"kernels/ops.h", "cuda_"}},
      {"server", {"common/", "server/", "grpcpp/"}},  // main.cc
      {"server/scheduler", {}},
      {"server/query", {"common/"}},
      {"server/store", {"common/", "server/query/", "soci/"}},
      {"server/state", {"common/", "server/scheduler/", "server/store/", "polymoe/v1/"}},
      {"server/curves", {"common/", "server/query/", "server/store/", "polymoe/v1/"}},
      {"server/metrics",
       {"common/", "server/curves/", "server/query/", "server/state/", "server/store/", "prometheus/", "polymoe/v1/"}},
      {"server/coordinator",
       {"common/", "server/curves/", "server/metrics/", "server/query/", "server/state/", "server/store/", "polymoe/v1/"}},
      {"server/services", {"common/", "server/", "grpcpp/", "polymoe/v1/"}},
      {"worker/model", {"common/", "kernels/"}},
      {"worker/parallel", {"common/", "cuda_", "gloo/", "grpcpp/", "nccl", "polymoe/v1/"}},
      {"worker/data", {"common/"}},
      {"worker/checkpoint", {"common/"}},
      {"worker/train",
       {"common/", "Eigen/", "kernels/", "worker/checkpoint/", "worker/data/", "worker/model/", "worker/parallel/", "polymoe/v1/"}},
      {"worker/daemon", {"common/", "grpcpp/", "prometheus/", "polymoe/v1/"}},
      {"polyctl", {"common/", "grpcpp/", "polymoe/v1/", "yaml-cpp/"}},
      {"polyctl/render", {"common/", "polymoe/v1/"}},
  };
  return rules;
}

// What a row must allow to be included; everything else (the standard, absl, JSON, CLI11, codecs) is free.
const Prefixes kGuarded = {"common/", "kernels/",    "polyctl/", "polymoe/v1/", "proto/",   "server/", "worker/",
                           "tests/",  "cuda_",       "Eigen/",   "gloo/",       "grpc/",    "grpcpp/", "hwy/",
                           "nccl",    "prometheus/", "soci/",    "spdlog/",     "yaml-cpp/"};

bool StartsWithAny(const std::string& text, const Prefixes& prefixes) {
  for (const std::string& prefix : prefixes) {
    if (absl::StartsWith(text, prefix)) return true;
  }
  return false;
}

// The row of the nearest folder that has one; empty when there is none.
std::string RuleOf(std::string folder) {
  while (!folder.empty() && !Rules().contains(folder)) folder = std::filesystem::path(folder).parent_path();
  return folder;
}

std::string Included(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "#include ") || line.size() < 3) return "";
  return std::string(line.substr(1, line.find_first_of("\">", 1) - 1));
}

TEST(Layering, IncludesPointTheRightWay) {
  const std::filesystem::path root = POLYMOE_SOURCE_DIR;
  int files = 0;
  for (const char* top : {"bench", "common", "kernels", "polyctl", "server", "worker"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension();
      if (extension != ".cc" && extension != ".cu" && extension != ".h") continue;
      ++files;
      const std::string file = entry.path().lexically_relative(root), rule = RuleOf(std::filesystem::path(file).parent_path());
      ASSERT_NE(rule, "") << file << " is in a folder that has no row here";
      std::ifstream lines(entry.path());
      int number = 0;
      for (std::string line; std::getline(lines, line);) {
        ++number;
        const std::string included = Included(line);
        if (!StartsWithAny(included, kGuarded) || absl::StartsWith(included, rule + "/")) continue;
        EXPECT_TRUE(StartsWithAny(included, Rules().at(rule)))
            << file << ":" << number << ": " << rule << " must not include " << included;
      }
    }
  }
  EXPECT_GT(files, 100) << "nothing was read below " << root;
}

}  // namespace
}  // namespace polymoe
