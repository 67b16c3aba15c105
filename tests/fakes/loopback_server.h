// A gRPC server on a free port of loopback, which it gets again when it is started anew.
#ifndef POLYMOE_TESTS_FAKES_LOOPBACK_SERVER_H_
#define POLYMOE_TESTS_FAKES_LOOPBACK_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/check.h"

namespace polymoe {

class LoopbackServer {
 public:
  // Host:port.
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  bool running() const { return server_ != nullptr; }

  void Start(grpc::Service* service) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    POLYMOE_CHECK(running(), "cannot listen on %s", address().c_str());
  }
  // Breaks all calls.
  void Stop() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_FAKES_LOOPBACK_SERVER_H_
