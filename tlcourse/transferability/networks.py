"""Four networks that read a text: two CNNs, an LSTM and a transformer, each a stack of layers and a linear head.

A *layer* is what a cut may go between. Layer 1 is the embedding, the first that a text passes and, as the paper's
first convolution, the first that is learned; layers 2 to N are blocks, each of one dimension all through:

=============  ====================================================================================================
kind           a block
=============  ====================================================================================================
plain CNN      convolution over words, batch norm, ReLU
residual CNN   the same, added to what went in (He et al. 2016)
LSTM           one LSTM from left to right
transformer    attention and two dense layers, each after its layer norm and added to what went in (pre-norm)
=============  ====================================================================================================

Dropout ends every layer. The head is new with every task and belongs to no layer: mean and maximum over the words,
then a linear layer. Padding is zero after every layer, so a convolution reads zeros beyond the end of a text;
attention does not look there, batch norm takes its statistics over words alone, and neither mean nor maximum has it in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlcourse.text import PAD, ClassificationBatches
from tlcourse.training.dropout import draw_less


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a network.

    Attributes:
        kind: one of :data:`KINDS`.
        layers: N, the embedding among them.
        dim: D, of the states after every layer.
        dropout: after the embedding and in every block.
        width: words that a convolution reads.
        heads: of the transformer's attention; its dense layers have 2 D units between them.

    Raises:
        ValueError: there is no such kind, fewer than two layers, or heads that do not share D.
    """

    kind: str
    layers: int = 7
    dim: int = 64
    dropout: float = 0.1
    width: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is none of {', '.join(KINDS)}")
        if self.layers < 2:
            raise ValueError(f"layers={self.layers}: an embedding and one block are the least")
        if self.kind == "transformer" and self.dim % (2 * self.heads):
            raise ValueError(f"dim={self.dim} is no multiple of twice {self.heads} heads")


# ---------------------------------------------------------------------------------------------------------- layers
# Each takes states (B, T, D) and the mask of true words (B, T), and returns states (B, T, D).
class Embedding(nn.Module):
    """Layer 1: ids (B, T) -> (B, T, D); with ``positions`` also where each word stands, as sines (Vaswani et al.)."""

    def __init__(self, vocab_size: int, a: Architecture):
        super().__init__()
        self.words, self.dropout = nn.Embedding(vocab_size, a.dim), nn.Dropout(a.dropout)
        self.positions = a.kind == "transformer"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        words = self.words(ids)
        return self.dropout(words + sines(ids.shape[1], words.shape[2]).to(words) if self.positions else words)


def sines(length: int, dim: int) -> Tensor:
    """(T, D): sines, then cosines, of ever longer waves."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
    angles = torch.arange(length)[:, None] * rates  # (T, D / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Convolution(nn.Module):
    """A convolution, batch norm over words, ReLU.

    A convolution is a linear layer over each word's window, and as such quicker for texts as short as these.
    """

    def __init__(self, a: Architecture):
        super().__init__()
        self.convolve = nn.Linear(a.width * a.dim, a.dim)
        self.norm, self.dropout = nn.BatchNorm1d(a.dim), nn.Dropout(a.dropout)
        self.width, self.residual = a.width, a.kind == "residual CNN"
        nn.init.kaiming_normal_(self.convolve.weight, nonlinearity="relu")  # random layers, too, pass a signal on

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        left, length = (self.width - 1) // 2, states.shape[1]
        beyond = F.pad(states, (0, 0, left, self.width - 1 - left))  # zeros before the first word and after the last
        windows = torch.cat([beyond[:, i : i + length] for i in range(self.width)], dim=2)  # (B, T, width D)
        words = mask.flatten().nonzero().squeeze(1)
        found = self.norm(self.convolve(windows.flatten(0, 1)[words])).relu()  # (words, D)
        new = torch.zeros_like(states).flatten(0, 1).index_copy(0, words, self.dropout(found)).view_as(states)
        return states + new if self.residual else new


class Recurrence(nn.Module):
    """An LSTM from left to right: what is padded comes after all it reads."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.lstm, self.dropout = nn.LSTM(a.dim, a.dim, batch_first=True), nn.Dropout(a.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.dropout(self.lstm(states)[0])


class Attention(nn.Module):
    """torch's transformer layer, norms first; no dropout of attention weights, which costs most of what it takes."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(a.dim, a.heads, 2 * a.dim, a.dropout, batch_first=True, norm_first=True)
        self.block.self_attn.dropout = 0.0

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return self.block(states, src_key_padding_mask=~mask)


BLOCKS: dict[str, Callable[[Architecture], nn.Module]] = {
    "plain CNN": Convolution,
    "residual CNN": Convolution,
    "LSTM": Recurrence,
    "transformer": Attention,
}
KINDS = tuple(BLOCKS)


class Head(nn.Module):
    """States (B, T, D) -> mean and maximum over words (B, 2 D) -> a score a class (B, C)."""

    def __init__(self, dim: int, n_classes: int):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(2 * dim), nn.Linear(2 * dim, n_classes)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        mean = states.sum(1) / mask.sum(1, keepdim=True)  # padding is zero
        largest = states.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return self.linear(self.norm(torch.cat([mean, largest], dim=1)))


# ---------------------------------------------------------------------------------------------------------- network
class Network(nn.Module):
    """Layers and a head: ids (B, T), padded with PAD -> scores (B, C).

    Attributes:
        layers: in the order that a text passes them.
        head: of the task.
        frozen: the first so many layers do not learn, see :meth:`freeze`.
        architecture, vocab_size: what it was built from.
    """

    def __init__(self, layers: Sequence[nn.Module], head: nn.Module, architecture: Architecture, vocab_size: int):
        super().__init__()
        self.layers, self.head, self.frozen = nn.ModuleList(layers), head, 0
        self.architecture, self.vocab_size = architecture, vocab_size

    def states(self, x: Tensor) -> list[Tensor]:
        """The states after each layer, (B, T, D); 0 where padded."""
        mask, states = x != PAD, [x]
        for layer in self.layers:
            states.append(layer(states[-1], mask) * mask[..., None])
        return states[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.states(x)[-1], x != PAD)

    def freeze(self, n: int) -> Network:
        """Let the first n layers learn no more.

        They are in evaluation for good, whatever :meth:`train` says of the rest: no dropout, and batch norm uses its
        running statistics and does not move them. So a text's states below the cut are always the same.
        """
        self.frozen = n
        self.layers[:n].requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        self.layers[: self.frozen].eval()
        return self

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """What learns, all at one rate."""
        return [[parameter for parameter in self.parameters() if parameter.requires_grad]]

    @property
    def device(self) -> torch.device:
        return self.head.linear.weight.device


def build(architecture: Architecture, *, vocab_size: int, n_classes: int, seed: int | Sequence[int]) -> Network:
    """A network with random weights; those of a layer hang on the seed and on its place, not on the other layers.

    Raises:
        ValueError: fewer than two classes.
    """
    if n_classes < 2:
        raise ValueError(f"n_classes={n_classes}: two classes at least are needed to tell apart")
    block = BLOCKS[architecture.kind]
    makers: list[Callable[[], nn.Module]] = [lambda: Embedding(vocab_size, architecture)]
    makers += [lambda: block(architecture)] * (architecture.layers - 1)
    makers += [lambda: Head(architecture.dim, n_classes)]
    seeds = np.random.SeedSequence(seed).generate_state(len(makers))
    with torch.random.fork_rng():
        parts = []
        for number, make in zip(seeds, makers, strict=True):
            torch.manual_seed(int(number))
            parts.append(make())
    return draw_less(Network(parts[:-1], parts[-1], architecture, vocab_size))


# ------------------------------------------------------------------------------------------------- frozen layers once
class Lookup(nn.Module):
    """Stands for frozen layers whose states are known: rows of a table (B, T) -> (B, T, D)."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = [table]  # in a list: no part of the model

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        return self.table[0][rows]


def remember(network: Network, *parts: Sequence[np.ndarray]) -> tuple[Network, list[list[np.ndarray]]]:
    """Run the frozen layers over texts, once and for all.

    What is left to train is the same network with a look-up for those layers; it shares all layers above with
    ``network``, so that is trained, too. As frozen layers are in evaluation, scores, loss and gradients are the same,
    but for the rounding of sums over batches of another shape.

    Args:
        network: with frozen layers.
        parts: lists of texts, ids each, none without any.

    Returns:
        The rest, and the parts as rows of its table, which go into batches as ids do.
    """
    n, docs = network.frozen, [doc for part in parts for doc in part]
    lengths = np.array([len(doc) for doc in docs])
    first = PAD + 1 + np.cumsum([0, *lengths])  # of the table's rows; the first ones are nobody's
    table = torch.zeros(first[-1], network.architecture.dim, device=network.device)
    for places, states in by_text(network, docs, layers=n):
        rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in places])
        table[torch.from_numpy(rows).to(table.device)] = states[n - 1]
    rest = Network([Lookup(table), *network.layers[n:]], network.head, network.architecture, network.vocab_size)
    numbered = iter(np.arange(*ends) for ends in pairwise(first))
    return rest, [[next(numbered) for _ in part] for part in parts]


@torch.no_grad()
def by_text(
    network: Network, docs: Sequence[np.ndarray], *, layers: int | None = None
) -> Iterator[tuple[np.ndarray, list[Tensor]]]:
    """Batches in evaluation: the texts' places and, for each of the first layers, their words' states (words, D)."""
    was_training = network.training
    network.eval()
    lower = Network(network.layers[:layers], network.head, network.architecture, network.vocab_size)
    batches = ClassificationBatches(docs, np.zeros(len(docs), np.int64), batch_size=256)
    for places, (x, _) in zip(batches.indices(), batches, strict=True):
        x = x.to(network.device)
        yield places, [states[x != PAD] for states in lower.states(x)]
    network.train(was_training)


# ------------------------------------------------------------------------------------------------ likeness of layers
def cka(x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> float:
    """Linear centred kernel alignment of two sets of features of the same N things (Kornblith et al. 2019, eq. 3).

    ``|Y'X|^2 / (|X'X| |Y'Y|)`` in Frobenius norms, each column centred: 1 for the same features, also turned and
    scaled; near 0 for unrelated ones, if N is much larger than the number of features.

    Args:
        x, y: (N, D) and (N, E).

    Raises:
        ValueError: they are not of the same things, or one has the same features for all.
    """
    x, y = (torch.as_tensor(one).double() for one in (x, y))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"features of shapes {tuple(x.shape)} and {tuple(y.shape)} are not (N, D) and (N, E)")
    x, y = x - x.mean(0), y - y.mean(0)
    own = torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y)
    if not own > 0:
        raise ValueError("one of the two has the same features for all: there is nothing to compare")
    return float(torch.linalg.norm(y.T @ x) ** 2 / own)


def likeness(one: Network, other: Network, docs: Sequence[np.ndarray]) -> np.ndarray:
    """CKA of each layer of one network with each of the other, over all words of some texts, (N, M)."""
    features = [
        [torch.cat(states) for states in zip(*(found for _, found in by_text(network, docs)), strict=True)]
        for network in (one, other)
    ]
    return np.array([[cka(x, y) for y in features[1]] for x in features[0]])
