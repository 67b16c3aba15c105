#include "polyctl/help.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

namespace polymoe::polyctl {
namespace {

constexpr size_t kWidth = 100;

struct Entry {
  std::string name;
  std::string text;
};

std::string Wrap(absl::string_view text, size_t indent, size_t width) {
  std::string wrapped;
  size_t column = 0;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (column > 0 && column + 1 + word.size() > width - indent) {
      absl::StrAppend(&wrapped, "\n", std::string(indent, ' '));
      column = 0;
    }
    absl::StrAppend(&wrapped, column > 0 ? " " : "", word);
    column += word.size() + (column > 0 ? 1 : 0);
  }
  return wrapped;
}

std::string Section(absl::string_view title, const std::vector<Entry>& entries) {
  if (entries.empty()) return "";
  size_t widest = 0;
  for (const Entry& entry : entries) widest = std::max(widest, entry.name.size());
  std::string text = absl::StrCat("\n", title, ":\n");
  for (const Entry& entry : entries) {
    const std::string padding(widest - entry.name.size() + 2, ' ');
    absl::StrAppend(&text, "  ", entry.name, padding, Wrap(entry.text, widest + 4, kWidth), "\n");
  }
  return text;
}

Entry OptionEntry(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  std::string name = absl::StrJoin(names, ", ");
  if (option.get_expected_max() > 0) absl::StrAppend(&name, " ", option.get_type_name());
  std::string text = option.get_description();
  if (!option.get_default_str().empty()) absl::StrAppend(&text, " (default ", option.get_default_str(), ")");
  return {name, text};
}

std::string ArgumentName(const CLI::Option& option) {
  const std::string many = option.get_expected_max() > 1 ? "..." : "";
  const std::string name = absl::StrCat(option.get_type_name(), many);
  return option.get_required() ? name : absl::StrCat("[", name, "]");
}

std::vector<const CLI::Option*> Arguments(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

std::vector<Entry> OptionEntries(const CLI::App& app) {
  std::vector<Entry> entries;
  for (const CLI::Option* option : app.get_options()) {
    if (option->nonpositional()) entries.push_back(OptionEntry(*option));
  }
  return entries;
}

// A section a group, in the order in which the groups first appear.
std::string CommandSections(const CLI::App& app) {
  std::vector<std::pair<std::string, std::vector<Entry>>> groups;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); })) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == command->get_group(); });
    const Entry entry{command->get_name(), command->get_description()};
    if (group == groups.end()) {
      groups.push_back({command->get_group(), {entry}});
    } else {
      group->second.push_back(entry);
    }
  }
  std::string text;
  for (const auto& [title, entries] : groups) text += Section(title, entries);
  return text;
}

}  // namespace

std::string CommandLine(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name() : absl::StrCat(CommandLine(*app.get_parent()), " ", app.get_name());
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::set<std::string> names;
  for (const CLI::App* at = &app; at != nullptr; at = at->get_parent()) {
    for (const CLI::Option* option : at->get_options()) {
      for (const std::string& name : option->get_lnames()) names.insert("--" + name);
    }
  }
  return {names.begin(), names.end()};
}

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == name) return command;
  }
  return nullptr;
}

std::string HelpText(const CLI::App& app) {
  const std::string commands = CommandSections(app);
  std::string usage = CommandLine(app);
  std::vector<Entry> arguments;
  for (const CLI::Option* argument : Arguments(app)) {
    arguments.push_back({argument->get_type_name(), argument->get_description()});
  }
  absl::StrAppend(&usage, commands.empty() ? "" : " COMMAND", " [OPTIONS]");
  for (const CLI::Option* argument : Arguments(app)) absl::StrAppend(&usage, " ", ArgumentName(*argument));

  std::string text = absl::StrCat(Wrap(app.get_description(), 0, kWidth), "\n\nUsage: ", usage, "\n");
  absl::StrAppend(&text, commands, Section("Arguments", arguments), Section("Options", OptionEntries(app)));
  if (app.get_parent() != nullptr) {
    const CLI::App* root = app.get_parent();
    while (root->get_parent() != nullptr) root = root->get_parent();
    std::vector<Entry> global = OptionEntries(*root);
    std::erase_if(global, [](const Entry& entry) { return entry.name == "-h, --help" || entry.name == "--version"; });
    absl::StrAppend(&text, Section("Global options", global));
  }
  if (!app.get_footer().empty()) absl::StrAppend(&text, "\nExamples:\n", app.get_footer());
  return text;
}

}  // namespace polymoe::polyctl
