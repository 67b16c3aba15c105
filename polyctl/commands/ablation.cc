// ablation submit, ls, get, pause, resume, cancel, add-arm; `ablation watch` is in ablation_watch.cc.
#include "common/spec/ablation.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>

#include "common/ids.h"
#include "common/spec/names.h"
#include "common/status.h"
#include "polyctl/commands/ablation_watch.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/ablation.h"

namespace polymoe::polyctl {
namespace {

TableOptions ScreenOptions(const Console& console) {
  return {.colour = console.colour, .utf8 = console.utf8, .width = console.width};
}

void PrintAblation(const v1::Ablation& ablation, const OutputOptions& output, Console& console) {
  if (output.structured()) {
    PrintJson(ToJson(ablation), output, console);
  } else {
    console.out << ablation.id() << std::endl;
  }
}

// ---- submit

struct SubmitOptions {
  FileSource source;
  std::string base, request_id;
  bool dry_run = false, watch = false;
  OutputOptions output;
};

absl::StatusOr<ExitCode> DryRun(const v1::AblationFile& file, Console& console) {
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<PlannedArm> planned, PlanArms(file));
  std::vector<DryArm> arms;
  for (const PlannedArm& arm : planned) arms.push_back({arm.name, arm.spec});
  console.out << DryRunPage(file, arms, ScreenOptions(console));
  return ExitCode::kOk;
}

void PrintHints(const v1::SubmitAblationResponse& response, Console& console) {
  const std::string& id = response.ablation().id();
  console.err << (response.existed() ? "This request had made ablation " : "Submitted ablation ") << id << " with "
              << response.ablation().runs_size() << " runs.\n"
              << "  polyctl ablation watch " << id << "     live progress\n"
              << "  polyctl compare " << id << "            the arms side by side\n"
              << "  polyctl ablation cancel " << id << "    stop it\n";
}

absl::StatusOr<ExitCode> RunSubmit(Cli& cli, const SubmitOptions& options) {
  v1::SubmitAblationRequest request;
  POLYMOE_ASSIGN_OR_RETURN(*request.mutable_file(), ReadAblationFile(options.source, options.base, cli.console));
  if (options.dry_run) return DryRun(request.file(), cli.console);
  request.set_request_id(options.request_id.empty() ? NewUuid() : options.request_id);
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  const absl::StatusOr<v1::SubmitAblationResponse> response = client.SubmitAblation(request);
  if (!response.ok()) return MayHaveHappened(response.status(), request.request_id(), "two ablations");
  PrintAblation(response->ablation(), options.output, cli.console);
  PrintHints(*response, cli.console);
  return options.watch ? WatchAblation(client, response->ablation().id(), cli.console) : ExitCode::kOk;
}

// ---- ls

constexpr char kStates[] = "active|paused|succeeded|failed|cancelled";

struct LsOptions {
  std::vector<std::string> states;
  OutputOptions output;
};

absl::StatusOr<ExitCode> RunLs(Cli& cli, const LsOptions& options) {
  v1::ListAblationsRequest request;
  request.set_page_size(500);
  for (const std::string& name : options.states) {
    const std::optional<v1::AblationState> state = ParseAblationState(name);
    if (!state.has_value()) return absl::InvalidArgumentError(absl::StrCat("--state: '", name, "' is not one of ", kStates));
    request.add_states(*state);
  }
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const std::vector<v1::Ablation> ablations, client.ListAblations(request));
  if (options.output.structured()) {
    PrintJson(ToJsonArray(ablations), options.output, cli.console);
    return ExitCode::kOk;
  }
  const Table table = AblationsTable(ablations, cli.console.clock.Now());
  if (options.output.parsed() == OutputFormat::kName) {
    PrintNames(table, cli.console);
  } else if (ablations.empty()) {
    cli.console.err << "No ablations. Submit one with `polyctl ablation submit FILE`.\n";
  } else {
    PrintTable(table, options.output, cli.console);
  }
  return ExitCode::kOk;
}

// ---- get, pause, resume, cancel, add-arm

struct OneOptions {
  std::string ablation;
  OutputOptions output;
};

absl::StatusOr<ExitCode> RunGet(Cli& cli, const OneOptions& options) {
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  if (options.output.parsed() != OutputFormat::kTable) {
    POLYMOE_ASSIGN_OR_RETURN(const v1::Ablation ablation, client.GetAblation(options.ablation));
    PrintAblation(ablation, options.output, cli.console);
    return ExitCode::kOk;
  }
  AblationNews news;
  POLYMOE_RETURN_IF_ERROR(client.WatchAblation(options.ablation, [&news](const v1::WatchAblationResponse& response) {
    news.Take(response);
    return false;
  }));
  cli.console.out << AblationPage(news.ablation, news.jobs, cli.console.clock.Now(), ScreenOptions(cli.console));
  return ExitCode::kOk;
}

// A call that changes an ablation and returns it as it is then. stdout gets its id, stderr what comes of it.
absl::StatusOr<ExitCode> SayWhatChanged(Cli& cli, const absl::StatusOr<v1::Ablation>& ablation, const std::string& done) {
  if (!ablation.ok()) return ablation.status();
  cli.console.out << ablation->id() << "\n";
  cli.console.err << ablation->id() << ": " << (IsFinal(ablation->state()) ? StateName(ablation->state()) : done) << "\n";
  return ExitCode::kOk;
}

using Change = absl::StatusOr<v1::Ablation> (Client::*)(const std::string&) const;

CLI::App* AddChange(CLI::App& group, Cli& cli, const std::string& name, const std::string& help, const std::string& examples,
                    Change change, const std::string& done) {
  auto ablation = std::make_shared<std::string>();
  CLI::App* command = AddCommand(group, cli, name, help, examples, [&cli, ablation, change, done]() -> absl::StatusOr<ExitCode> {
    POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
    return SayWhatChanged(cli, (client.*change)(*ablation), done);
  });
  AddAblation(*command, *ablation);
  return command;
}

struct AddArmOptions {
  std::string ablation, arm;
  std::vector<std::string> edits;
};

absl::StatusOr<ExitCode> RunAddArm(Cli& cli, const AddArmOptions& options) {
  v1::AddArmRequest request;
  request.set_ablation(options.ablation);
  request.mutable_arm()->set_name(options.arm);
  for (const std::string& edit : options.edits) {
    const std::vector<std::string> parts = absl::StrSplit(edit, absl::MaxSplits('=', 1));
    if (parts.size() != 2 || parts[0].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--set ", edit, ": write PATH=VALUE, for example model.activation.kind=gelu"));
    }
    (*request.mutable_arm()->mutable_set())[parts[0]] = parts[1];
  }
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  return SayWhatChanged(cli, client.AddArm(request), absl::StrCat("has arm ", options.arm, " now"));
}

// ---- the commands

void AddSubmitTo(CLI::App& group, Cli& cli) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command =
      AddCommand(group, cli, "submit", "submit an ablation file; prints the ablation's id",
                 "  polyctl ablation submit study.yaml --dry-run\n"
                 "  polyctl ablation submit deploy/studies/orders.yaml --base job.yaml --set spec.seeds=1,2,3\n"
                 "  polyctl ablation submit study.yaml --set spec.budget.tokens=4M --watch\n"
                 "  id=$(polyctl ablation submit study.yaml) && polyctl ablation watch $id && polyctl report $id --out report\n",
                 [&cli, options] { return RunSubmit(cli, *options); });
  AddFileSource(*command, options->source, "ablation file", "spec.budget.tokens=1M");
  command->add_option("--base", options->base, "job file whose spec every arm starts from, where FILE has no spec.base")
      ->type_name("JOB_FILE");
  command->add_flag("--dry-run", options->dry_run, "only print the arms: what differs, parameters, FLOPs, runs");
  command->add_flag("--watch", options->watch, "go on as `polyctl ablation watch`");
  AddRequestId(*command, options->request_id, "ablation");
  AddOutputFlag(*command, options->output, "name|json|yaml");
}

void AddLsTo(CLI::App& group, Cli& cli) {
  auto options = std::make_shared<LsOptions>();
  CLI::App* command = AddCommand(group, cli, "ls", "list ablations, newest first",
                                 "  polyctl ablation ls\n"
                                 "  polyctl ablation ls --state active -o name\n",
                                 [&cli, options] { return RunLs(cli, *options); });
  AddRepeated(*command, "--state", options->states, "only ablations in this state; may be repeated")->type_name(kStates);
  AddOutputFlags(*command, options->output, "table|json|yaml|name");
}

void AddGetTo(CLI::App& group, Cli& cli) {
  auto options = std::make_shared<OneOptions>();
  CLI::App* command = AddCommand(group, cli, "get", "one ablation: its runs by arm and seed, progress, why runs wait",
                                 "  polyctl ablation get activations\n"
                                 "  polyctl ablation get activations -o json | jq -r '.runs[].job'\n",
                                 [&cli, options] { return RunGet(cli, *options); });
  AddAblation(*command, options->ablation);
  AddOutputFlag(*command, options->output, "table|json|yaml|name");
}

void AddArmTo(CLI::App& group, Cli& cli) {
  auto options = std::make_shared<AddArmOptions>();
  CLI::App* command = AddCommand(group, cli, "add-arm", "one more arm with the same seeds; the finished runs stay as they are",
                                 "  polyctl ablation add-arm activations gelu --set model.activation.kind=gelu\n",
                                 [&cli, options] { return RunAddArm(cli, *options); });
  AddAblation(*command, options->ablation);
  command->add_option("name", options->arm, "name of the arm")->type_name("NAME")->required();
  AddRepeated(*command, "--set", options->edits,
              "what differs from the base, for example model.activation.kind=gelu; may be repeated")
      ->type_name("PATH=VALUE");
}

}  // namespace

void AddAblationCommands(CLI::App& root, Cli& cli) {
  CLI::App* group = AddGroup(root, "ablation", "activation ablations: arms that differ in named fields, the same seeds in each");
  group->group(kAblationCommands);
  AddSubmitTo(*group, cli);
  AddLsTo(*group, cli);
  AddGetTo(*group, cli);
  AddAblationWatch(*group, cli);
  AddChange(*group, cli, "pause", "runs save a checkpoint and give their slots back; nothing starts until resume",
            "  polyctl ablation pause activations\n", &Client::PauseAblation, "being paused");
  AddChange(*group, cli, "resume", "go on after a pause", "  polyctl ablation resume activations\n", &Client::ResumeAblation,
            "goes on");
  AddChange(*group, cli, "cancel", "stop all its runs for good; their checkpoints and figures stay",
            "  polyctl ablation cancel activations\n", &Client::CancelAblation, "being cancelled");
  AddArmTo(*group, cli);
}

}  // namespace polymoe::polyctl
