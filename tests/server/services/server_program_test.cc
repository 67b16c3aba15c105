// polymoe-server as tools meet it: grpc.health.v1 and server reflection, spoken byte by byte as grpcurl and a Kubernetes probe do.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "common/file.h"
#include "tests/fakes/program.h"
#include "tests/fakes/temp_dir.h"

namespace polymoe {
namespace {

using ::testing::HasSubstr;

class ServerProgramTest : public ::testing::Test {
 protected:
  ServerProgramTest() {
    const std::string address_file = dir_.path() + "/server.json";
    const auto pid =
        StartProcess({.argv = {BuiltProgram("polymoe-server"), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--store",
                               absl::StrCat("sqlite:", dir_.path(), "/p.db"), "--address-file", address_file}});
    EXPECT_TRUE(pid.ok());
    pid_ = *pid;
    EXPECT_TRUE(WaitUntil([&] { return PathExists(address_file); }));
    const auto address = nlohmann::json::parse(*ReadFile(address_file)).at("grpc").get<std::string>();
    stub_ = std::make_unique<grpc::GenericStub>(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }
  ~ServerProgramTest() override {
    kill(pid_, SIGKILL);
    Reap(pid_);
  }

  // One message there and one back, of a call of any kind. "" when the call failed.
  std::string Call(const std::string& method, const std::string& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::CompletionQueue queue;
    const auto call = stub_->PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    if (!Completed(queue)) return "";
    const grpc::Slice slice(request);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    if (!Completed(queue)) return "";
    call->WritesDone(nullptr);
    if (!Completed(queue)) return "";
    grpc::ByteBuffer response;
    call->Read(&response, nullptr);
    if (!Completed(queue)) return "";
    grpc::Slice bytes;
    EXPECT_TRUE(response.DumpToSingleSlice(&bytes).ok());
    return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  static bool Completed(grpc::CompletionQueue& queue) {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  }

  TempDir dir_;
  pid_t pid_ = 0;
  std::unique_ptr<grpc::GenericStub> stub_;
};

TEST_F(ServerProgramTest, HealthIsServing) {
  EXPECT_EQ(Call("/grpc.health.v1.Health/Check", ""), "\x08\x01") << "HealthCheckResponse{status: SERVING}";
}

TEST_F(ServerProgramTest, ReflectionListsTheServices) {
  const std::string list_services("\x3a\x00", 2);  // ServerReflectionRequest{list_services: ""}
  const std::string services = Call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", list_services);
  for (const char* service : {"JobService", "MetricService", "WorkerService", "RendezvousService"}) {
    EXPECT_THAT(services, HasSubstr(absl::StrCat("polymoe.v1.", service)));
  }
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
}

}  // namespace
}  // namespace polymoe
