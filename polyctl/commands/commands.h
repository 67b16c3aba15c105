// One function a command: adds it to the parser, with its flags, help and what runs it. Each lives in the file of its name.
#ifndef POLYMOE_POLYCTL_COMMANDS_COMMANDS_H_
#define POLYMOE_POLYCTL_COMMANDS_COMMANDS_H_

#include "polyctl/cli.h"

namespace polymoe::polyctl {

// In the order of `polyctl --help`.
void AddAllCommands(CLI::App& root, Cli& cli);

void AddSubmit(CLI::App& root, Cli& cli);
void AddLs(CLI::App& root, Cli& cli);
void AddGet(CLI::App& root, Cli& cli);
void AddWatch(CLI::App& root, Cli& cli);
void AddLogs(CLI::App& root, Cli& cli);
void AddWait(CLI::App& root, Cli& cli);
void AddCancel(CLI::App& root, Cli& cli);
void AddAblationCommands(CLI::App& root, Cli& cli);
void AddCompare(CLI::App& root, Cli& cli);
void AddReport(CLI::App& root, Cli& cli);
void AddExport(CLI::App& root, Cli& cli);
void AddValidate(CLI::App& root, Cli& cli);
void AddRender(CLI::App& root, Cli& cli);
void AddExplain(CLI::App& root, Cli& cli);
void AddParams(CLI::App& root, Cli& cli);
void AddDataset(CLI::App& root, Cli& cli);
void AddWorkers(CLI::App& root, Cli& cli);
void AddLocal(CLI::App& root, Cli& cli);
void AddConfig(CLI::App& root, Cli& cli);
void AddCompletion(CLI::App& root, Cli& cli);
void AddVersion(CLI::App& root, Cli& cli);
void AddHelp(CLI::App& root, Cli& cli);

}  // namespace polymoe::polyctl

#endif  // POLYMOE_POLYCTL_COMMANDS_COMMANDS_H_
