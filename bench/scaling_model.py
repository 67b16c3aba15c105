"""How long a step of expert-parallel training takes, from figures of kernels and networks: pure functions (docs/scaling.md).

It follows the code: what travels is worker/model/dispatch.h, when is worker/model/ffn_block.cc, what rows cost is kernels/profile.cc,
what a rank holds is common/spec/memory_plan.cc, gradients and weights are worker/train/reducer.h.
"""
import dataclasses
import math
import statistics

BF16, FP32 = 2, 4  # bytes
CHUNKS = 2         # ModelLimits::chunks of worker/model/model.h


@dataclasses.dataclass(frozen=True)
class Model:
    layers: int
    hidden: int
    ffn: int
    gated: bool
    experts: int
    top_k: int
    vocab: int
    length: int
    sequences: int  # of a step, over all ranks

    @property
    def up(self):  # width of the up projection
        return self.ffn * (2 if self.gated else 1)

    @property
    def expert_parameters(self):
        return self.layers * self.experts * self.hidden * (self.up + self.ffn)

    @property
    def dense_parameters(self):  # without the embedding and the norms
        return self.layers * self.hidden * (4 * self.hidden + self.experts) + self.vocab * self.hidden

    @property
    def flops_per_token(self):  # as trainer_bench counts them
        active = self.dense_parameters + self.expert_parameters * self.top_k / self.experts
        return 6 * active + 6 * self.layers * self.length * self.hidden


@dataclasses.dataclass(frozen=True)
class Machine:
    """Of one device. Rates in FLOP/s and bytes/s; those of networks are bytes that a device sends (NCCL's bus bandwidth)."""
    peak: float
    memory: float
    node: int
    dense: list       # products: forward, gradient of the input, gradient of the weight
    grouped: list     # the same of experts
    attention: list   # forward, backward
    rows: float       # norms, activations, combine, cross entropy
    stream: float     # AdamW and the norm of the gradient
    exchange: list    # all-to-all: within a node, across
    reduce: list      # reduce-scatter, all-gather: within a node; across with one device a node; with whole nodes
    latency: list     # seconds of an all-to-all of few bytes: within a node; across
    ring: list        # seconds of a reduce-scatter or all-gather of few bytes: to start, for a step within a node, for one across
    comm_tax: float   # share of the device's computing that is lost while it communicates
    load_cv: float    # of the router: deviation of the experts' loads over their mean
    overlap: bool = True


# ---- what is sent

def distinct_ranks(experts, top_k, ep):
    """Expected ranks that hold one of a token's experts: hypergeometric, all sets of top_k experts equally likely."""
    missed = math.comb(experts - experts // ep, top_k) / math.comb(experts, top_k)
    return ep * (1 - missed)


def exchange_bytes(model, ep):
    """Bytes that a token sends to other ranks in a layer: rows in bf16 with ids and weights of their experts, their sums back, gradients
    out, and gradients back with those of the weights."""
    rows = distinct_ranks(model.experts, model.top_k, ep) * (ep - 1) / ep
    row, routing = model.hidden * BF16, 4 * model.top_k
    return {'dispatch': rows * (row + 2 * routing), 'return': rows * row, 'dy': rows * row, 'dx': rows * (row + routing)}


def imbalance(model, ep, cv):
    """Rows of the fullest of ep ranks over their mean, when the loads of E experts have the coefficient of variation cv: the mean of m =
    E/ep of them deviates by cv sqrt(E / ((E - 1) m)); the largest of ep normal variables by Blom's approximation (1958)."""
    largest = statistics.NormalDist().inv_cdf((ep - 0.375) / (ep + 0.25))
    return 1 + largest * cv * math.sqrt(ep / (model.experts - 1))


def reduce_seconds(machine, size, ranks, per_node):
    """Reduce-scatter or all-gather of `size` bytes around a ring of `ranks`, per_node of them in each node: (moving, latency)."""
    within, one, whole = machine.reduce
    rate = within if ranks <= per_node else min(whole, one * per_node)
    nodes = math.ceil(ranks / per_node)
    start, near, far = machine.ring
    return size * (ranks - 1) / ranks / rate, (start + (ranks - nodes) * near + (nodes - 1) * far if ranks > 1 else 0.0)


# ---- what a rank holds

def memory_bytes(model, world, ep, micro):
    """The large terms of common/spec/memory_plan.cc, bf16, all experts loaded alike."""
    n, d, k = micro * model.length, model.hidden, model.top_k
    parameters = model.dense_parameters + model.vocab * d + model.expert_parameters / ep
    state = parameters * (FP32 + FP32 + BF16)
    state += 2 * FP32 * (model.dense_parameters + model.vocab * d + model.expert_parameters) / world
    ranks_of_row = min(ep, k)
    layer = 8 * BF16 * n * d + 2 * FP32 * n * d + BF16 * n * k * (model.up + model.ffn) + FP32 * n * model.experts
    scratch = (4 * FP32 + 7 * BF16) * n * d + 512 * model.vocab * (FP32 + BF16) + (FP32 + BF16) * n * model.experts
    scratch += BF16 * n * k / CHUNKS * (model.up + model.ffn + d)
    if ep > 1:
        layer += BF16 * ranks_of_row * n * d
        scratch += 3 * BF16 * ranks_of_row * n * d
    return state + model.layers * layer + scratch


# ---- how long it takes

def pipeline(out, before, after, back):
    """Seconds of a layer's exchange and experts (worker/model/ffn_block.cc): all chunks leave at once, each is computed when it is
    there, and goes back while `after` and the next chunks are computed. One network, first come first served."""
    arrived = [out * (i + 1) for i in range(CHUNKS)]
    network, compute = arrived[-1], 0.0
    for there in arrived:
        compute = max(compute, there) + before
        network = max(network, compute) + back
        compute += after
    return max(network, compute)


def layer_seconds(model, machine, tokens, ep, factor):
    """Computing of one micro-batch in one layer: forward and backward outside of the experts, and of the experts {forward; backward
    before what goes home has left, and after}. Rows cost what kernels/profile.cc counts; `factor`: rows of the fullest rank over the
    mean."""
    d, k, e = model.hidden, model.top_k, model.experts
    ranks = distinct_ranks(e, k, ep)
    product, experts = 2 * d * (4 * d + e), 2 * k * d * (model.up + model.ffn)  # FLOPs of a token in one product
    pairs = 2 * (model.length + 1) * d                                          # of attention's two products, causal
    send = 4 * d * ranks if ep > 1 else 0                                       # gather of what is sent
    partial = 2 * d * (k + ranks) if ep > 1 else 0                              # sums of what goes back
    mine = ranks if ep > 1 else k                                               # rows that a token's sum is made of
    forward = product / machine.dense[0] + pairs / machine.attention[0]
    forward += (2 * 6 * d + 8 * d + 8 * (e + k) + send + d * (2 * mine + 8)) / machine.rows
    backward = product / machine.dense[1] + product / machine.dense[2] + 2.5 * pairs / machine.attention[1]
    backward += (2 * 18 * d + 12 * d + 6 * e + 8 * k + send + d * (2 * mine + 4)) / machine.rows
    act = 2 * k * model.ffn / machine.rows
    run = {'forward': experts / machine.grouped[0] + (3 if model.gated else 2) * act + partial / machine.rows,
           'before': experts / machine.grouped[1] + (5 if model.gated else 3) * act + partial / machine.rows,
           'after': experts / machine.grouped[2]}
    return tokens * forward, tokens * backward, {name: tokens * factor * seconds for name, seconds in run.items()}


def head_seconds(model, machine, tokens):
    product = 2 * model.vocab * model.hidden
    return tokens * (product * sum(1 / rate for rate in machine.dense) + (6 * model.vocab + 44 * model.hidden) / machine.rows)


def exchange_seconds(machine, size, ep, per_node):
    """`size` bytes of a rank to the other ranks of ep, which lie in nodes of per_node."""
    across = max(0, ep - per_node) / max(1, ep - 1)
    return max(size * (1 - across) / machine.exchange[0], size * across / machine.exchange[1])


def layer_exchange(model, machine, tokens, ep, per_node, factor, run, latency):
    """Seconds that a layer's forward and backward take longer than its computing, which is `run`."""
    if ep == 1:
        return [0.0, 0.0]
    size = {name: tokens * factor * per_token for name, per_token in exchange_bytes(model, ep).items()}
    wire = {name: exchange_seconds(machine, s, ep, per_node) / CHUNKS for name, s in size.items()}
    # Forward: the counts of each chunk come before anything else; then routing and rows; rows. Backward: rows; routing and rows.
    total = [CHUNKS * (wire['dispatch'] + wire['return'] + 4 * latency), CHUNKS * (wire['dy'] + wire['dx'] + 3 * latency)]
    if not machine.overlap:
        return total
    forward = CHUNKS * latency + pipeline(wire['dispatch'] + 2 * latency, run['forward'] / CHUNKS, 0, wire['return'] + latency)
    backward = pipeline(wire['dy'] + latency, run['before'] / CHUNKS, run['after'] / CHUNKS, wire['dx'] + 2 * latency)
    exposed = forward - run['forward'], backward - run['before'] - run['after']
    return [x + machine.comm_tax * max(0.0, t - x) for x, t in zip(exposed, total)]


def update_seconds(model, machine, world, ep, window, with_latency):
    """What worker/train/reducer.h adds to a step: gradients in fp32, section by section, of which all but the last stage (embedding,
    norms) go while the last micro-batch runs backward for `window` seconds; then the new weights, in bf16 but for the embedding."""
    per_node = min(machine.node, world)
    replicas, replicas_per_node = world // ep, max(1, per_node // ep)

    def seconds(size, sections, ranks, near):
        moving, latency = reduce_seconds(machine, size, ranks, near)
        return moving + sections * latency * with_latency

    def everything(bytes_each):
        return (seconds(bytes_each * model.dense_parameters, model.layers + 1, world, per_node) +
                seconds(bytes_each * model.expert_parameters / ep, model.layers, replicas, replicas_per_node))

    embedding = seconds(FP32 * model.vocab * model.hidden, 2, world, per_node)
    gradients = everything(FP32)
    hidden = min(gradients, window)
    return gradients - hidden + machine.comm_tax * hidden + embedding + everything(BF16) + embedding


def predict(model, machine, world, ep, micro):
    """A step with `micro` sequences a micro-batch: a row of the table, with the seconds of each part."""
    per_node = min(machine.node, world)
    times = model.sequences // world // micro
    tokens = micro * model.length
    factor = imbalance(model, ep, machine.load_cv)

    def passes(f, latency):  # forward, backward of one micro-batch; computing, and what the exchange adds
        forward, backward, run = layer_seconds(model, machine, tokens, ep, f)
        more = layer_exchange(model, machine, tokens, ep, per_node, factor, run, latency)
        return (model.layers * (forward + run['forward']), model.layers * (backward + run['before'] + run['after']),
                model.layers * more[0], model.layers * more[1])

    latency = machine.latency[ep > per_node]
    plain, level, full = passes(1, 0), passes(factor, 0), passes(factor, latency)
    head = head_seconds(model, machine, tokens)
    window = full[1] + full[3] if machine.overlap else 0.0
    update = [update_seconds(model, machine, world, ep, window, with_latency) for with_latency in (False, True)]
    owned = (model.dense_parameters + model.vocab * model.hidden + model.expert_parameters) / world

    parts = {'compute': times * (plain[0] + plain[1] + head),
             'imbalance': times * (level[0] + level[1] - plain[0] - plain[1]),
             'exchange': times * (level[2] + level[3]),
             'reduce': update[0],
             'optimiser': owned * (30 + 4) / machine.stream,  # AdamW reads and writes 30 bytes a parameter, the norm reads 4
             'latency': times * (full[2] + full[3] - level[2] - level[3]) + update[1] - update[0]}
    step = sum(parts.values())
    rate = model.sequences * model.length / step
    lost = {name: s for name, s in parts.items() if name != 'compute'}
    weak = max(lost, key=lost.get)
    return {'devices': world, 'ep': ep, 'dp': world // ep, 'micro': micro, 'step_seconds': step, 'tokens_per_second': rate,
            'per_device': rate / world, 'mfu': rate / world * model.flops_per_token / machine.peak,
            'bound': 'compute' if parts['compute'] + parts['imbalance'] > step / 2 else weak, 'weak_spot': weak,
            'memory_bytes': memory_bytes(model, world, ep, micro),
            'exchange_bytes_per_token': model.layers * sum(exchange_bytes(model, ep).values()),
            'shares': {name: s / step for name, s in parts.items()}}


def best(model, machine, world, eps=None):
    """The fastest of all layouts that divide the model and the batch and fit into 90% of memory, with one of `eps` ranks that share
    experts where that is given; None where there is none."""
    if model.sequences % world:
        return None
    local = model.sequences // world
    rows = [predict(model, machine, world, ep, micro)
            for ep in eps or range(1, min(world, model.experts) + 1) if world % ep == 0 and model.experts % ep == 0
            for micro in range(1, local + 1) if local % micro == 0
            if memory_bytes(model, world, ep, micro) <= 0.9 * machine.memory]
    return max(rows, key=lambda row: (row['tokens_per_second'], row['micro']), default=None)


def goodput(devices, device_hours, save_seconds, restart_seconds):
    """Where a job fails once in `device_hours`: Young's interval between checkpoints (seconds; Young 1974), and the share of time that
    is left for training: an interval's work over its time, with the checkpoint, the share of a failure, and half of the work again."""
    mttf = 3600 * device_hours / devices
    interval = math.sqrt(2 * save_seconds * mttf)
    return interval, 1 / (1 + save_seconds / interval + (interval / 2 + restart_seconds) / mttf)
