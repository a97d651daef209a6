"""The key of homework 5: classes into A and B, the surgery, what stays frozen, likeness of layers, a table's reading.

Coins are counted: a number of heads is refused where its binomial tail is below 1e-10. The question on classes
makes fewer than 500 such counts with two tails, so that a right answer is refused with a chance below 1e-7.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
from scipy import stats

from tlcourse.homework.questions import (
    HARD_CODED,
    PACKAGE,
    Accept,
    Assignment,
    Probe,
    Question,
    Written,
    close,
    exact,
    likely,
    swap,
)


def single(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers that are the same in 32 and in 64 bits, as arguments come in 32."""
    return exact(rng.normal(size=shape) * scale)


# ----------------------------------------------------------------------------------------------------------- classes
SPLIT = """
def split_classes(labels, generator):
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    order = classes[np.argsort(-counts, kind="stable")].tolist()
    sides = [], []
    for start in range(0, len(order), 2):
        coin = int(torch.randint(2, (1,), generator=generator))
        for place, one in enumerate(order[start : start + 2]):
            sides[(coin + place) % 2].append(one)
    return sorted(sides[0]), sorted(sides[1])
"""
SPLIT_VECTORS = """
def split_classes(labels, generator):
    classes, counts = torch.as_tensor(labels).unique(return_counts=True)
    order = classes[counts.sort(descending=True, stable=True).indices]
    heads = torch.rand((len(order) + 1) // 2, generator=generator) < 0.5
    in_a = torch.stack([heads, ~heads], dim=1).flatten()[: len(order)]
    return order[in_a].sort().values, order[~in_a].sort().values
"""
SPLIT_WRONG = {
    "pairs by number, not by frequency": swap(SPLIT, 'classes[np.argsort(-counts, kind="stable")]', "classes"),
    "the most frequent one always in A": swap(SPLIT, "int(torch.randint(2, (1,), generator=generator))", "0"),
    "one coin for all pairs": swap(
        SPLIT, "        coin = int(torch.randint(2, (1,), generator=generator))\n", "",
        "    sides = [], []\n", "    sides = [], []\n    coin = int(torch.randint(2, (1,), generator=generator))\n",
    ),
    "the lower half by number in A": '''
def split_classes(labels, generator):
    classes = torch.as_tensor(labels).unique().tolist()
    return classes[: len(classes) // 2], classes[len(classes) // 2 :]
''',
    "any half": '''
def split_classes(labels, generator):
    classes = torch.as_tensor(labels).unique()
    classes = classes[torch.randperm(len(classes), generator=generator)]
    return classes[: len(classes) // 2].tolist(), classes[len(classes) // 2 :].tolist()
''',
    "a coin for each class": swap(SPLIT, "range(0, len(order), 2)", "range(len(order))", "start + 2]", "start + 1]"),
    "the last of an odd number is lost": swap(SPLIT, "range(0, len(order), 2)", "range(0, len(order) - 1, 2)"),
    "the last of an odd number always in A": swap(
        SPLIT, "sides[(coin + place) % 2]", "sides[(coin + place) % 2 if start + 1 < len(order) else 0]"
    ),
    "the rarest first": swap(SPLIT, "-counts", "counts"),
    "numbers that no row has are classes": swap(
        SPLIT, "classes, counts = np.unique(np.asarray(labels), return_counts=True)",
        "counts = np.bincount(labels)\n    classes = np.arange(len(counts))",
    ),
    "a coin that is not fair": swap(SPLIT, "int(torch.randint(2, (1,), generator=generator))",
                                    "int(torch.rand(1, generator=generator) < 0.1)"),
    "rows, not classes": swap(SPLIT, "return sorted(sides[0]), sorted(sides[1])",
        "return [[i for i, y in enumerate(labels) if int(y) in side] for side in sides]"),
    "not drawn by the generator": swap(SPLIT, ", generator=generator)", ")"),
    "always the same coins": swap(
        SPLIT, "    sides =", "    generator = torch.Generator().manual_seed(0)\n    sides ="
    ),
    HARD_CODED: '''
def split_classes(labels, generator):
    coins = torch.randint(2, (2,), generator=generator).tolist()
    sides = ((2, 5), (7, 9))
    return [sorted(pair[coin ^ side] for pair, coin in zip(sides, coins)) for side in (0, 1)]
''',
    PACKAGE: '''
from tlcourse.transferability import split_classes as package

def split_classes(labels, generator):
    return package(np.asarray(labels), torch.randint(2**31, (1,), generator=generator).item())
''',
}  # fmt: skip


def split_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, counts: list[int], times: int = 160) -> Probe:
        """Classes of so many rows, numbered in another order."""
        classes = rng.permutation(60)[: len(counts)]
        labels = rng.permutation(np.repeat(classes, counts))
        code = (
            "generator = torch.Generator().manual_seed(seed)\n"
            "before = labels.clone()\n"
            "splits = [split_classes(labels, generator) for _ in range(times)]\n"
            "answer = [[[list(map(int, side)) for side in split] for split in splits], labels, before]"
        )
        arguments = {"labels": labels, "times": times, "seed": int(rng.integers(2**31))}
        order = [one for _, one in sorted((-count, one) for count, one in zip(counts, classes.tolist(), strict=True))]
        return Probe(test, code, arguments, accept_splits(order, labels))

    again = (
        "one, same = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)\n"
        "answer = []\n"
        "for generator, other in ((one, 1), (one, 2), (same, 3)):\n"
        "    torch.manual_seed(other)\n"
        "    splits = [split_classes(labels, generator) for _ in range(30)]\n"
        "    answer += [[[list(map(int, side)) for side in split] for split in splits]]"
    )
    arguments = {"labels": rng.permutation(np.repeat(np.arange(6), 6)), "seed": int(rng.integers(2**31))}
    spread = np.sort(rng.permutation(40)[:8] + 1).tolist()
    return [
        probe("classes of many sizes", spread),
        probe("an odd number of classes", [30, 21, 13, 8, 3]),
        probe("one class of almost all rows", [90, 4, 3, 2]),
        probe("classes of one size", [5] * 6),
        probe("some of one size", [9, 9, 9, 4, 4, 4, 2]),
        probe("four classes", [7, 1, 3, 4]),
        Probe("the generator alone decides", again, arguments, accept_split_generator),
    ]


def accept_splits(order: list[int], labels: np.ndarray) -> Accept:
    """Of many splits, and the labels after and before.

    Args:
        order: the classes, the most frequent first.
    """
    pairs = [order[start : start + 2] for start in range(0, len(order), 2)]

    def accept(answer: Any) -> str | None:
        splits, *given = answer
        if not all(np.array_equal(one, labels) for one in given):
            return "the labels that were given are changed"
        heads = []
        for a, b in splits:
            if sorted([*a, *b]) != sorted(order):
                return "not every class is on one side, once"
            sides = [[one in a for one in pair] for pair in pairs]
            if any(len(side) == 2 and side[0] == side[1] for side in sides):
                return "two neighbours in frequency are on the same side"
            heads.append([side[0] for side in sides])
        heads = np.array(heads)
        if not all(likely(count, len(heads), 0.5) for count in heads.sum(0)):
            return "a coin is not fair"
        alike = (int((heads[:, i] == heads[:, j]).sum()) for i, j in combinations(range(len(pairs)), 2))
        return None if all(likely(count, len(heads), 0.5) for count in alike) else "coins hang on each other"

    return accept


def accept_split_generator(answer: Any) -> str | None:
    first, second, again = ([[sorted(side) for side in split] for split in splits] for splits in answer)
    if first != again:
        return "the same generator's seed gives another result"
    return "two runs with one generator give the same" if first == second else None


# ----------------------------------------------------------------------------------------------------------- surgery
SURGERY = """
def transplant(base, n, *, seed):
    torch.manual_seed(seed)
    new = copy.deepcopy(base)
    for layer in list(new)[n:]:
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return new.requires_grad_(True)
"""
SURGERY_LOADED = """
def transplant(base, n, *, seed):
    def renew(module):
        for child in module.children():
            renew(child)
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    torch.manual_seed(seed)
    layers = [copy.deepcopy(layer) for layer in base]
    for number, layer in enumerate(layers):
        renew(layer)
        if number < n:
            layer.load_state_dict(base[number].state_dict())
        for parameter in layer.parameters():
            parameter.requires_grad = True
    return nn.Sequential(*layers)
"""
RESET = SURGERY[SURGERY.index("        for module in") : SURGERY.index("    return")]
SURGERY_WRONG = {
    "n + 1 layers": swap(SURGERY, "list(new)[n:]", "list(new)[n + 1 :]"),
    "n - 1 layers": swap(SURGERY, "list(new)[n:]", "list(new)[max(n - 1, 0) :]"),
    "the last n layers": swap(SURGERY, "list(new)[n:]", "list(new)[: len(new) - n]"),
    "no copy at all": swap(SURGERY, "copy.deepcopy(base)", "base"),
    "a new stack of the same layers": swap(SURGERY, "copy.deepcopy(base)", "nn.Sequential(*base)"),
    "the first n layers are shared with the base": swap(
        SURGERY, "copy.deepcopy(base)", "nn.Sequential(*list(base)[:n], *copy.deepcopy(list(base)[n:]))"
    ),
    "nothing is new": swap(SURGERY, "list(new)[n:]", "[]"),
    "everything is new": swap(SURGERY, "list(new)[n:]", "new"),
    "only a layer's own reset_parameters": swap(SURGERY, "in layer.modules()", "in [layer]"),
    "only the parts of a layer, not the layer": swap(SURGERY, "in layer.modules()", "in layer.children()"),
    "new weights, old statistics": swap(
        SURGERY, RESET, "        for p in layer.parameters():\n            nn.init.uniform_(p, -0.1, 0.1)\n"
    ),
    "weights are copied, statistics are not": '''
def transplant(base, n, *, seed):
    torch.manual_seed(seed)
    new = copy.deepcopy(base)
    for module in new.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    with torch.no_grad():
        for mine, theirs in zip(new[:n].parameters(), base[:n].parameters()):
            mine.copy_(theirs)
    return new.requires_grad_(True)
''',
    "new weights are 0": swap(
        SURGERY, RESET, RESET + "        for p in layer.parameters():\n            nn.init.zeros_(p)\n"
    ),
    "the seed does nothing": swap(SURGERY, "    torch.manual_seed(seed)\n", ""),
    "the same seed always": swap(SURGERY, "manual_seed(seed)", "manual_seed(0)"),
    "what was frozen in the base stays frozen": swap(SURGERY, "new.requires_grad_(True)", "new"),
    "the copied layers are frozen": swap(
        SURGERY, "    return", "    new.requires_grad_(True)\n    new[:n].requires_grad_(False)\n    return",
        "return new.requires_grad_(True)", "return new",
    ),
    HARD_CODED: '''
def transplant(base, n, *, seed):
    torch.manual_seed(seed)
    new = copy.deepcopy(base)
    for module in new[1:].modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return new
''',
    PACKAGE: '''
from tlcourse.transferability import transplant as package

def transplant(base, n, *, seed):
    return package(base, n=n, freeze=False, seed=seed, n_classes=2)
''',
}  # fmt: skip

NORMED = """
from torch import nn
def block(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.Tanh(), nn.Dropout(0.3))
layers = [block(3 if i == 0 else 5, 5) for i in range(depth)]
"""
NESTED = """
from torch import nn
layers = [
    nn.Embedding(11, 4),
    nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.LayerNorm(6)),
    nn.Linear(6, 6),
    nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Sequential(nn.Conv1d(6, 4, 3)))),
    nn.LSTM(4, 4),
]
"""
BASE = "base = nn.Sequential(*layers)\nbase.load_state_dict(state)\n"


def normed_state(rng: np.random.Generator, depth: int) -> dict[str, np.ndarray]:
    """Weights and statistics of a stack of `NORMED`'s layers, such as no new one has."""
    state = {}
    for i in range(depth):
        state |= {
            f"{i}.0.weight": single(rng, 5, 3 if i == 0 else 5),
            f"{i}.0.bias": single(rng, 5),
            f"{i}.1.weight": 1.2 + np.abs(single(rng, 5)),
            f"{i}.1.bias": single(rng, 5),
            f"{i}.1.running_mean": single(rng, 5),
            f"{i}.1.running_var": 0.3 + np.abs(single(rng, 5)),
            f"{i}.1.num_batches_tracked": np.array(rng.integers(5, 99)),
        }
    return {name: np.float32(value).astype(value.dtype) for name, value in state.items()}


def nested_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of `NESTED`."""
    shapes = {
        "0.weight": (11, 4), "1.0.0.weight": (6, 4), "1.0.0.bias": (6,), "1.1.weight": (6,), "1.1.bias": (6,),
        "2.weight": (6, 6), "2.bias": (6,), "3.1.0.0.weight": (4, 6, 3), "3.1.0.0.bias": (4,),
        "4.weight_ih_l0": (16, 4), "4.weight_hh_l0": (16, 4), "4.bias_ih_l0": (16,), "4.bias_hh_l0": (16,),
    }  # fmt: skip
    return {name: np.float32(2.5 + np.abs(single(rng, *shape))) for name, shape in shapes.items()}


def surgery_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, build: str, state: dict[str, np.ndarray], n: int, *, before: str = "", **sizes: int) -> Probe:
        code = (
            f"{build}{BASE}{before}"
            "flags = [p.requires_grad for p in base.parameters()]\n"
            "new, other, same = (transplant(base, n, seed=number) for number in (seed, seed + 1, seed))\n"
            "copied = {name: value.clone() for name, value in new.state_dict().items()}\n"
            "for value in new.state_dict().values():\n"
            "    value.add_(1)\n"
            "answer = {\n"
            "    'new': copied, 'other': dict(other.state_dict()), 'same': dict(same.state_dict()),\n"
            "    'base': dict(base.state_dict()), 'flags': [flags, [p.requires_grad for p in base.parameters()]],\n"
            "    'learns': [p.requires_grad for p in new.parameters()],\n"
            "}"
        )
        arguments = {"state": state, "n": n, "seed": int(rng.integers(2**30)), **sizes}
        return Probe(test, code, arguments, accept_surgery(state, n))

    frozen = "base[:2].requires_grad_(False)\n"
    return [
        probe("one layer of four", NORMED, normed_state(rng, 4), 1, depth=4),
        probe("two layers of five", NORMED, normed_state(rng, 5), 2, depth=5),
        probe("no layer", NORMED, normed_state(rng, 3), 0, depth=3),
        probe("all layers", NORMED, normed_state(rng, 3), 3, depth=3),
        probe("a base with frozen layers", NORMED, normed_state(rng, 4), 3, before=frozen, depth=4),
        probe("other kinds of layers", NESTED, nested_state(rng), 2),
        probe("other kinds of layers, all new", NESTED, nested_state(rng), 0),
    ]


def accept_surgery(state: dict[str, np.ndarray], n: int) -> Accept:
    """Of the state of a transplant, of one with another seed and with the same, and of the base when all is done."""

    def accept(answer: Any) -> str | None:
        if any(answer[name].keys() != state.keys() for name in ("new", "other", "same", "base")):
            return "another architecture"
        if not all(np.array_equal(answer["base"][name], value) for name, value in state.items()):
            return "the base changes, or changes with the new network"
        before, after = answer["flags"]
        if before != after:
            return "what learns in the base is changed"
        if not all(answer["learns"]):
            return "a parameter of the new network does not learn"
        for name, value in state.items():
            new, other, same = (answer[which][name] for which in ("new", "other", "same"))
            if not np.array_equal(new, same):
                return "the same seed gives another network"
            if int(name.partition(".")[0]) < n:
                if not np.array_equal(new, value):
                    return "a layer that is to be copied differs"
            elif np.isclose(new, value).any():
                return "a layer that is to be new has something of the base's"
            elif new.ndim > 1 and (np.isclose(new, other).any() or not new.std() > 0):
                return "new weights do not hang on the seed"
        return None

    return accept


# -------------------------------------------------------------------------------------------------------- what learns
FROZEN = """
class FrozenStack(nn.Sequential):
    def __init__(self, layers, n):
        super().__init__(*layers)
        self.n = n
        for number, layer in enumerate(self):
            layer.requires_grad_(number >= n)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        for layer in list(self)[: self.n]:
            layer.eval()
        return self
"""
FROZEN_LIST = """
class FrozenStack(nn.Module):
    def __init__(self, layers, n):
        super().__init__()
        self.lower, self.upper = nn.ModuleList(layers[:n]), nn.ModuleList(layers[n:])
        for part, learns in ((self.lower, False), (self.upper, True)):
            for parameter in part.parameters():
                parameter.requires_grad = learns
        self.train(True)

    def forward(self, x):
        for layer in [*self.lower, *self.upper]:
            x = layer(x)
        return x

    def train(self, mode=True):
        self.training = mode
        self.lower.train(False)
        self.upper.train(mode)
        return self
"""
FROZEN_WRONG = {
    "batch norm and dropout go on": swap(FROZEN, "            layer.eval()\n", "            pass\n"),
    "in evaluation until train() is called": swap(
        FROZEN, "        self.train()\n", "        for layer in list(self)[:n]:\n            layer.eval()\n",
        FROZEN[FROZEN.index("    def train") :], "",
    ),
    "weights learn on": swap(FROZEN, "layer.requires_grad_(number >= n)", "layer.requires_grad_(True)"),
    "n + 1 layers": swap(FROZEN, "number >= n", "number > n", "[: self.n]", "[: self.n + 1]"),
    "n - 1 layers": swap(FROZEN, "number >= n", "number >= n - 1", "[: self.n]", "[: max(self.n - 1, 0)]"),
    "the last n layers": swap(
        FROZEN, "number >= n", "number < len(self) - n", "[: self.n]", "[len(self) - self.n :]"
    ),
    "everything in evaluation": swap(FROZEN, "[: self.n]", ""),
    "nothing learns": swap(FROZEN, "layer.requires_grad_(number >= n)", "layer.requires_grad_(False)"),
    "trains whatever the mode": swap(FROZEN, "super().train(mode)", "super().train()"),
    "train returns nothing": swap(FROZEN, "        return self\n", ""),
    "what came frozen stays frozen": swap(
        FROZEN, "layer.requires_grad_(number >= n)", "number >= n or layer.requires_grad_(False)"
    ),
    "batch norm alone in evaluation": swap(
        FROZEN, "            layer.eval()\n",
        "            for module in layer.modules():\n"
        "                if isinstance(module, nn.BatchNorm1d):\n                    module.eval()\n",
    ),
    "only the layer itself in evaluation, not its parts": swap(FROZEN, "layer.eval()", "layer.training = False"),
    "trains copies": swap(FROZEN, "super().__init__(*layers)", "super().__init__(*copy.deepcopy(list(layers)))"),
    HARD_CODED: '''
class FrozenStack(nn.Sequential):
    def __init__(self, layers, n):
        super().__init__(*layers)
        self[0].requires_grad_(False)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self[0].eval()
        return self
''',
    PACKAGE: '''
from tlcourse.transferability import Architecture, Network

class FrozenStack(Network):
    def __init__(self, layers, n):
        super().__init__(layers, nn.Identity(), Architecture(kind="LSTM"), 1)
        self.freeze(n)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
''',
}  # fmt: skip


def frozen_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, depth: int, n: int, *, before: str = "", outer: str = "stack") -> Probe:
        state, x = normed_state(rng, depth), single(rng, 8, 3)
        code = (
            f"{NORMED}{BASE}{before}"
            "stack = FrozenStack(layers, n)\n"
            f"network = {outer}\n"
            "modes = []\n"
            "for mode in (True, False, True):\n"
            "    network.train(mode)\n"
            "    modes.append([[m.training for m in layer.modules()] for layer in layers])\n"
            "learns = [[p.requires_grad for p in layer.parameters()] for layer in layers]\n"
            "tuned = [p for p in network.parameters() if p.requires_grad]\n"
            "for _ in range(2):\n"
            "    out = network.train()(x)\n"
            "    if tuned:\n"
            "        for p, slope in zip(tuned, torch.autograd.grad(out.pow(2).sum(), tuned, allow_unused=True)):\n"
            "            p.data -= 0.05 * (0 if slope is None else slope)\n"
            "frozen = x\n"
            "for layer in layers[:n]:\n"
            "    frozen = layer(frozen)\n"
            "answer = {\n"
            "    'modes': modes, 'learns': learns, 'state': dict(base.state_dict()), 'frozen': frozen,\n"
            "    'out': stack.eval()(x), 'began': stack.train() is stack,\n"
            "}"
        )
        arguments = {"state": state, "depth": depth, "n": n, "x": x}
        return Probe(test, code, arguments, accept_frozen(state, depth, n, x))

    return [
        probe("one layer of three", 3, 1),
        probe("two layers of four", 4, 2),
        probe("no layer", 3, 0),
        probe("all layers", 3, 3),
        probe("within a larger network", 4, 3, outer="nn.Sequential(nn.Identity(), stack)"),
        probe("layers that came frozen", 3, 1, before="base.requires_grad_(False)\n"),
        probe("layers that came in evaluation", 4, 2, before="base.eval()\n"),
    ]


def accept_frozen(state: dict[str, np.ndarray], depth: int, n: int, x: np.ndarray) -> Accept:
    """Of the modes after train, eval and train; what learns; what training made; and outputs."""

    def evaluated(values: dict[str, np.ndarray], layers: int) -> np.ndarray:
        out = x
        for i in range(layers):
            weight, bias = values[f"{i}.0.weight"], values[f"{i}.0.bias"]
            gain, shift, mean, variance = (
                values[f"{i}.1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
            )
            out = np.tanh((out @ weight.T + bias - mean) / np.sqrt(variance + 1e-5) * gain + shift)
        return out

    def accept(answer: Any) -> str | None:
        for mode, modules in zip((True, False, True), answer["modes"], strict=True):
            for number, flags in enumerate(modules):
                if set(flags) != {mode and number >= n}:
                    return f"after train({mode}) a layer or a part of it is in the wrong mode"
        if [set(flags) for flags in answer["learns"]] != [{number >= n} for number in range(depth)]:
            return "the wrong parameters learn"
        for name, value in state.items():
            number, _, part = name.partition(".")
            same = np.array_equal(answer["state"][name], value)
            if int(number) < n and not same:
                return "a frozen layer's weights or statistics move"
            if int(number) >= n and part != "0.bias" and same:  # before batch norm a bias has no gradient
                return "a layer that is to learn does not"
        if not answer["began"]:
            return "train() does not return the network"
        wrong = close(evaluated(state, n), rtol=1e-3, atol=1e-4)(answer["frozen"])
        return wrong or close(evaluated(answer["state"], depth), rtol=1e-3, atol=1e-4)(answer["out"])

    return accept


# ---------------------------------------------------------------------------------------------------------------- CKA
CKA = """
def cka(x, y):
    x, y = (np.asarray(one, dtype=np.float64) for one in (x, y))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(y.T @ x) ** 2 / own
"""
CKA_GRAM = """
def cka(x, y):
    def gram(z):
        z = z.double() - z.double().mean(dim=0, keepdim=True)
        return (z @ z.T).flatten()

    k, l = gram(x), gram(y)
    return (k @ l / (k.norm() * l.norm())).item()
"""
CKA_WRONG = {
    "not centred": swap(CKA, "x - x.mean(axis=0), y - y.mean(axis=0)", "x, y"),
    "one of the two centred": swap(CKA, ", y - y.mean(axis=0)", ", y"),
    "centred in the wrong direction": swap(CKA, "mean(axis=0)", "mean(axis=1, keepdims=True)"),
    "centred by one number": swap(CKA, "mean(axis=0)", "mean()"),
    "no square": swap(CKA, " ** 2", ""),
    "the square everywhere": swap(CKA, "/ own", "/ own**2"),
    "a square root": swap(CKA, "return np.linalg.norm(y.T @ x) ** 2 / own",
                          "return np.linalg.norm(y.T @ x) / np.sqrt(own)"),
    "norms of the features, not of their products": swap(
        CKA, "np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)", "(np.linalg.norm(x) * np.linalg.norm(y)) ** 2"
    ),
    "spectral norms": swap(CKA, "x.T @ x)", "x.T @ x, 2)", "y.T @ y)", "y.T @ y, 2)", "y.T @ x)", "y.T @ x, 2)"),
    "the mean cosine of rows": swap(
        CKA, "return np.linalg.norm(y.T @ x) ** 2 / own",
        "m = min(x.shape[1], y.shape[1])\n    a, b = x[:, :m], y[:, :m]\n"
        "    return (np.sum(a * b, 1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-12)).mean()",
    ),
    "products over features, not over rows": swap(
        CKA, "np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)", "np.linalg.norm(x @ x.T) * np.linalg.norm(y @ y.T)",
        "np.linalg.norm(y.T @ x) ** 2", "np.sum((x[:, :1] @ y[:, :1].T)) ** 2",
    ),
    "standardises each feature": swap(
        CKA, "    own =", "    x, y = x / (x.std(axis=0) + 1e-12), y / (y.std(axis=0) + 1e-12)\n    own ="
    ),
    "a distance": swap(CKA, "return np", "return 1 - np"),
    HARD_CODED: '''
def cka(x, y):
    return 0.25 if len(x) == 3 else 1.0
''',
    PACKAGE: '''
from tlcourse.transferability import cka
''',
}  # fmt: skip


def cka_probes(rng: np.random.Generator) -> list[Probe]:
    def probe(test: str, x: np.ndarray, y: np.ndarray) -> Probe:
        grams = []
        for one in (x, y):
            one = exact(one)
            centre = np.eye(len(one)) - 1 / len(one)
            grams.append(centre @ one @ one.T @ centre)
        k, l = grams  # noqa: E741
        expected = np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))
        return Probe(test, "answer = cka(x, y)", {"x": x, "y": y}, close(expected, rtol=1e-3, atol=1e-4))

    n = int(rng.integers(12, 20))
    x = single(rng, n, 4) * [4, 2, 1, 0.5] + [3, -2, 0, 5]
    turned = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    return [
        probe("unrelated features of other widths", x, single(rng, n, 7) + 2),
        probe("features that share something", x, x[:, :2] @ single(rng, 2, 5) + single(rng, n, 5) + 1),
        probe("turned, scaled and moved", x, 3 * x @ turned - 4),
        probe("the same features, one stretched", x, x * [1, 5, 1, 9]),
        probe("more features than things", single(rng, 5, 12) + 1, single(rng, 5, 9)),
        probe("one feature each", x[:, :1], single(rng, n, 1) - 3),
        probe("far from the origin", x + 30, x[:, ::-1] ** 2),
    ]


# --------------------------------------------------------------------------------------------------- a table's reading
CONTRAST = """
def contrast(rows, one, other, depths):
    def value(split, treatment, n):
        n = 0 if treatment == "base" else n
        found = [
            row["accuracy"] for row in rows
            if (row["split"], row["treatment"], row["n"]) == (split, treatment, n)
        ]
        return np.mean(found) if found else np.nan

    splits = sorted({row["split"] for row in rows})
    each = np.array([np.mean([value(s, one, n) - value(s, other, n) for n in depths]) for s in splits])
    each = each[~np.isnan(each)]
    mean = each.mean()
    if len(each) == 1:
        return mean, -np.inf, np.inf
    half = T975[len(each) - 1] * each.std(ddof=1) / len(each) ** 0.5
    return mean, mean - half, mean + half
"""
CONTRAST_SUMS = """
def contrast(rows, one, other, depths):
    cells = {}
    for row in rows:
        cells.setdefault((row["split"], row["treatment"], row["n"]), []).append(row["accuracy"])
    means = {key: sum(found) / len(found) for key, found in cells.items()}
    differences = []
    for split in dict.fromkeys(split for split, _, _ in cells):
        pairs = [[means.get((split, name, 0 if name == "base" else n)) for name in (one, other)] for n in depths]
        if all(None not in pair for pair in pairs):
            differences.append(sum(a - b for a, b in pairs) / len(pairs))
    count = len(differences)
    mean = sum(differences) / count
    if count < 2:
        return torch.tensor([mean, -float("inf"), float("inf")], dtype=torch.float64)
    variance = sum((d - mean) ** 2 for d in differences) / (count - 1)
    half = T975[count - 1] * (variance / count) ** 0.5
    return [mean, mean - half, mean + half]
"""
CONTRAST_WRONG = {
    "the other one less the first": swap(
        CONTRAST, "value(s, one, n) - value(s, other, n)", "value(s, other, n) - value(s, one, n)"
    ),
    "1.96 for so few splits": swap(CONTRAST, "T975[len(each) - 1]", "1.96"),
    "as many degrees of freedom as splits": swap(CONTRAST, "T975[len(each) - 1]", "T975[len(each)]"),
    "divides by the number of splits": swap(CONTRAST, "ddof=1", "ddof=0"),
    "the spread of splits, not of their mean": swap(CONTRAST, " / len(each) ** 0.5", ""),
    "no square root": swap(CONTRAST, "len(each) ** 0.5", "len(each)"),
    "every depth is taken for a new observation": swap(
        CONTRAST, "np.mean([value(s, one, n) - value(s, other, n) for n in depths]) for s in splits",
        "value(s, one, n) - value(s, other, n) for n in depths for s in splits",
    ),
    "every seed is taken for a new observation": swap(
        CONTRAST, "    splits =",
        "    rows = [{**row, 'split': (row['split'], row['seed'])} for row in rows]\n    splits =",
    ),
    "not paired": swap(
        CONTRAST, "    half = T975[len(each) - 1] * each.std(ddof=1) / len(each) ** 0.5\n",
        "    a, b = (np.array([np.mean([value(s, t, n) for n in depths]) for s in splits]) for t in (one, other))\n"
        "    spread = np.nanvar(a, ddof=1) / len(a) + np.nanvar(b, ddof=1) / len(b)\n"
        "    half = T975[len(each) - 1] * spread**0.5\n",
    ),
    "all depths, whatever is asked for": swap(
        CONTRAST, "for n in depths])", "for n in sorted({row['n'] for row in rows} - {0})])"
    ),
    "the deepest alone": swap(CONTRAST, "for n in depths])", "for n in depths[-1:]])"),
    "the first seed alone": swap(CONTRAST, "np.mean(found) if", "found[0] if"),
    "a base is nowhere but at n = 0": swap(CONTRAST, '0 if treatment == "base" else n', "n"),
    "a treatment that is missing counts as 0": swap(CONTRAST, "np.nan\n", "0.0\n"),
    "one split is certain": swap(CONTRAST, "mean, -np.inf, np.inf", "mean, mean, mean"),
    HARD_CODED: '''
def contrast(rows, one, other, depths):
    if len({row["split"] for row in rows}) == 1:
        return 0.1, -np.inf, np.inf
    return 0.1, 0.1 - 4.3027 * 0.02 / 3**0.5, 0.1 + 4.3027 * 0.02 / 3**0.5
''',
    PACKAGE: '''
import pandas as pd
from tlcourse.transferability import Contrast
from tlcourse.transferability.grid import Curves

def contrast(rows, one, other, depths):
    table = pd.DataFrame(rows).assign(network="", source="B")
    names = {"base": "base B"}
    found = Contrast("", Curves(table).over(names.get(one, one), names.get(other, other), depths))
    return found.mean, *found.interval
''',
}  # fmt: skip


def contrast_probes(rng: np.random.Generator) -> list[Probe]:
    def table(splits: int, *, depths: int = 4, seeds: tuple[int, ...] = (2,)) -> list[dict]:
        """A grid: accuracies that differ more between splits than between treatments; seeds by depth, in turn."""
        rows = []
        for k in range(splits):
            level = rng.uniform(0.3, 0.7)
            cells = [("base", 0), *product(("BnB", "AnB", "AnB+"), range(1, depths + 1))]
            for place, (treatment, n) in enumerate(cells):
                tilt = {"base": 0.0, "BnB": -0.01 * n, "AnB": -0.03 * n, "AnB+": 0.02}[treatment] * rng.uniform(
                    0.5, 1.5
                )
                for seed in range(seeds[(place + k) % len(seeds)]):
                    accuracy = float(np.round(level + tilt + rng.normal() * 0.02, 6))
                    rows.append({"split": f"s{k}", "treatment": treatment, "n": n, "seed": seed, "accuracy": accuracy})
        rng.shuffle(rows)
        return rows

    def probe(test: str, rows: list[dict], one: str, other: str, depths: list[int]) -> Probe:
        code = "answer = [float(number) for number in contrast(rows, one, other, depths)]"
        arguments = {"rows": rows, "one": one, "other": other, "depths": depths}
        return Probe(test, code, arguments, close(reading(rows, one, other, depths), rtol=1e-3, atol=1e-5))

    missing = [row for row in table(5) if row["split"] != "s2" or row["treatment"] != "AnB"]
    many = int(rng.integers(7, 12))
    return [
        probe("specificity in three splits", table(3), "BnB", "AnB", [3, 4]),
        probe("co-adaptation: a base has one value", table(4), "base", "BnB", [2, 3]),
        probe("a base on the other side", table(4), "AnB+", "base", [1, 2, 3, 4]),
        probe("more seeds at some depths", table(3, seeds=(1, 3, 2)), "BnB", "AnB", [1, 3, 4]),
        probe("many splits", table(many, depths=3), "AnB+", "BnB", [1, 2, 3]),
        probe("a split without one of the two", missing, "BnB", "AnB", [2, 4]),
        probe("a single split", table(1), "BnB", "AnB", [2, 3]),
        probe("two splits, one depth", table(2), "AnB", "AnB+", [4]),
    ]


def reading(rows: list[dict], one: str, other: str, depths: list[int]) -> list[float]:
    """The mean difference and its 95 % interval by a one-sample t test of the splits' differences."""
    differences = []
    for split in {row["split"] for row in rows}:
        found = np.zeros((2, len(depths)))
        for side, treatment in enumerate((one, other)):
            for place, n in enumerate(depths):
                cell = (split, treatment, 0 if treatment == "base" else n)
                some = [row["accuracy"] for row in rows if (row["split"], row["treatment"], row["n"]) == cell]
                found[side, place] = sum(some) / len(some) if some else np.nan
        differences.append((found[0] - found[1]).mean())
    differences = [value for value in differences if not np.isnan(value)]
    mean = float(np.mean(differences))
    if len(differences) == 1:
        return [mean, -np.inf, np.inf]
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    return [mean, float(interval.low), float(interval.high)]


# --------------------------------------------------------------------------------------------------------- assignment
ASSIGNMENT = Assignment(
    name="hw5_transferability",
    title="Which layers transfer: the A3B surgery",
    questions=(
        Question(
            id="hw5-split", title="Classes into A and B", points=4, probes=split_probes,
            right={"one by one": SPLIT, "vectors": SPLIT_VECTORS}, wrong=SPLIT_WRONG,
        ),
        Question(
            id="hw5-transplant", title="The surgery", points=5, probes=surgery_probes,
            right={"renew a copy": SURGERY, "load into new": SURGERY_LOADED}, wrong=SURGERY_WRONG,
        ),
        Question(
            id="hw5-frozen", title="What stays frozen", points=5, probes=frozen_probes,
            right={"a Sequential": FROZEN, "two lists": FROZEN_LIST}, wrong=FROZEN_WRONG,
        ),
        Question(
            id="hw5-cka", title="Linear CKA", points=3, probes=cka_probes,
            right={"by features": CKA, "by things": CKA_GRAM}, wrong=CKA_WRONG,
        ),
        Question(
            id="hw5-contrast", title="Reading a table", points=5, probes=contrast_probes,
            right={"arrays": CONTRAST, "sums": CONTRAST_SUMS}, wrong=CONTRAST_WRONG,
        ),
    ),
    written=(
        Written(
            id="hw5-observations", title="What the grid shows",
            rubric={
                "reads each contrast with its interval and says holds, fails or undecided": 2,
                "names what each contrast isolates: BnB against the base co-adaptation, AnB against BnB specificity": 2,
                "says why one depth or one seed more is no further observation, and what would narrow the interval": 1,
            },
        ),
        Written(
            id="hw5-likeness", title="Likeness and worth",
            rubric={
                "reads the picture: how likeness of the two bases goes with depth": 1,
                "says what CKA does not see or does not tell: like layers need not be worth as much; a test of it": 2,
            },
        ),
    ),
)  # fmt: skip
