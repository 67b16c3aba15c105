#include "common/metrics/exposer.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

namespace polymoe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(const std::string& address) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(std::stoi(address.substr(address.rfind(':') + 1)));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char chunk[4096];
  for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;) answer.append(chunk, n);
  close(fd);
  return answer;
}

TEST(Exposer, ServesBuildAndProcessMetrics) {
  const auto exposer = MetricsExposer::Start("127.0.0.1:0", "test");
  ASSERT_TRUE(exposer.ok()) << exposer.status();
  const std::string answer = Scrape((*exposer)->address());
  EXPECT_THAT(answer, HasSubstr("polymoe_build_info{program=\"test\",version="));
  EXPECT_THAT(answer, HasSubstr("process_resident_memory_bytes "));
}

class Counting final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::ClientMetric metric;
    metric.gauge.value = ++scrapes_;
    return {{"scrapes", "so far", prometheus::MetricType::Gauge, {metric}}};
  }

 private:
  mutable int scrapes_ = 0;
};

TEST(Exposer, WhatIsMadeAtAScrapeIsMadeAtEach) {
  const auto exposer = MetricsExposer::Start("127.0.0.1:0", "test");
  ASSERT_TRUE(exposer.ok()) << exposer.status();
  auto counting = std::make_shared<Counting>();
  (*exposer)->Add(counting);
  EXPECT_THAT(Scrape((*exposer)->address()), HasSubstr("\nscrapes 1\n"));
  EXPECT_THAT(Scrape((*exposer)->address()), HasSubstr("\nscrapes 2\n"));
  counting.reset();
  EXPECT_THAT(Scrape((*exposer)->address()), Not(HasSubstr("\nscrapes ")));
}

TEST(Exposer, APortInUseIsOneClearError) {
  const auto first = MetricsExposer::Start("127.0.0.1:0", "test");
  ASSERT_TRUE(first.ok());
  const auto second = MetricsExposer::Start((*first)->address(), "test");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot serve metrics on " + (*first)->address()));
}

}  // namespace
}  // namespace polymoe
