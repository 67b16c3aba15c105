#!/usr/bin/env bash
# Trains a small job on a real cluster of processes and, again and again, kills a part of it in mid-training: a trainer, a daemon, the
# coordinator; and cuts a worker off, with every packet vanishing. Prints how long it took until a new step was trained, and of that: until
# the attempt was over, until the next was launched, until its model was loaded. Fails when a step is lost or doubled, when a loss differs
# in a bit from an undisturbed run, and when it took more than 5 s beyond the load of the model.
#
#   tests/e2e/recovery.sh [--preset NAME] [--ranks N] [--reps N] [--steps N] [--seed N]
#
#   --preset NAME   of the build (default release)
#   --ranks N       ranks of the job (default 2); also from the environment as RANKS
#   --reps N        times that each fault is done (default 3)
#   --steps N       steps of the job (default 2000): long enough to be hit in the middle
#
# Cutting a worker off needs root, for network namespaces; without, that row is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

preset=release ranks=${RANKS:-2} arguments=()
while (($#)); do
  case $1 in
    --preset) preset=$2; shift 2 ;;
    --ranks) ranks=$2; shift 2 ;;
    --reps | --steps | --seed) arguments+=("$1" "$2"); shift 2 ;;
    --help) sed -n '2,14s/^# \?//p' "$0"; exit 0 ;;
    *) echo "recovery.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
  esac
done
arguments+=(--ranks "$ranks")

cmake --build --preset "$preset" --target recovery -- --quiet
program=build/$preset/tests/recovery
if ((EUID == 0)) && unshare -n true 2>/dev/null; then
  exec unshare -n sh -c 'ip link set lo up && exec "$@"' sh "$program" "${arguments[@]}" --network
fi
echo "recovery.sh: not root, or no network namespaces here: no worker is cut off" >&2
exec "$program" "${arguments[@]}"
