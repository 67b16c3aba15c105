// group_bench: the collectives over Gloo between processes of this machine, beside plain TCP between two of them.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"
#include "worker/parallel/folder_key_value.h"
#include "worker/parallel/gloo_transport.h"
#include "worker/parallel/layout.h"

namespace polymoe {
namespace {

constexpr char kFooter[] =
    R"(Each operation is verified, then timed: median, and the fastest and slowest of all repeats. "TCP" is the same number of bytes
sent and received at the same time through one socket by two processes, and nothing else; the share says how near to it we are.

Examples:
  group_bench                        two processes, 4 KiB to 64 MiB
  group_bench --ranks 4 --repeats 50)";

struct Flags {
  int ranks = 2, repeats = 21;
  int64_t least = 4 << 10, most = 64 << 20;
};

// Both ends of a TCP connection over loopback.
std::pair<int, int> ConnectTcp() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  POLYMOE_CHECK(bind(listener, raw, length) == 0 && listen(listener, 1) == 0 && getsockname(listener, raw, &length) == 0);
  POLYMOE_CHECK(connect(client, raw, length) == 0);
  const int server = accept(listener, nullptr, nullptr);
  close(listener);
  const int on = 1;
  for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return {client, server};
}

// Sends and receives `bytes` at the same time.
void ExchangeTcp(int fd, const char* send_from, char* receive_to, int64_t bytes) {
  int64_t sent = 0, received = 0;
  while (sent < bytes || received < bytes) {
    const short events = static_cast<short>((sent < bytes ? POLLOUT : 0) | (received < bytes ? POLLIN : 0));
    pollfd ready = {.fd = fd, .events = events};
    POLYMOE_CHECK(poll(&ready, 1, -1) == 1);
    if ((ready.revents & POLLOUT) != 0) {
      sent += std::max<ssize_t>(0, send(fd, send_from + sent, static_cast<size_t>(bytes - sent), MSG_DONTWAIT | MSG_NOSIGNAL));
    }
    if ((ready.revents & POLLIN) != 0) {
      received += std::max<ssize_t>(0, recv(fd, receive_to + received, static_cast<size_t>(bytes - received), MSG_DONTWAIT));
    }
  }
}

void Check(const absl::Status& status) {
  POLYMOE_CHECK(status.ok(), "%s", status.ToString().c_str());
}

// What one rank does, the same on all; rank 0 prints.
class Rank {
 public:
  Rank(const Flags& flags, Group& group, int tcp) : flags_(flags), group_(group), tcp_(tcp), counts_(group.size()) {
    const size_t room = static_cast<size_t>(flags.most * group.size());
    send_.resize(room);
    receive_.resize(room);
    floats_.resize(static_cast<size_t>(flags.most) / sizeof(float));
  }

  void Run() {
    if (group_.rank() == 0) {
      std::printf("%d processes, %d repeats; memcpy %.1f GB/s\n", group_.size(), flags_.repeats, MemcpyRate() / 1e9);
      std::printf("%-28s %9s  %9s %9s ..%9s  %9s  %s\n", "operation", "bytes", "median us", "min", "max", "MB/s", "of TCP");
    }
    Time(
        "barrier", 0, [&] { Check(group_.Barrier()); }, 0);
    Time(
        "all-reduce of 8 bytes", 8, [&] { Check(group_.AllReduceSum(absl::MakeSpan(&number_, 1))); }, 0);
    for (int64_t bytes = flags_.least; bytes <= flags_.most; bytes *= 4) {
      // Both move this many bytes from and to each rank.
      const int64_t moved = bytes * (group_.size() - 1) / group_.size() * 2;
      Verify(bytes);
      const double tcp = Time(
          "TCP", moved,
          [&] {
            if (group_.rank() < 2) ExchangeTcp(tcp_, send_.data(), receive_.data(), moved);
          },
          0);
      Time(
          "all-to-all", moved, [&] { AllToAll(moved / (group_.size() - 1)); }, tcp);
      Time(
          "reduce-scatter, all-gather", moved, [&] { ReduceScatterAllGather(bytes); }, tcp);
    }
  }

 private:
  void AllToAll(int64_t bytes) {
    std::fill(counts_.begin(), counts_.end(), bytes);
    counts_[group_.rank()] = 0;  // what a rank keeps is a memcpy
    Check(group_.StartAllToAllV(0, 1, send_.data(), counts_, receive_.data(), counts_));
    Check(group_.Finish(0));
  }
  void ReduceScatterAllGather(int64_t bytes) {
    std::vector<int64_t> cuts;
    for (int r = 0; r <= group_.size(); ++r) cuts.push_back(bytes / 4 * r / group_.size());
    Check(group_.StartReduceScatterSum(0, floats_.data(), cuts));
    Check(group_.Finish(0));
    Check(group_.StartAllGather(0, floats_.data(), cuts, sizeof(float)));
    Check(group_.Finish(0));
  }

  void Verify(int64_t bytes) {
    for (size_t i = 0; i < floats_.size(); ++i) floats_[i] = static_cast<float>(i % 1000) * static_cast<float>(group_.rank() + 1);
    ReduceScatterAllGather(bytes);
    const int ranks = group_.size() * (group_.size() + 1) / 2;
    for (int64_t i = 0; i < bytes / 4; ++i) POLYMOE_CHECK(floats_[i] == static_cast<float>(i % 1000 * ranks), "a sum is wrong");
    std::fill(floats_.begin(), floats_.end(), 0.f);
    std::memset(send_.data(), 'a' + group_.rank(), send_.size());
    AllToAll(bytes);
    const char* at = receive_.data();
    for (int peer = 0; peer < group_.size(); ++peer) {
      if (peer == group_.rank()) continue;
      POLYMOE_CHECK(std::count(at, at + bytes, 'a' + peer) == bytes, "an all-to-all is wrong");
      at += bytes;
    }
  }

  // The median in seconds; `tcp` is that of the same bytes over plain TCP, if it is to be compared.
  double Time(const char* name, int64_t bytes, const std::function<void()>& run, double tcp) {
    std::vector<double> seconds;
    for (int i = 0; i <= flags_.repeats; ++i) {
      Check(group_.Barrier());
      const absl::Duration begin = Clock::Real().Monotonic();
      run();
      if (i > 0) seconds.push_back(absl::ToDoubleSeconds(Clock::Real().Monotonic() - begin));  // the first is for warmth
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    if (group_.rank() == 0) {
      std::printf("%-28s %9lld  %9.1f %9.1f ..%9.1f", name, static_cast<long long>(bytes), 1e6 * median, 1e6 * seconds.front(),
                  1e6 * seconds.back());
      if (bytes > 8) std::printf("  %9.1f", static_cast<double>(bytes) / median / 1e6);
      if (tcp > 0) std::printf("  %4.0f%%", 100 * tcp / median);
      std::printf("\n");
    }
    return median;
  }

  double MemcpyRate() {
    std::vector<double> seconds;
    for (int i = 0; i < 5; ++i) {
      const absl::Duration begin = Clock::Real().Monotonic();
      std::memcpy(receive_.data(), send_.data(), send_.size());
      seconds.push_back(absl::ToDoubleSeconds(Clock::Real().Monotonic() - begin));
    }
    return static_cast<double>(send_.size()) / *std::min_element(seconds.begin(), seconds.end());
  }

  const Flags flags_;
  Group& group_;
  const int tcp_;
  std::vector<int64_t> counts_;
  std::vector<char> send_, receive_;
  std::vector<float> floats_;
  double number_ = 1;
};

int RunRank(const Flags& flags, int rank, const std::string& folder, int tcp) {
  FolderKeyValue keys(folder);
  auto transport = ConnectRanks({.world_size = flags.ranks, .rank = rank}, keys);
  if (!transport.ok()) {
    std::fprintf(stderr, "group_bench: %s\n", transport.status().ToString().c_str());
    return 1;
  }
  const Ranks ranks = MakeRanks(*std::move(transport), 1, absl::Minutes(2));
  Rank(flags, *ranks.world, tcp).Run();
  return 0;
}

int Run(const Flags& flags) {
  signal(SIGPIPE, SIG_IGN);
  std::string folder = "/tmp/group_bench-XXXXXX";
  POLYMOE_CHECK(mkdtemp(folder.data()) != nullptr);
  const std::pair<int, int> tcp = ConnectTcp();
  std::vector<pid_t> others;
  for (int rank = 1; rank < flags.ranks; ++rank) {
    const pid_t pid = fork();
    if (pid == 0) _exit(RunRank(flags, rank, folder, tcp.second));
    others.push_back(pid);
  }
  int code = RunRank(flags, 0, folder, tcp.first);
  for (const pid_t pid : others) {
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0) code = 1;
  }
  RemoveTree(folder).IgnoreError();
  return code;
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  polymoe::Flags flags;
  CLI::App app("Times the collectives of training between processes of this machine.", "group_bench");
  app.footer(polymoe::kFooter);
  app.add_option("--ranks", flags.ranks, "processes")->check(CLI::Range(2, 16));
  app.add_option("--repeats", flags.repeats, "timed runs of each")->check(CLI::Range(1, 100000));
  app.add_option("--least", flags.least, "bytes of the smallest tensor")->check(CLI::Range(64, 1 << 30));
  app.add_option("--most", flags.most, "bytes of the largest tensor")->check(CLI::Range(64, 1 << 30));
  CLI11_PARSE(app, argc, argv);
  return polymoe::Run(flags);
}
