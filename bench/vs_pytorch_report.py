#!/usr/bin/env python3
"""vs_pytorch_report.py RUNS.jsonl: medians over the rounds of vs_pytorch.sh, and ratios of tokens/s within each round."""
import collections, json, statistics, sys

NAMES = {('polymoe', 'fp32'): 'ours fp32', ('polymoe', 'bf16'): 'ours bf16', ('pytorch-eager', 'fp32'): 'PyTorch fp32',
         ('pytorch-eager', 'bf16'): 'PyTorch bf16', ('pytorch-compile', 'bf16'): 'PyTorch bf16 compiled'}
RATIOS = (('ours bf16', 'PyTorch bf16 compiled'), ('ours bf16', 'PyTorch bf16'), ('ours fp32', 'PyTorch fp32'))

runs = collections.defaultdict(list)  # name -> one run a round, in order
for line in open(sys.argv[1]):
    run = json.loads(line)
    runs[NAMES[run['engine'], run['precision']]].append(run)

print(f'\n{"":24}{"TOKENS/S":>9}{"MIN..MAX":>16}{"GFLOP/S":>9}{"PEAK RSS":>10}   LOSS')
for name, of in runs.items():
    rates = [r['tokens_per_second'] for r in of]
    spread = f'{min(rates):.0f}..{max(rates):.0f}'
    rss = f'{max(r["peak_rss_bytes"] for r in of) / 2 ** 30:.2f} GiB'
    print(f'{name:24}{statistics.median(rates):9.0f}{spread:>16}{statistics.median(r["gflops"] for r in of):9.1f}{rss:>10}'
          f'   {of[0]["first_loss"]:.3f} -> {of[0]["last_loss"]:.3f}')

print(f'\n{"tokens/s, median of rounds":40}{"RATIO":>9}{"MIN..MAX":>20}')
for ours, theirs in RATIOS:
    ratios = [a['tokens_per_second'] / b['tokens_per_second'] for a, b in zip(runs[ours], runs[theirs])]
    print(f'{ours + " / " + theirs:40}{statistics.median(ratios):9.2f}{f"{min(ratios):.2f}..{max(ratios):.2f}":>20}')
