"""bench/scaling.py: its formulas against counting, its promises, and docs/scaling.md against what it prints.

  scaling_test.py [POLYCTL]     POLYCTL: memory is compared with `polyctl params` too
"""
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'bench' / 'scaling.py'
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPT.parent))
import scaling
import scaling_model as m

POLYCTL = sys.argv.pop() if len(sys.argv) > 1 and os.path.isfile(sys.argv[-1]) else None
H100, OLMOE = scaling.load('machines', 'h100'), scaling.load('models', 'olmoe-1b-7b')


def run(*args):
    return subprocess.run([sys.executable, '-B', SCRIPT, *args], capture_output=True, text=True)


def sent_rows(experts, ep, home, chosen):
    """Rows that a token of rank `home` sends to other ranks."""
    return len({expert // (experts // ep) for expert in chosen} - {home})


class Formulas(unittest.TestCase):
    def test_rows_that_travel_are_counted_over_every_choice_of_experts(self):
        for experts, top_k, ep in ((8, 3, 1), (8, 3, 2), (8, 3, 4), (8, 3, 8), (6, 2, 3), (6, 6, 3)):
            choices = list(itertools.combinations(range(experts), top_k))
            rows = statistics.mean(sent_rows(experts, ep, home, c) for c in choices for home in range(ep))
            self.assertAlmostEqual(m.distinct_ranks(experts, top_k, ep) * (ep - 1) / ep, rows, msg=f'{experts} {top_k} {ep}')

    def test_bytes_that_travel_are_counted_over_a_random_routing(self):
        seed = random.randrange(1 << 32)
        generator, ep, tokens = random.Random(seed), 8, 20000
        rows = sum(sent_rows(OLMOE.experts, ep, i % ep, generator.sample(range(OLMOE.experts), OLMOE.top_k)) for i in range(tokens))
        # A row of 2048 in bf16; ids and weights of 8 experts with it; gradients of 8 weights on the way back.
        want = {'dispatch': rows * (4096 + 64), 'return': rows * 4096, 'dy': rows * 4096, 'dx': rows * (4096 + 32)}
        got = m.exchange_bytes(OLMOE, ep)
        for name, size in got.items():
            self.assertAlmostEqual(size * tokens / want[name], 1, delta=0.01, msg=f'{name}, seed {seed}')
            self.assertAlmostEqual(size / got['return'], want[name] / want['return'], msg=name)

    def test_the_fullest_rank(self):
        seed = random.randrange(1 << 32)
        generator, cv = random.Random(seed), 0.6
        for ep in (2, 8):
            fullest = []
            for _ in range(4000):
                loads = [generator.gauss(1, cv) for _ in range(OLMOE.experts)]
                ranks = [sum(loads[r::ep]) for r in range(ep)]
                fullest.append(max(ranks) / statistics.mean(ranks))
            self.assertAlmostEqual(m.imbalance(OLMOE, ep, cv), statistics.mean(fullest), delta=0.012, msg=f'{ep}, seed {seed}')
        self.assertEqual(m.imbalance(OLMOE, 1, cv), 1)
        self.assertEqual(m.imbalance(OLMOE, 8, 0), 1)

    def test_a_layer_by_hand(self):  # two chunks
        self.assertEqual(m.pipeline(0, 3, 2, 0), 10)  # nothing to wait for
        self.assertEqual(m.pipeline(1, 4, 0, 1), 10)  # the first way there and the last way back show
        self.assertEqual(m.pipeline(4, 1, 0, 4), 16)  # the network is never idle
        self.assertEqual(m.pipeline(1, 2, 5, 1), 15)  # the way back hides behind `after`

    def test_collectives(self):
        self.assertEqual(m.reduce_seconds(H100, 1e9, 1, 1), (0, 0))
        # 8 in a node: 7/8 of the bytes at 350 GB/s, 7 steps; 4 nodes of one: 3/4 through one NIC; of eight: 31/32 at 200 GB/s.
        for (ranks, near), want in {(8, 8): (1e9 * 7 / 8 / 350e9, 10e-6 + 7 * 1.9e-6),
                                    (4, 1): (1e9 * 3 / 4 / 48.5e9, 10e-6 + 3 * 4e-6),
                                    (32, 8): (1e9 * 31 / 32 / 200e9, 10e-6 + 28 * 1.9e-6 + 3 * 4e-6)}.items():
            for got, expected in zip(m.reduce_seconds(H100, 1e9, ranks, near), want):
                self.assertAlmostEqual(got / expected, 1)

    def test_exchange_is_as_slow_as_the_slower_network(self):
        self.assertAlmostEqual(m.exchange_seconds(H100, 1e9, 8, 8), 1e9 / 370e9)
        self.assertAlmostEqual(m.exchange_seconds(H100, 1e9, 16, 8), 1e9 * 8 / 15 / 48.5e9)  # 8 of the 15 others are elsewhere

    def test_gradients_hide_behind_the_backward_pass(self):
        gradients = 4 * OLMOE.dense_parameters * 7 / 8 / 350e9  # 8 devices, EP 8: experts have no replicas
        seconds = {window: m.update_seconds(OLMOE, H100, 8, 8, window, False) for window in (0, gradients / 2, 1)}
        self.assertAlmostEqual(seconds[0] - seconds[1], (1 - H100.comm_tax) * gradients)
        self.assertAlmostEqual(seconds[0] - seconds[gradients / 2], (1 - H100.comm_tax) * gradients / 2)

    def test_work_is_what_the_trainer_counts(self):
        self.assertAlmostEqual(OLMOE.flops_per_token / 7.879e9, 1, delta=0.001)  # `polyctl params`
        # Computing at one rate, with rows for nothing: 6 FLOPs a parameter, and attention's backward pass of five products instead of four.
        rate, large = 1e12, 1e30
        machine = dataclasses.replace(H100, dense=[rate] * 3, grouped=[rate] * 3, attention=[rate] * 2, rows=large, stream=large,
                                      memory=1e15)
        row = m.predict(OLMOE, machine, 1, 1, 1)
        extra = OLMOE.layers * OLMOE.length * OLMOE.hidden
        self.assertAlmostEqual(row['tokens_per_second'] * (OLMOE.flops_per_token + extra) / rate, 1, delta=0.001)

    def test_checkpoints_as_often_as_pays(self):
        interval, share = m.goodput(1024, 7.9 * 1024, 10, 300)
        self.assertAlmostEqual(interval, (2 * 10 * 7.9 * 3600) ** 0.5)
        mttf = 7.9 * 3600
        lost = lambda every: 10 / every + (every / 2 + 300) / mttf
        self.assertAlmostEqual(share, 1 / (1 + lost(interval)))
        self.assertLess(lost(interval), min(lost(interval * 0.8), lost(interval * 1.25)))

    @unittest.skipUnless(POLYCTL, 'no polyctl to compare with')
    def test_memory_is_what_polyctl_plans(self):
        job = {'apiVersion': 'polymoe/v1', 'kind': 'Job', 'metadata': {'name': 'olmoe'}, 'spec': {
            'model': {'layers': 16, 'hidden': 2048, 'heads': 16, 'experts': 64, 'topK': 8, 'ffn': 1024, 'vocab': 50304,
                      'activation': {'kind': 'swiglu'}},
            'data': {'train': 'none', 'sequenceLength': 4096},
            'train': {'tokens': 1, 'globalBatch': 1024, 'microBatch': 4, 'learningRate': 0.0004, 'precision': 'bf16'}}}
        for ranks, ep in ((64, 2), (64, 8), (256, 16)):
            job['spec']['resources'] = {'ranks': ranks, 'expertParallel': ep}
            out = subprocess.run([POLYCTL, 'params', '-', '-o', 'json'], input=json.dumps(job), capture_output=True, text=True)
            self.assertEqual(out.returncode, 0, out.stderr)
            plan = json.loads(out.stdout)['memory']
            # The copy that a checkpoint is made from is in the host's memory.
            planned = plan['total'] - plan['rows']['checkpoint copy']
            self.assertAlmostEqual(m.memory_bytes(OLMOE, ranks, ep, 4) / planned, 1, delta=0.02)


class Predictions(unittest.TestCase):
    def test_a_device_is_no_faster_among_more(self):
        rates = [m.best(OLMOE, H100, n)['per_device'] for n in scaling.SIZES]
        self.assertEqual(rates, sorted(rates, reverse=True))

    def test_alone_nothing_travels(self):
        self.assertEqual(set(m.exchange_bytes(OLMOE, 1).values()), {0})
        row = m.predict(OLMOE, H100, 1, 1, 1)
        for name in ('exchange', 'reduce', 'latency', 'imbalance'):
            self.assertEqual(row['shares'][name], 0, name)

    def test_shares_are_the_whole_step(self):
        for n in scaling.SIZES:
            shares = m.best(OLMOE, H100, n)['shares']
            self.assertAlmostEqual(sum(shares.values()), 1)
            self.assertGreaterEqual(min(shares.values()), 0)

    def test_better_figures_are_never_slower(self):
        better = {name: 2 for name in ('dense', 'grouped', 'attention', 'rows', 'stream', 'exchange', 'reduce', 'memory')}
        better.update({name: 0.5 for name in ('latency', 'ring', 'comm_tax', 'load_cv')})
        for name, by in better.items():
            old = getattr(H100, name)
            machine = dataclasses.replace(H100, **{name: [x * by for x in old] if isinstance(old, list) else old * by})
            for n in scaling.SIZES:
                self.assertGreaterEqual(m.best(OLMOE, machine, n)['tokens_per_second'], m.best(OLMOE, H100, n)['tokens_per_second'],
                                        f'{name}, {n}')

    def test_overlap_pays(self):
        for n in scaling.SIZES:
            self.assertGreater(m.best(OLMOE, H100, n)['per_device'],
                               m.best(OLMOE, dataclasses.replace(H100, overlap=False), n)['per_device'])

    def test_a_layout_fits(self):
        self.assertIsNone(m.best(OLMOE, H100, 8, eps=[1]))   # 6.9G parameters, 10 bytes each
        self.assertIsNone(m.best(OLMOE, H100, 2048))         # more ranks than sequences
        for n in scaling.SIZES:
            row = m.best(OLMOE, H100, n)
            self.assertLessEqual(row['memory_bytes'], 0.9 * H100.memory)
            self.assertEqual(row['ep'] * row['dp'], n)
            self.assertEqual(OLMOE.sequences % (n * row['micro']), 0)


class Program(unittest.TestCase):
    def test_documentation_shows_what_it_prints(self):
        document = (ROOT / 'docs' / 'scaling.md').read_text()
        for args in ([], ['--sensitivity'], ['--goodput', '10', '300', '--devices', '8', '64', '256', '1024']):
            out = run(*args)
            self.assertEqual(out.returncode, 0, out.stderr)
            self.assertIn(out.stdout, document, f'docs/scaling.md is not what bench/scaling.py {" ".join(args)} prints')
        here = json.loads(run('--machine', 'cpu', '--model', 'moe', '--devices', '1', '--json').stdout)
        self.assertIn(f'{here["per_device"]:,.0f} tokens/s, {here["step_seconds"]:.3f} s a step', document)
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run('--svg', f'{folder}/plot.svg').returncode, 0)
            plot = pathlib.Path(folder, 'plot.svg').read_text()
        xml.dom.minidom.parseString(plot)
        self.assertEqual(plot, (ROOT / 'docs' / 'scaling.svg').read_text(), 'renew it: bench/scaling.py --svg docs/scaling.svg')

    def test_every_figure_has_a_source(self):
        for machine in json.loads(SCRIPT.with_name('scaling.json').read_text())['machines'].values():
            for figure, source in machine.values():
                self.assertGreater(len(source), 5)

    def test_output_for_programs(self):
        rows = [json.loads(line) for line in run('--json', '--devices', '8', '64').stdout.splitlines()]
        self.assertEqual([row['devices'] for row in rows], [8, 64])
        table = list(csv.DictReader(run('--csv', '--devices', '8', '64').stdout.splitlines()))
        self.assertEqual([row['devices'] for row in table], ['8', '64'])
        self.assertEqual(int(table[0]['per device']), round(rows[0]['per_device']))

    def test_figures_from_a_file_and_from_flags(self):
        machine = json.loads(SCRIPT.with_name('scaling.json').read_text())['machines']['h100']
        machine['grouped'][0] = [242e12] * 3
        with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
            json.dump(machine, file)
            file.flush()
            self.assertEqual(run('--machine', file.name).stdout, run('--set', 'grouped=242e12').stdout)
        self.assertNotEqual(run().stdout, run('--set', 'grouped=242e12').stdout)

    def test_mistakes_are_said(self):
        for args, text in ((['--machine', 'h101'], 'expected h100, cpu'), (['--set', 'gruoped=1'], 'grouped'),
                           (['--set', 'rows=x'], 'NUMBER'), (['--devices', '7'], 'shared out evenly'),
                           (['--ep', '1', '--devices', '8'], 'no layout')):
            out = run(*args)
            self.assertNotEqual(out.returncode, 0)
            self.assertIn(text, out.stderr)
            self.assertNotIn('Traceback', out.stderr)


if __name__ == '__main__':
    unittest.main()
