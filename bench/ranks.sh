#!/usr/bin/env bash
# What it costs to train with several ranks: real trainer processes on this machine, the MoE shape of trainer_bench (d 512, 8 layers,
# 16 experts top-4, PolyNorm FFN 384, vocabulary 16384, 8 sequences of 512), layouts in turn.
#
#   bench/ranks.sh [--layouts "R:T:EP ..."] [--rounds N] [--steps N] [--precision P] [--rate RATE] [--tiny] [--bin DIR]
#
#   --layouts LIST   ranks:threads:expertParallel each (default "1:2:1 2:1:2 2:1:1"); the first is what the others are compared with
#   --rounds N       rounds in turn (default 5)
#   --steps N        timed steps a run, after two that warm up (default 6)
#   --precision P    bf16 or fp32 (default bf16)
#   --rate RATE      each rank on a host of its own (network namespaces), joined by links of this rate, e.g. 1gbit; needs root
#   --tiny           a small model, for tests
#   --bin DIR        where polymoe-train is (default build/release/bin)
#
# Prints for each layout tokens/s (median, smallest and largest over the rounds), the ratio to the first layout within a round, and bytes
# between ranks a step beside the least that the layout needs.
set -euo pipefail
cd "$(dirname "$0")/.."

layouts="1:2:1 2:1:2 2:1:1" rounds=5 steps=6 precision=bf16 rate="" tiny=0 bin=build/release/bin
die() { echo "ranks: $1" >&2; exit "${2:-1}"; }
while (($#)); do
  case $1 in
    --layouts | --rounds | --steps | --precision | --rate | --bin)
      (($# > 1)) || die "$1 needs a value; see --help" 2
      declare "${1#--}=$2"; shift 2 ;;
    --tiny) tiny=1; shift ;;
    --help | -h) sed -n '2,16s/^# \?//p' "$0"; exit 0 ;;
    *) die "unknown option $1; see --help" 2 ;;
  esac
done
bin=$(realpath "$bin")
out=$(mktemp -d)
hosts=()
cleanup() {
  kill $(jobs -p) 2>/dev/null || true
  local host
  for host in "${hosts[@]}"; do ip netns del "$host" 2>/dev/null || true; done
  rm -rf "$out"
}
trap cleanup EXIT

model='layers: 8, hidden: 512, heads: 8, ffn: 384, experts: 16, topK: 4, vocab: 16384' length=512
((tiny)) && model='layers: 2, hidden: 64, heads: 2, ffn: 48, experts: 8, topK: 2, vocab: 257' length=32
head -c 400000 /dev/urandom | base64 -w 4000 >"$out/text.txt"  # as trainer_bench: tokens that nobody can learn
"$bin/polymoe-dataset" build --input "$out/text.txt" --out "$out/data" --heldout 0 >"$out/build.log" 2>&1 || { cat "$out/build.log" >&2; exit 1; }

# Hosts polymoe-RANK with 10.77.0.(RANK + 1), on one bridge.
make_hosts() { # ranks
  local rank host
  ip netns add "polymoe-$$-bridge"
  hosts+=("polymoe-$$-bridge")
  ip -n "polymoe-$$-bridge" link add bridge type bridge
  ip -n "polymoe-$$-bridge" link set bridge up
  for ((rank = 0; rank < $1; ++rank)); do
    host=polymoe-$$-$rank
    ip netns add "$host"
    hosts+=("$host")
    ip -n "$host" link add eth0 type veth peer name "port$rank" netns "polymoe-$$-bridge"
    ip -n "polymoe-$$-bridge" link set "port$rank" master bridge up
    ip -n "$host" addr add "10.77.0.$((rank + 1))/24" dev eth0
    ip -n "$host" link set eth0 up
    ip -n "$host" link set lo up
    tc -n "$host" qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms
  done
}

run() { # ranks threads expertParallel: "tokens/s sent needed" of the timed steps' median
  local ranks=$1 threads=$2 rank pids=() dir prefix bind cpus
  dir=$(mktemp -d -p "$out")
  cat >"$dir/job.yaml" <<YAML
apiVersion: polymoe/v1
kind: Job
metadata: {name: bench}
spec:
  model: {$model, activation: {kind: polynorm}}
  data: {train: $out/data, sequenceLength: $length}
  train: {tokens: $(((steps + 2) * 8 * length)), globalBatch: 8, microBatch: $((8 / ranks)), precision: $precision, learningRate: 4e-4}
  checkpoint: {everyTokens: 1000M}
  resources: {ranks: $ranks, expertParallel: $3}
YAML
  for ((rank = 0; rank < ranks; ++rank)); do
    prefix=() bind=127.0.0.1
    [[ -n $rate ]] && prefix=(ip netns exec "polymoe-$$-$rank") bind=10.77.0.$((rank + 1))
    cpus=$((rank * threads))-$((rank * threads + threads - 1))
    GOMP_SPINCOUNT=10000 "${prefix[@]}" taskset -c "$cpus" "$bin/polymoe-train" --spec "$dir/job.yaml" --checkpoint-dir "$dir/checkpoints" \
      --resume none --threads "$threads" --rank "$rank" --world-size "$ranks" --rendezvous-dir "$dir/meet" --bind "$bind" \
      --metrics-file "$dir/points-$rank.json" >"$dir/rank-$rank.log" 2>&1 &
    pids+=($!)
  done
  for rank in "${!pids[@]}"; do wait "${pids[$rank]}" || { tail -5 "$dir/rank-$rank.log" >&2; die "rank $rank failed"; }; done
  for name in tokens_per_second bytes_sent bytes_needed; do
    { sed -n "s/.*\"$name\":\([^,}]*\).*/\1/p" "$dir/points-0.json" | tail -n +3; [[ $name == tokens_per_second || $ranks != 1 ]] || echo 0; } |
      sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
  done | paste -sd' '
  rm -rf "$dir"
}

most=1
for layout in $layouts; do ((${layout%%:*} > most)) && most=${layout%%:*}; done
[[ -n $rate ]] && make_hosts "$most"
for ((round = 1; round <= rounds; ++round)); do
  for layout in $layouts; do
    IFS=: read -r ranks threads shared_by <<<"$layout"
    figures=$(run "$ranks" "$threads" "$shared_by")
    echo "$round $layout $figures" >>"$out/figures"
    echo "round $round, $layout: ${figures%% *} tokens/s" >&2
  done
done

awk -v layouts="$layouts" -v rounds="$rounds" '
  function sort_of(a, n,   i, j, t) { for (i = 2; i <= n; ++i) for (j = i; j > 1 && a[j] < a[j - 1]; --j) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t } }
  function middle(a, n) { return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2 }
  { rate[$2, $1] = $3; sent[$2] = $4; needed[$2] = $5 }
  END {
    n = split(layouts, names, " ")
    printf "%-22s %9s %15s %8s %15s %14s %9s\n", "RANKS:THREADS:EP", "TOKENS/S", "MIN..MAX", "RATIO", "MIN..MAX", "MIB A STEP", "OF LEAST"
    for (i = 1; i <= n; ++i) {
      for (r = 1; r <= rounds; ++r) { a[r] = rate[names[i], r]; b[r] = a[r] / rate[names[1], r] }
      sort_of(a, rounds); sort_of(b, rounds)
      printf "%-22s %9.0f %15s %8.3f %15s %14s %9s\n", names[i], middle(a, rounds), sprintf("%.0f..%.0f", a[1], a[rounds]), middle(b, rounds),
        sprintf("%.3f..%.3f", b[1], b[rounds]), needed[names[i]] ? sprintf("%.1f", sent[names[i]] / 1048576) : "-",
        needed[names[i]] ? sprintf("%.3f", sent[names[i]] / needed[names[i]]) : "-"
    }
  }' "$out/figures"
