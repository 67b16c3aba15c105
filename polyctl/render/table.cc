#include "polyctl/render/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "common/check.h"

namespace polymoe::polyctl {
namespace {

constexpr int kGap = 2;
constexpr int kNarrowest = 8;  // a column is not cut below this

std::vector<int> NaturalWidths(const Table& table, bool headers) {
  std::vector<int> widths;
  for (const Column& column : table.columns) widths.push_back(headers ? DisplayWidth(column.header) : 0);
  for (const auto& row : table.rows) {
    POLYMOE_CHECK(row.size() == widths.size(), "a row of %zu cells in a table of %zu columns", row.size(), widths.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
  }
  return widths;
}

void Shrink(std::vector<int>& widths, int limit) {
  int excess = kGap * (static_cast<int>(widths.size()) - 1) - limit;
  for (const int width : widths) excess += width;
  const auto cut = [&excess](int& width) {
    const int by = std::clamp(excess, 0, std::max(0, width - kNarrowest));
    width -= by;
    excess -= by;
  };
  cut(widths.back());
  // A line that must wrap whatever we do keeps its first column: that is the name that people copy.
  if (excess <= widths.front() - kNarrowest) cut(widths.front());
}

class Line {
 public:
  explicit Line(const TableOptions& options) : colour_(options.colour), pending_(options.indent) {}

  void Add(const Cell& cell, Align align, int width) {
    const std::string text = Truncate(Printable(cell.text), width);
    const int padding = width - DisplayWidth(text);
    if (align == Align::kRight) pending_ += padding;
    if (!text.empty()) {
      text_.append(pending_, ' ');
      text_ += Paint(text, cell.style, colour_);
      pending_ = 0;
    }
    pending_ += kGap + (align == Align::kLeft ? padding : 0);
  }

  std::string End() { return absl::StrCat(absl::StripTrailingAsciiWhitespace(text_), "\n"); }

 private:
  bool colour_;
  int pending_;  // spaces owed before the next text; never paid at the end of the line
  std::string text_;
};

}  // namespace

std::string RenderTable(const Table& table, const TableOptions& options) {
  if (!options.utf8) {
    Table ascii = table;
    for (auto& row : ascii.rows) {
      for (Cell& cell : row) cell.text = ToAscii(cell.text);
    }
    TableOptions rest = options;
    rest.utf8 = true;
    return ToAscii(RenderTable(ascii, rest));  // what was cut ends with an ellipsis
  }
  std::vector<int> widths = NaturalWidths(table, options.headers);
  if (options.width > 0) Shrink(widths, options.width - options.indent);
  std::string text;
  if (options.headers) {
    Line line(options);
    for (size_t i = 0; i < widths.size(); ++i) line.Add({table.columns[i].header, Style::kDim}, table.columns[i].align, widths[i]);
    text += line.End();
  }
  for (const auto& row : table.rows) {
    Line line(options);
    for (size_t i = 0; i < widths.size(); ++i) line.Add(row[i], table.columns[i].align, widths[i]);
    text += line.End();
  }
  return text;
}

}  // namespace polymoe::polyctl
