// Tables and text in HTML and Markdown; what comes from users is escaped.
#ifndef POLYMOE_POLYCTL_RENDER_MARKUP_H_
#define POLYMOE_POLYCTL_RENDER_MARKUP_H_

#include <string>

#include "absl/strings/string_view.h"

#include "polyctl/render/table.h"

namespace polymoe::polyctl {

// For text and for quoted attributes.
std::string EscapeHtml(absl::string_view text);

// A <table> with a <caption>. What is set off on a terminal has the class "good" or "bad" here, the name of an arm "arm-K" (K as ColourOf).
std::string HtmlTable(const Table& table, absl::string_view caption);

std::string MarkdownTable(const Table& table);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_RENDER_MARKUP_H_
