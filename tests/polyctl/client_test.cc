// Calls: each has a deadline, each error says what to do, and nothing is done or shown twice when the coordinator goes and comes.
#include "polyctl/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "common/check.h"
#include "polyctl/exit_codes.h"
#include "tests/polyctl/fake_server.h"

namespace polymoe::polyctl {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr ClientOptions kHasty{.call_timeout = absl::Milliseconds(200), .patience = absl::ZeroDuration()};
constexpr ClientOptions kPatient{.call_timeout = absl::Seconds(30), .patience = absl::Seconds(60)};

Client Open(const std::string& address, const ClientOptions& options = kPatient) {
  auto client = Client::Open(address, options);
  POLYMOE_CHECK(client.ok(), "%s", client.status().ToString().c_str());
  return *std::move(client);
}

// Takes connections and never says a word.
class SilentListener {
 public:
  SilentListener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    POLYMOE_CHECK(bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    POLYMOE_CHECK(listen(fd_, 16) == 0);
    POLYMOE_CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentListener() { close(fd_); }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  int fd_;
  int port_ = 0;
};

// Every call of the client, by name.
std::vector<std::pair<std::string, std::function<absl::Status(const Client&)>>> AllCalls() {
  return {{"Submit", [](const Client& c) { return c.Submit({}).status(); }},
          {"Validate", [](const Client& c) { return c.Validate({}).status(); }},
          {"Get", [](const Client& c) { return c.Get("j").status(); }},
          {"List", [](const Client& c) { return c.List({}).status(); }},
          {"Cancel", [](const Client& c) { return c.Cancel("j").status(); }},
          {"Query", [](const Client& c) { return c.Query({}).status(); }},
          {"Compare", [](const Client& c) { return c.Compare({}).status(); }},
          {"ListWorkers", [](const Client& c) { return c.ListWorkers().status(); }},
          {"DrainWorker", [](const Client& c) { return c.DrainWorker("w").status(); }},
          {"Watch", [](const Client& c) { return c.Watch({}, absl::InfiniteFuture(), [](auto&) { return true; }); }},
          {"SubmitAblation", [](const Client& c) { return c.SubmitAblation({}).status(); }},
          {"GetAblation", [](const Client& c) { return c.GetAblation("a").status(); }},
          {"ListAblations", [](const Client& c) { return c.ListAblations({}).status(); }},
          {"PauseAblation", [](const Client& c) { return c.PauseAblation("a").status(); }},
          {"ResumeAblation", [](const Client& c) { return c.ResumeAblation("a").status(); }},
          {"CancelAblation", [](const Client& c) { return c.CancelAblation("a").status(); }},
          {"AddArm", [](const Client& c) { return c.AddArm({}).status(); }},
          {"CompareAblation", [](const Client& c) { return c.CompareAblation({}).status(); }},
          {"WatchAblation", [](const Client& c) { return c.WatchAblation("a", [](auto&) { return true; }); }},
          {"Logs", [](const Client& c) { return c.Logs({}, [](auto&) {}); }}};
}

TEST(Client, NoServerIsSaidAtOnceWithWhatToDo) {
  for (const auto& [name, call] : AllCalls()) {
    const absl::Status status = call(Open("127.0.0.1:1"));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUnavailable) << name;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("polyctl local up"))) << name;
  }
}

TEST(Client, EveryCallHasADeadlineWhenNobodyAnswers) {
  const SilentListener listener;
  for (const auto& [name, call] : AllCalls()) {
    const absl::Status status = call(Open(listener.address(), kHasty));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUnavailable) << name << ": " << status;
    EXPECT_THAT(status.message(), HasSubstr(listener.address())) << name;
  }
}

TEST(Client, StreamsHaveADeadlineWhenTheCoordinatorHangs) {
  FakeServer server;
  std::promise<void> end;
  const std::shared_future<void> ended = end.get_future().share();
  server.jobs.list = [ended](auto&, auto*) {
    ended.wait();
    return grpc::Status::OK;
  };
  const Client client = Open(server.address(), kHasty);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Watch({}, absl::InfiniteFuture(), [](auto&) { return true; })));
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Logs({}, [](auto&) {})));
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Submit({}).status()));
  end.set_value();
}

TEST(Client, AddressesThatAreNoneOrNotHere) {
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Open("localhost").status()));
  EXPECT_THAT(Client::Open("192.0.2.1:7070").status().message(), HasSubstr("not on this machine"));
}

TEST(Client, ErrorsKeepTheirCodeAndGetANextStep) {
  FakeServer server;
  grpc::Status answer;
  server.jobs.get = [&answer](auto&, auto*) { return answer; };
  const Client client = Open(server.address());
  answer = grpc::Status(grpc::StatusCode::NOT_FOUND, "there is no job 'j'");
  EXPECT_EQ(client.Get("j").status(), absl::NotFoundError("there is no job 'j'"));
  answer = grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down");
  EXPECT_EQ(client.Get("j").status(), absl::UnavailableError("shutting down")) << "it is there: no advice to start one";
  answer = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "overloaded; try again");
  EXPECT_EQ(ExitCodeOf(client.Get("j").status()), ExitCode::kUnavailable) << "it passes";
  answer = grpc::Status(grpc::StatusCode::INTERNAL, "oops");
  EXPECT_THAT(client.Get("j").status().message(),
              HasSubstr(absl::StrCat("the coordinator at ", server.address(), " failed: oops")));
  EXPECT_THAT(client.Cancel("j").status().message(), HasSubstr("same version"));
}

TEST(Client, SubmitAsksAgainWithTheSameRequestId) {
  FakeServer server;
  std::vector<std::string> seen;
  server.jobs.submit = [&seen](const v1::SubmitRequest& request, v1::SubmitResponse* response) {
    seen.push_back(request.request_id());
    if (seen.size() < 3) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
    response->mutable_job()->set_id("j");
    return grpc::Status::OK;
  };
  v1::SubmitRequest request;
  request.set_request_id("r");
  const auto response = Open(server.address()).Submit(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->job().id(), "j");
  EXPECT_THAT(seen, ElementsAre("r", "r", "r"));
}

TEST(Client, AnAblationIsSubmittedOnceHoweverOftenItIsAsked) {
  FakeServer server;
  std::vector<std::string> seen;
  server.ablations.submit = [&seen](const v1::SubmitAblationRequest& request, v1::SubmitAblationResponse* response) {
    seen.push_back(request.request_id());
    if (seen.size() < 3) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
    response->mutable_ablation()->set_id("a");
    return grpc::Status::OK;
  };
  v1::SubmitAblationRequest request;
  request.set_request_id("r");
  const auto response = Open(server.address()).SubmitAblation(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->ablation().id(), "a");
  EXPECT_THAT(seen, ElementsAre("r", "r", "r"));
}

TEST(Client, AWatchOfAnAblationGoesOnUntilItIsFinal) {
  FakeServer server;
  std::vector<std::string> asked;
  server.ablations.watch = [&asked](const v1::WatchAblationRequest& request, auto*, auto* writer) {
    asked.push_back(request.ablation());
    v1::WatchAblationResponse response;
    response.mutable_ablation()->set_id("a-1");
    response.mutable_ablation()->set_state(asked.size() < 3 ? v1::ABLATION_STATE_ACTIVE : v1::ABLATION_STATE_SUCCEEDED);
    writer->Write(response);
    return asked.size() == 2 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down") : grpc::Status::OK;
  };
  int updates = 0;
  const absl::Status status = Open(server.address()).WatchAblation("a", [&updates](auto&) { return ++updates > 0; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(updates, 3);
  EXPECT_THAT(asked, ElementsAre("a", "a-1", "a-1")) << "by id from then on: a newer one may have the name";
}

TEST(Client, SubmitDoesNotAskAgainWhatWasRefused) {
  FakeServer server;
  int calls = 0;
  server.jobs.submit = [&calls](auto&, auto*) {
    ++calls;
    return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "another file");
  };
  EXPECT_TRUE(absl::IsAlreadyExists(Open(server.address()).Submit({}).status()));
  EXPECT_EQ(calls, 1);
}

TEST(Client, ListGivesAllPages) {
  FakeServer server;
  server.jobs.list = [](const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    const int page = request.page_token().empty() ? 0 : request.page_token()[0] - '0';
    response->add_jobs()->set_id(absl::StrCat("j", page));
    if (page < 3) response->set_next_page_token(absl::StrCat(page + 1));
    return grpc::Status::OK;
  };
  const auto jobs = Open(server.address()).List({});
  ASSERT_TRUE(jobs.ok());
  std::vector<std::string> ids;
  for (const v1::Job& job : *jobs) ids.push_back(job.id());
  EXPECT_THAT(ids, ElementsAre("j0", "j1", "j2", "j3"));
}

v1::WatchJobsResponse Revision(uint64_t revision) {
  v1::WatchJobsResponse response;
  response.mutable_job()->set_id("j");
  response.mutable_job()->set_revision(revision);
  return response;
}

TEST(Client, AWatchThatBreaksGoesOnWithoutRepeating) {
  FakeServer server;
  int streams = 0;
  server.jobs.watch = [&streams](auto&, auto*, auto* writer) {
    const uint64_t newest = 2 * ++streams;
    for (uint64_t r = newest - 2; r <= newest; ++r) writer->Write(Revision(r + 1));
    return streams == 1 ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  std::vector<uint64_t> revisions;
  const absl::Status status = Open(server.address()).Watch({"j"}, absl::InfiniteFuture(), [&](const v1::Job& job) {
    revisions.push_back(job.revision());
    return job.revision() < 5;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(revisions, ElementsAre(1, 2, 3, 4, 5));
}

TEST(Client, AWatchSurvivesACoordinatorThatIsStartedAgain) {
  FakeServer server;
  std::atomic<int> streams = 0;
  server.jobs.watch = [&streams](auto&, grpc::ServerContext*, auto* writer) {
    writer->Write(Revision(++streams));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  std::vector<uint64_t> revisions;
  const absl::Status status = Open(server.address()).Watch({"j"}, absl::InfiniteFuture(), [&](const v1::Job& job) {
    revisions.push_back(job.revision());
    if (revisions.size() > 1) return false;
    std::thread([&server] { server.Stop(); }).join();  // its stream has ended or ends now
    server.Start();
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(revisions, ElementsAre(1, 2));
}

TEST(Client, AWatchEndsAtItsDeadlineAndWhenThePatienceIsOver) {
  FakeServer server;
  std::promise<void> end;
  const std::shared_future<void> ended = end.get_future().share();
  server.jobs.watch = [ended](auto&, auto*, auto* writer) {
    writer->Write(Revision(1));
    ended.wait();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  const auto all = [](const v1::Job&) { return true; };
  EXPECT_TRUE(absl::IsDeadlineExceeded(Open(server.address()).Watch({"j"}, absl::Now() + absl::Milliseconds(100), all)));
  end.set_value();
  EXPECT_TRUE(absl::IsUnavailable(Open(server.address(), kHasty).Watch({"j"}, absl::InfiniteFuture(), all)));
}

TEST(Client, LogsThatBreakGoOnWithoutRepeatingALine) {
  FakeServer server;
  std::vector<uint32_t> tails;
  server.jobs.logs = [&tails](const v1::StreamLogsRequest& request, auto*, auto* writer) {
    tails.push_back(request.tail());
    const bool first = tails.size() == 1;
    // The second time the older lines come too, and the last one of attempt 1 comes late.
    const auto lines = first ? std::vector<std::pair<uint32_t, uint64_t>>{{1, 3}, {1, 4}, {2, 1}}
                             : std::vector<std::pair<uint32_t, uint64_t>>{{1, 1}, {1, 2}, {1, 3}, {1, 4}, {2, 1}, {2, 2}, {1, 5}};
    for (const auto& [attempt, number] : lines) {
      v1::LogLine line;
      line.set_attempt(attempt);
      line.set_number(number);
      writer->Write(line);
    }
    return first ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down") : grpc::Status::OK;
  };
  v1::StreamLogsRequest request;
  request.set_tail(2);
  std::vector<std::pair<uint32_t, uint64_t>> places;
  const absl::Status status =
      Open(server.address()).Logs(request, [&](const v1::LogLine& line) { places.emplace_back(line.attempt(), line.number()); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(places, ElementsAre(Pair(1, 3), Pair(1, 4), Pair(2, 1), Pair(2, 2), Pair(1, 5)));
  EXPECT_THAT(tails, ElementsAre(2, 0)) << "the second time all, so that no line between is missed";
}

}  // namespace
}  // namespace polymoe::polyctl
