// Building datasets is a program of its own (see worker/data/CMakeLists.txt); this passes the command line on to it.
#include <sys/wait.h>

#include <cerrno>
#include <memory>

#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "common/process.h"
#include "common/status.h"
#include "polyctl/commands/commands.h"
#include "polyctl/commands/common.h"

namespace polymoe::polyctl {
namespace {

absl::StatusOr<ExitCode> Run(const std::vector<std::string>& arguments) {
  ProcessOptions options{.argv = {absl::StrCat(ProgramDirectory(), "/polymoe-dataset")}, .descriptors = {{0, 0}, {1, 1}, {2, 2}}};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  POLYMOE_ASSIGN_OR_RETURN(const pid_t pid, StartProcess(options));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return absl::InternalError("lost track of polymoe-dataset");
  }
  const ProcessExit exit = ToProcessExit(status);
  return exit.signal != 0 ? ExitCode::kError : static_cast<ExitCode>(exit.exit_code);
}

struct BuildOptions {
  std::vector<std::string> inputs;
  std::string out, tokenizer = "bytes", heldout = "0.02", text_field = "text";
};

}  // namespace

void AddDataset(CLI::App& root, Cli& cli) {
  CLI::App* group = AddGroup(root, "dataset", "tokenised text for training");
  group->group(kFileCommands);
  auto options = std::make_shared<BuildOptions>();
  CLI::App* build = AddCommand(*group, cli, "build", "make a dataset from text; an interrupted build goes on when run again",
                               "  polyctl dataset build --input corpus/ --out data/corpus --tokenizer train-spm:16384\n"
                               "  polyctl dataset build --input web.jsonl.zst --text-field content --out data/web --tokenizer "
                               "spm:data/corpus/tokenizer.model\n"
                               "  polyctl dataset build --input far-domain/ --out data/far --heldout 1\n",
                               [options] {
                                 std::vector<std::string> arguments = {
                                     "build",     "--out",          options->out,   "--tokenizer",      options->tokenizer,
                                     "--heldout", options->heldout, "--text-field", options->text_field};
                                 for (const std::string& input : options->inputs)
                                   arguments.insert(arguments.end(), {"--input", input});
                                 return Run(arguments);
                               });
  build->group("Commands");
  AddRepeated(*build, "--input", options->inputs, "text file or folder (.gz, .zst and .jsonl too); may be repeated")
      ->type_name("PATH")
      ->required();
  build->add_option("--out", options->out, "folder to make")->type_name("DIR")->required();
  build->add_option("--tokenizer", options->tokenizer, "bytes, spm:MODEL_FILE or train-spm:VOCAB")
      ->default_str("bytes")
      ->type_name("SPEC");
  build->add_option("--heldout", options->heldout, "share of documents kept out of training, chosen by their hash")
      ->default_str("0.02")
      ->type_name("SHARE");
  build->add_option("--text-field", options->text_field, "field of JSON lines")->default_str("text")->type_name("NAME");
  auto directory = std::make_shared<std::string>();
  CLI::App* info = AddCommand(*group, cli, "info", "what a dataset holds: splits, tokens, vocabulary",
                              "  polyctl dataset info data/corpus\n", [directory] {
                                return Run({"info", *directory});
                              });
  info->group("Commands");
  info->add_option("dir", *directory, "dataset")->type_name("DIR")->required();
}

}  // namespace polymoe::polyctl
