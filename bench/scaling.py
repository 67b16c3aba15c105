#!/usr/bin/env python3
"""Predicts tokens/s of expert-parallel training from figures of kernels and networks (docs/scaling.md).

  bench/scaling.py                                  OLMoE-1B-7B on 8 to 1024 H100s
  bench/scaling.py --sensitivity                    what changes when a figure or an assumption does
  bench/scaling.py --set grouped=242e12             with another figure (a list of figures gets it for each)
  bench/scaling.py --machine cpu --model moe --devices 1
  bench/scaling.py --goodput 10 300                 the share of time that failures leave

Inputs are bench/scaling.json, each figure with its source; --machine and --model also take a file with one of its entries.
"""
import argparse
import dataclasses
import json
import math
import pathlib
import sys

from scaling_model import Machine, Model, best, goodput

# Device-hours a failure: Meta's RSC (7.9 h on 1024 devices, arXiv 2410.21680); Llama 3 (419 in 54 days on 16,384).
FAILURES = (7.9 * 1024, 54 * 24 * 16384 / 419)
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def load(kind, name, changes=()):
    """An entry of scaling.json by name, or of a file; figures without their sources."""
    inputs = json.loads(pathlib.Path(__file__).with_name('scaling.json').read_text())[kind]
    if name not in inputs and not pathlib.Path(name).is_file():
        sys.exit(f'scaling: no {kind[:-1]} {name}: expected {", ".join(inputs)}, or a file with one such entry')
    entry = inputs[name] if name in inputs else json.loads(pathlib.Path(name).read_text())
    figures = {key: value[0] if isinstance(value, list) else value for key, value in entry.items() if key != 'source'}
    for change in changes:
        key, _, text = change.partition('=')
        try:
            old, value = figures[key], float(text)
        except (KeyError, ValueError):
            sys.exit(f'scaling: --set {change}: expected NAME=NUMBER with a name of {", ".join(figures)}')
        figures[key] = [value] * len(old) if isinstance(old, list) else type(old)(value)
    try:
        return (Model if kind == 'models' else Machine)(**figures)
    except TypeError as error:
        sys.exit(f'scaling: {kind[:-1]} {name}: {error}')


COLUMNS = ('devices', 'EP x DP', 'micro', 'tokens/s', 'per device', 'MFU', 'bound', 'weak spot',
           'compute', 'imbalance', 'exchange', 'reduce', 'optimiser', 'latency')


def cells(row):
    return [str(row['devices']), f'{row["ep"]} x {row["dp"]}', str(row['micro']), f'{row["tokens_per_second"] / 1e3:,.0f}k',
            f'{row["per_device"]:,.0f}', f'{row["mfu"]:.0%}', row['bound'], row['weak_spot']] + [
            f'{row["shares"][name]:.1%}' for name in COLUMNS[8:]]


def markdown(header, rows):
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [header, ['---'] * len(header), *rows])


def goodput_table(devices, save, restart):
    rows = []
    for n in devices:
        row = [str(n)]
        for device_hours in FAILURES:
            interval, share = goodput(n, device_hours, save, restart)
            row += [f'{device_hours / n:,.1f} h', f'{interval / 60:.0f} min', f'{share:.2%}']
        rows.append(row)
    return markdown(['devices'] + ['a failure in', 'checkpoint every', 'goodput'] * len(FAILURES), rows)


def variants(machine):
    """What `--sensitivity` changes, one at a time."""
    scaled = lambda name, by: [x * by for x in getattr(machine, name)]
    change = lambda **fields: dataclasses.replace(machine, **fields)
    return {'as given': machine,
            'all networks at half the rate': change(exchange=scaled('exchange', 0.5), reduce=scaled('reduce', 0.5)),
            'networks between nodes at half': change(exchange=[machine.exchange[0], machine.exchange[1] / 2],
                                                     reduce=[machine.reduce[0], machine.reduce[1] / 2, machine.reduce[2] / 2]),
            'nothing overlaps': change(overlap=False),
            'latencies x 4': change(latency=scaled('latency', 4), ring=scaled('ring', 4)),
            'all experts loaded alike': change(load_cv=0),
            'deviation of loads x 2': change(load_cv=2 * machine.load_cv),
            'products of experts at half the rate': change(grouped=scaled('grouped', 0.5)),
            'all products, attention and rows at 0.7': change(
                dense=scaled('dense', 0.7), grouped=scaled('grouped', 0.7), attention=scaled('attention', 0.7), rows=machine.rows * 0.7)}


def svg(rows, title):
    """Tokens/s over devices, both logarithmic, beside a straight line through the first point."""
    first, last = rows[0], rows[-1]
    top = first['per_device'] * last['devices']
    x = lambda row: 70 + 500 * math.log(row['devices'] / first['devices']) / math.log(last['devices'] / first['devices'])
    y = lambda rate: 330 - 280 * math.log(rate / first['tokens_per_second']) / math.log(top / first['tokens_per_second'])
    points = ' '.join('%.0f %.0f' % (x(row), y(row['tokens_per_second'])) for row in rows)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="640" height="390" font-family="sans-serif" font-size="12">',
           '<rect width="640" height="390" fill="white"/>', f'<text x="70" y="24" font-size="14">{title}</text>',
           f'<path d="M{x(first):.0f} {y(first["tokens_per_second"]):.0f}L{x(last):.0f} {y(top):.0f}" stroke="#999" stroke-dasharray="4"/>',
           f'<path d="M{points}" fill="none" stroke="#06c" stroke-width="2"/>']
    for row in rows:
        at, rate = x(row), row['tokens_per_second']
        out += [f'<circle cx="{at:.0f}" cy="{y(rate):.0f}" r="3" fill="#06c"/>',
                f'<text x="{at - 4:.0f}" y="{y(rate) - 8:.0f}" text-anchor="end">{rate / 1e6:.2f}M</text>',
                f'<text x="{at:.0f}" y="350" text-anchor="middle">{row["devices"]}</text>',
                f'<text x="{at:.0f}" y="366" text-anchor="middle" fill="#666">{row["mfu"]:.0%}</text>']
    return '\n'.join(out + ['<text x="70" y="383" fill="#666">devices, MFU; dashed: as fast a device as the smallest</text>', '</svg>', ''])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--machine', default='h100', metavar='NAME|FILE')
    parser.add_argument('--model', default='olmoe-1b-7b', metavar='NAME|FILE')
    parser.add_argument('--devices', type=int, nargs='+', default=SIZES, metavar='N')
    parser.add_argument('--ep', type=int, nargs='+', metavar='N', help='only layouts with these numbers of ranks that share experts')
    parser.add_argument('--set', action='append', default=[], metavar='FIGURE=VALUE', help='another figure of the machine')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--json', action='store_true', help='one line a size')
    form.add_argument('--csv', action='store_true')
    form.add_argument('--svg', metavar='FILE', help='a plot')
    form.add_argument('--sensitivity', action='store_true', help='tokens/s a device when one thing is changed')
    form.add_argument('--goodput', type=float, nargs=2, metavar='S',
                      help='what failures leave, when a checkpoint stops training for S seconds and a failure for S more')
    args = parser.parse_args()
    if args.goodput:
        return print(goodput_table(args.devices, *args.goodput))

    model, machine = load('models', args.model), load('machines', args.machine, args.set)
    rows = [best(model, machine, devices, args.ep) for devices in args.devices]
    for devices, row in zip(args.devices, rows):
        if row is None:
            sys.exit(f'scaling: {args.model} has no layout on {devices} of {args.machine}: {model.sequences} sequences must be '
                     'shared out evenly, and a rank must hold its part')
    if args.json:
        for row in rows:
            print(json.dumps(row))
    elif args.csv:
        print('\n'.join(','.join(cell.replace(',', '') for cell in line) for line in [COLUMNS, *map(cells, rows)]))
    elif args.svg:
        pathlib.Path(args.svg).write_text(svg(rows, f'{args.model} on {args.machine}: predicted tokens/s'))
    elif args.sensitivity:
        print(markdown(['tokens/s a device', *map(str, args.devices)],
                       [[name, *(f'{best(model, changed, n, args.ep)["per_device"]:,.0f}' for n in args.devices)]
                        for name, changed in variants(machine).items()]))
    else:
        print(markdown(list(COLUMNS), map(cells, rows)))


if __name__ == '__main__':
    main()
