#include "polyctl/config.h"

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/file.h"
#include "common/rpc/channel.h"
#include "common/spec/scalar.h"
#include "common/status.h"

namespace polymoe::polyctl {
namespace {

absl::Status At(const std::string& path, const YAML::Node& node, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", node.Mark().line + 1, ":", node.Mark().column + 1, ": ", what));
}

absl::Status ReadContext(const YAML::Node& node, const std::string& path, std::string* server) {
  if (!node.IsMap()) return At(path, node, "expected `server: HOST:PORT`");
  for (const auto& entry : node) {
    const std::string key = entry.first.as<std::string>();
    if (key != "server") return At(path, entry.first, absl::StrCat("unknown field '", key, "'; a context has `server`"));
    if (!entry.second.IsScalar()) return At(path, entry.second, "expected HOST:PORT");
    *server = entry.second.Scalar();
  }
  return server->empty() ? At(path, node, "the context has no `server`") : absl::OkStatus();
}

absl::Status ReadRoot(const YAML::Node& root, const std::string& path, Config* config) {
  if (!root.IsMap()) return At(path, root, "expected a mapping with `current` and `contexts`");
  for (const auto& entry : root) {
    const std::string key = entry.first.as<std::string>();
    if (key == "current") {
      config->current = entry.second.as<std::string>();
    } else if (key == "contexts") {
      if (!entry.second.IsMap()) return At(path, entry.second, "expected a mapping from names to contexts");
      for (const auto& context : entry.second) {
        POLYMOE_RETURN_IF_ERROR(ReadContext(context.second, path, &config->contexts[context.first.as<std::string>()]));
      }
    } else {
      return At(path, entry.first, absl::StrCat("unknown field '", key, "'; known are `current` and `contexts`"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ServerOf(const Config& config, const std::string& context) {
  const auto it = config.contexts.find(context);
  if (it != config.contexts.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& [name, server] : config.contexts) names.push_back(name);
  const std::string guess = ClosestMatch(context, names);
  return absl::NotFoundError(absl::StrCat("no context '", context, "'; ",
                                          guess.empty() ? "`polyctl config list` shows all, `polyctl config use` makes one"
                                                        : absl::StrCat("did you mean ", guess, "?")));
}

}  // namespace

absl::StatusOr<std::string> ConfigPath(const Console& console) {
  if (const std::string base = console.Env("XDG_CONFIG_HOME"); !base.empty()) return base + "/polymoe/config.yaml";
  if (const std::string home = console.Env("HOME"); !home.empty()) return home + "/.config/polymoe/config.yaml";
  return absl::NotFoundError("no place for the configuration: set HOME or XDG_CONFIG_HOME");
}

absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& path) {
  Config config;
  try {  // yaml-cpp reports through exceptions
    const YAML::Node root = YAML::Load(text);
    if (!root.IsNull()) POLYMOE_RETURN_IF_ERROR(ReadRoot(root, path, &config));
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", e.mark.line + 1, ":", e.mark.column + 1, ": ", e.msg));
  }
  return config;
}

std::string FormatConfig(const Config& config) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  if (!config.current.empty()) out << YAML::Key << "current" << YAML::Value << config.current;
  out << YAML::Key << "contexts" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, server] : config.contexts) {
    out << YAML::Key << name << YAML::Value << YAML::BeginMap << YAML::Key << "server" << YAML::Value << server << YAML::EndMap;
  }
  out << YAML::EndMap << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

absl::StatusOr<Config> LoadConfig(const Console& console) {
  const absl::StatusOr<std::string> path = ConfigPath(console);
  if (!path.ok() || !PathExists(*path)) return Config();
  POLYMOE_ASSIGN_OR_RETURN(const std::string text, ReadFile(*path));
  return ParseConfig(text, *path);
}

absl::Status SaveConfig(const Console& console, const Config& config) {
  POLYMOE_ASSIGN_OR_RETURN(const std::string path, ConfigPath(console));
  POLYMOE_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path()));
  return WriteFileDurably(path, FormatConfig(config));
}

absl::StatusOr<ServerChoice> ChooseServer(const std::string& server_flag, const std::string& context_flag, const Console& console) {
  if (!server_flag.empty()) return ServerChoice{server_flag, "--server"};
  const std::string variable = console.Env("POLYMOE_SERVER");
  if (context_flag.empty() && !variable.empty()) return ServerChoice{variable, "POLYMOE_SERVER"};
  POLYMOE_ASSIGN_OR_RETURN(const Config config, LoadConfig(console));
  const std::string context = context_flag.empty() ? config.current : context_flag;
  if (context.empty()) return ServerChoice{kDefaultServer, "default"};
  POLYMOE_ASSIGN_OR_RETURN(const std::string server, ServerOf(config, context));
  return ServerChoice{server, absl::StrCat("context ", context)};
}

}  // namespace polymoe::polyctl
