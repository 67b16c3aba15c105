// forward FROM TO PORT FILE: passes TCP connections on from a port of address FROM to the same port of address TO; makes FILE when it
// listens. How a worker in another network namespace reaches a coordinator that listens on loopback alone.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "common/check.h"
#include "common/file.h"

namespace polymoe {
namespace {

sockaddr_in Address(const char* host, int port) {
  sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  POLYMOE_CHECK(inet_pton(AF_INET, host, &address.sin_addr) == 1, "%s is no IPv4 address", host);
  return address;
}

int Listen(const sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  POLYMOE_CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "bind to port %d",
                ntohs(address.sin_port));
  POLYMOE_CHECK(listen(fd, 64) == 0);
  return fd;
}

// False at the end of `from`.
bool Pass(int from, int to) {
  char buffer[65536];
  const ssize_t n = read(from, buffer, sizeof(buffer));
  for (ssize_t done = 0; done < n;) {
    const ssize_t written = write(to, buffer + done, static_cast<size_t>(n - done));
    if (written <= 0) return false;
    done += written;
  }
  return n > 0;
}

// A connection in a process of its own, until either side ends it.
void Carry(int client, const sockaddr_in& target) {
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (connect(server, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) _exit(0);
  while (true) {
    pollfd watched[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    if (poll(watched, 2, -1) < 0) _exit(1);
    if (watched[0].revents != 0 && !Pass(client, server)) _exit(0);
    if (watched[1].revents != 0 && !Pass(server, client)) _exit(0);
  }
}

int Main(const char* from, const char* to, int port, const char* file) {
  signal(SIGCHLD, SIG_IGN);  // nobody waits for them
  const sockaddr_in target = Address(to, port);
  const int listener = Listen(Address(from, port));
  POLYMOE_CHECK(WriteFileDurably(file, "").ok());
  while (true) {
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      Carry(client, target);
    }
    close(client);
  }
}

}  // namespace
}  // namespace polymoe

int main(int argc, char** argv) {
  POLYMOE_CHECK(argc == 5, "usage: forward FROM TO PORT FILE");
  return polymoe::Main(argv[1], argv[2], std::stoi(argv[3]), argv[4]);
}
