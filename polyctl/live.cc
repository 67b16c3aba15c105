#include "polyctl/live.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"

namespace polymoe::polyctl {
namespace {

// Draws `text` over what was drawn before it, line by line, so that nothing flickers.
class Screen {
 public:
  explicit Screen(Console& console) : console_(console) {}

  void Draw(const std::string& text) {
    std::string frame = lines_ > 0 ? absl::StrCat("\033[", lines_, "A") : "";
    for (const char c : text) {
      if (c == '\n') frame += "\033[K";
      frame += c;
    }
    console_.out << frame << "\033[J" << std::flush;
    lines_ = std::count(text.begin(), text.end(), '\n');
  }

  // After a change of size, when nobody knows where the old lines are.
  void Clear() {
    console_.out << "\033[H\033[2J";
    lines_ = 0;
  }

 private:
  Console& console_;
  long lines_ = 0;
};

}  // namespace

absl::Status DrawLive(Console& console, const std::function<absl::Status(const std::function<void()>& news)>& follow,
                      const std::function<std::string()>& frame) {
  std::mutex mutex;
  std::condition_variable changed;
  bool dirty = false, over = false;
  absl::Status result;
  std::thread stream([&] {
    result = follow([&] {
      const std::lock_guard<std::mutex> lock(mutex);
      dirty = true;
      changed.notify_one();
    });
    const std::lock_guard<std::mutex> lock(mutex);
    over = true;
    changed.notify_one();
  });
  Screen screen(console);
  for (bool last = false; !last;) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(1), [&] { return dirty || over; });
    if (!over) changed.wait_for(lock, std::chrono::milliseconds(250), [&] { return over; });
    last = over;
    dirty = false;
    lock.unlock();
    if (MeasureTerminal(console)) screen.Clear();
    screen.Draw(frame());
  }
  stream.join();
  return result;
}

}  // namespace polymoe::polyctl
