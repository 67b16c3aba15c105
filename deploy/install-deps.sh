#!/usr/bin/env bash
# Installs every package that PolyMoE needs to build, test and run: on Debian 12, Debian 13 and Ubuntu 24.04 the names are the same.
# Uses sudo only when not root; run it again at any time.
set -euo pipefail

if [[ ${1-} == --help ]]; then
  sed -n '2,3s/^# //p' "$0"
  echo "usage: deploy/install-deps.sh [--list]    --list prints the packages and installs nothing"
  exit 0
fi

build=(g++ cmake ninja-build pkg-config ccache mold git ca-certificates)
rpc=(libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libabsl-dev libssl-dev)
training=(libhwy-dev libgloo-dev libeigen3-dev libsentencepiece-dev zlib1g-dev libzstd-dev)
service=(libsoci-dev libsqlite3-dev libpq-dev libboost-dev prometheus-cpp-dev libcurl4-openssl-dev libspdlog-dev)
files=(libyaml-cpp-dev nlohmann-json3-dev libcli11-dev)
tests=(libgtest-dev libgmock-dev librapidcheck-dev curl iproute2 prometheus postgresql python3-venv)  # prometheus brings promtool, which lints /metrics
packages=("${build[@]}" "${rpc[@]}" "${training[@]}" "${service[@]}" "${files[@]}" "${tests[@]}")

if [[ ${1-} == --list ]]; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install-deps: this system has no apt-get; install what 'deploy/install-deps.sh --list' prints by hand" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install-deps: all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=()
if [[ $(id -u) != 0 ]]; then
  command -v sudo >/dev/null || { echo "install-deps: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "install-deps: installing ${#missing[@]} of ${#packages[@]} packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# Only programs and libraries: no service of these packages is started on this machine.
if ! { "${as_root[@]}" apt-get update -qq &&
       "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
     >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "install-deps: apt-get failed; the lines above say why" >&2
  exit 1
fi
echo "install-deps: done in ${SECONDS} s"
