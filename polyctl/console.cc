#include "polyctl/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

extern char** environ;

namespace polymoe::polyctl {

std::string Console::Env(const std::string& name) const {
  const auto it = environment.find(name);
  return it == environment.end() ? "" : it->second;
}

namespace {

bool KnowsUtf8(const Console& console) {
  std::string locale;
  for (const char* variable : {"LANG", "LC_CTYPE", "LC_ALL"}) {  // the last one that is set wins
    if (const std::string value = console.Env(variable); !value.empty()) locale = value;
  }
  const std::string lower = absl::AsciiStrToLower(locale);
  return absl::StrContains(lower, "utf-8") || absl::StrContains(lower, "utf8");
}

}  // namespace

Console ProcessConsole() {
  Console console{.in = std::cin, .out = std::cout, .err = std::cerr};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::pair<std::string, std::string> variable = absl::StrSplit(*entry, absl::MaxSplits('=', 1));
    console.environment.insert(variable);
  }
  console.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  console.err_is_terminal = isatty(STDERR_FILENO) == 1;
  console.colour = console.out_is_terminal && console.Env("NO_COLOR").empty() && console.Env("TERM") != "dumb";
  console.utf8 = !console.out_is_terminal || KnowsUtf8(console);
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
