// polyctl: the users' command line. `polyctl --help`.
#include <string>
#include <vector>

#include "polyctl/cli.h"
#include "polyctl/console.h"

int main(int argc, char** argv) {
  polymoe::polyctl::Console console = polymoe::polyctl::ProcessConsole();
  return polymoe::polyctl::RunPolyctl(std::vector<std::string>(argv + 1, argv + argc), console);
}
