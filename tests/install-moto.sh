#!/usr/bin/env bash
# Installs moto, a real S3 server in Python, for s3_storage_test, which is skipped without: 140 MB in build/venv-moto, ten seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=build/venv-moto
"$venv/bin/python" -c 'import moto.server' 2>/dev/null && exit 0
python3 -m venv "$venv" || { echo "install-moto: cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$venv/bin/pip" install --quiet --disable-pip-version-check 'moto[s3]==5.2.*' flask flask-cors >"$log" 2>&1; then
  tail -5 "$log" >&2
  echo "install-moto: pip failed; the lines above are its own" >&2
  exit 1
fi
echo "install-moto: done in ${SECONDS} s"
