#!/usr/bin/env bash
# Whether bf16 trains as well as fp32: the quickstart's model on the quickstart's text, some seeds in each precision, and the mean of the
# validation losses of all domains.
#
#   bench/precision.sh [--seeds N] [--tokens N] [--arm ACTIVATION] [--rate R] [--dir DIR]
#
#   --seeds N        seeds of each precision (default 3)
#   --tokens N       training tokens a run (default 1M)
#   --arm ACTIVATION expert activation (default polynorm)
#   --rate R         learning rate (default 0.001; at the quickstart's 0.003 runs that differ by one rounding end 0.1 nats apart)
#   --dir DIR        where deploy/quickstart.sh left its datasets (default build/quickstart); it must have run there
#
# Runs take turns, one single-threaded trainer a core. Exit code 1 when the means differ by more than 0.01 nats, or by more than the seeds
# of fp32 do among themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=3 tokens=1M arm=polynorm rate=0.001 dir=build/quickstart
die() { echo "precision: $1" >&2; exit "${2:-1}"; }
while (($#)); do
  case $1 in
    --seeds | --tokens | --arm | --rate | --dir)
      (($# > 1)) || die "$1 needs a value; see --help" 2
      declare "${1#--}=$2"; shift 2 ;;
    --help | -h) sed -n '2,15s/^# \?//p' "$0"; exit 0 ;;
    *) die "unknown option $1; see --help" 2 ;;
  esac
done
data=$(realpath "$dir")/data
[[ -e $data/jargon ]] || die "there are no datasets in $data; deploy/quickstart.sh --dir $dir makes them"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

train() { # precision seed
  local name=$1-$2
  sed -e "s|@ARM@|$arm|g; s|@STUDY@|precision|; s|@TOKENS@|$tokens|; s|@DATA@|$data|g; s|seed: 1 .*|seed: $2|; s|learningRate: .*|learningRate: $rate|" \
    -e "s|^  train:|&\n    precision: $1|; s|everyTokens: 500k|everyTokens: 1000M|" deploy/quickstart/job.yaml >"$out/$name.yaml"
  build/release/bin/polymoe-train --spec "$out/$name.yaml" --checkpoint-dir "$out/$name" --resume none --threads 1 2>"$out/$name.log" ||
    { cat "$out/$name.log" >&2; return 1; }
  # "...; validation loss: python 4.2, perl 4.3": one line "precision seed mean"
  sed -n 's/.*validation loss: //p' "$out/$name.log" |
    awk -v name="$1 $2" -F'[, ]+' '{ for (i = 2; i <= NF; i += 2) sum += $i; printf "%s %.4f\n", name, sum / (NF / 2) }' |
    tee -a "$out/losses"
}

for ((seed = 1; seed <= seeds; ++seed)); do
  train fp32 "$seed" &
  train bf16 "$seed" &
  wait -n && wait -n || die "a run failed"
done

awk '
  { loss[$1, $2] = $3; sum[$1] += $3; ++count[$1]; if (!($1 in low) || $3 < low[$1]) low[$1] = $3; if ($3 > high[$1]) high[$1] = $3 }
  END {
    for (p in sum) mean[p] = sum[p] / count[p]
    difference = mean["bf16"] - mean["fp32"]; spread = high["fp32"] - low["fp32"]
    printf "fp32: mean %.4f, seeds from %.4f to %.4f\n", mean["fp32"], low["fp32"], high["fp32"]
    printf "bf16: mean %.4f, seeds from %.4f to %.4f\n", mean["bf16"], low["bf16"], high["bf16"]
    for (i = 1; i <= count["fp32"]; ++i) printf "seed %d: bf16 - fp32 = %+.4f nats\n", i, loss["bf16", i] - loss["fp32", i]
    printf "means: bf16 - fp32 = %+.4f nats; spread of the fp32 seeds %.4f\n", difference, spread
    size = difference < 0 ? -difference : difference
    exit size > 0.01 || (count["fp32"] > 1 && size > spread)
  }' "$out/losses"
