#!/usr/bin/env bash
# Our trainer beside PyTorch on CPUs: the same model, the same batch, the same threads, in turn, each run a fresh process.
#
#   bench/vs_pytorch.sh [--shape NAME] [--rounds N] [--steps N] [--threads N] [--venv DIR] [--bin PROGRAM] [--tiny]
#
#   --shape NAME    moe (default), moe64, dense or tiny: see build/release/bin/trainer_bench --help
#   --rounds N      times that all five runs are repeated (default 5)
#   --steps N       timed steps a run (default 5)
#   --threads N     threads of every run (default: one a core)
#   --venv DIR      virtual environment that has or gets PyTorch (default build/venv-pytorch)
#   --bin PROGRAM   our program (default build/release/bin/trainer_bench)
#   --tiny          one round of two steps of the shape tiny: whether all of it works, not how fast
#
# Examples:
#   bench/vs_pytorch.sh                              the comparison: a quarter of an hour on 2 cores
#   bench/vs_pytorch.sh --shape dense --rounds 3
#   bench/vs_pytorch.sh --tiny                       a minute
#
# Close what else computes on this machine first. Each run prints a line; at the end come medians over rounds, and ratios of tokens/s
# within a round. The raw lines of JSON are kept under build/bench/.
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")

torch=2.13.0
shape=moe rounds=5 steps=5 threads=$(nproc) venv=$root/build/venv-pytorch bin=$root/build/release/bin/trainer_bench

die() { echo "vs_pytorch: $1" >&2; exit "${2:-1}"; }
while (($#)); do
  case $1 in
    --shape | --rounds | --steps | --threads | --venv | --bin)
      (($# > 1)) || die "$1 needs a value; see --help" 2
      declare "${1#--}=$2"; shift 2 ;;
    --tiny) shape=tiny rounds=1 steps=2; shift ;;
    --help | -h) sed -n '2,20s/^# \?//p' "$0"; exit 0 ;;
    *) die "unknown option $1; see --help" 2 ;;
  esac
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds takes a whole number from 1, not $rounds" 2
[[ -x $bin ]] || die "there is no $bin; build it: cmake --preset release && cmake --build --preset release --target trainer_bench"

# ---- PyTorch, the CPU build of one version
python=$venv/bin/python
has_torch() { [[ $("$python" -W ignore -c 'import torch; print(torch.__version__)' 2>/dev/null) == "$torch"* ]]; }
if ! has_torch; then
  echo "installing torch $torch into $venv"
  python3 -m venv "$venv" >&2 || die "cannot make a virtual environment in $venv (Debian: apt-get install python3-venv)"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! "$venv/bin/pip" install --quiet --disable-pip-version-check "torch==$torch" >"$log" 2>&1 || ! has_torch; then
    tail -5 "$log" >&2
    die "cannot install torch==$torch (the lines above are pip's): is there no network? With one, run this again; without, give --venv an environment that has it"
  fi
fi
# Numbers of a model that computes something else would mean nothing.
echo "checking the PyTorch model against tests/golden, and its compiled form against that"
for mode in "--precision fp32" "--precision bf16 --compile"; do
  # shellcheck disable=SC2086  # one word an option
  "$python" "$root/bench/pytorch_verify.py" $mode || die "the PyTorch model computes something else; nothing was measured"
done

# ---- the runs
raw=$root/build/bench/vs_pytorch-$shape-$(date +%Y%m%d-%H%M%S).jsonl
mkdir -p "$(dirname "$raw")"
: >"$raw"
measure() {  # NAME COMMAND...
  local name=$1 line start=$SECONDS
  shift
  line=$("$@" --shape "$shape" --steps "$steps" --threads "$threads" --json) || die "$name failed: $*"
  echo "$line" >>"$raw"
  printf '%-9s %-24s %9.0f tokens/s  %4d s\n' "round $round" "$name" "$(grep -o '"tokens_per_second": *[0-9.]*' <<<"$line" | grep -o '[0-9.]*$')" $((SECONDS - start))
}
echo "shape $shape, $threads threads, $rounds rounds of $steps timed steps, torch $torch, load $(cut -d' ' -f1 /proc/loadavg) at the start"
for ((round = 1; round <= rounds; ++round)); do
  measure "ours fp32" "$bin" --precision fp32
  measure "ours bf16" "$bin" --precision bf16
  measure "PyTorch fp32" "$python" "$root/bench/pytorch_model.py" --precision fp32
  measure "PyTorch bf16" "$python" "$root/bench/pytorch_model.py" --precision bf16
  measure "PyTorch bf16 compiled" "$python" "$root/bench/pytorch_model.py" --precision bf16 --compile
done
"$python" "$root/bench/vs_pytorch_report.py" "$raw"
echo "raw: ${raw#"$root"/}"
