// An HTTP server on loopback that answers each connection with the next line of its script.
#ifndef POLYMOE_TESTS_WORKER_CHECKPOINT_SCRIPTED_SERVER_H_
#define POLYMOE_TESTS_WORKER_CHECKPOINT_SCRIPTED_SERVER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/check.h"

namespace polymoe {

class ScriptedServer {
 public:
  // Of each answer everything behind "HTTP/1.1 "; an empty one hangs up without a word.
  explicit ScriptedServer(std::vector<std::string> script) : script_(std::move(script)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    POLYMOE_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener_, 16) == 0 &&
                      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
                  "no socket on loopback");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~ScriptedServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  std::string endpoint() const { return absl::StrCat("http://127.0.0.1:", port_); }
  // Whole requests, head and body. To be looked at once all answers are there.
  const std::vector<std::string>& requests() const { return requests_; }

 private:
  void Serve() {
    for (const std::string& answer : script_) {
      const int connection = accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      requests_.push_back(ReadRequest(connection));
      if (!answer.empty()) {
        const std::string text = absl::StrCat("HTTP/1.1 ", answer);
        POLYMOE_CHECK(send(connection, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()), "send");
      }
      close(connection);
    }
  }
  static std::string ReadRequest(int connection) {
    std::string request;
    char chunk[4096];
    for (size_t whole = std::string::npos; request.size() < whole;) {
      const ssize_t n = recv(connection, chunk, sizeof(chunk), 0);
      if (n <= 0) break;
      request.append(chunk, n);
      const size_t head = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
      if (head != std::string::npos) whole = head + 4 + (length < head ? std::strtoul(&request[length + 16], nullptr, 10) : 0);
    }
    return request;
  }

  const std::vector<std::string> script_;
  int listener_ = -1, port_ = 0;
  std::vector<std::string> requests_;
  std::thread thread_;
};

// An answer with a body, after which the connection ends.
inline std::string Answer(const std::string& status, const std::string& body = "") {
  return absl::StrCat(status, "\r\nContent-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
}

}  // namespace polymoe

#endif  // POLYMOE_TESTS_WORKER_CHECKPOINT_SCRIPTED_SERVER_H_
