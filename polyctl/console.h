// Where a command reads and writes: data on `out`, everything else (progress, hints, errors) on `err`. Tests hand in string streams.
#ifndef POLYMOE_POLYCTL_CONSOLE_H_
#define POLYMOE_POLYCTL_CONSOLE_H_

#include <istream>
#include <map>
#include <ostream>
#include <string>

#include "common/clock.h"

namespace polymoe::polyctl {

struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool colour = false;  // of `out`: a terminal, and neither NO_COLOR nor TERM=dumb
  bool utf8 = true;     // of `out`: LC_ALL, LC_CTYPE or LANG (the first that is set) says so; everything where `out` is no terminal
  int width = 0;        // columns of `out`; 0: no limit (not a terminal)
  int height = 0;       // lines of `out`; 0: no limit
  std::map<std::string, std::string> environment;
  const Clock& clock = Clock::Real();

  // Value of an environment variable; empty when it is not set.
  std::string Env(const std::string& name) const;
};

// Of this process.
Console ProcessConsole();

// Takes the size that the terminal has now (people resize it). True when it changed; never for a console that is not this process's.
bool MeasureTerminal(Console& console);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_CONSOLE_H_
