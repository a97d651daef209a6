"""ELMo's bidirectional language model (Peters et al. 2018): words from their characters, then LSTMs both ways.

The sizes, the order of operations and the clipping are those of the published models, so that their weights give
their activations (:mod:`.allennlp`). Shapes are written (B, T, P): batch, words, projection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse.elmo.characters import LONGEST, N_CHARACTERS, WORD_PADDING

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


# ---------------------------------------------------------------------------------------------- configuration
@dataclass(frozen=True, kw_only=True)
class ELMoConfig:
    """Sizes of a bidirectional language model.

    Attributes:
        char_dim: of a character's embedding.
        filters: (width in characters, number of filters) of each convolution.
        n_highway: highway layers after the convolutions.
        projection_dim: P, what a word's characters and each LSTM are projected to.
        lstm_dim: of an LSTM's cell.
        n_layers: LSTMs in each direction.
        cell_clip: the cell stays between -cell_clip and cell_clip; None: no clipping.
        proj_clip: the same of an LSTM's projected output.
        skip: add to each LSTM's output what entered it, from the second layer on.
        dropout: of what enters each LSTM, in training.
        activation: of the convolutions, ``relu`` or ``tanh``.
        longest: ids of a word, its marks among them.
    """

    filters: tuple[tuple[int, int], ...]
    projection_dim: int
    lstm_dim: int
    char_dim: int = 16
    n_highway: int = 1
    n_layers: int = 2
    cell_clip: float | None = 3.0
    proj_clip: float | None = 3.0
    skip: bool = True
    dropout: float = 0.1
    activation: str = "relu"
    longest: int = LONGEST

    def __post_init__(self):
        for name in ("projection_dim", "lstm_dim", "char_dim", "n_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.n_highway < 0:
            raise ValueError(f"n_highway={self.n_highway} must not be negative")
        if not self.filters or any(not 1 <= width <= self.longest or n < 1 for width, n in self.filters):
            raise ValueError(f"filters={self.filters} must be (width, number), widths from 1 to longest={self.longest}")
        for name in ("cell_clip", "proj_clip"):
            if (clip := getattr(self, name)) is not None and not clip > 0:
                raise ValueError(f"{name}={clip} must be above 0, or None for no clipping")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is not a probability in [0, 1)")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} is not one of {', '.join(ACTIVATIONS)}")

    @property
    def n_filters(self) -> int:
        """Of all convolutions together."""
        return sum(n for _, n in self.filters)


_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
SMALL = ELMoConfig(filters=_FILTERS, projection_dim=128, lstm_dim=1024)  # 13.6 million parameters
MEDIUM = ELMoConfig(filters=_FILTERS, projection_dim=256, lstm_dim=2048)  # 28.0 million
ORIGINAL = ELMoConfig(filters=_FILTERS, projection_dim=512, lstm_dim=4096, n_highway=2)  # 93.6 million
TINY = ELMoConfig(filters=((1, 8), (2, 16), (3, 32), (4, 64)), projection_dim=32, lstm_dim=128, char_dim=8)


# ------------------------------------------------------------------------------------------------- characters
class Highway(nn.Module):
    """One highway layer (Srivastava et al. 2015), (N, D) -> (N, D): a gate takes the transformed or the given."""

    def __init__(self, dim: int):
        super().__init__()
        self.transform = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)
        for linear, bias in ((self.transform, 0.0), (self.gate, -2.0)):  # at first it mostly hands on what is given
            nn.init.normal_(linear.weight, std=sqrt(1 / dim))
            nn.init.constant_(linear.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class CharacterEncoder(nn.Module):
    """A word's vector from its characters alone (Kim et al. 2016; Jozefowicz et al. 2016).

    (B, T, longest) character ids -> (B, T, P); zeros where there is no word.
    """

    def __init__(self, config: ELMoConfig):
        super().__init__()
        self.embedding = nn.Embedding(N_CHARACTERS, config.char_dim, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(config.char_dim, n, width) for width, n in config.filters)
        self.highways = nn.ModuleList(Highway(config.n_filters) for _ in range(config.n_highway))
        self.projection = nn.Linear(config.n_filters, config.projection_dim)
        self.activation = ACTIVATIONS[config.activation]
        self.widest = max(width for width, _ in config.filters)
        with torch.no_grad():
            self.embedding.weight[1:].uniform_(-1, 1)
        for convolution in self.convolutions:
            if config.activation == "relu":
                nn.init.uniform_(convolution.weight, -0.05, 0.05)
            else:
                nn.init.normal_(convolution.weight, std=sqrt(1 / convolution.weight[0].numel()))
            nn.init.zeros_(convolution.bias)
        nn.init.normal_(self.projection.weight, std=sqrt(1 / config.n_filters))
        nn.init.zeros_(self.projection.bias)

    def forward(self, character_ids: Tensor) -> Tensor:
        present = character_ids[..., 0] > 0  # (B, T)
        words, which = torch.unique(character_ids[present], dim=0, return_inverse=True)  # (N, longest): each word once
        vectors = self.encode(words)  # (N, P)
        encoded = vectors.new_zeros(*present.shape, vectors.shape[-1])
        encoded[present] = vectors[which]
        return encoded

    def encode(self, words: Tensor) -> Tensor:
        """(N, longest) ids of words -> (N, P)."""
        if not len(words):
            return self.projection.weight.new_zeros(0, self.projection.out_features)
        # Windows over nothing but padding are all alike; one of them is enough.
        longest = int((words != WORD_PADDING).sum(1).max())
        x = self.embedding(words[:, : longest + self.widest]).transpose(1, 2)  # (N, char_dim, characters)
        x = torch.cat([self.activation(conv(x).amax(2)) for conv in self.convolutions], 1)  # (N, n_filters)
        for highway in self.highways:
            x = highway(x)
        return self.projection(x)


# ------------------------------------------------------------------------------------------------------- LSTMs
class ProjectedLSTM(nn.Module):
    """One LSTM from left to right with projected output (Sak et al. 2014), its cell and its output clipped.

    (B, T, P) and a state ((B, P), (B, H)), by default 0 -> (B, T, P) and each row's state after its last word.

    Args:
        input_dim: of what enters.
        cell_dim: H, of the cell.
        output_dim: P, what the output is projected to.
        cell_clip, proj_clip: bounds of the cell and of the projected output; None: none.
    """

    def __init__(
        self, input_dim: int, cell_dim: int, output_dim: int, *, cell_clip: float | None, proj_clip: float | None
    ):
        super().__init__()
        self.cell_clip, self.proj_clip = cell_clip, proj_clip
        # The gates' order is PyTorch's: input, forget, candidate, output.
        self.input = nn.Parameter(torch.empty(4 * cell_dim, input_dim))
        self.recurrent = nn.Parameter(torch.empty(4 * cell_dim, output_dim))
        self.bias = nn.Parameter(torch.zeros(4 * cell_dim))
        self.projection = nn.Parameter(torch.empty(output_dim, cell_dim))
        bound = sqrt(6 / (input_dim + output_dim + 4 * cell_dim))  # Glorot and Bengio (2010), both matrices as one
        nn.init.uniform_(self.input, -bound, bound)
        nn.init.uniform_(self.recurrent, -bound, bound)
        nn.init.xavier_uniform_(self.projection)
        with torch.no_grad():
            self.bias[cell_dim : 2 * cell_dim] = 1  # remember at first (Jozefowicz et al. 2015)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read the words of `x` that `mask` (B, T) marks, by default all; a row's words come before its padding.

        The output is 0 at padding. A row without words keeps its state.
        """
        if mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        order = mask.sum(1).argsort(descending=True, stable=True)  # at each step the rows still being read are first
        back = order.argsort()
        now = mask[order].T  # (T, B)
        words = x[order].transpose(0, 1)[now]  # (N, P): all first words, then all second ones, …
        sizes = [size for size in now.sum(1).tolist() if size]
        if state is None:
            state = x.new_zeros(len(x), len(self.projection)), x.new_zeros(len(x), self.projection.shape[1])
        state = tuple(part[order] for part in state)
        if sizes:
            read = self._steps if self.cell_clip or self.proj_clip else self._library
            words, state = read(words, sizes, state)
        output = words.new_zeros(*now.shape, len(self.projection))
        output[now] = words
        return output.transpose(0, 1)[back], tuple(part[back] for part in state)

    def _steps(self, words: Tensor, sizes: list[int], state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple]:
        """Step by step; only the product with the outputs before has to be there."""
        output, cell = state
        outputs, finished = [], []
        for gates in F.linear(words, self.input, self.bias).split(sizes):  # (rows still being read, 4H)
            if (rows := len(gates)) < len(output):
                finished.append((output[rows:], cell[rows:]))
                output, cell = output[:rows], cell[:rows]
            gates = torch.addmm(gates, output, self.recurrent.T)
            taken, kept, candidate, shown = gates.chunk(4, 1)
            cell = torch.sigmoid(taken) * torch.tanh(candidate) + torch.sigmoid(kept) * cell
            if self.cell_clip:
                cell = cell.clamp(-self.cell_clip, self.cell_clip)
            output = F.linear(torch.sigmoid(shown) * torch.tanh(cell), self.projection)
            if self.proj_clip:
                output = output.clamp(-self.proj_clip, self.proj_clip)
            outputs.append(output)
        ends = zip((output, cell), *reversed(finished), strict=True)
        return torch.cat(outputs), tuple(map(torch.cat, ends))

    def _library(self, words: Tensor, sizes: list[int], state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple]:
        """PyTorch's LSTM, which is faster and knows no clipping."""
        rows = sizes[0]
        weights = [self.input, self.recurrent, self.bias, torch.zeros_like(self.bias), self.projection]
        first = tuple(part[None, :rows] for part in state)
        # biases, layers, dropout between layers, training, both directions
        outputs, *last = torch.lstm(words, torch.tensor(sizes), first, weights, True, 1, 0.0, self.training, False)
        return outputs, tuple(torch.cat([new[0], old[rows:]]) for new, old in zip(last, state, strict=True))


# ------------------------------------------------------------------------------------------------------- biLM
@dataclass(frozen=True)
class State:
    """What the LSTMs remember of the sentences before, for each row of a batch.

    Attributes:
        output: (L, 2, B, P): of each layer, forward and backward.
        cell: (L, 2, B, H).
    """

    output: Tensor
    cell: Tensor

    def detach(self) -> State:
        """The same numbers, without what they were computed from."""
        return State(self.output.detach(), self.cell.detach())

    def rows(self, start: int, stop: int | None = None) -> State:
        """That of some rows of the batch."""
        return State(self.output[:, :, start:stop], self.cell[:, :, start:stop])

    def join(self, other: State) -> State:
        """That of these rows and then of others."""
        return State(torch.cat([self.output, other.output], 2), torch.cat([self.cell, other.cell], 2))

    def __len__(self) -> int:
        return self.output.shape[2]


@dataclass(frozen=True)
class Layers:
    """All that the model knows of each word: 2L + 1 vectors (Peters et al. 2018, section 3.2), 0 where no word is.

    Attributes:
        characters: (B, T, P): the word by itself.
        forward: L of (B, T, P): the word and those to its left.
        backward: L of (B, T, P): the word and those to its right.
        mask: (B, T): where words are.
    """

    characters: Tensor
    forward: list[Tensor]
    backward: list[Tensor]
    mask: Tensor

    def representations(self) -> dict[str, Tensor]:
        """L + 1 of (B, T, 2P): "0" the characters twice, "1", "2", … both directions of a layer side by side."""
        pairs = [(self.characters, self.characters), *zip(self.forward, self.backward, strict=True)]
        return {str(layer): torch.cat(pair, -1) for layer, pair in enumerate(pairs)}

    def named(self) -> dict[str, Tensor]:
        """All 2L + 1 of (B, T, P) by name: "characters", "forward 1", "backward 1", "forward 2", …"""
        named = {"characters": self.characters}
        for layer, (forward, backward) in enumerate(zip(self.forward, self.backward, strict=True), 1):
            named |= {f"forward {layer}": forward, f"backward {layer}": backward}
        return named


class BiLM(nn.Module):
    """The bidirectional language model without its softmax: characters, and L LSTMs in each direction.

    A forward vector knows the words up to its own, a backward vector those from its own on.
    """

    def __init__(self, config: ELMoConfig):
        super().__init__()
        self.config = config
        self.characters = CharacterEncoder(config)
        self.forwards, self.backwards = (
            nn.ModuleList(
                ProjectedLSTM(
                    config.projection_dim,
                    config.lstm_dim,
                    config.projection_dim,
                    cell_clip=config.cell_clip,
                    proj_clip=config.proj_clip,
                )
                for _ in range(config.n_layers)
            )
            for _ in range(2)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, character_ids: Tensor, state: State | None = None, *, mask: Tensor | None = None
    ) -> tuple[Layers, State]:
        """Read a batch of sentences, each direction from its own end of each sentence.

        Args:
            character_ids: (B, T, longest), as :func:`character_ids` makes them.
            state: of the batch before. Rows that it lacks start from 0.
            mask: (B, T), where words are; a row's words come before its padding. By default where ids are.

        Returns:
            What is known of each word, and the state after: of the rows of this batch, and of those that only the
            batch before had. It still leads back to this batch: ``detach`` it before the next step of training.
        """
        if mask is None:
            mask = character_ids[..., 0] > 0
        rows = len(character_ids)
        if state is None or len(state) < rows:
            new = self.initial_state(rows - len(state) if state else rows)
            state = state.join(new) if state else new
        characters = self.characters(character_ids * mask[..., None])
        mirror = mirrored(mask)[..., None].expand_as(characters)
        forwards, left = self._read(characters, mask, self.forwards, state, 0)
        backwards, right = self._read(characters.gather(1, mirror), mask, self.backwards, state, 1)
        backwards = [layer.gather(1, mirror) for layer in backwards]
        output, cell = (torch.stack(ends, 1) for ends in zip(left, right, strict=True))  # (L, 2, B, …)
        return Layers(characters, forwards, backwards, mask), State(output, cell).join(state.rows(rows))

    def _read(
        self, x: Tensor, mask: Tensor, lstms: Iterable[ProjectedLSTM], state: State, direction: int
    ) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """One direction's layers, and their states (L, B, …)."""
        layers, ends = [], []
        for layer, lstm in enumerate(lstms):
            x = self.dropout(x)
            before = state.output[layer, direction, : len(x)], state.cell[layer, direction, : len(x)]
            y, end = lstm(x, before, mask=mask)
            x = x + y if self.config.skip and layer else y
            layers.append(x)
            ends.append(end)
        return layers, tuple(map(torch.stack, zip(*ends, strict=True)))

    def initial_state(self, rows: int) -> State:
        """What is remembered before the first sentence: nothing."""
        like, config = self.characters.projection.weight, self.config
        shape = config.n_layers, 2, rows
        return State(like.new_zeros(*shape, config.projection_dim), like.new_zeros(*shape, config.lstm_dim))


def mirrored(mask: Tensor) -> Tensor:
    """(B, T) positions that turn each row's words around and leave its padding behind them: its own inverse."""
    position = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - position, position)
