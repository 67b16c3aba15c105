#include "polyctl/render/braille.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "common/units.h"
#include "polyctl/render/text.h"

namespace polymoe::polyctl {
namespace {

constexpr int kDotsAcross = 2, kDotsDown = 4;

// Past 26 curves the letters begin anew; nobody can tell so many apart anyway.
char Letter(size_t line) {
  return static_cast<char>('a' + line % 26);
}

// The dots of all curves. A character shows the dots of every curve in it, in the colour of the last one drawn.
class Canvas {
 public:
  Canvas(int columns, int rows, bool utf8)
      : columns_(columns), rows_(rows), utf8_(utf8), cells_(static_cast<size_t>(columns) * rows) {}

  int width() const { return columns_ * (utf8_ ? kDotsAcross : 1); }
  int height() const { return rows_ * (utf8_ ? kDotsDown : 1); }

  // From the top left; what is outside is left out.
  void Dot(int x, int y, size_t line) {
    if (x < 0 || y < 0 || x >= width() || y >= height()) return;
    static constexpr uint8_t kBits[kDotsDown][kDotsAcross] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    Cell& cell = utf8_ ? cells_[y / kDotsDown * columns_ + x / kDotsAcross] : cells_[y * columns_ + x];
    cell.dots |= utf8_ ? kBits[y % kDotsDown][x % kDotsAcross] : 1;
    cell.line = line;
  }

  // Characters of one row, runs of a colour painted together.
  std::string Row(int row, const std::vector<ChartLine>& lines, bool colour) const {
    std::string text;
    for (int column = 0; column < columns_;) {
      const size_t line = cells_[row * columns_ + column].line;
      std::string run;
      for (; column < columns_ && cells_[row * columns_ + column].line == line; ++column)
        run += Glyph(cells_[row * columns_ + column]);
      text += line == kNone ? run : Paint(run, StyleOf(lines[line]), colour);
    }
    return text;
  }

  static Style StyleOf(const ChartLine& line) { return line.baseline ? Style::kPlain : ArmStyle(line.colour); }

 private:
  static constexpr size_t kNone = SIZE_MAX;
  struct Cell {
    uint8_t dots = 0;
    size_t line = kNone;
  };

  std::string Glyph(const Cell& cell) const {
    if (cell.dots == 0) return " ";
    if (!utf8_) return cell.line == kNone ? "." : std::string(1, Letter(cell.line));
    const uint32_t code = 0x2800 + cell.dots;
    return {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3f)),
            static_cast<char>(0x80 | (code & 0x3f))};
  }

  int columns_, rows_;
  bool utf8_;
  std::vector<Cell> cells_;
};

// Dots from the top for a value; far away for what is far outside, so that the line to it leaves the picture at the right place.
int HeightOf(double value, Range range, int dots) {
  const double share = (range.high - value) / (range.high - range.low);
  return static_cast<int>(std::lround(std::clamp(share, -10.0, 10.0) * (dots - 1)));
}

void DrawCurve(Canvas& canvas, const ChartLine& line, size_t index, Range tokens, Range values) {
  const auto column_of = [&](double t) { return t / tokens.high * (canvas.width() - 1); };
  int before = 0;
  bool has_before = false;
  for (size_t i = 0; i < line.points.size(); ++i) {
    const ChartPoint& to = line.points[i];
    const ChartPoint& from = i > 0 ? line.points[i - 1] : to;
    const int first = static_cast<int>(std::lround(column_of(from.tokens))),
              last = static_cast<int>(std::lround(column_of(to.tokens)));
    for (int x = i > 0 ? first + 1 : first; x <= last; ++x) {
      const double share = last > first ? static_cast<double>(x - first) / (last - first) : 1;
      const int y = HeightOf(from.value + share * (to.value - from.value), values, canvas.height());
      const bool gap = line.baseline && x / 3 % 2 == 1;
      const int start = has_before && y != before ? (y > before ? before + 1 : before - 1) : y;
      for (int step = start;; step += y > step ? 1 : -1) {
        if (!gap) canvas.Dot(x, step, index);
        if (step == y) break;
      }
      before = y;
      has_before = true;
    }
  }
}

void DrawZero(Canvas& canvas, Range values) {
  const int y = HeightOf(0, values, canvas.height());
  for (int x = 0; x < canvas.width(); x += 4) canvas.Dot(x, y, SIZE_MAX);
}

// The letters beside each row: of the curves that end there.
std::map<int, std::string> EndMarks(const Chart& chart, Range values, int rows) {
  std::map<int, std::string> marks;
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    if (chart.lines[i].points.empty()) continue;
    const int row = HeightOf(chart.lines[i].points.back().value, values, rows);
    marks[std::clamp(row, 0, rows - 1)] += Letter(i);
  }
  return marks;
}

std::string PaintMarks(const std::string& marks, const Chart& chart, bool colour) {
  std::string text;
  for (const char mark : marks) text += Paint(std::string(1, mark), Canvas::StyleOf(chart.lines[mark - 'a']), colour);
  return text;
}

// The line of the axis and the one of its numbers, each without the margin.
std::pair<std::string, std::string> TokenAxis(Range tokens, int columns, bool utf8) {
  std::vector<bool> marked(columns, false);
  std::string numbers(columns + 16, ' ');
  int free_from = 0;
  for (const double tick : Ticks(tokens, std::max(2, columns / 12))) {
    const int column = static_cast<int>(std::lround(tick / tokens.high * (columns - 1)));
    const std::string text = FormatCount(tick);
    const int start = std::max(0, column - static_cast<int>(text.size()) / 2);
    if (start < free_from || start + static_cast<int>(text.size()) > columns) continue;
    marked[column] = true;
    numbers.replace(start, text.size(), text);
    free_from = start + static_cast<int>(text.size()) + 1;
  }
  std::string axis;
  for (const bool mark : marked) axis += utf8 ? (mark ? "┬" : "─") : (mark ? "+" : "-");
  return {axis, std::string(absl::StripTrailingAsciiWhitespace(numbers))};
}

std::string Legend(const Chart& chart, const TerminalOptions& options, int indent) {
  std::string text;
  int column = 0;
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    const ChartLine& line = chart.lines[i];
    const std::string entry = absl::StrCat(std::string(1, Letter(i)), " ", Truncate(Printable(line.name), 24),
                                           line.baseline ? " (baseline, dashed)" : "", line.points.empty() ? " (nothing yet)" : "");
    const int width = DisplayWidth(entry) + 3;
    if (column > 0 && indent + column + width > options.width) {
      text += "\n";
      column = 0;
    }
    absl::StrAppend(&text, column == 0 ? std::string(indent, ' ') : "   ", Paint(entry, Canvas::StyleOf(line), options.colour));
    column += width;
  }
  return text + "\n";
}

}  // namespace

std::string DrawChart(const Chart& chart, const TerminalOptions& options) {
  const std::string title = Paint(chart.title + " over training tokens", Style::kBold, options.colour) + "\n";
  if (std::all_of(chart.lines.begin(), chart.lines.end(), [](const ChartLine& line) { return line.points.empty(); })) {
    return absl::StrCat(title, "  nothing to draw yet\n");
  }
  const Range tokens = TokenRange(chart), values = ValueRange(chart);
  const std::vector<double> ticks = Ticks(values, std::max(2, options.height / 3));
  std::map<int, std::string> labels;
  size_t margin = 0;
  for (size_t i = 0; i < ticks.size(); ++i) {
    labels[HeightOf(ticks[i], values, options.height)] = TickText(ticks, i);
    margin = std::max(margin, TickText(ticks, i).size());
  }
  const std::map<int, std::string> marks = EndMarks(chart, values, options.height);
  size_t right = 0;
  for (const auto& [row, letters] : marks) right = std::max(right, letters.size());
  const int columns = std::max(16, options.width - static_cast<int>(margin + right) - 4);
  Canvas canvas(columns, options.height, options.utf8);
  if (chart.difference) DrawZero(canvas, values);
  for (const bool baseline : {true, false}) {  // the baseline first: the others are drawn over it
    for (size_t i = 0; i < chart.lines.size(); ++i) {
      if (chart.lines[i].baseline == baseline) DrawCurve(canvas, chart.lines[i], i, tokens, values);
    }
  }
  std::string text = title;
  for (int row = 0; row < options.height; ++row) {
    const auto label = labels.find(row);
    const std::string number = label == labels.end() ? "" : label->second;
    std::string line = absl::StrCat(std::string(margin - number.size() + 1, ' '), number,
                                    number.empty() ? (options.utf8 ? "│" : "|") : (options.utf8 ? "┤" : "+"),
                                    canvas.Row(row, chart.lines, options.colour));
    if (const auto mark = marks.find(row); mark != marks.end())
      absl::StrAppend(&line, " ", PaintMarks(mark->second, chart, options.colour));
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  const auto [axis, numbers] = TokenAxis(tokens, columns, options.utf8);
  absl::StrAppend(&text, std::string(margin + 1, ' '), options.utf8 ? "└" : "+", axis, "\n", std::string(margin + 2, ' '), numbers,
                  "\n");
  return text + Legend(chart, options, static_cast<int>(margin) + 2);
}

}  // namespace polymoe::polyctl
