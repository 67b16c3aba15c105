#!/usr/bin/env bash
# The same job at every layout: real trainer processes that meet over Gloo, without a coordinator. Prints a table of how far loss and
# gradient norm of 20 steps lie from those of one rank, and fails where a bound is broken.
#
#   tests/e2e/invariance.sh [BIN_DIR]      BIN_DIR: where polymoe-train is (default: build/release/bin)
#
# Bounds: 1e-6 relative in fp32 for loss and gradient norm (sums of the same terms in another order), equal router counts, and the same
# bits when a layout runs again. Jobs: experts of which some get no token; one expert that gets every token (the text is one letter, so
# that all tokens are alike); coefficients of each expert's own.
set -euo pipefail
bin=$(realpath "${1:-$(dirname "$0")/../../build/release/bin}")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
bound=1e-6

# text NAME SENTENCES...: a dataset of bytes.
dataset() {
  "$bin/polymoe-dataset" build --input "$work/$1.txt" --out "$work/$1" --heldout 0 >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; exit 1; }
}
for i in $(seq 600); do
  echo "Token $((i * 7919 % 997)) goes to expert $((i * 31 % 17)), and the router learns from $((i * i % 83)) of them."
  echo
done >"$work/words.txt"
head -c 60000 /dev/zero | tr '\0' a >"$work/letter.txt"
dataset words
dataset letter

# job NAME DATA MICRO_BATCH EXPERT_PARALLEL RANKS 'MODEL FIELDS'
job() {
  cat <<YAML
apiVersion: polymoe/v1
kind: Job
metadata: {name: $1}
spec:
  model: {layers: 2, hidden: 32, heads: 2, ffn: 48, vocab: 257, $6}
  data: {train: $work/$2, sequenceLength: 16}
  train:
    tokens: 2560            # 20 steps of 8 sequences
    globalBatch: 8
    microBatch: $3
    loadBalanceSequences: 1
    loadBalanceLoss: 0.02
    learningRate: 0.0003
  resources: {ranks: $5, expertParallel: $4}
YAML
}

# train DIR MICRO_BATCH EXPERT_PARALLEL RANKS NAME DATA 'MODEL FIELDS': DIR/points.json
train() {
  local dir=$work/$1 ranks=$4 pids=() rank
  mkdir -p "$dir/meet"
  job "$5" "$6" "$2" "$3" "$4" "$7" >"$dir/job.yaml"
  for ((rank = 0; rank < ranks; ++rank)); do
    local out=()
    ((rank == 0)) && out=(--metrics-file "$dir/points.json")
    "$bin/polymoe-train" --spec "$dir/job.yaml" --checkpoint-dir "$dir/checkpoints" --resume none --threads 1 \
      --rank $rank --world-size "$ranks" --rendezvous-dir "$dir/meet" "${out[@]}" >"$dir/rank-$rank.log" 2>&1 &
    pids+=($!)
  done
  for rank in "${!pids[@]}"; do
    wait "${pids[$rank]}" || { echo "rank $rank of $dir failed:" >&2; tail -5 "$dir/rank-$rank.log" >&2; exit 1; }
  done
}

# field FILE NAME: "step value" of every line that has it.
field() { sed -n "s/.*\"$2\":\([^,}]*\).*\"step\":\([0-9]*\).*/\2 \1/p" "$1"; }
# distance A B NAME: largest relative distance over all steps.
distance() {
  paste <(field "$1" "$3") <(field "$2" "$3") |
    awk 'function abs(x) { return x < 0 ? -x : x }
         NF != 4 || $1 != $3 { bad = 1 }
         { d = abs($2 / $4 - 1); if (d > most) most = d }
         END { if (bad || NR != 20) { print "steps-differ" } else { printf "%.1e", most } }'
}
# Router loads of all layers and experts, by step.
loads() { grep -o '"router_load/[^,}]*\|"step":[0-9]*' "$1"; }

failed=0
check() { # LABEL VALUE
  awk -v v="$2" -v b="$bound" 'BEGIN { exit !(v ~ /^[0-9]/ && v + 0 <= b + 0) }' || { echo "  $1 is $2, more than $bound"; failed=1; }
}

layouts() { # NAME DATA 'MODEL FIELDS'
  local base=$work/$1-base/points.json
  train "$1-base" 8 1 1 "$@"
  printf '\n%s\n%-7s %-4s %-4s %-6s %-10s %-10s %-8s %s\n' "$1" ranks EP DP micro loss "grad norm" counts again
  local layout ranks ep micro dir
  for layout in "1 1 2" "2 1 4" "2 1 1" "2 2 4" "2 2 1" "4 1 2" "4 2 2" "4 2 1" "4 4 2" "4 4 1"; do
    read -r ranks ep micro <<<"$layout"
    dir=$1-$ranks-$ep-$micro
    train "$dir" "$micro" "$ep" "$ranks" "$@"
    train "$dir-again" "$micro" "$ep" "$ranks" "$@"
    local loss norm counts=equal again=bits
    loss=$(distance "$work/$dir/points.json" "$base" loss)
    norm=$(distance "$work/$dir/points.json" "$base" grad_norm)
    [[ $(loads "$work/$dir/points.json") == "$(loads "$base")" ]] || { counts=DIFFER; failed=1; }
    [[ $(field "$work/$dir/points.json" loss) == "$(field "$work/$dir-again/points.json" loss)" &&
       $(field "$work/$dir/points.json" grad_norm) == "$(field "$work/$dir-again/points.json" grad_norm)" ]] ||
      { again=DIFFERS; failed=1; }
    printf '%-7s %-4s %-4s %-6s %-10s %-10s %-8s %s\n' "$ranks" "$ep" $((ranks / ep)) "$micro" "$loss" "$norm" "$counts" "$again"
    check loss "$loss"
    check "grad norm" "$norm"
  done
}

echo "Largest relative distance from one rank over 20 steps; bound $bound"
layouts idle-experts words 'experts: 64, topK: 1, activation: {kind: polynorm}'
(($(loads "$work/idle-experts-base/points.json" | grep -c '":0.0$') > 0)) ||
  { echo "no expert was without tokens: the job proves nothing"; failed=1; }
layouts all-to-one letter 'experts: 4, topK: 1, activation: {kind: polyrelu}'
[[ $(loads "$work/all-to-one-base/points.json" | grep -c '":1.0$') == $((2 * 3)) ]] || { echo "not all tokens went to one expert"; failed=1; }
layouts own-coefficients words 'experts: 8, topK: 3, activation: {kind: polynorm, coefficients: expert}'
((failed == 0)) && echo && echo "all layouts agree"
exit $failed
