#include "polyctl/render/markup.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace polymoe::polyctl {
namespace {

std::string ClassOf(const Cell& cell, Align align) {
  std::string classes = align == Align::kRight ? "n" : "";
  if (cell.style == Style::kBoldGreen) absl::StrAppend(&classes, " good");
  if (cell.style == Style::kRed) absl::StrAppend(&classes, " bad");
  if (cell.style >= Style::kArm0 && cell.style <= Style::kArm6) {
    absl::StrAppend(&classes, " arm-", static_cast<int>(cell.style) - static_cast<int>(Style::kArm0));
  }
  return classes.empty() ? "" : absl::StrCat(" class=\"", classes[0] == ' ' ? classes.substr(1) : classes, "\"");
}

std::string MarkdownCell(const std::string& text) {
  return absl::StrReplaceAll(EscapeHtml(Printable(text)), {{"|", "\\|"}, {"*", "\\*"}, {"_", "\\_"}, {"`", "\\`"}, {"[", "\\["}});
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string HtmlTable(const Table& table, absl::string_view caption) {
  std::string html = absl::StrCat("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"", EscapeHtml(caption),
                                  "\"><table><caption>", EscapeHtml(caption), "</caption>\n<thead><tr>");
  for (const Column& column : table.columns) {
    absl::StrAppend(&html, "<th scope=\"col\"", column.align == Align::kRight ? " class=\"n\"" : "", ">", EscapeHtml(column.header),
                    "</th>");
  }
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      const char* tag = i == 0 ? "th" : "td";
      absl::StrAppend(&html, "<", tag, i == 0 ? " scope=\"row\"" : "", ClassOf(row[i], table.columns[i].align), ">",
                      EscapeHtml(Printable(row[i].text)), "</", tag, ">");
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string MarkdownTable(const Table& table) {
  std::string text = "|";
  for (const Column& column : table.columns) absl::StrAppend(&text, " ", MarkdownCell(column.header), " |");
  text += "\n|";
  for (const Column& column : table.columns) text += column.align == Align::kRight ? "---:|" : "---|";
  text += "\n";
  for (const auto& row : table.rows) {
    text += "|";
    for (const Cell& cell : row) absl::StrAppend(&text, " ", MarkdownCell(cell.text), " |");
    text += "\n";
  }
  return text;
}

}  // namespace polymoe::polyctl
