// A second network namespace that a test reaches over a veth pair, and a way to make every packet between the two vanish. Needs root, and a
// process that already is in a namespace of its own (`unshare -n`), so that nothing of the machine's own network is touched.
#ifndef POLYMOE_TESTS_E2E_FAR_NETWORK_H_
#define POLYMOE_TESTS_E2E_FAR_NETWORK_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace polymoe {

class FarNetwork {
 public:
  static constexpr char kNear[] = "10.77.0.1", kFar[] = "10.77.0.2";

  FarNetwork();
  // With what runs there.
  ~FarNetwork();

  // Makes this port of 127.0.0.1 over there lead to the one here. `dir` takes its files.
  void Forward(int port, const std::string& dir);
  void Cut();
  void Heal();

  // What runs a program over there.
  std::vector<std::string> behind() const;

 private:
  void Shell(const std::string& here, const std::string& there) const;
  void StartForwarder(const std::vector<std::string>& behind, const std::string& from, const std::string& to, int port,
                      const std::string& file);

  pid_t holder_;  // keeps the namespace alive
  std::vector<pid_t> forwarders_;
};

}  // namespace polymoe

#endif  // POLYMOE_TESTS_E2E_FAR_NETWORK_H_
