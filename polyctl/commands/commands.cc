#include "polyctl/commands/commands.h"

namespace polymoe::polyctl {

void AddAllCommands(CLI::App& root, Cli& cli) {
  AddSubmit(root, cli);
  AddLs(root, cli);
  AddGet(root, cli);
  AddWatch(root, cli);
  AddLogs(root, cli);
  AddWait(root, cli);
  AddCancel(root, cli);
  AddAblationCommands(root, cli);
  AddCompare(root, cli);
  AddReport(root, cli);
  AddExport(root, cli);
  AddValidate(root, cli);
  AddRender(root, cli);
  AddExplain(root, cli);
  AddParams(root, cli);
  AddDataset(root, cli);
  AddWorkers(root, cli);
  AddLocal(root, cli);
  AddConfig(root, cli);
  AddCompletion(root, cli);
  AddVersion(root, cli);
  AddHelp(root, cli);
}

}  // namespace polymoe::polyctl
