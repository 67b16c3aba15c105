#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <CLI/CLI.hpp>

#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/format.h"

namespace polymoe::polyctl {
namespace {

Cell StateCell(const v1::Worker& worker) {
  if (!worker.connected()) return {"disconnected", Style::kRed};
  return worker.draining() ? Cell("draining", Style::kYellow) : Cell("connected", Style::kGreen);
}

Table WorkersTable(const std::vector<v1::Worker>& workers, absl::Time now) {
  Table table{.columns = {{"WORKER"},
                          {"STATE"},
                          {"SLOTS", Align::kRight},
                          {"BUSY", Align::kRight},
                          {"THREADS", Align::kRight},
                          {"HOST"},
                          {"SEEN", Align::kRight},
                          {"RUNNING"}}};
  for (const v1::Worker& worker : workers) {
    std::vector<std::string> running;
    for (const v1::RankRef& rank : worker.running()) running.push_back(absl::StrCat(rank.job(), "/", rank.rank()));
    const uint32_t threads = worker.slots().empty() ? 0 : worker.slots(0).threads();
    table.rows.push_back({worker.name(), StateCell(worker), absl::StrCat(worker.slots_size()), absl::StrCat(worker.running_size()),
                          absl::StrCat(threads), worker.host(), FormatAge(worker.last_seen_ms(), now),
                          absl::StrJoin(running, " ")});
  }
  return table;
}

absl::StatusOr<ExitCode> Run(Cli& cli, const OutputOptions& output) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const v1::ListWorkersResponse response, client.ListWorkers());
  const std::vector<v1::Worker> workers(response.workers().begin(), response.workers().end());
  const Table table = WorkersTable(workers, cli.console.clock.Now());
  if (output.structured()) {
    PrintJson(ToJsonArray(workers), output, cli.console);
  } else if (output.parsed() == OutputFormat::kName) {
    PrintNames(table, cli.console);
  } else if (workers.empty()) {
    cli.console.err << "No workers. Start one with `polymoe-worker --server " << client.server() << "`.\n";
  } else {
    PrintTable(table, output, cli.console);
  }
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunDrain(Cli& cli, const std::string& worker) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_RETURN_IF_ERROR(client.DrainWorker(worker).status());
  cli.console.err << "Worker " << worker << " saves its ranks and leaves; their jobs go on elsewhere.\n";
  return ExitCode::kOk;
}

}  // namespace

void AddWorkers(CLI::App& root, Cli& cli) {
  CLI::App* group = AddGroup(root, "workers", "the machines that train");
  group->group(kClusterCommands);
  auto output = std::make_shared<OutputOptions>();
  CLI::App* list = AddCommand(*group, cli, "ls", "list workers with their slots and ranks", "  polyctl workers ls\n",
                              [&cli, output] { return Run(cli, *output); });
  list->group("Commands");
  AddOutputFlags(*list, *output, "table|json|yaml|name");
  auto worker = std::make_shared<std::string>();
  CLI::App* drain = AddCommand(*group, cli, "drain", "stop a worker gently: ranks save a checkpoint, jobs move on",
                               "  polyctl workers drain node-7\n", [&cli, worker] { return RunDrain(cli, *worker); });
  drain->group("Commands");
  drain->add_option("worker", *worker, "name of the worker")->type_name("WORKER")->required();
}

}  // namespace polymoe::polyctl
