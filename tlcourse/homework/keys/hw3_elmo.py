"""The key of the third assignment: ELMo's characters, its two directions and its scalar mix (Peters et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlcourse.homework.questions import HARD_CODED, PACKAGE, Assignment, Probe, Question, Written, close, equal, exact

# ------------------------------------------------------------------------------------------------ characters of a word
THAI = "กขคงจชซญดตถทนบปผพฟมยรลวสหอะาิีุูเแโไ่้"


def character_ids(word: str, longest: int) -> list[int]:
    """Written into a row that is all padding."""
    row = np.full(longest, 261)
    inside = np.frombuffer(word.encode(), dtype=np.uint8)[: longest - 2]
    row[0], row[len(inside) + 1] = 259, 260
    row[1 : len(inside) + 1] = inside.astype(int) + 1
    return row.tolist()


def characters_probes(rng: np.random.Generator) -> list[Probe]:
    def draw(letters: str, n: int) -> str:
        return "".join(rng.choice(list(letters), n))

    def probe(test: str, word: str, longest: int = 50) -> Probe:
        code = "answer = [int(i) for i in character_ids(word, longest)]"
        return Probe(test, code, {"word": word, "longest": longest}, equal(character_ids(word, longest)))

    latin = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-'"
    return [
        probe("a short word in Latin letters", draw(latin, int(rng.integers(3, 12)))),
        probe("a short word in Thai", draw(THAI, int(rng.integers(3, 12)))),
        probe("letters of four bytes", draw("🐱🎉🚌🍜", int(rng.integers(2, 6)))),
        probe("no byte at all", ""),
        probe("a word that just fits", draw(THAI, 16)),
        probe("a Thai word that is too long", draw(THAI, int(rng.integers(20, 40)))),
        probe("a word that is cut within a letter", draw(latin, 1) + draw(THAI, int(rng.integers(20, 40)))),
        probe("a Latin word that is too long", draw(latin, int(rng.integers(49, 80)))),
        probe("another limit", draw(THAI, 10), longest=int(rng.integers(8, 20))),
    ]


CHARACTERS = """
def character_ids(word, longest=50):
    inside = [byte + 1 for byte in word.encode("utf-8")][: longest - 2]
    ids = [259, *inside, 260]
    return ids + [261] * (longest - len(ids))
"""
CHARACTERS_TENSOR = """
def character_ids(word, longest=50):
    ids = torch.full((longest,), 261)
    ids[0] = 259
    place = 1
    for byte in word.encode("utf-8"):
        if place == longest - 1:
            break
        ids[place] = byte + 1
        place += 1
    ids[place] = 260
    return ids
"""


# ---------------------------------------------------------------------------------------- what each direction predicts
def two_targets(ids: np.ndarray, pad: int) -> list:
    """Place by place, of the real part of each sentence."""
    forward, backward = np.full_like(ids, pad), np.full_like(ids, pad)
    for row, n in enumerate((ids != pad).sum(axis=1)):
        for k in range(n - 1):
            forward[row, k], backward[row, k + 1] = ids[row, k + 1], ids[row, k]
    return [forward.tolist(), backward.tolist()]


def targets_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, lengths: Sequence[int], pad: int = 0) -> Probe:
        there = np.arange(max(lengths) + 2) < np.array(lengths)[:, None] + 2  # with <bos> and <eos>
        bos, eos, *words = np.delete(np.arange(200), pad)
        ids = np.where(there, rng.choice(words, size=there.shape), pad)
        ids[:, 0] = bos
        ids[np.arange(len(ids)), np.array(lengths) + 1] = eos
        code = """
forward, backward = targets(ids, pad)
answer = [torch.as_tensor(forward).tolist(), torch.as_tensor(backward).tolist()]
"""
        return Probe(test, code, {"ids": ids, "pad": pad}, equal(two_targets(ids, pad)))

    lengths = rng.permutation([2, 3, 5, 8]).tolist()
    return [
        probe("a batch of one", [int(rng.integers(3, 9))]),
        probe("sentences of one length", [4, 4, 4]),
        probe("sentences of several lengths", lengths),
        probe("another id for padding", lengths, pad=int(rng.integers(5, 100))),
        probe("a sentence of one word", [1, int(rng.integers(3, 6))]),
        probe("a sentence without words", [0, int(rng.integers(3, 6))]),
    ]


TARGETS = """
def targets(ids, pad=0):
    nothing = torch.full_like(ids[:, :1], pad)
    forward = torch.cat([ids[:, 1:], nothing], 1)
    backward = torch.cat([nothing, ids[:, :-1]], 1)
    backward = backward.masked_fill(ids == pad, pad)
    return forward, backward
"""
TARGETS_LOOP = """
def targets(ids, pad=0):
    forward, backward = [], []
    for row in ids.tolist():
        words = [i for i in row if i != pad]
        rest = [pad] * (len(row) - len(words))
        forward.append(words[1:] + [pad] + rest)
        backward.append([pad] + words[:-1] + rest)
    return torch.tensor(forward), torch.tensor(backward)
"""


# ------------------------------------------------------------------------------------------------------ the joint loss
def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def joint_loss(logits: Sequence[np.ndarray], targets: Sequence[np.ndarray], pad: int) -> float:
    """The mean over the real predictions of both directions, in nats."""
    found = []
    for scores, right in zip(logits, targets, strict=True):
        of_targets = np.take_along_axis(log_softmax(scores), right[..., None], axis=-1)[..., 0]  # (B, T)
        found.extend(-of_targets[right != pad])
    return float(np.mean(found))


def joint_loss_gradient(logits: Sequence[np.ndarray], targets: Sequence[np.ndarray], pad: int) -> list:
    """By the logits of each direction: (probability - 1 at the target) / predictions, 0 at padding."""
    n = sum((right != pad).sum() for right in targets)
    gradients = []
    for scores, right in zip(logits, targets, strict=True):
        one_hot = np.arange(scores.shape[-1]) == right[..., None]
        gradients.append((np.exp(log_softmax(scores)) - one_hot) * (right != pad)[..., None] / n)
    return gradients


def loss_probes(rng: np.random.Generator) -> list[Probe]:
    call = "joint_loss(forward, backward, forward_targets, backward_targets, pad)"

    def batch(lengths: Sequence[int], n_words: int, pad: int, shift: float = 0.0) -> tuple[list, list]:
        there = np.arange(max(lengths)) < np.array(lengths)[:, None]  # (B, T)
        fewer = there & (rng.random(there.shape) < 0.5)  # a piece of text has fewer predictions to the right
        fewer[:, 0] = there[:, 0]
        words = np.delete(np.arange(n_words), pad)
        targets = [np.where(real, rng.choice(words, size=there.shape), pad) for real in (fewer, there)]
        logits = [rng.normal(size=(*there.shape, n_words)) * scale for scale in (0.3, 3.0)]
        for scores in logits:
            scores[0] *= 0.1  # sentences differ in how hard they are
        return [exact(scores + shift) for scores in logits], targets

    def arguments(logits: list, targets: list, pad: int) -> dict:
        named = {"forward": logits[0], "backward": logits[1]}
        return named | {"forward_targets": targets[0], "backward_targets": targets[1], "pad": pad}

    def probe(test: str, lengths: Sequence[int], n_words: int, pad: int = 0, shift: float = 0.0) -> Probe:
        logits, targets = batch(lengths, n_words, pad, shift)
        accept = close(joint_loss(logits, targets, pad), rtol=1e-3)
        return Probe(test, f"answer = float({call})", arguments(logits, targets, pad), accept)

    lengths = [3, *rng.permutation([5, 8, 12]).tolist()]
    n_words = int(rng.integers(8, 30))
    logits, targets = batch(lengths, n_words, 0)
    gradient = f"""
forward.requires_grad_(True)
backward.requires_grad_(True)
{call}.backward()
answer = torch.stack([forward.grad, backward.grad])
"""
    return [
        probe("sentences of one length", [6, 6, 6], n_words),
        probe("sentences of several lengths", lengths, n_words),
        probe("another id for padding", lengths, n_words, pad=int(rng.integers(2, n_words))),
        probe("very large logits", lengths, n_words, shift=1000.0),
        probe("one sentence of many", [12, 1, 1, 1], n_words),
        Probe(
            "gradients reach both directions",
            gradient,
            arguments(logits, targets, 0),
            close(joint_loss_gradient(logits, targets, 0), rtol=1e-3),
        ),
    ]


LOSS = """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    logits = torch.cat([forward, backward], 1).flatten(0, 1)
    targets = torch.cat([forward_targets, backward_targets], 1).flatten()
    return F.cross_entropy(logits, targets, ignore_index=pad)
"""
LOSS_MASKED = """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    total, n = 0, 0
    for logits, targets in ((forward, forward_targets), (backward, backward_targets)):
        losses = -logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        real = targets != pad
        total = total + (losses * real).sum()
        n = n + real.sum()
    return total / n
"""


# -------------------------------------------------------------------------------------------------- looking for a leak
def leak_probes(rng: np.random.Generator) -> list[Probe]:
    """Several numbers of a word count, and several of a result move, each in its own way.

    So a right answer that adds normal noise to a word, and sees what moves by 1e-5 or more, misses one of all the
    dependences with a chance below 1e-6 (about 2,000 times the square of what it can just see, by simulation).
    """

    def probe(test: str, reads: np.ndarray, into: np.ndarray) -> Probe:
        """`f` mixes the words that `reads` (T, T) marks, and takes each word's vector through `into` (D, H)."""
        code = """
def f(x):
    return torch.tanh(mixing @ x @ into)

answer = [[bool(moves) for moves in row] for row in dependence(f, x)]
"""
        mixing = reads * rng.uniform(0.2, 0.5, size=reads.shape) * rng.choice([-1, 1], size=reads.shape)
        arguments = {"mixing": mixing, "into": into, "x": 0.5 * rng.normal(size=(len(reads), len(into)))}
        return Probe(test, code, arguments, close(reads))

    def into(n_in: int, n_out: int, signs: Sequence[int] = (-1, 1)) -> np.ndarray:
        return rng.uniform(0.3, 0.8, size=(n_in, n_out)) * rng.choice(signs, size=(n_in, n_out))

    words = int(rng.integers(5, 8))
    all_words = np.ones((words, words), dtype=bool)
    last_numbers, first_numbers = into(4, 3), into(4, 3)
    last_numbers[:2], first_numbers[2:] = 0, 0
    columns = into(3, 3)
    scattered = rng.random((words, words)) < 0.4
    scattered[0, -1], scattered[-1, 0] = True, False
    return [
        probe("reading from the left", np.tril(all_words), into(3, 4)),
        probe("reading from the right", np.triu(all_words), into(3, 4)),
        probe("a network that leaks", all_words, into(3, 3, signs=[1])),
        probe("a network that has not read the word itself", np.tril(all_words, -1), into(3, 2)),
        probe("each word by itself", np.eye(words, dtype=bool), into(3, 2)),
        probe("any pattern", scattered, into(4, 3)),
        probe("only the last numbers of a vector count", np.tril(all_words), last_numbers),
        probe("only the first numbers of a vector count", np.tril(all_words), first_numbers),
        probe("results that move against each other", np.tril(all_words), np.hstack([columns, -columns])),
    ]


LEAK = """
def dependence(f, x):
    with torch.no_grad():
        before = f(x)
        table = torch.zeros(len(x), len(x), dtype=torch.bool)
        for j in range(len(x)):
            other = x.clone()
            other[j] += 0.5 + torch.rand(x.shape[1])
            table[:, j] = ((f(other) - before).abs() > 1e-6).any(1)
    return table
"""
LEAK_JACOBIAN = """
def dependence(f, x):
    derivatives = torch.autograd.functional.jacobian(f, x)
    return [[bool((derivatives[i, :, j] != 0).any()) for j in range(len(x))] for i in range(len(x))]
"""


# ------------------------------------------------------------------------------------------------------ the scalar mix
def mix(layers: np.ndarray, w: np.ndarray, gamma: float) -> np.ndarray:
    shares = np.exp(w - w.max())
    return gamma * np.tensordot(shares / shares.sum(), layers, 1)


def mix_gradient(layers: np.ndarray, w: np.ndarray, gamma: float, weight: np.ndarray) -> np.ndarray:
    """By w, and last by gamma, of the sum of `weight` times the mix."""
    shares = np.exp(w - w.max()) / np.exp(w - w.max()).sum()
    of_layers = (layers * weight).reshape(len(w), -1).sum(axis=1)  # (L,)
    mean = shares @ of_layers
    return np.append(gamma * shares * (of_layers - mean), mean)


def mix_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, shape: tuple[int, ...], *, gamma: float | None = None, scale: float = 1.0) -> Probe:
        layers = rng.normal(size=shape) + np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        w = scale * rng.permutation(np.linspace(-1, 1, shape[0]) if shape[0] > 1 else [0.7])
        gamma = float(rng.uniform(1.5, 3)) if gamma is None else gamma
        code = "answer = scalar_mix(layers, w, torch.tensor(gamma))"
        return Probe(
            test, code, {"layers": layers, "w": w, "gamma": gamma}, close(mix(layers, w, gamma), rtol=1e-3, atol=1e-5)
        )

    layers, w, weight = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=3), rng.normal(size=(2, 4, 5))
    gamma = float(rng.uniform(1.5, 3))
    gradient = """
gamma = torch.tensor(gamma, requires_grad=True)
w.requires_grad_(True)
(scalar_mix(layers, w, gamma) * weight).sum().backward()
answer = torch.cat([w.grad, gamma.grad[None]])
"""
    return [
        probe("three layers of a sentence", (3, int(rng.integers(4, 8)), 6)),
        probe("a batch of sentences", (3, 2, int(rng.integers(4, 8)), 5)),
        probe("as many words as layers", (4, 4, 4)),
        probe("a single layer", (1, 4, 5)),
        probe("many layers", (int(rng.integers(6, 12)), 3, 4)),
        probe("large weights", (3, 4, 5), scale=200.0),
        probe("a gamma of 0", (3, 4, 5), gamma=0.0),
        probe("a negative gamma", (3, 4, 5), gamma=-float(rng.uniform(1, 2))),
        Probe(
            "gradients reach the weights and gamma",
            gradient,
            {"layers": layers, "w": w, "gamma": gamma, "weight": weight},
            close(mix_gradient(layers, w, gamma, weight), rtol=1e-3, atol=1e-4),
        ),
    ]


MIX = """
def scalar_mix(layers, w, gamma):
    return gamma * torch.tensordot(w.softmax(0), layers, dims=1)
"""
MIX_LOOP = """
def scalar_mix(layers, w, gamma):
    shares = torch.exp(w - w.max())
    shares = shares / shares.sum()
    total = 0
    for share, layer in zip(shares, layers):
        total = total + share * layer
    return total * gamma
"""


# ------------------------------------------------------------------------------------------ a layer's mean and variance
def normal(layer: np.ndarray, mask: np.ndarray) -> np.ndarray:
    words = layer[mask]  # (N, D)
    centred = words - words.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-12)


def norm_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(
        test: str, lengths: Sequence[int], dim: int, *, padding: float = 0.0, layer: np.ndarray | None = None
    ) -> Probe:
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]  # (B, T)
        if layer is None:
            layer = rng.normal(size=(*mask.shape, dim)) * rng.uniform(0.5, 3, dim) + rng.normal(size=dim) + 1
        layer = np.where(mask[..., None], layer, padding)
        code = "answer = torch.as_tensor(normalise(layer, mask))[mask]"
        return Probe(test, code, {"layer": layer, "mask": mask}, close(normal(layer, mask), rtol=1e-3, atol=1e-4))

    lengths = rng.permutation([1, 3, 4, 6]).tolist()
    return [
        probe("sentences of one length", [3, 3], 4),
        probe("sentences of several lengths", lengths, 3),
        probe("large numbers in the padding", lengths, 3, padding=100.0),
        probe("a single word", [1], int(rng.integers(3, 6))),
        probe("few numbers", [2], 2),
        probe("all numbers alike", [2, 3], 3, layer=np.full((2, 3, 3), float(rng.integers(1, 9)))),
        probe("a large layer", lengths, 4, layer=50 * rng.normal(size=(4, 6, 4)) + 20),
    ]


NORM = """
def normalise(layer, mask):
    words = layer[mask]
    return (layer - words.mean()) / torch.sqrt(words.var(correction=0) + 1e-12)
"""
NORM_SUMS = """
def normalise(layer, mask):
    there = mask.unsqueeze(-1).to(layer.dtype)
    n = there.sum() * layer.shape[-1]
    mean = (layer * there).sum() / n
    variance = (((layer - mean) * there) ** 2).sum() / n
    return (layer - mean) * there / (variance + 1e-12) ** 0.5
"""

# ----------------------------------------------------------------------------------------------------- the assignment
ASSIGNMENT = Assignment(
    name="hw3_elmo",
    title="ELMo: characters, two directions, a mix of layers",
    questions=(
        Question(
            id="hw3-characters",
            title="The characters of a word",
            points=4,
            probes=characters_probes,
            right={"lists": CHARACTERS, "a tensor": CHARACTERS_TENSOR},
            wrong={
                "letters in place of bytes": CHARACTERS.replace('word.encode("utf-8")', "map(ord, word)"),
                "a byte without its 1": CHARACTERS.replace("byte + 1", "byte"),
                "no room for the end mark": CHARACTERS.replace("[: longest - 2]", "[:longest]").replace(
                    "ids = [259, *inside, 260]", "ids = [259, *inside, 260][:longest]"
                ),
                "room for one mark only": CHARACTERS.replace("longest - 2", "longest - 1"),
                "letters are counted": CHARACTERS.replace("word.encode", "word[: longest - 2].encode").replace(
                    "][: longest - 2]", "]"
                ),
                "no letter is cut": CHARACTERS.replace(
                    'word.encode("utf-8")',
                    'word.encode("utf-8")[: longest - 2].decode("utf-8", "ignore").encode("utf-8")',
                ),
                "padding is 0": CHARACTERS.replace("[261]", "[0]"),
                "the marks are swapped": CHARACTERS.replace("259", "x").replace("260", "259").replace("x", "260"),
                "not padded": CHARACTERS.replace(" + [261] * (longest - len(ids))", ""),
                "the end mark is last of all": CHARACTERS.replace(
                    "ids = [259, *inside, 260]", "ids = [259, *inside]"
                ).replace("(longest - len(ids))", "(longest - 1 - len(ids)) + [260]"),
                "the limit is always 50": CHARACTERS.replace("    inside", "    longest = 50\n    inside"),
                "two bytes a letter": CHARACTERS.replace("utf-8", "utf-16-le"),
                HARD_CODED: """
def character_ids(word, longest=50):
    known = {"cat": [259, 100, 98, 117, 260], "ก": [259, 225, 185, 130, 260]}
    ids = known.get(word, [259, *[225, 185, 130] * 16, 260])
    return ids + [261] * (longest - len(ids))
""",
                PACKAGE: """
from tlcourse.elmo.characters import word_ids

def character_ids(word, longest=50):
    return word_ids(word, longest=longest)
""",
            },
        ),
        Question(
            id="hw3-targets",
            title="What each direction predicts",
            points=4,
            probes=targets_probes,
            right={"shifted": TARGETS, "sentence by sentence": TARGETS_LOOP},
            wrong={
                "the word itself": TARGETS.replace("return forward, backward", "return ids, ids"),
                "the directions are swapped": TARGETS.replace("return forward, backward", "return backward, forward"),
                "both predict the next word": TARGETS.replace("return forward, backward", "return forward, forward"),
                "turns round at the end": TARGETS.replace("torch.cat([ids[:, 1:], nothing], 1)", "ids.roll(-1, 1)"),
                "turns round at the beginning": TARGETS.replace(
                    "torch.cat([nothing, ids[:, :-1]], 1)", "ids.roll(1, 1)"
                ),
                "padding predicts the end": TARGETS.replace(
                    "    backward = backward.masked_fill(ids == pad, pad)\n", ""
                ),
                "the batch is turned, padding and all": TARGETS.replace(
                    "[nothing, ids[:, :-1]]", "[ids.flip(1)[:, 1:], nothing]"
                ),
                "padding is always 0": TARGETS.replace("    nothing", "    pad = 0\n    nothing"),
                "one place too far": TARGETS.replace("[ids[:, 1:], nothing]", "[ids[:, 2:], nothing, nothing]"),
                "a column is lost": TARGETS.replace(
                    "return forward, backward", "return forward[:, :-1], backward[:, 1:]"
                ),
                HARD_CODED: """
def targets(ids, pad=0):
    return torch.tensor([[5, 6, 2, 0, 0], [7, 8, 9, 2, 0]]), torch.tensor([[0, 1, 5, 6, 0], [0, 1, 7, 8, 9]])
""",
                PACKAGE: """
def targets(ids, pad=0):
    from tlcourse.elmo.pretrain import TwoWayBatches
    return TwoWayBatches(ids, batch_size=len(ids), bptt=ids.shape[1])
""",
            },
        ),
        Question(
            id="hw3-loss",
            title="The joint loss",
            points=4,
            probes=loss_probes,
            right={"one cross entropy": LOSS, "summed and divided": LOSS_MASKED},
            wrong={
                "padding is counted": LOSS.replace(", ignore_index=pad", ""),
                "padding is always 0": LOSS.replace("ignore_index=pad", "ignore_index=0"),
                "divided by padding too": LOSS_MASKED.replace("real.sum()\n    return", "real.numel()\n    return"),
                "forward only": LOSS.replace("[forward, backward]", "[forward]").replace(
                    "[forward_targets, backward_targets]", "[forward_targets]"
                ),
                "the sum of two means": """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    pairs = (forward, forward_targets), (backward, backward_targets)
    return sum(F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=pad) for logits, y in pairs)
""",
                "the mean of two means": """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    pairs = (forward, forward_targets), (backward, backward_targets)
    return sum(F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=pad) for logits, y in pairs) / 2
""",
                "a sum": LOSS_MASKED.replace("total / n", "total"),
                "the sign": LOSS_MASKED.replace("losses = -", "losses = "),
                "softmax over the words of the sentence": LOSS_MASKED.replace("log_softmax(-1)", "log_softmax(1)"),
                "softmax twice": LOSS.replace("F.cross_entropy(logits", "F.cross_entropy(logits.softmax(-1)"),
                "exp is too large": LOSS_MASKED.replace(
                    "logits.log_softmax(-1)", "(logits.exp() / logits.exp().sum(-1, keepdim=True)).log()"
                ),
                "the directions are swapped": LOSS.replace("[forward, backward]", "[backward, forward]"),
                "a mean of the sentences' means": LOSS_MASKED.replace(
                    "(losses * real).sum()", "((losses * real).sum(1) / real.sum(1)).sum()"
                ).replace("n + real.sum()", "n + len(real)"),
                "no gradient": LOSS.replace("ignore_index=pad)", "ignore_index=pad).item()"),
                HARD_CODED: """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    return torch.tensor(math.log(4) if forward.shape[-1] == 4 else 4 * math.log(2) / 3, requires_grad=True)
""",
                PACKAGE: """
def joint_loss(forward, backward, forward_targets, backward_targets, pad=0):
    from tlcourse.training.softmax import FullSoftmax
    hidden = torch.cat([forward, backward], 1)[(targets := torch.cat([forward_targets, backward_targets], 1)) != pad]
    n = hidden.shape[-1]
    return FullSoftmax()(hidden, targets[targets != pad], torch.eye(n), torch.zeros(n))
""",
            },
        ),
        Question(
            id="hw3-leak",
            title="What a state has read",
            points=4,
            probes=leak_probes,
            right={"changed words": LEAK, "derivatives": LEAK_JACOBIAN},
            wrong={
                "a row an input": LEAK.replace("return table", "return table.T"),
                "earlier changes stay": LEAK.replace("other = x.clone()", "other = x"),
                "one number of the vector": LEAK.replace("other[j] +=", "other[j, 0] +=").replace(
                    "torch.rand(x.shape[1])", "torch.rand(())"
                ),
                "results are added up first": LEAK.replace(
                    "(f(other) - before).abs() > 1e-6).any(1)", "(f(other) - before).sum(1).abs() > 1e-6)"
                ),
                "only rises count": LEAK.replace(".abs() > 1e-6", " > 1e-6"),
                "not the word itself": LEAK.replace(
                    "    return table", "    table.fill_diagonal_(False)\n    return table"
                ),
                "always the word itself": LEAK.replace(
                    "    return table", "    table.fill_diagonal_(True)\n    return table"
                ),
                "both ways at once": LEAK.replace("return table", "return table | table.T"),
                "whether anything moves": LEAK.replace(".any(1)", ".any()"),
                "not a number, through zeros": LEAK.replace(
                    "other[j] += 0.5 + torch.rand(x.shape[1])", 'other[j] = float("nan")'
                ).replace("((f(other) - before).abs() > 1e-6)", "f(other).isnan()"),
                HARD_CODED: """
def dependence(f, x):
    n = len(x)
    return torch.ones(n, n).tril() if n == 4 else torch.ones(n, n).triu()
""",
                PACKAGE: """
def dependence(f, x):
    from tlcourse.elmo import leaky_bidirectional
    return leaky_bidirectional(f, x)
""",
            },
        ),
        Question(
            id="hw3-mix",
            title="The scalar mix",
            points=3,
            probes=mix_probes,
            right={"tensordot": MIX, "layer by layer": MIX_LOOP},
            wrong={
                "no softmax": MIX.replace("w.softmax(0)", "w"),
                "divided by the sum": MIX.replace("w.softmax(0)", "w / w.sum()"),
                "gamma is left out": MIX.replace("gamma * ", ""),
                "gamma within the softmax": MIX.replace("gamma * torch.tensordot(w.", "torch.tensordot((gamma * w)."),
                "softmax over the layers' numbers": MIX.replace("dims=1)", "dims=1).softmax(-1)"),
                "the layers go into the softmax": """
def scalar_mix(layers, w, gamma):
    w = w.reshape(-1, *[1] * (layers.dim() - 1))
    return gamma * ((w * layers).softmax(0) * layers).sum(0)
""",
                "the mean of all layers": MIX.replace("w.softmax(0)", "torch.ones_like(w) / len(w)"),
                "sigmoid": MIX.replace("w.softmax(0)", "w.sigmoid()"),
                "divided by the number of layers": MIX.replace("dims=1)", "dims=1) / len(w)"),
                "exp is too large": MIX.replace("w.softmax(0)", "(w.exp() / w.exp().sum())"),
                "shares along the words": """
def scalar_mix(layers, w, gamma):
    return gamma * (w.softmax(0)[:, None] * layers).sum(0)
""",
                "no gradient for the weights": MIX.replace("w.softmax(0)", "w.detach().softmax(0)"),
                "the first layer is left out": MIX.replace("w.softmax(0), layers", "w[1:].softmax(0), layers[1:]"),
                HARD_CODED: """
def scalar_mix(layers, w, gamma):
    return torch.tensor([[7.0, 14.0]]) if gamma == 2 else torch.tensor([[3.0, 6.0]]).expand(layers.shape[1:]).clone()
""",
                PACKAGE: """
def scalar_mix(layers, w, gamma):
    from tlcourse.elmo import ScalarMix
    mix = ScalarMix(len(layers), initial=w.tolist())
    return gamma * mix(layers)
""",
            },
        ),
        Question(
            id="hw3-norm",
            title="Layers of one size",
            points=4,
            probes=norm_probes,
            right={"indexed": NORM, "summed": NORM_SUMS},
            wrong={
                "padding is counted": NORM.replace("layer[mask]", "layer"),
                "each word by itself": NORM.replace("words = layer[mask]", "words = layer")
                .replace("mean()", "mean(-1, keepdim=True)")
                .replace("words.var(correction=0)", "words.var(-1, correction=0, keepdim=True)"),
                "each number by itself": NORM.replace("words.mean()", "words.mean(0)").replace(
                    "words.var(", "words.var(0, "
                ),
                "each sentence by itself": """
def normalise(layer, mask):
    rows = []
    for row, there in zip(layer, mask):
        words = row[there]
        rows.append((row - words.mean()) / torch.sqrt(words.var(correction=0) + 1e-12))
    return torch.stack(rows)
""",
                "divided by n - 1": NORM.replace("correction=0", "correction=1"),
                "divided by the variance": NORM.replace(
                    "torch.sqrt(words.var(correction=0) + 1e-12)", "(words.var(correction=0) + 1e-12)"
                ),
                "words are counted, not numbers": NORM_SUMS.replace("there.sum() * layer.shape[-1]", "there.sum()"),
                "padding is in the variance": NORM_SUMS.replace("((layer - mean) * there) ** 2", "(layer - mean) ** 2"),
                "not centred": NORM.replace("(layer - words.mean())", "layer"),
                "nothing beside the variance": NORM.replace(" + 1e-12", ""),
                "the mask is turned round": NORM.replace("layer[mask]", "layer[~mask]"),
                HARD_CODED: """
def normalise(layer, mask):
    return torch.tensor([-1.0, 1.0]).expand(layer.shape) if layer.shape[-1] == 2 else torch.zeros_like(layer)
""",
                PACKAGE: """
def normalise(layer, mask):
    from tlcourse.elmo.mix import normalised
    return normalised(layer, mask)
""",
            },
        ),
    ),
    written=(
        Written(
            id="hw3-layers",
            title="Which layer a task wants",
            rubric={
                "quotes accuracies of each layer, the mean and the learned mix, with the spread over seeds": 2,
                "reads the learned shares beside the scores, and says that a share is not a score": 2,
                "concludes no more than the figures show, and says what would decide": 2,
            },
        ),
        Written(
            id="hw3-two-directions",
            title="Why two language models",
            rubric={
                "reads from the tables which words the states of each network have read": 2,
                "explains that the second bidirectional layer reads the answer, so its low loss teaches nothing": 2,
            },
        ),
    ),
)
