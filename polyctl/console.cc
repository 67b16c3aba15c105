#include "polyctl/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"

extern char** environ;

namespace polymoe::polyctl {

std::string Console::Env(const std::string& name) const {
  const auto it = environment.find(name);
  return it == environment.end() ? "" : it->second;
}

Console ProcessConsole() {
  Console console{.in = std::cin, .out = std::cout, .err = std::cerr};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::pair<std::string, std::string> variable = absl::StrSplit(*entry, absl::MaxSplits('=', 1));
    console.environment.insert(variable);
  }
  console.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  console.err_is_terminal = isatty(STDERR_FILENO) == 1;
  console.colour = console.out_is_terminal && console.Env("NO_COLOR").empty() && console.Env("TERM") != "dumb";
  MeasureTerminal(console);
  return console;
}

bool MeasureTerminal(Console& console) {
  if (!console.out_is_terminal || &console.out != &std::cout) return false;
  winsize size = {};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
  const int width = known ? size.ws_col : 80, height = known ? size.ws_row : 24;
  const bool same = std::exchange(console.width, width) == width;
  return std::exchange(console.height, height) != height || !same;
}

}  // namespace polymoe::polyctl
