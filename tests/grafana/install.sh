#!/usr/bin/env bash
# Installs what executes the dashboards' transformations (tests/grafana/package-lock.json) into build/grafana-npm: 180 MB, 20 seconds.
# Without, the test of the transformations is skipped. Needs node 18 or newer and npm (Debian: apt-get install npm).
set -euo pipefail
cd "$(dirname "$0")/../.."

home=build/grafana-npm
cmp -s tests/grafana/package-lock.json "$home/installed.json" && exit 0
command -v npm >/dev/null || { echo "grafana/install: no npm here: apt-get install npm" >&2; exit 1; }
mkdir -p "$home"
cp tests/grafana/package{,-lock}.json "$home"
npm ci --prefix "$home" --no-audit --no-fund --ignore-scripts --loglevel=error
cp "$home/package-lock.json" "$home/installed.json"
echo "grafana/install: done in ${SECONDS} s"
