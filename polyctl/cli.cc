#include "polyctl/cli.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

#include "common/spec/scalar.h"
#include "common/status.h"
#include "common/version.h"
#include "polyctl/commands/commands.h"
#include "polyctl/completion.h"
#include "polyctl/config.h"
#include "polyctl/help.h"

namespace polymoe::polyctl {
namespace {

class Formatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override { return HelpText(*app); }
};

// The command that `args` reached, for the hint below an error.
const CLI::App& Reached(const CLI::App& root) {
  const CLI::App* app = &root;
  while (true) {
    const auto chosen = app->get_subcommands();
    if (chosen.empty()) return *app;
    app = chosen.back();
  }
}

std::string Unknown(absl::string_view kind, const std::string& word, const std::vector<std::string>& known) {
  const std::string guess = ClosestMatch(word, known);
  return absl::StrCat("unknown ", kind, " '", word, "'", guess.empty() ? "" : absl::StrCat("; did you mean ", guess, "?"));
}

// What is wrong with the words that no command took; empty when that is not it. CLI11 lists them in no order, and for "polyctl lss" it
// only says that a command is missing.
std::string UnknownWord(const CLI::App& root, const CLI::App& app) {
  const std::vector<std::string> rest = root.remaining(true);
  const auto option = std::find_if(rest.begin(), rest.end(), [](const std::string& w) { return absl::StartsWith(w, "-"); });
  if (option != rest.end()) return Unknown("option", option->substr(0, option->find('=')), OptionNames(app));
  const std::vector<std::string> commands = CommandNames(app);
  if (rest.empty()) return commands.empty() || !app.get_subcommands().empty() ? "" : "a command is missing";
  return commands.empty() ? absl::StrCat("unexpected argument '", rest[0], "'") : Unknown("command", rest[0], commands);
}

int ReportParseError(const CLI::App& root, const CLI::ParseError& error, Console& console) {
  const CLI::App& app = Reached(root);
  std::string what = UnknownWord(root, app);
  if (what.empty()) what = error.what();
  console.err << "polyctl: " << what << "\nSee `" << CommandLine(app) << " --help`.\n";
  return static_cast<int>(ExitCode::kUsage);
}

int Finish(const absl::StatusOr<ExitCode>& result, Console& console) {
  if (!console.out.flush()) {
    console.err << "polyctl: cannot write to standard output; is the disk full?\n";
    return static_cast<int>(ExitCode::kError);
  }
  if (result.ok()) return static_cast<int>(*result);
  console.err << "polyctl: " << result.status().message() << "\n";
  return static_cast<int>(ExitCodeOf(result.status()));
}

}  // namespace

absl::StatusOr<Client> Cli::Connect() const {
  POLYMOE_ASSIGN_OR_RETURN(const ServerChoice choice, ChooseServer(server_flag, context_flag, console));
  absl::StatusOr<Client> client = Client::Open(choice.address, client_options);
  return client.ok() ? std::move(client) : Annotate(client.status(), choice.origin);
}

CLI::App* AddCommand(CLI::App& parent, Cli& cli, const std::string& name, const std::string& help, const std::string& examples,
                     std::function<absl::StatusOr<ExitCode>()> run) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer(examples);
  command->callback([&cli, run = std::move(run)] { cli.action = run; });
  return command;
}

CLI::App* AddGroup(CLI::App& parent, const std::string& name, const std::string& help) {
  CLI::App* group = parent.add_subcommand(name, help);
  group->require_subcommand(1);
  group->footer("");
  return group;
}

void AddOutputFlag(CLI::App& command, OutputOptions& options, const std::string& formats) {
  options.format = formats.substr(0, formats.find('|'));
  command.add_option("-o,--output", options.format, "form of the data on stdout")
      ->type_name(formats)
      ->default_str(options.format)
      ->check(OneOf(formats));
}

void AddOutputFlags(CLI::App& command, OutputOptions& options, const std::string& formats) {
  AddOutputFlag(command, options, formats);
  command.add_flag("--no-headers", options.no_headers, "leave the table's first line out");
}

std::function<std::string(const std::string&)> OneOf(const std::string& alternatives) {
  const std::vector<std::string> allowed = absl::StrSplit(alternatives, '|');
  return [allowed](const std::string& value) {
    const bool known = std::find(allowed.begin(), allowed.end(), value) != allowed.end();
    return known ? std::string() : absl::StrCat("'", value, "' is not one of ", absl::StrJoin(allowed, ", "));
  };
}

std::function<std::string(const std::string&)> Between(int least, int most) {
  return [least, most](const std::string& value) {
    int number;
    const bool good = absl::SimpleAtoi(value, &number) && number >= least && number <= most;
    return good ? std::string() : absl::StrCat("'", value, "' is not a whole number from ", least, " to ", most);
  };
}

CLI::Option* AddRepeated(CLI::App& command, const std::string& name, std::vector<std::string>& values, const std::string& help) {
  CLI::Option* option = command.add_option(name, values, help);
  if (option->nonpositional()) option->allow_extra_args(false);
  return option;
}

std::unique_ptr<CLI::App> BuildParser(Cli& cli) {
  auto root = std::make_unique<CLI::App>("Trains Mixture-of-Experts language models with PolyCom activations, and compares them.",
                                         "polyctl");
  root->formatter(std::make_shared<Formatter>());
  root->require_subcommand(1);
  root->fallthrough();
  root->set_help_flag("-h,--help", "print this help");
  root->set_version_flag("--version", absl::StrCat("polyctl ", kVersion), "print the version");
  root->add_option("--server", cli.server_flag,
                   "coordinator, HOST:PORT (else --context, POLYMOE_SERVER, the current context, 127.0.0.1:7070)")
      ->type_name("ADDRESS");
  root->add_option("--context", cli.context_flag, "context of the configuration (`polyctl config list`)")->type_name("CONTEXT");
  root->footer(
      "  polyctl local up --workers 2            a coordinator and two workers on this machine\n"
      "  polyctl submit job.yaml --follow        train, and see the log\n"
      "  polyctl watch                           live table of all jobs\n"
      "  polyctl ablation submit study.yaml      arms, seeds and a baseline as one object\n"
      "  polyctl compare activations             which arm converged best\n");
  AddAllCommands(*root, cli);
  return root;
}

int RunPolyctl(const std::vector<std::string>& args, Console& console, const ClientOptions& client_options) {
  Cli cli{.console = console, .client_options = client_options};
  const std::unique_ptr<CLI::App> root = BuildParser(cli);
  if (!args.empty() && args[0] == kCompleteCommand) {
    for (const std::string& candidate : Complete(*root, {args.begin() + 1, args.end()}, cli)) console.out << candidate << "\n";
    return static_cast<int>(ExitCode::kOk);
  }
  try {  // CLI11 reports through exceptions
    root->parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::CallForHelp&) {
    console.out << root->help();
    return static_cast<int>(ExitCode::kOk);
  } catch (const CLI::CallForVersion& version) {
    console.out << version.what() << "\n";
    return static_cast<int>(ExitCode::kOk);
  } catch (const CLI::ParseError& error) {
    return ReportParseError(*root, error, console);
  }
  return Finish(cli.action(), console);
}

}  // namespace polymoe::polyctl
