#!/usr/bin/env bash
# From a fresh machine to an answer: installs, builds, starts a local cluster, trains small MoE models that differ only in their expert
# activation on real English text, shows them live, says which activation converged best and how sure that is, and writes a report.
#
#   deploy/quickstart.sh [--study NAME] [--tokens N] [--seeds LIST] [--precision P] [--dir DIR] [--skip-install] [--keep]
#
#   --study NAME    a file of deploy/studies without its ending (default activations)
#   --tokens N      training tokens a run, 100k or more (default 500k; more tokens, longer and clearer)
#   --seeds LIST    runs of each arm (default 1,2,3)
#   --precision P   fp32, or bf16 on a CPU with AVX512_BF16 (default fp32)
#   --dir DIR       where text, datasets, the cluster and the report go (default build/quickstart)
#   --skip-install  do not install Debian packages
#   --keep          leave the cluster running at the end
#
# Run it again at any time: what is there already is not made again. Programs are in build/release/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

study=activations tokens=500k seeds=1,2,3 precision=fp32 dir=build/quickstart install=1 keep=0
while (($#)); do
  case $1 in
    --study | --tokens | --seeds | --precision | --dir)
      (($# > 1)) || { echo "quickstart: $1 needs a value; see --help" >&2; exit 2; }
      declare "${1#--}=$2"; shift 2 ;;
    --skip-install) install=0; shift ;;
    --keep) keep=1; shift ;;
    --help | -h) sed -n '2,15s/^# \?//p' "$0"; exit 0 ;;
    *) echo "quickstart: unknown option $1; see --help" >&2; exit 2 ;;
  esac
done

step() { printf '\n==> %s (%d s)\n' "$1" "$SECONDS"; }

step "1/5 packages"
if ((install)); then deploy/install-deps.sh; else echo "skipped"; fi

step "2/5 build"
[[ -e build/release/build.ninja ]] || cmake --preset release >/dev/null
cmake --build --preset release --target polyctl polymoe-server polymoe-worker polymoe-train polymoe-dataset -- --quiet
echo "programs are in build/release/bin"
PATH=$PWD/build/release/bin:$PATH

mkdir -p "$dir"
dir=$(realpath "$dir") text=$dir/text data=$dir/data
sed "s|/data/text|$data|" deploy/studies/base/laptop.yaml >"$dir/base.yaml"
ablation=("deploy/studies/$study.yaml" --base "$dir/base.yaml" --set spec.compare.sets=python,politics,perl,dictionary
  --set "spec.budget.tokens=$tokens" --set "spec.seeds=$seeds"
  --set "spec.base.train.precision=$precision")
polyctl ablation submit "${ablation[@]}" --dry-run  # a misspelt name or count ends it here

step "3/5 text and datasets"
deploy/quickstart/fetch-text.sh "$text"
# One tokenizer and one training set over four domains. A document lands in the same split in every dataset (by the hash of its
# content), so the domains' own datasets hold exactly the held-out documents of the training set. `jargon` is never trained on.
build() { polyctl dataset build "$@" >/dev/null; }  # leaves a finished dataset alone
build --input "$text"/python --input "$text"/politics --input "$text"/perl --input "$text"/dictionary \
  --out "$data/all" --tokenizer train-spm:2048 --heldout 0.05
for domain in python politics perl dictionary; do
  build --input "$text/$domain" --out "$data/$domain" --tokenizer "spm:$data/all/tokenizer.model" --heldout 0.05
done
build --input "$text/jargon" --out "$data/jargon" --tokenizer "spm:$data/all/tokenizer.model" --heldout 1
polyctl dataset info "$data/all"

step "4/5 training"
# One single-threaded slot a core: runs train side by side, and no thread waits for another.
slots=$(nproc)
[[ $slots -le 4 ]] || slots=4
POLYMOE_SERVER=$(polyctl local up --dir "$dir/cluster" --workers 2 --slots-per-worker $(((slots + 1) / 2)) --threads-per-slot 1 \
  --port 0 --metrics-port 0)
export POLYMOE_SERVER
finish() { ((keep)) || polyctl local down --dir "$dir/cluster"; }
trap finish EXIT
id=$(polyctl ablation submit "${ablation[@]}" 2>/dev/null)
polyctl ablation watch "$id"

step "5/5 result"
polyctl compare "$id"
polyctl report "$id" --out "$dir/report-$id"
if ((keep)); then
  printf '\nThe cluster runs on. Next:\n  export POLYMOE_SERVER=%s\n  build/release/bin/polyctl ablation ls\n  build/release/bin/polyctl local down --dir %s\n' \
    "$POLYMOE_SERVER" "$dir/cluster"
fi
