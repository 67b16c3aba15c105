#include "polyctl/config.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"

namespace polymoe::polyctl {
namespace {

absl::StatusOr<ExitCode> RunList(Cli& cli, const OutputOptions& output) {
  POLYMOE_ASSIGN_OR_RETURN(const Config config, LoadConfig(cli.console));
  POLYMOE_ASSIGN_OR_RETURN(const ServerChoice choice, ChooseServer(cli.server_flag, cli.context_flag, cli.console));
  Table table{.columns = {{"CONTEXT"}, {"SERVER"}, {"CURRENT"}}};
  auto json = nlohmann::ordered_json::array();
  for (const auto& [name, server] : config.contexts) {
    const bool current = name == config.current;
    table.rows.push_back({name, server, current ? "*" : ""});
    json.push_back({{"name", name}, {"server", server}, {"current", current}});
  }
  if (output.structured()) {
    PrintJson(json, output, cli.console);
  } else if (output.parsed() == OutputFormat::kName) {
    PrintNames(table, cli.console);
  } else if (config.contexts.empty()) {
    cli.console.err << "No contexts. Make one with `polyctl config use NAME --address HOST:PORT`.\n";
  } else {
    PrintTable(table, output, cli.console);
  }
  cli.console.err << "Commands talk to " << choice.address << " (" << choice.origin << ").\n";
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunUse(Cli& cli, const std::string& name, const std::string& server) {
  POLYMOE_ASSIGN_OR_RETURN(Config config, LoadConfig(cli.console));
  if (!server.empty()) {
    POLYMOE_RETURN_IF_ERROR(Client::Open(server).status());
    config.contexts[name] = server;
  }
  if (!config.contexts.contains(name)) {
    return absl::NotFoundError(
        absl::StrCat("there is no context '", name, "'; make it with `polyctl config use ", name, " --address HOST:PORT`"));
  }
  config.current = name;
  POLYMOE_RETURN_IF_ERROR(SaveConfig(cli.console, config));
  cli.console.err << "Commands talk to " << config.contexts[name] << " (context " << name << ").\n";
  return ExitCode::kOk;
}

}  // namespace

void AddConfig(CLI::App& root, Cli& cli) {
  CLI::App* group = AddGroup(root, "config", "contexts: which coordinator commands talk to");
  group->group(kOtherCommands);
  auto output = std::make_shared<OutputOptions>();
  CLI::App* list = AddCommand(*group, cli, "list", "list the contexts", "  polyctl config list\n",
                              [&cli, output] { return RunList(cli, *output); });
  list->group("Commands");
  AddOutputFlags(*list, *output, "table|json|yaml|name");
  auto name = std::make_shared<std::string>(), server = std::make_shared<std::string>();
  CLI::App* use = AddCommand(*group, cli, "use", "make a context the current one; with --address, make or change it first",
                             "  polyctl config use lab --address 127.0.0.1:17070\n"
                             "  polyctl config use local\n",
                             [&cli, name, server] { return RunUse(cli, *name, *server); });
  use->group("Commands");
  use->add_option("context", *name, "name of the context")->type_name("CONTEXT")->required();
  use->add_option("--address", *server, "coordinator of the context")->type_name("HOST:PORT");
}

}  // namespace polymoe::polyctl
