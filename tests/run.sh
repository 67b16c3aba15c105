#!/usr/bin/env bash
# Sets up, builds and runs every test: the whole proof in one command, on a fresh machine too.
#   tests/run.sh [--skip-install] [--preset release|debug|asan|tsan] [ctest options...]   e.g. tests/run.sh -R spec
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release install=1
while (($#)); do
  case $1 in
    --skip-install) install=0; shift ;;
    --preset) preset=$2; shift 2 ;;
    --help) sed -n '2,3s/^# \?//p' "$0"; exit 0 ;;
    *) break ;;
  esac
done

((install == 0)) || deploy/install-deps.sh
echo "run.sh: building preset $preset"
((install == 0)) || tests/install-moto.sh || echo "run.sh: the tests against an S3 server will be skipped"
((install == 0)) || tests/grafana/install.sh || echo "run.sh: the tests of the dashboards' transformations will be skipped"
[[ -e build/$preset/build.ninja ]] || cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" -- --quiet
echo "run.sh: testing, build took ${SECONDS} s"
ctest --preset "$preset" -j "$(nproc)" "$@"
