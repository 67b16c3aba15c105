#!/usr/bin/env python3
"""The models of trainer_bench in PyTorch, as a careful user writes them for speed on CPUs, and a timed training run of one of them.

    pytorch_model.py --shape moe --precision bf16 --compile   five timed steps: forward, backward, clip, AdamW on random tokens

In bf16 (autocast) the residual stream is bf16; norms, activations, softmax and losses compute in fp32; weights, gradients and moments
are fp32. vs_pytorch.sh runs this beside trainer_bench.
"""
import argparse, dataclasses, json, resource, statistics, sys, time, warnings

warnings.filterwarnings('ignore', message='Failed to initialize NumPy')
import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass
class Shape:  # the same table is in trainer_bench.cc
    layers: int; hidden: int; heads: int; ffn: int; experts: int; top_k: int; vocab: int; length: int; sequences: int; activation: str

    @property
    def moe(self): return self.experts > 1


SHAPES = {
    'moe': Shape(8, 512, 8, 384, 16, 4, 16384, 512, 8, 'polynorm'),
    'moe64': Shape(8, 512, 8, 384, 64, 4, 16384, 512, 8, 'polynorm'),
    'dense': Shape(12, 768, 12, 3072, 1, 1, 50304, 256, 4, 'gelu'),
    'tiny': Shape(2, 32, 2, 24, 4, 2, 128, 32, 2, 'polynorm'),
}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight, 1e-5).to(x.dtype)


class Activation(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind == 'polynorm': self.coef = nn.Parameter(torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]))

    def forward(self, x):
        if self.kind != 'polynorm': return {'relu': F.relu, 'gelu': F.gelu}[self.kind](x)
        # coef[0] norm(x^3) + coef[1] norm(x^2) + coef[2] norm(x) + coef[3], each norm a factor of the row
        x1 = x.float()
        x2 = x1 * x1
        x3 = x2 * x1
        cube, square, line = (w * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6) for w, y in zip(self.coef, (x3, x2, x1)))
        return (cube * x3 + square * x2 + line * x1 + self.coef[3]).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads = s.heads
        self.qkv, self.out = nn.Linear(s.hidden, 3 * s.hidden, bias=False), nn.Linear(s.hidden, s.hidden, bias=False)
        self.q_norm, self.k_norm = (RMSNorm(s.hidden) if s.moe else nn.Identity() for _ in range(2))

    def forward(self, x, cos, sin):
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q_norm(q), self.k_norm(k), v))
        q, k = (y * cos + torch.cat((-y[..., y.shape[-1] // 2:], y[..., :y.shape[-1] // 2]), -1) * sin for y in (q, k))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class DenseFfn(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.up, self.down = nn.Linear(s.hidden, s.ffn, bias=False), nn.Linear(s.ffn, s.hidden, bias=False)
        self.act = Activation(s.activation)

    def forward(self, x):
        return self.down(self.act(self.up(x))), x.new_zeros(()), x.new_zeros(())


class MoeFfn(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.experts, self.top_k = s.experts, s.top_k
        self.router = nn.Linear(s.hidden, s.experts, bias=False)
        self.up = nn.Parameter(torch.empty(s.experts, s.ffn, s.hidden))
        self.down = nn.Parameter(torch.empty(s.experts, s.hidden, s.ffn))
        self.act = Activation(s.activation)

    def forward(self, x):
        tokens = x.flatten(0, 1)
        logits = self.router(tokens).float()
        probs = logits.softmax(-1)
        weights, experts = probs.topk(self.top_k, -1)
        order = experts.flatten().argsort()  # routed rows by expert
        counts = (experts.flatten().unsqueeze(-1) == torch.arange(self.experts)).sum(0)
        ends = counts.cumsum(0).int()
        product = lambda rows, weight: F.grouped_mm(rows, weight.to(rows.dtype).transpose(1, 2), offs=ends)
        rows = product(self.act(product(tokens[order // self.top_k], self.up)), self.down)
        back = torch.empty_like(order).scatter(0, order, torch.arange(len(order)))
        y = (rows[back].unflatten(0, (-1, self.top_k)) * weights.unsqueeze(-1).to(rows.dtype)).sum(1)
        balance = self.experts / len(order) * (counts * probs.mean(0)).sum()
        return y.view_as(x), balance, logits.logsumexp(-1).square().mean()


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.norm1, self.attention, self.norm2 = RMSNorm(s.hidden), Attention(s), RMSNorm(s.hidden)
        self.ffn = MoeFfn(s) if s.moe else DenseFfn(s)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.norm1(x), cos, sin)
        y, balance, z = self.ffn(self.norm2(x))
        return x + y, balance, z


class Decoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embedding, self.head = nn.Embedding(s.vocab, s.hidden), nn.Linear(s.hidden, s.vocab, bias=False)
        self.layers, self.norm = nn.ModuleList(Layer(s) for _ in range(s.layers)), RMSNorm(s.hidden)
        for p in self.parameters():
            if p.dim() > 1: nn.init.trunc_normal_(p, std=0.02, a=-0.06, b=0.06)
        width = s.hidden // s.heads
        angles = torch.outer(torch.arange(s.length), 10000.0 ** (-torch.arange(0, width, 2) / width)).repeat(1, 2)
        self.register_buffer('cos', angles.cos())
        self.register_buffer('sin', angles.sin())

    def forward(self, tokens, targets, dtype):
        """Mean cross entropy, load balance and z, the latter two as means over layers."""
        x, cos, sin = self.embedding(tokens).to(dtype), self.cos.to(dtype), self.sin.to(dtype)
        router = torch.zeros(2)
        for layer in self.layers:
            x, balance, z = layer(x, cos, sin)
            router = router + torch.stack((balance, z)) / len(self.layers)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten()), router[0], router[1]


def flops_per_token(s):  # as ComputeShape of common/spec/model_shape.h
    norms = s.layers * (4 if s.moe else 2) * s.hidden + s.hidden
    router, coefficients = s.layers * s.experts * s.hidden * s.moe, s.layers * 4 * (s.activation == 'polynorm')
    products = s.layers * (4 * s.hidden ** 2 + s.top_k * 2 * s.hidden * s.ffn) + s.vocab * s.hidden
    return 6 * (products + norms + router + coefficients) + 6 * s.layers * s.length * s.hidden


def forward_backward(model, run, tokens, targets, dtype):
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        cross_entropy, balance, z = run(tokens, targets, dtype)
    (cross_entropy + 0.01 * balance + 0.001 * z).backward()
    return cross_entropy.item(), balance.item(), z.item()


def train(args, shape, model, run, dtype):
    """As trainer_bench: one batch again and again, one step that warms up, then the timed ones."""
    coefficients = [p for name, p in model.named_parameters() if name.endswith('coef')]
    decayed = [p for name, p in model.named_parameters() if not name.endswith('coef')]
    groups = [{'params': decayed, 'weight_decay': 0.1}, {'params': coefficients, 'weight_decay': 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=4e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    batch = torch.randint(shape.vocab, (shape.sequences, shape.length + 1))
    tokens, targets = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()
    for _ in range(2 * args.compile):  # compilation is not timed, and neither are the first runs of what came out
        forward_backward(model, run, tokens, targets, dtype)
        model.zero_grad(set_to_none=True)
    seconds, losses = [], []
    for _ in range(1 + args.steps):
        start = time.perf_counter()
        losses.append(forward_backward(model, run, tokens, targets, dtype)[0])
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    rate = tokens.numel() / median
    return {'engine': 'pytorch-compile' if args.compile else 'pytorch-eager', 'shape': args.shape, 'activation': shape.activation,
            'precision': args.precision, 'threads': args.threads, 'median_seconds': median, 'tokens_per_second': rate,
            'gflops': rate * flops_per_token(shape) / 1e9, 'step_seconds': seconds[1:], 'first_loss': losses[0], 'last_loss': losses[-1],
            'peak_rss_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shape', choices=SHAPES, default='moe')
    parser.add_argument('--activation', choices=('polynorm', 'relu', 'gelu'), help="instead of the shape's own")
    parser.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32')
    parser.add_argument('--compile', action='store_true', help='torch.compile; compilation is not timed')
    parser.add_argument('--steps', type=int, default=5, help='timed steps, after one that warms up')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', action='store_true', help='one line of JSON')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    dtype = {'fp32': torch.float32, 'bf16': torch.bfloat16}[args.precision]
    prepare = (lambda model: torch.compile(model, dynamic=False)) if args.compile else (lambda model: model)
    shape = SHAPES[args.shape]
    if args.activation: shape = dataclasses.replace(shape, activation=args.activation)
    model = Decoder(shape)
    result = train(args, shape, model, prepare(model), dtype)
    print(json.dumps(result) if args.json else '\n'.join(f'{k:18} {v}' for k, v in result.items()))
    return 0


if __name__ == '__main__': sys.exit(main())
