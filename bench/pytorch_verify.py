"""Whether pytorch_model.py computes what it should, in seconds.

    pytorch_verify.py                              eager fp32
    pytorch_verify.py --precision bf16 --compile   another mode

Eager fp32: losses and gradients against tests/golden/*.json, which the C++ model is tested against too. The shapes there are too odd for
PyTorch's bf16 grouped products, so the other modes are compared with eager fp32, on the shape tiny.
"""
import argparse, json, pathlib, sys

import torch

import pytorch_model as pm


def golden_views(model, of):
    """(name in the golden file, its part of our tensors), where `of` takes a parameter to what is wanted of it."""
    yield 'model.embed_tokens.weight', of(model.embedding.weight)
    yield 'model.norm.weight', of(model.norm.weight)
    yield 'lm_head.weight', of(model.head.weight)
    for i, layer in enumerate(model.layers):
        at, attention, ffn = f'model.layers.{i}.', layer.attention, layer.ffn
        yield at + 'input_layernorm.weight', of(layer.norm1.weight)
        yield at + 'post_attention_layernorm.weight', of(layer.norm2.weight)
        for name, part in zip('qkv', of(attention.qkv.weight).chunk(3)): yield f'{at}self_attn.{name}_proj.weight', part
        yield at + 'self_attn.o_proj.weight', of(attention.out.weight)
        if ffn.act.kind == 'polynorm': yield at + 'mlp.act.coef', of(ffn.act.coef)
        if isinstance(ffn, pm.DenseFfn):
            yield at + 'mlp.up_proj.weight', of(ffn.up.weight)
            yield at + 'mlp.down_proj.weight', of(ffn.down.weight)
            continue
        yield at + 'self_attn.q_norm.weight', of(attention.q_norm.weight)
        yield at + 'self_attn.k_norm.weight', of(attention.k_norm.weight)
        yield at + 'mlp.gate.weight', of(ffn.router.weight)
        for e in range(len(ffn.up)):
            yield f'{at}mlp.experts.{e}.up_proj.weight', of(ffn.up)[e]
            yield f'{at}mlp.experts.{e}.down_proj.weight', of(ffn.down)[e]


def fill(name, view):
    """The values of make_golden.py: a hash of name and index."""
    mask, seed = 2 ** 64 - 1, 0xcbf29ce484222325
    for c in name.encode(): seed = (seed ^ c) * 0x100000001b3 & mask
    hashes = [(seed ^ i) * 0x9e3779b97f4a7c15 & mask for i in range(view.numel())]
    u = torch.tensor([((h ^ h >> 32) & 0xffffff) / 2 ** 24 - 0.5 for h in hashes]).view(view.shape)
    view.copy_(1 + 0.4 * u if 'norm' in name else 0.3 + 0.4 * u if name.endswith('coef') else 0.5 * u)


def run(shape, prepare, dtype):
    """Losses, and gradients by golden name, of the golden parameters and batch."""
    model, n = pm.Decoder(shape), shape.sequences * shape.length
    with torch.no_grad():
        for name, view in golden_views(model, lambda p: p): fill(name, view)
    tokens = torch.tensor([(i * 7 + i * i) % shape.vocab for i in range(n)]).view(shape.sequences, -1)
    targets = torch.tensor([(i * 11 + 3) % shape.vocab for i in range(n)]).view(shape.sequences, -1)
    losses = pm.forward_backward(model, prepare(model), tokens, targets, dtype)
    return losses, {name: g.flatten() for name, g in golden_views(model, lambda p: p.grad)}


def against_golden(name, prepare):
    golden = json.loads((pathlib.Path(__file__).parent.parent / f'tests/golden/{name}.json').read_text())
    sizes = (golden['config'][k] for k in ('layers', 'hidden', 'heads', 'ffn', 'experts', 'top_k', 'vocab', 'length', 'sequences'))
    losses, gradients = run(pm.Shape(*sizes, name.split('_')[1]), prepare, torch.float32)
    assert gradients.keys() == golden['gradients'].keys(), gradients.keys() ^ golden['gradients'].keys()
    off = [abs(loss / golden[k] - 1) if golden[k] else abs(loss) for loss, k in zip(losses, ('cross_entropy', 'load_balance', 'z'))]
    for key, wanted in golden['gradients'].items():
        differences = [gradients[key].norm() - wanted['norm']] + [gradients[key][int(i)] - x for i, x in wanted['samples'].items()]
        off.append(max(abs(d).item() for d in differences) / wanted['norm'])
    return max(off)


def against_fp32(prepare, dtype):
    wanted_losses, wanted = run(pm.SHAPES['tiny'], lambda model: model, torch.float32)
    losses, gradients = run(pm.SHAPES['tiny'], prepare, dtype)
    # Of all gradients together: a token that bf16 routes to another expert changes much in one place.
    distance = sum((gradients[k] - wanted[k]).square().sum() for k in wanted).sqrt() / sum(g.square().sum() for g in wanted.values()).sqrt()
    return max([abs(a / b - 1) for a, b in zip(losses, wanted_losses)] + [distance.item()])


def main():
    """Exit code: 1 when something is further off than rounding explains."""
    parser = argparse.ArgumentParser(description='Compares with the golden files, or in other modes than eager fp32 with that.')
    parser.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32')
    parser.add_argument('--compile', action='store_true')
    args = parser.parse_args()
    dtype = {'fp32': torch.float32, 'bf16': torch.bfloat16}[args.precision]
    prepare = (lambda model: torch.compile(model, dynamic=False)) if args.compile else (lambda model: model)
    if dtype == torch.float32 and not args.compile:
        off = {name: against_golden(name, prepare) for name in ('moe_polynorm', 'dense_polynorm', 'dense_gelu')}
    else:
        off = {'tiny': against_fp32(prepare, dtype)}
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    for name, worst in off.items():
        print(f'{name}: largest relative difference {worst:.1e}, {"ok" if worst <= tolerance else "WRONG"} (tolerance {tolerance})')
    return 0 if max(off.values()) <= tolerance else 1


if __name__ == '__main__': sys.exit(main())
