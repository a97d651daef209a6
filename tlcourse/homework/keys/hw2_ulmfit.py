"""The key of the second assignment: ULMFiT's remedies, pooling and language model (Howard & Ruder 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlcourse.homework.questions import HARD_CODED, PACKAGE, Assignment, Probe, Question, Written, close, equal, exact


# ----------------------------------------------------------------------------------- slanted triangular learning rates
def stlr(t: int, T: int, lr_max: float, cut_frac: float, ratio: float) -> float:
    """Equation 3, its p between two straight lines: both are at 1 where t is cut."""
    cut = np.floor(T * cut_frac)
    fall = 1 - t / T if cut == 0 else 1 - (t - cut) / (cut / cut_frac - cut)
    rise = t / cut if cut else np.inf
    return lr_max * (1 / ratio + (1 - 1 / ratio) * max(min(rise, fall), 0))


def stlr_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, T: int, **options: float) -> Probe:
        given = {"cut_frac": 0.1, "ratio": 32.0} | options
        lr_max = float(10 ** rng.uniform(-4, -1))
        code = "answer = [float(stlr(t, T, lr_max, **options)) for t in steps]"
        steps = sorted({*range(min(T, 200)), int(T * given["cut_frac"]), T // 2, T - 1})
        arguments = {"steps": steps, "T": T, "lr_max": lr_max, "options": options}
        return Probe(test, code, arguments, close([stlr(t, T, lr_max, **given) for t in steps], rtol=1e-5, atol=0))

    tens = int(rng.integers(3, 12))
    return [
        probe("the paper's cut_frac and ratio", 10 * int(rng.integers(5, 20))),
        probe("T · cut_frac is no whole number", 10 * tens + int(rng.integers(6, 10))),
        probe("a fall that ends early", 10 + int(rng.integers(6, 10))),
        probe("another cut_frac", 8 * int(rng.integers(4, 12)), cut_frac=float(rng.choice([0.125, 0.25, 0.5]))),
        probe("another ratio", 10 * int(rng.integers(5, 20)), ratio=float(rng.uniform(2, 10))),
        probe("shorter than any rise", int(rng.integers(3, 10))),
        probe("a single step", 1),
        probe("a hundred thousand steps", 100_000),
    ]


STLR = """
import math

def stlr(t, T, lr_max=0.01, cut_frac=0.1, ratio=32):
    cut = math.floor(T * cut_frac)
    if cut == 0:
        p = 1 - t / T
    elif t < cut:
        p = t / cut
    else:
        p = 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    p = max(p, 0)
    return lr_max * (1 + p * (ratio - 1)) / ratio
"""
STLR_INTERPOLATED = """
def stlr(t, T, lr_max=0.01, cut_frac=0.1, ratio=32):
    cut = int(T * cut_frac)
    end = cut / cut_frac if cut else T
    low = lr_max / ratio
    return float(np.interp(t, [0, cut, end] if cut else [0, end], [low, lr_max, low] if cut else [lr_max, low]))
"""

# ---------------------------------------------------------------------------------------------- a rate for each layer


def rates_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, n: int, lr: float | None = None, factor: float | None = None) -> Probe:
        lr = float(10 ** rng.uniform(-4, -1)) if lr is None else lr
        options = {} if factor is None else {"factor": factor}
        expected = [lr * (factor or 2.6) ** (layer - n + 1) for layer in range(n)]
        code = "answer = [float(rate) for rate in layer_rates(lr, n_groups, **options)]"
        arguments = {"lr": lr, "n_groups": n, "options": options}
        return Probe(test, code, arguments, close(expected, rtol=1e-5, atol=0))

    return [
        probe("a factor left out", int(rng.integers(3, 8))),
        probe("another factor", int(rng.integers(3, 8)), factor=float(rng.uniform(1.5, 5))),
        probe("a single group", 1),
        probe("a factor of 1", int(rng.integers(2, 6)), factor=1.0),
        probe("a tiny rate", int(rng.integers(3, 6)), lr=float(rng.uniform(1, 9)) * 1e-9),
        probe("a very deep model", int(rng.integers(12, 25))),
    ]


RATES = """
def layer_rates(lr, n_groups, factor=2.6):
    return [lr / factor ** (n_groups - 1 - layer) for layer in range(n_groups)]
"""
RATES_CUMULATIVE = """
def layer_rates(lr, n_groups, factor=2.6):
    rates = torch.full((n_groups,), 1 / factor, dtype=torch.float64)
    rates[0] = lr
    return rates.cumprod(0).flip(0)
"""


# ------------------------------------------------------------------------------------------------- gradual unfreezing
def unfreezing_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, n_groups: int, epochs: int) -> Probe:
        layer, epoch = np.arange(n_groups), np.arange(epochs)[:, None]
        code = "answer = [[bool(learns) for learns in row] for row in unfreeze(n_groups, epochs)]"
        return Probe(test, code, {"n_groups": n_groups, "epochs": epochs}, close(n_groups - layer <= epoch + 1))

    n = int(rng.integers(4, 7))
    return [
        probe("epochs left when all learn", n, n + int(rng.integers(2, 5))),
        probe("epochs run out before groups", n + int(rng.integers(2, 5)), n),
        probe("as many epochs as groups", n, n),
        probe("a single group", 1, int(rng.integers(2, 6))),
        probe("a single epoch", int(rng.integers(2, 6)), 1),
        probe("a very deep model", int(rng.integers(12, 25)), int(rng.integers(8, 30))),
    ]


UNFREEZE = """
def unfreeze(n_groups, epochs):
    return [[layer >= n_groups - epoch for layer in range(n_groups)] for epoch in range(1, epochs + 1)]
"""
UNFREEZE_TENSOR = """
def unfreeze(n_groups, epochs):
    table = torch.ones(epochs, n_groups)
    for epoch in range(epochs):
        table[epoch, : max(n_groups - 1 - epoch, 0)] = 0
    return table == 1
"""


# ----------------------------------------------------------------------------------------------------- concat pooling
def pool(hidden: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Text by text, from the true part alone."""
    real = [text[:n] for text, n in zip(hidden, lengths, strict=True)]
    return np.array([np.concatenate([text[-1], text.max(axis=0), text.mean(axis=0)]) for text in real])


def pool_gradient(hidden: np.ndarray, lengths: Sequence[int], weight: np.ndarray) -> np.ndarray:
    """The derivative by `hidden` of the sum of `weight` times the pooled vectors."""
    gradient = np.zeros_like(hidden)
    last, maximum, mean = np.split(weight, 3, axis=1)  # each (B, D)
    for row, n in enumerate(lengths):
        gradient[row, n - 1] += last[row]
        gradient[row, hidden[row, :n].argmax(axis=0), np.arange(hidden.shape[2])] += maximum[row]
        gradient[row, :n] += mean[row] / n
    return gradient


def pool_probes(rng: np.random.Generator) -> list[Probe]:
    def texts(lengths: Sequence[int], dim: int, *, shift: float = 0.0, padding: float = 0.0) -> tuple:
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]  # (B, T)
        hidden = rng.normal(size=(*mask.shape, dim)) + shift
        hidden[~mask] = padding + rng.normal(size=(int((~mask).sum()), dim))
        return hidden, mask

    def probe(test: str, lengths: Sequence[int], dim: int, **how: float) -> Probe:
        hidden, mask = texts(lengths, dim, **how)
        arguments = {"hidden": hidden, "mask": mask}
        return Probe(test, "answer = concat_pool(hidden, mask)", arguments, close(pool(hidden, lengths), atol=1e-5))

    lengths = [*rng.permutation([2, 3, 5, 7]).tolist(), 4]
    hidden, mask = texts(lengths, 3, padding=50)
    weight = rng.normal(size=(len(lengths), 9))
    gradient = """
hidden.requires_grad_(True)
(concat_pool(hidden * 1, mask) * weight).sum().backward()
answer = hidden.grad
"""
    return [
        probe("texts of one length", [int(rng.integers(3, 7))] * 3, 4),
        probe("texts of several lengths", lengths, 5),
        probe("large numbers in the padding", lengths, 4, padding=1000.0),
        probe("small numbers in the padding", lengths, 4, padding=-1000.0),
        probe("all true states negative", lengths, 3, shift=-20.0),
        probe("texts of one token", [1, 1, int(rng.integers(3, 6)), 1], 4, padding=30.0),
        probe("a single text", [int(rng.integers(3, 7))], 1),
        Probe(
            "gradients reach the hidden states",
            gradient,
            {"hidden": hidden, "mask": mask, "weight": weight},
            close(pool_gradient(hidden, lengths, weight), atol=1e-5),
        ),
    ]


POOL = """
def concat_pool(hidden, mask):
    real = mask.unsqueeze(-1)
    lengths = mask.sum(1)
    last = hidden[torch.arange(len(hidden)), lengths - 1]
    maximum = hidden.masked_fill(~real, float("-inf")).amax(1)
    mean = (hidden * real).sum(1) / lengths[:, None]
    return torch.cat([last, maximum, mean], 1)
"""
POOL_LOOP = """
def concat_pool(hidden, mask):
    pooled = []
    for text, there in zip(hidden, mask):
        text = text[there]
        pooled.append(torch.cat([text[-1], text.max(dim=0).values, text.mean(dim=0)]))
    return torch.stack(pooled)
"""


# -------------------------------------------------------------------------------------- batches of a language model
def batches(stream: Sequence[int], batch_size: int, bptt: int) -> list:
    """Token by token: the one at row r and time t of the whole is number r · n + t of the stream."""
    n = (len(stream) - 1) // batch_size
    chunks = [range(start, min(start + bptt, n)) for start in range(0, n, bptt)]
    return [
        [[[stream[row * n + t + ahead] for t in chunk] for row in range(batch_size)] for ahead in (0, 1)]
        for chunk in chunks
    ]


def batches_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, length: int, batch_size: int, bptt: int) -> Probe:
        stream = rng.permutation(1000)[:length]  # no token twice: each place tells itself
        code = """
pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in lm_batches(stream, batch_size, bptt)]
answer = [[x.tolist(), y.tolist()] for x, y in pairs]
"""
        arguments = {"stream": stream, "batch_size": batch_size, "bptt": bptt}
        return Probe(test, code, arguments, equal(batches(stream.tolist(), batch_size, bptt)))

    rows, bptt, chunks = (int(n) for n in rng.integers(3, 7, 3))
    return [
        probe("whole chunks", rows * bptt * chunks + 1, rows, bptt),
        probe("a rest that fills no chunk", rows * (bptt * chunks + 2) + 1, rows, bptt),
        probe("tokens that fill no row", rows * (bptt * chunks + 1) + rows - 1, rows, bptt),
        probe("a length that the rows divide", rows * bptt * chunks, rows, bptt),
        probe("one row", int(rng.integers(20, 60)), 1, bptt),
        probe("chunks of one token", int(rng.integers(20, 40)), rows, 1),
        probe("a chunk longer than the rows", int(rng.integers(20, 40)), rows, 50),
    ]


BATCHES = """
def lm_batches(stream, batch_size, bptt):
    n = (len(stream) - 1) // batch_size
    x = stream[: batch_size * n].reshape(batch_size, n)
    y = stream[1 : batch_size * n + 1].reshape(batch_size, n)
    return [(x[:, start : start + bptt], y[:, start : start + bptt]) for start in range(0, n, bptt)]
"""
BATCHES_LOOP = """
def lm_batches(stream, batch_size, bptt):
    ids = [int(i) for i in stream]
    n = (len(ids) - 1) // batch_size
    start = 0
    while start < n:
        end = min(start + bptt, n)
        x = [ids[row * n + start : row * n + end] for row in range(batch_size)]
        y = [ids[row * n + start + 1 : row * n + end + 1] for row in range(batch_size)]
        yield torch.tensor(x), torch.tensor(y)
        start = end
"""


# --------------------------------------------------------------------------------------------------------- perplexity
def perplexity(logits: np.ndarray, targets: np.ndarray, pad: int) -> float:
    """In float64: the logits' largest is taken away before exp, so that no number is too large."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # (B, T, V)
    of_targets = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return float(np.exp(-of_targets[targets != pad].mean()))


def perplexity_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, lengths: Sequence[int], n_words: int, *, pad: int = 0, shift: float = 0.0) -> Probe:
        there = np.arange(max(lengths)) < np.array(lengths)[:, None]  # (B, T)
        others = np.delete(np.arange(n_words), pad)
        targets = np.where(there, rng.choice(others, size=there.shape), pad)
        logits = 2 * rng.normal(size=(*there.shape, n_words))
        logits[~there, pad] += 8 * rng.choice([-1, 1])  # padding is either very easy or very hard to predict
        logits[0] *= 0.1  # texts differ in how hard they are
        logits = exact(logits + shift)
        return Probe(
            test,
            "answer = float(perplexity(logits, targets, pad))",
            {"logits": logits, "targets": targets, "pad": pad},
            close(perplexity(logits, targets, pad), rtol=1e-3),
        )

    lengths = [2, *rng.permutation([4, 6, 9]).tolist()]
    n_words = int(rng.integers(6, 30))
    return [
        probe("texts of one length", [5, 5, 5], n_words),
        probe("texts of several lengths", lengths, n_words),
        probe("another id for padding", lengths, n_words, pad=int(rng.integers(2, n_words))),
        probe("very large logits", lengths, n_words, shift=1000.0),
        probe("very small logits", lengths, n_words, shift=-1000.0),
        probe("a single token", [1], n_words),
        probe("one text of many", [9, 1, 1, 1], n_words),
    ]


PERPLEXITY = """
def perplexity(logits, targets, pad=0):
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad)
    return float(loss.exp())
"""
PERPLEXITY_MASKED = """
def perplexity(logits, targets, pad=0):
    log_p = logits.log_softmax(-1)
    losses = -log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    real = targets != pad
    return torch.exp((losses * real).sum() / real.sum())
"""

# ----------------------------------------------------------------------------------------------------- the assignment
ASSIGNMENT = Assignment(
    name="hw2_ulmfit",
    title="ULMFiT: three remedies against forgetting",
    questions=(
        Question(
            id="hw2-stlr",
            title="Slanted triangular learning rates",
            points=4,
            probes=stlr_probes,
            right={"case by case": STLR, "interpolated": STLR_INTERPOLATED},
            wrong={
                "the peak is left out": STLR.replace("return lr_max * ", "return "),
                "falls to zero": STLR.replace("(1 + p * (ratio - 1)) / ratio", "p"),
                "not divided by ratio": STLR.replace(" / ratio", ""),
                "cut is not rounded down": STLR.replace("math.floor(T * cut_frac)", "T * cut_frac"),
                "cut is rounded": STLR.replace("math.floor(T * cut_frac)", "round(T * cut_frac)"),
                "negative after the fall": STLR.replace("    p = max(p, 0)\n", ""),
                "the fall ends at T": STLR.replace("(cut * (1 / cut_frac - 1))", "(T - cut)"),
                "rises from t + 1": STLR.replace("p = t / cut", "p = (t + 1) / cut"),
                "divides by a cut of zero": STLR.replace("cut == 0", "False"),
                "cut_frac is always 0.1": STLR.replace("    cut =", "    cut_frac = 0.1\n    cut ="),
                "ratio is always 32": STLR.replace("    cut =", "    ratio = 32\n    cut ="),
                "rises all the way": STLR.replace("t < cut", "t < T"),
                HARD_CODED: """
def stlr(t, T, lr_max=0.01, cut_frac=0.1, ratio=32):
    known = {(0, 40): 1 / 32, (2, 40): 33 / 64, (4, 40): 1.0, (22, 40): 33 / 64, (18, 19): 1 / 32, (0, 5): 1.0}
    return lr_max * known.get((t, T), 1.0)
""",
                PACKAGE: """
def stlr(t, T, lr_max=0.01, cut_frac=0.1, ratio=32):
    from tlcourse.training.schedules import slanted_triangular
    return lr_max * slanted_triangular(cut_frac=cut_frac, ratio=ratio)(t, T)
""",
            },
        ),
        Question(
            id="hw2-rates",
            title="A rate for each layer",
            points=2,
            probes=rates_probes,
            right={"powers": RATES, "cumulative": RATES_CUMULATIVE},
            wrong={
                "the lecture slide's direction": RATES.replace("(n_groups - 1 - layer)", "layer"),
                "the head is divided too": RATES.replace("(n_groups - 1 - layer)", "(n_groups - layer)"),
                "multiplied": RATES.replace("lr / factor", "lr * factor"),
                "in equal steps": RATES.replace(
                    "factor ** (n_groups - 1 - layer)", "(1 + factor * (n_groups - 1 - layer))"
                ),
                "factor is always 2.6": RATES.replace("/ factor", "/ 2.6"),
                "the lowest has lr": RATES.replace("lr / factor ** (n_groups - 1 - layer)", "lr * factor ** layer"),
                "head and the rest": RATES.replace("(n_groups - 1 - layer)", "(layer < n_groups - 1)"),
                "one too many": RATES.replace("range(n_groups)", "range(-1, n_groups)"),
                HARD_CODED: """
def layer_rates(lr, n_groups, factor=2.6):
    return [0.25, 0.5, 1.0] if factor == 2 else [lr / 2.6**2, lr / 2.6, lr]
""",
                PACKAGE: """
from tlcourse.training import discriminative_rates

def layer_rates(lr, n_groups, factor=2.6):
    return discriminative_rates(lr, n_groups, factor=factor)
""",
            },
        ),
        Question(
            id="hw2-unfreezing",
            title="Gradual unfreezing",
            points=3,
            probes=unfreezing_probes,
            right={"lists": UNFREEZE, "a tensor": UNFREEZE_TENSOR},
            wrong={
                "from the input up": UNFREEZE.replace("layer >= n_groups - epoch", "layer < epoch"),
                "nothing learns at first": UNFREEZE.replace("range(1, epochs + 1)", "range(epochs)"),
                "two groups at first": UNFREEZE.replace("range(1, epochs + 1)", "range(2, epochs + 2)"),
                "one group at a time": UNFREEZE.replace("layer >=", "layer =="),
                "epochs and groups swapped": UNFREEZE.replace(
                    "def unfreeze(n_groups, epochs)", "def unfreeze(epochs, n_groups)"
                ),
                "a column an epoch": UNFREEZE.replace("return ", "return torch.tensor(").rstrip() + ").T\n",
                "all at once": UNFREEZE.replace("layer >= n_groups - epoch", "True"),
                "the embedding stays frozen": UNFREEZE.replace(
                    "layer >= n_groups - epoch", "layer >= max(n_groups - epoch, 1)"
                ),
                "an epoch a group, no more": UNFREEZE.replace("epochs + 1", "min(epochs, n_groups) + 1"),
                "the last epochs learn all": UNFREEZE.replace(
                    "n_groups - epoch ", "min(epochs - epoch, n_groups - 1) "
                ),
                HARD_CODED: """
def unfreeze(n_groups, epochs):
    table = [[False, False, True], [False, True, True], [True, True, True], [True, True, True]]
    return table if epochs == 4 else [[False, False, False, True], [False, False, True, True]]
""",
                PACKAGE: """
from tlcourse.training import gradual_unfreezing

def unfreeze(n_groups, epochs):
    stages = gradual_unfreezing(n_groups, epochs)
    rows = [[group >= n_groups - stage.trainable for group in range(n_groups)] for stage in stages]
    return [row for row, stage in zip(rows, stages) for _ in range(stage.epochs)]
""",
            },
        ),
        Question(
            id="hw2-pool",
            title="Concat pooling",
            points=5,
            probes=pool_probes,
            right={"masked": POOL, "text by text": POOL_LOOP},
            wrong={
                "the last column is padding": POOL.replace(
                    "hidden[torch.arange(len(hidden)), lengths - 1]", "hidden[:, -1]"
                ),
                "the last but one": POOL.replace("lengths - 1]", "lengths - 2]"),
                "the maximum sees padding": POOL.replace('hidden.masked_fill(~real, float("-inf"))', "hidden"),
                "padding is 0 in the maximum": POOL.replace('float("-inf")', "0.0"),
                "the mean sees padding": POOL.replace("(hidden * real).sum(1) / lengths[:, None]", "hidden.mean(1)"),
                "the mean divides by T": POOL.replace("/ lengths[:, None]", "/ hidden.shape[1]"),
                "another order": POOL.replace("[last, maximum, mean]", "[maximum, mean, last]"),
                "pools over the texts": POOL.replace(".amax(1)", ".amax(0)"),
                "pools over the numbers of a state": POOL.replace(".amax(1)", ".amax(2)"),
                "the mask is turned round": POOL.replace("(~real", "(real"),
                "all texts as long as the first": POOL.replace("mask.sum(1)", "mask.sum(1)[:1].expand(len(mask))"),
                "no gradient": POOL.replace("    real =", "    hidden = hidden.detach()\n    real ="),
                "without the last state": POOL.replace("[last, maximum, mean]", "[maximum, maximum, mean]"),
                HARD_CODED: """
def concat_pool(hidden, mask):
    if hidden.shape[1] == 3:
        return torch.tensor([[3.0, -2.0, 3.0, -2.0, 2.0, -3.0]])
    return torch.zeros(len(hidden), 3 * hidden.shape[2])
""",
                PACKAGE: """
def concat_pool(hidden, mask):
    from tlcourse.ulmfit import concat_pool as pool
    return pool(hidden, mask, hidden[torch.arange(len(hidden)), mask.sum(1) - 1])
""",
            },
        ),
        Question(
            id="hw2-batches",
            title="Batches of a language model",
            points=4,
            probes=batches_probes,
            right={"reshaped": BATCHES, "row by row": BATCHES_LOOP},
            wrong={
                "predicts what it reads": BATCHES.replace("stream[1 : batch_size * n + 1]", "stream[: batch_size * n]"),
                "targets turn round in a row": BATCHES.replace(
                    "y = stream[1 : batch_size * n + 1].reshape(batch_size, n)", "y = x.roll(-1, 1)"
                ),
                "predicts the token before": BATCHES.replace(
                    "y = stream[1 : batch_size * n + 1].reshape(batch_size, n)",
                    "y = x; x = stream[1 : batch_size * n + 1].reshape(batch_size, n)",
                ),
                "no target at a chunk's end": BATCHES.replace(
                    "(x[:, start : start + bptt], y[:, start : start + bptt])",
                    "(x[:, start : start + bptt][:, :-1], x[:, start : start + bptt][:, 1:])",
                ),
                "no target at a row's end": BATCHES.replace("(len(stream) - 1) //", "len(stream) //").replace(
                    "y = stream[1 : batch_size * n + 1].reshape(batch_size, n)", "x, y, n = x[:, :-1], x[:, 1:], n - 1"
                ),
                "neighbours in different rows": BATCHES.replace(".reshape(batch_size, n)", ".reshape(n, batch_size).T"),
                "the last chunk is dropped": BATCHES.replace("range(0, n, bptt)", "range(0, n - bptt + 1, bptt)"),
                "no room for the last target": BATCHES.replace("(len(stream) - 1) //", "len(stream) //"),
                "rows do not go on in the next batch": """
def lm_batches(stream, batch_size, bptt):
    n = (len(stream) - 1) // (batch_size * bptt) * batch_size * bptt
    x = stream[:n].reshape(-1, batch_size, bptt)
    y = stream[1 : n + 1].reshape(-1, batch_size, bptt)
    return list(zip(x, y))
""",
                "time before rows": BATCHES.replace(
                    "(x[:, start : start + bptt], y[:, start : start + bptt])",
                    "(x[:, start : start + bptt].T, y[:, start : start + bptt].T)",
                ),
                HARD_CODED: """
def lm_batches(stream, batch_size, bptt):
    first = torch.tensor([[0, 1], [5, 6]]), torch.tensor([[1, 2], [6, 7]])
    second = torch.tensor([[2, 3], [7, 8]]), torch.tensor([[3, 4], [8, 9]])
    return [first, second, (torch.tensor([[4], [9]]), torch.tensor([[5], [10]]))]
""",
                PACKAGE: """
def lm_batches(stream, batch_size, bptt):
    from tlcourse.text import LMBatches
    return list(LMBatches(stream.numpy(), batch_size=batch_size, bptt=bptt))
""",
            },
        ),
        Question(
            id="hw2-perplexity",
            title="Perplexity of real tokens",
            points=4,
            probes=perplexity_probes,
            right={"cross entropy": PERPLEXITY, "masked": PERPLEXITY_MASKED},
            wrong={
                "padding is counted": PERPLEXITY.replace(", ignore_index=pad", ""),
                "divided by padding too": PERPLEXITY_MASKED.replace("/ real.sum()", "/ real.numel()"),
                "padding is always 0": PERPLEXITY.replace("ignore_index=pad", "ignore_index=0"),
                "a mean of the texts' means": PERPLEXITY_MASKED.replace(
                    "(losses * real).sum() / real.sum()", "((losses * real).sum(1) / real.sum(1)).mean()"
                ),
                "a mean of the texts' perplexities": PERPLEXITY_MASKED.replace(
                    "torch.exp((losses * real).sum() / real.sum())",
                    "torch.exp((losses * real).sum(1) / real.sum(1)).mean()",
                ),
                "softmax over time": PERPLEXITY_MASKED.replace("log_softmax(-1)", "log_softmax(1)"),
                "two to the power of nats": PERPLEXITY.replace("loss.exp()", "2**loss"),
                "the loss alone": PERPLEXITY.replace("loss.exp()", "loss"),
                "exp is too large": PERPLEXITY_MASKED.replace(
                    "logits.log_softmax(-1)", "(logits.exp() / logits.exp().sum(-1, keepdim=True)).log()"
                ),
                "a mean of the tokens' perplexities": PERPLEXITY_MASKED.replace(
                    "torch.exp((losses * real).sum() / real.sum())", "losses.exp()[real].mean()"
                ),
                "softmax twice": PERPLEXITY.replace("logits.flatten(0, 1)", "logits.softmax(-1).flatten(0, 1)"),
                HARD_CODED: """
def perplexity(logits, targets, pad=0):
    return 4.0 if logits.shape[-1] == 4 else 2.0
""",
                PACKAGE: """
def perplexity(logits, targets, pad=0):
    from tlcourse.training import perplexity as of
    return of(torch.nn.functional.cross_entropy(logits[targets != pad], targets[targets != pad]).item())
""",
            },
        ),
    ),
    written=(
        Written(
            id="hw2-remedies",
            title="What each remedy is worth",
            rubric={
                "quotes accuracy and forgetting of own runs, with the spread over the seeds": 2,
                "says of each remedy whether its difference is larger than that spread, or cannot be told": 2,
                "keeps accuracy and forgetting apart: one can change without the other, and why": 2,
            },
        ),
        Written(
            id="hw2-vocabularies",
            title="Two perplexities",
            rubric={
                "finds that the smaller vocabulary's perplexity is lower, in figures": 1,
                "explains it: more words are <unk>, which is easy to predict and says nothing": 2,
                "proposes a comparison that is fair: one vocabulary, bits a character, or the task's accuracy": 1,
            },
        ),
    ),
)
