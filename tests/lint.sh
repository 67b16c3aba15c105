#!/usr/bin/env bash
# Format and lint of our own code over build/release/compile_commands.json. Needs Debian 12's clang-format-14, clang-tidy-14 and
# libomp-14-dev.
#   tests/lint.sh [REVISION]     only files that changed since REVISION; without it, all (20 minutes on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."

if (($#)); then
  mapfile -t files < <(git diff --name-only --diff-filter=d "$1" -- '*.cc' '*.cu' '*.h')
else
  mapfile -t files < <(git ls-files '*.cc' '*.cu' '*.h')
fi
((${#files[@]})) || { echo "lint: nothing to look at"; exit 0; }
clang-format-14 --dry-run --Werror "${files[@]}"
[[ -e build/release/compile_commands.json ]] || { echo "lint: configure first: cmake --preset release" >&2; exit 1; }
# Where there is no nvcc or no NCCL, their headers are missing too.
tidy=''
grep -q kernels/cuda build/release/compile_commands.json || tidy+='/cuda_test\.cc$/d;'
grep -q nccl_group build/release/compile_commands.json || tidy+='/nccl_.*\.cc$/d;'
printf '%s\n' "${files[@]}" | sed -n "$tidy/\.cc\$/p" | xargs -r -P "$(nproc)" -n 4 clang-tidy-14 --quiet -p build/release 2> >(grep -v 'warnings generated\|^Suppressed\|^Use -header' >&2)
echo "lint: ${#files[@]} files are clean"
