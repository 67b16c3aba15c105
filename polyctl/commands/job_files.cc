// What is done with a job file before it is submitted: validate, render, explain, params.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include <CLI/CLI.hpp>

#include "polymoe/v1/ablation.pb.h"

#include "common/spec/memory_plan.h"
#include "common/spec/model_shape.h"
#include "common/spec/rules.h"
#include "common/spec/yaml_write.h"
#include "common/status.h"
#include "common/units.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"
#include "polyctl/render/format.h"
#include "polyctl/render/memory.h"

namespace polymoe::polyctl {
namespace {

// ---- validate

struct ValidateOptions {
  FileSource source;
  bool offline = false;
};

absl::StatusOr<ExitCode> RunValidate(Cli& cli, const ValidateOptions& options) {
  POLYMOE_ASSIGN_OR_RETURN(const v1::JobFile file, ReadJobFile(options.source, cli.console));
  if (options.offline) {
    cli.console.out << "valid\n";
    return ExitCode::kOk;
  }
  POLYMOE_ASSIGN_OR_RETURN(const Client client, cli.Connect());
  POLYMOE_ASSIGN_OR_RETURN(const v1::ValidateResponse response, client.Validate(file));
  cli.console.out << "valid; "
                  << (response.has_would_wait() ? absl::StrCat("would wait: ", response.would_wait().detail())
                                                : "would start at once")
                  << "\n";
  return ExitCode::kOk;
}

// ---- explain

struct ExplainOptions {
  std::string prefix, kind = "job";
  bool markdown = false;
};

constexpr char kKinds[] = "job|ablation";

std::string MarkdownCell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

absl::StatusOr<ExitCode> RunExplain(Cli& cli, const ExplainOptions& options) {
  Table table{.columns = {{"FIELD"}, {"TYPE"}, {"DEFAULT"}, {"RANGE"}, {"MEANING"}}};
  const bool job = options.kind == "job";
  for (const FieldDoc& doc : DescribeFields(job ? v1::JobFile::descriptor() : v1::AblationFile::descriptor())) {
    if (!job && doc.path.starts_with("spec.base.")) continue;  // the spec of a job, which has its own list
    if (doc.path.starts_with(options.prefix)) table.rows.push_back({doc.path, doc.type, doc.default_value, doc.range, doc.help});
  }
  if (table.rows.empty()) {
    return absl::NotFoundError(absl::StrCat("no field of the ", options.kind, " file begins with '", options.prefix,
                                            "'; `polyctl explain --kind ", options.kind, "` lists all"));
  }
  if (!options.markdown) {
    PrintTable(table, {}, cli.console);
    return ExitCode::kOk;
  }
  cli.console.out << "| field | type | default | range | meaning |\n|---|---|---|---|---|\n";
  for (const auto& row : table.rows) {
    cli.console.out << "| `" << row[0].text << "` |";
    for (size_t i = 1; i < row.size(); ++i) cli.console.out << " " << MarkdownCell(row[i].text) << " |";
    cli.console.out << "\n";
  }
  return ExitCode::kOk;
}

// ---- params

struct ParamsOptions {
  FileSource source;
  OutputOptions output;
};

constexpr uint32_t kPlannedThreads = 1;  // a rank's number is its worker's affair (--threads-per-slot)

nlohmann::ordered_json ParamsJson(const v1::ModelSpec& model, const ModelShape& shape, const MemoryPlan& memory) {
  nlohmann::ordered_json json = {{"total", shape.total},
                                 {"active", shape.active},
                                 {"flopsPerToken", shape.flops_per_token},
                                 {"ffnWidth", FfnWidth(model)},
                                 {"groups", nlohmann::ordered_json::object()},
                                 {"memory", {{"total", memory.total}, {"threads", kPlannedThreads}}}};
  for (const ParameterGroup& group : shape.groups) json["groups"][group.name] = {{"total", group.total}, {"active", group.active}};
  for (const MemoryRow& row : memory.rows) json["memory"]["rows"][row.name] = row.bytes;
  return json;
}

Table ShapeTable(const ModelShape& shape) {
  Table table{.columns = {{"GROUP"}, {"TOTAL", Align::kRight}, {"ACTIVE", Align::kRight}, {"SHARE", Align::kRight}}};
  const auto add = [&](const std::string& name, uint64_t total, uint64_t active) {
    table.rows.push_back({name, absl::StrCat(total), absl::StrCat(active),
                          absl::StrFormat("%.1f%%", 100.0 * static_cast<double>(total) / static_cast<double>(shape.total))});
  };
  for (const ParameterGroup& group : shape.groups) {
    if (group.total > 0) add(group.name, group.total, group.active);
  }
  add("all", shape.total, shape.active);
  return table;
}

absl::StatusOr<ExitCode> RunParams(Cli& cli, const ParamsOptions& options) {
  POLYMOE_ASSIGN_OR_RETURN(const v1::JobFile file, ReadJobFile(options.source, cli.console));
  const v1::ModelSpec& model = file.spec().model();
  const ModelShape shape = ComputeShape(model, file.spec().data().sequence_length());
  const MemoryPlan memory = PlanMemory(file.spec(), kPlannedThreads);
  if (options.output.structured()) {
    PrintJson(ParamsJson(model, shape, memory), options.output, cli.console);
    return ExitCode::kOk;
  }
  PrintTable(ShapeTable(shape), options.output, cli.console);
  cli.console.out << "\nactivation       " << ActivationName(model.activation()) << ", FFN width " << FfnWidth(model)
                  << (FfnWidth(model) != model.ffn() ? absl::StrCat(" (2/3 of ", model.ffn(), ": match parameters)") : "")
                  << "\nFLOPs per token  " << FormatCount(shape.flops_per_token) << " (forward and backward)"
                  << "\nthis job         " << FormatCount(static_cast<double>(file.spec().train().tokens())) << " tokens, "
                  << FormatCount(shape.flops_per_token * static_cast<double>(file.spec().train().tokens())) << " FLOP\n"
                  << "precision        " << (file.spec().train().precision() == v1::PRECISION_BF16 ? "bf16" : "fp32")
                  << (file.spec().train().recompute() ? ", recompute" : "") << "\n\n";
  PrintTable(MemoryTable(memory, kPlannedThreads), options.output, cli.console);
  return ExitCode::kOk;
}

}  // namespace

void AddValidate(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* command = AddCommand(root, cli, "validate", "check a job file, and say whether it could start now",
                                 "  polyctl validate job.yaml\n"
                                 "  polyctl validate job.yaml --offline\n",
                                 [&cli, options] { return RunValidate(cli, *options); });
  command->group(kFileCommands);
  AddFileSource(*command, options->source);
  command->add_flag("--offline", options->offline, "do not ask the coordinator");
}

void AddRender(CLI::App& root, Cli& cli) {
  auto source = std::make_shared<FileSource>();
  CLI::App* command = AddCommand(root, cli, "render", "print a job file with every default and every --set filled in",
                                 "  polyctl render job.yaml\n"
                                 "  polyctl render job.yaml --set spec.train.seed=2 > seed-2.yaml\n",
                                 [&cli, source]() -> absl::StatusOr<ExitCode> {
                                   POLYMOE_ASSIGN_OR_RETURN(const v1::JobFile file, ReadJobFile(*source, cli.console));
                                   cli.console.out << MessageToYaml(file);
                                   return ExitCode::kOk;
                                 });
  command->group(kFileCommands);
  AddFileSource(*command, *source);
}

void AddExplain(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = AddCommand(root, cli, "explain", "the fields of job and ablation files: type, default, range, meaning",
                                 "  polyctl explain\n"
                                 "  polyctl explain spec.train\n"
                                 "  polyctl explain --kind ablation spec.stop\n",
                                 [&cli, options] { return RunExplain(cli, *options); });
  command->group(kFileCommands);
  command->add_option("field", options->prefix, "only fields that begin so")->type_name("FIELD");
  command->add_option("--kind", options->kind, "of which file")->type_name(kKinds)->check(OneOf(kKinds))->default_str("job");
  command->add_flag("--markdown", options->markdown, "as docs/job-spec.md has it");
}

void AddParams(CLI::App& root, Cli& cli) {
  auto options = std::make_shared<ParamsOptions>();
  CLI::App* command = AddCommand(root, cli, "params", "parameters and FLOPs of a job's model, memory of one rank",
                                 "  polyctl params job.yaml\n"
                                 "  polyctl params job.yaml --set spec.model.activation.kind=swiglu -o json\n",
                                 [&cli, options] { return RunParams(cli, *options); });
  command->group(kFileCommands);
  AddFileSource(*command, options->source);
  AddOutputFlags(*command, options->output, "table|json|yaml");
}

}  // namespace polymoe::polyctl
