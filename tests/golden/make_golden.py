#!/usr/bin/env python3
"""Golden losses and gradients for tests/worker/model, from PyTorch in float64. Run by hand when the model's definition changes:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.13.0 && /tmp/golden/bin/python tests/golden/make_golden.py

The modules below are written from the definition of OlmoeForCausalLM and LlamaForCausalLM (pre-norm RMSNorm 1e-5, QK norm over the full
projection before the heads are split (OLMoE), half-rotation RoPE, softmax over all experts, top-k without renormalisation) with the
PolyCom activations of arXiv 2411.03884. Parameters are filled by a hash of (name, index) on both sides, so no weights are stored.
"""
import json, math, pathlib
import torch

torch.set_default_dtype(torch.float64)
KINDS = ['relu', 'relu2', 'gelu', 'swiglu', 'polyrelu', 'polynorm', 'polyprelu', 'polyrelunorm']
MASK = (1 << 64) - 1


def fill(name, count, kind):
    h0 = 0xcbf29ce484222325
    for c in name.encode(): h0 = ((h0 ^ c) * 0x100000001b3) & MASK
    out = []
    for i in range(count):
        h = ((h0 ^ i) * 0x9e3779b97f4a7c15) & MASK
        h ^= h >> 32
        u = (h & 0xffffff) / 0x1000000 - 0.5
        out.append(1 + 0.4 * u if kind == 'ones' else 0.3 + 0.4 * u if kind == 'coef' else 0.5 * u)
    return torch.tensor(out).float().double()  # the C++ side holds floats


def rms(x, w, eps=1e-5): return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w
def norm(x, eps=1e-6): return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rope(x):  # [B, H, T, D]
    T, D = x.shape[-2:]
    inv = 10000.0 ** (-torch.arange(0, D, 2) / D)
    f = torch.outer(torch.arange(T).double(), inv)
    cos, sin = torch.cat((f, f), -1).cos(), torch.cat((f, f), -1).sin()
    return x * cos + torch.cat((-x[..., D // 2:], x[..., :D // 2]), -1) * sin


class Net:
    def __init__(s, c): s.c, s.p = c, {}
    def get(s, name, shape, kind='normal'):
        if name not in s.p: s.p[name] = fill(name, math.prod(shape), kind).reshape(shape).requires_grad_()
        return s.p[name]

    def act(s, x, gate, coef):
        k, order = s.c['activation'], s.c['order']
        if k == 'relu': return torch.relu(x)
        if k == 'relu2': return torch.relu(x) ** 2
        if k == 'gelu': return torch.nn.functional.gelu(x)
        if k == 'swiglu': return torch.nn.functional.silu(gate) * x
        u = {'polyrelu': torch.relu(x), 'polynorm': x, 'polyrelunorm': torch.relu(x)}[k]
        y = coef[order]
        for p in range(1, order + 1): y = y + coef[order - p] * (norm(u ** p) if 'norm' in k else u ** p)
        return y

    def ffn(s, x, prefix, coef):
        c = s.c
        up = s.get(prefix + 'up_proj.weight', (c['ffn'], c['hidden']))
        gate = x @ s.get(prefix + 'gate_proj.weight', (c['ffn'], c['hidden'])).T if c['activation'] == 'swiglu' else None
        return s.act(x @ up.T, gate, coef) @ s.get(prefix + 'down_proj.weight', (c['hidden'], c['ffn'])).T

    def coef(s, prefix):
        return s.get(prefix + 'act.coef', (s.c['order'] + 1,), 'coef') if s.c['activation'].startswith('poly') else None

    def layer(s, x, i):
        c, pre = s.c, f'model.layers.{i}.'
        B, T, d = x.shape
        h = rms(x, s.get(pre + 'input_layernorm.weight', (d,), 'ones'))
        q, k, v = (h @ s.get(pre + f'self_attn.{n}_proj.weight', (d, d)).T for n in 'qkv')
        if c['moe']:
            q = rms(q, s.get(pre + 'self_attn.q_norm.weight', (d,), 'ones'))
            k = rms(k, s.get(pre + 'self_attn.k_norm.weight', (d,), 'ones'))
        q, k, v = (t.view(B, T, c['heads'], -1).transpose(1, 2) for t in (q, k, v))
        q, k = rope(q), rope(k)
        a = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + torch.full((T, T), float('-inf')).triu(1)
        a = (a.softmax(-1) @ v).transpose(1, 2).reshape(B, T, d)
        x = x + a @ s.get(pre + 'self_attn.o_proj.weight', (d, d)).T
        h = rms(x, s.get(pre + 'post_attention_layernorm.weight', (d,), 'ones')).reshape(-1, d)
        if not c['moe']: return x + s.ffn(h, pre + 'mlp.', s.coef(pre + 'mlp.')).view_as(x), 0, 0
        logits = h @ s.get(pre + 'mlp.gate.weight', (c['experts'], d)).T
        p = logits.softmax(-1)
        w, idx = p.topk(c['top_k'], -1)
        out, counts = torch.zeros_like(h), torch.zeros(c['experts'])
        for e in range(c['experts']):
            rows, slot = (idx == e).nonzero(as_tuple=True)
            counts[e] = len(rows)
            pe = pre + f'mlp.experts.{e}.'
            y = s.ffn(h[rows], pe, s.coef(pe if c['per_expert'] else pre + 'mlp.'))
            out = out.index_add(0, rows, y * w[rows, slot].unsqueeze(-1))
        n = h.shape[0]
        balance = c['experts'] / (n * c['top_k']) * (counts * p.mean(0)).sum()
        return x + out.view_as(x), balance, torch.logsumexp(logits, -1).pow(2).mean()

    def run(s):
        c = s.c
        n = c['sequences'] * c['length']
        tokens = torch.tensor([(i * 7 + i * i) % c['vocab'] for i in range(n)])
        targets = torch.tensor([(i * 11 + 3) % c['vocab'] for i in range(n)])
        x = s.get('model.embed_tokens.weight', (c['vocab'], c['hidden']))[tokens].view(c['sequences'], c['length'], -1)
        balance = z = 0
        for i in range(c['layers']):
            x, b, zz = s.layer(x, i)
            balance, z = balance + b / c['layers'], z + zz / c['layers']
        x = rms(x, s.get('model.norm.weight', (c['hidden'],), 'ones'))
        ce = torch.nn.functional.cross_entropy(x.reshape(n, -1) @ s.get('lm_head.weight', (c['vocab'], c['hidden'])).T, targets)
        (ce + 0.01 * balance + 0.001 * z).backward()
        return ce.item(), float(balance), float(z)


def golden(name, **over):
    c = dict(moe=True, layers=2, hidden=24, heads=2, ffn=20, experts=4, top_k=2, vocab=40, activation='polynorm', order=3, per_expert=False,
             sequences=2, length=9) | over
    net = Net(c)
    ce, balance, z = net.run()
    gradients = {}
    for k, t in net.p.items():
        g = t.grad if t.grad is not None else torch.zeros_like(t)
        flat = g.reshape(-1)
        picks = sorted({0, len(flat) // 3, len(flat) - 1})
        gradients[k] = {'norm': flat.norm().item(), 'samples': {str(i): flat[i].item() for i in picks}}
    c['activation'] = KINDS.index(c['activation'])
    out = pathlib.Path(__file__).parent / f'{name}.json'
    out.write_text(json.dumps({'config': c, 'cross_entropy': ce, 'load_balance': balance, 'z': z, 'gradients': gradients}, indent=0) + '\n')
    print(name, ce, balance, z)


golden('moe_polynorm')
golden('moe_swiglu', activation='swiglu')
golden('moe_polyrelu_per_expert', activation='polyrelu', per_expert=True, order=4)
golden('dense_polynorm', moe=False, experts=1, top_k=1)
golden('dense_gelu', moe=False, experts=1, top_k=1, activation='gelu')
