// Tables: aligned columns, two spaces between them, no rules. A cell is one line; control characters in it become spaces.
#ifndef POLYMOE_POLYCTL_RENDER_TABLE_H_
#define POLYMOE_POLYCTL_RENDER_TABLE_H_

#include <string>
#include <vector>

#include "polyctl/render/text.h"

namespace polymoe::polyctl {

enum class Align { kLeft, kRight };

struct Column {
  std::string header;
  Align align = Align::kLeft;
};

struct Cell {
  Cell(std::string cell_text, Style cell_style = Style::kPlain) : text(std::move(cell_text)), style(cell_style) {}
  Cell(const char* cell_text) : text(cell_text) {}

  std::string text;
  Style style = Style::kPlain;
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // as many cells as columns
};

struct TableOptions {
  bool headers = true;
  bool colour = false;
  bool utf8 = true;  // false: signs beyond ASCII are spelled in it
  int width = 0;     // 0: no limit. A table that is wider gets its last column cut, then its first if that makes it fit
  int indent = 0;    // spaces before each line
};

// Lines end with '\n', without trailing spaces. Nothing for a table without rows and headers.
std::string RenderTable(const Table& table, const TableOptions& options);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_TABLE_H_
