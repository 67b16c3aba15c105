#!/usr/bin/env bash
# From a fresh machine to an answer: installs, builds, starts a local cluster, trains small MoE models that differ only in their expert
# activation on real English text, shows them live, and prints which one converged best.
#
#   deploy/quickstart.sh [--tokens N] [--arms LIST] [--dir DIR] [--skip-install] [--keep]
#
#   --tokens N      training tokens an arm (default 1M; more tokens, longer and clearer)
#   --arms LIST     activations to compare, separated by commas (default relu,swiglu,polyrelu,polynorm;
#                   also relu2, gelu, polyprelu, polyrelunorm)
#   --dir DIR       where text, datasets, the cluster and checkpoints go (default build/quickstart)
#   --skip-install  do not install Debian packages
#   --keep          leave the cluster running at the end
#
# Run it again at any time: what is there already is not made again. Programs are in build/release/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

tokens=1M arms=relu,swiglu,polyrelu,polynorm dir=build/quickstart install=1 keep=0
while (($#)); do
  case $1 in
    --tokens) tokens=$2; shift 2 ;;
    --arms) arms=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    --skip-install) install=0; shift ;;
    --keep) keep=1; shift ;;
    --help | -h) sed -n '2,16s/^# \?//p' "$0"; exit 0 ;;
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

mkdir -p "$dir/jobs"
dir=$(realpath "$dir") text=$dir/text data=$dir/data study=quickstart-$(date +%s)
for arm in ${arms//,/ }; do
  sed -e "s|@ARM@|$arm|g; s|@TOKENS@|$tokens|g; s|@DATA@|$data|g; s|@STUDY@|$study|g" deploy/quickstart/job.yaml >"$dir/jobs/$arm.yaml"
  polyctl validate --offline "$dir/jobs/$arm.yaml" >/dev/null  # a misspelt arm or count ends it here
done

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
# One single-threaded slot a core: arms train side by side, and no thread waits for another.
slots=$(nproc)
[[ $slots -le 4 ]] || slots=4
POLYMOE_SERVER=$(polyctl local up --dir "$dir/cluster" --workers 2 --slots-per-worker $(((slots + 1) / 2)) --threads-per-slot 1 \
  --port 0 --metrics-port 0)
export POLYMOE_SERVER
finish() { ((keep)) || polyctl local down --dir "$dir/cluster"; }
trap finish EXIT
jobs=()
for arm in ${arms//,/ }; do
  job=$(polyctl submit "$dir/jobs/$arm.yaml" 2>/dev/null)
  jobs+=("$job")
done
polyctl params "$dir/jobs/$arm.yaml" | sed -n '/^activation/,$p'
echo
polyctl watch "${jobs[@]}"

step "5/5 result"
polyctl compare "${jobs[@]}" --grid 5
if ((keep)); then
  printf '\nThe cluster runs on. Next:\n  export POLYMOE_SERVER=%s\n  build/release/bin/polyctl ls\n  build/release/bin/polyctl local down --dir %s\n' \
    "$POLYMOE_SERVER" "$dir/cluster"
fi
