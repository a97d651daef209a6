"""BERT as it is pretrained: ``transformers``' model, computed where it counts.

::

    model = PretrainingModel(bert_config("mini", vocab_size=8000))
    model.loss(batch).backward()

The weights, and so the loss and its gradients, are those of ``transformers.BertForPreTraining``. What differs is what
is not computed:

- a batch is *packed*: one list of pieces without padding, which linear layers and norms read as it is; only attention
  knows rows, and takes those of one length together;
- the vocabulary's logits are computed at the masked positions alone;
- so is the last layer, except for the keys and values that these positions attend to, and for [CLS];
- on a CPU dropout draws sixteen bits a unit instead of a number.

B is the rows of a batch, N all their pieces, M the masked ones, T the pieces of a row, V the vocabulary, D the hidden
size, H the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerBase

from tlcourse.bert.masking import Masked
from tlcourse.bert.wordpiece import save_tokeniser
from tlcourse.training.dropout import draw_less

SIZES = {  # layers and hidden size: four of the 24 of Turc et al. (2019), and the two of Devlin et al. (2019)
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
IGNORED = -100  # the label of what is not predicted, as cross entropy has it


# ------------------------------------------------------------------------------------------------------ the sizes
def bert_config(size: str | tuple[int, int], *, vocab_size: int, max_length: int = 512, **changes) -> BertConfig:
    """The configuration of a size: heads of 64 units, and inner layers four times as wide.

    Args:
        size: "tiny", "mini", "small", "medium", "base", "large", or (layers, hidden size), as Google's 24 small
            ones: 2, 4, 6, 8, 10 or 12 layers of 128, 256, 512 or 768 (Turc et al. 2019).
        vocab_size: V.
        max_length: the most pieces of a row.
        changes: any other setting of ``transformers.BertConfig``.

    Raises:
        ValueError: no such size, or the hidden size is no multiple of 64.
    """
    if isinstance(size, str) and size not in SIZES:
        raise ValueError(f"size is one of {', '.join(SIZES)} or (layers, hidden size), not {size!r}")
    layers, dim = SIZES[size] if isinstance(size, str) else size
    if "num_attention_heads" not in changes and dim % 64:
        raise ValueError(f"hidden size {dim} does not divide into heads of 64: give num_attention_heads as well")
    settings = {
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": dim // 64,
        "intermediate_size": 4 * dim,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_length,
    }
    return BertConfig(**settings | changes)


def parameters(config: BertConfig) -> pd.DataFrame:
    """How many parameters each part has, from the configuration alone.

    A matrix from n to m units has n m weights and m biases, a LayerNorm of n units n gains and n biases. The 110
    million of base and 340 million of large (Devlin et al. 2019, section 3) are the encoder with its pooler and the
    30,522 pieces of the uncased vocabulary: 109.5 and 335.1 million. The heads of pretraining, which Turc et al. (2019)
    count as well, add little, since the output matrix of the masked language model is the pieces' embedding.

    Returns:
        A row a part: ``part``, ``of`` ("encoder" or "heads") and ``count``.
    """
    layers, dim, inner, vocab = (
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.vocab_size,
    )
    norm = 2 * dim
    rows = [
        ("piece embeddings", "encoder", vocab * dim),
        ("position embeddings", "encoder", config.max_position_embeddings * dim),
        ("segment embeddings", "encoder", config.type_vocab_size * dim),
        ("embeddings' norm", "encoder", norm),
        ("attention: queries, keys, values", "encoder", layers * 3 * (dim * dim + dim)),
        ("attention: output", "encoder", layers * (dim * dim + dim)),
        ("attention: norm", "encoder", layers * norm),
        ("feed-forward", "encoder", layers * (dim * inner + inner + inner * dim + dim)),
        ("feed-forward: norm", "encoder", layers * norm),
        ("pooler", "encoder", dim * dim + dim),
        ("masked pieces: transform and norm", "heads", dim * dim + dim + norm),
        ("masked pieces: bias", "heads", vocab),
        ("next sentence", "heads", 2 * dim + 2),
    ]
    return pd.DataFrame(rows, columns=["part", "of", "count"])


# ------------------------------------------------------------------------------------------------------ the batch
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of pieces, the longest first, in one list without padding.

    Attributes:
        ids: (N,) the pieces, masked.
        positions: (N,) of each piece in its row.
        segments: (N,) 0 up to the first [SEP], 1 behind it.
        lengths: the pieces of each row, B numbers.
        masked: (M,) where in the list a piece is predicted, ascending.
        targets: (M,) what it was.
        labels: (B,) 0 for a true next sentence and 1 for another; None without sentence pairs.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    lengths: tuple[int, ...]
    masked: Tensor
    targets: Tensor
    labels: Tensor | None = None

    @classmethod
    def pack(
        cls, masked: Masked, lengths: np.ndarray, first_lengths: np.ndarray, labels: np.ndarray | None = None
    ) -> Batch:
        """Pack masked rows, in any order.

        Args:
            masked: of rows (B, T), padded on the right.
            lengths: (B,) pieces of each row.
            first_lengths: (B,) those up to the first [SEP].
            labels: (B,), or None.
        """
        rows, longest = masked.ids.shape
        order = np.argsort(-lengths, kind="stable")
        place = np.arange(longest)
        real = place < lengths[order, None]  # (B, T)
        target = np.full((rows, longest), IGNORED)
        target.ravel()[masked.positions] = masked.targets
        target = target[order][real]  # (N,)
        chosen = np.flatnonzero(target != IGNORED)
        parts = (
            masked.ids[order][real],
            np.broadcast_to(place, real.shape)[real],
            (place >= first_lengths[order, None])[real],
        )
        return cls(
            *(torch.from_numpy(part.astype(np.int64)) for part in parts),
            lengths=tuple(lengths[order].tolist()),
            masked=torch.from_numpy(chosen),
            targets=torch.from_numpy(target[chosen].astype(np.int64)),
            labels=None if labels is None else torch.from_numpy(labels[order].astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """N."""
        return len(self.ids)

    def split(self, parts: int) -> Iterator[Batch]:
        """Every ``parts``-th row, from each of the first rows on: batches of nearly one size."""
        part_of_piece = np.repeat(np.arange(len(self)) % parts, self.lengths)  # (N,)
        for part in range(min(parts, len(self))):
            pieces = torch.from_numpy(part_of_piece == part)
            place = pieces.cumsum(0) - 1  # in the part's list
            here = pieces[self.masked]
            yield Batch(
                self.ids[pieces],
                self.positions[pieces],
                self.segments[pieces],
                self.lengths[part::parts],
                place[self.masked[here]],
                self.targets[here],
                None if self.labels is None else self.labels[part::parts],
            )


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that attend to themselves in one go.

    Attributes:
        rows, longest: how many, and the pieces of the longest.
        pieces: how many they have together.
        queries: positions that the last layer computes in each row.
        place: (pieces,) where each piece is in the rectangle of (rows, longest); None if it is full.
        real: (rows, 1, 1, longest) bool, where there is a piece; None if the rectangle is full.
    """

    rows: int
    longest: int
    pieces: int
    queries: int
    place: Tensor | None = None
    real: Tensor | None = None

    def rectangle(self, x: Tensor, heads: int) -> Tensor:
        """(pieces, D) -> (rows, H, longest, D / H)."""
        if self.place is not None:
            x = x.new_zeros(self.rows * self.longest, x.shape[1]).index_copy(0, self.place, x)
        return by_head(x, self.rows, heads)

    def pieces_of(self, x: Tensor) -> Tensor:
        """(rows, H, longest, D / H) -> (pieces, D), the way back."""
        x = x.transpose(1, 2).reshape(self.rows * self.longest, -1)
        return x if self.place is None else x[self.place]


def by_head(x: Tensor, rows: int, heads: int) -> Tensor:
    """(rows * T, D) -> (rows, H, T, D / H)."""
    return x.view(rows, -1, heads, x.shape[1] // heads).transpose(1, 2)


class Layout:
    """Which rows attend together, and which positions the last layer computes: [CLS] and the masked ones.

    On a CPU rows of one length make a group, so that no attention is padding; a GPU takes all rows at once, padded.

    Attributes:
        groups: of rows.
        wanted: (W,) what the last layer computes. A row with fewer masked pieces than another of its group has its
            [CLS] several times.
        starts: (B,) where each row begins.
        first: (B,) where in ``wanted`` the [CLS] of each row is.
        masked: (M,) where in ``wanted`` each masked piece is.
    """

    def __init__(self, batch: Batch, device: torch.device):
        lengths, masked = np.array(batch.lengths), batch.masked.numpy()
        starts = lengths.cumsum() - lengths  # (B,)
        row = np.searchsorted(starts, masked, side="right") - 1  # (M,)
        count = np.bincount(row, minlength=len(lengths))  # (B,)
        if device.type == "cpu":
            bounds = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
        else:
            bounds = [0, len(lengths)]
        self.groups = [
            make_group(lengths[begin:end], 1 + int(count[begin:end].max()), device) for begin, end in pairwise(bounds)
        ]
        queries = np.repeat([group.queries for group in self.groups], np.diff(bounds))  # (B,)
        first = queries.cumsum() - queries
        nth = np.arange(len(masked)) - (count.cumsum() - count)[row]  # of the masked pieces of its row
        place = first[row] + 1 + nth
        wanted = starts.repeat(queries)  # (W,)
        wanted[place] = masked
        self.wanted, self.starts, self.first, self.masked = (
            torch.from_numpy(part).to(device) for part in (wanted, starts, first, place)
        )


def make_group(lengths: np.ndarray, queries: int, device: torch.device) -> Group:
    """The group of rows of these lengths, the longest first."""
    rows, longest, pieces = len(lengths), int(lengths[0]), int(lengths.sum())
    if lengths[-1] == longest:
        return Group(rows, longest, pieces, queries)
    real = np.arange(longest) < lengths[:, None]  # (rows, longest)
    place, real = torch.from_numpy(np.flatnonzero(real)), torch.from_numpy(real[:, None, None])
    return Group(rows, longest, pieces, queries, place.to(device), real.to(device))


# ------------------------------------------------------------------------------------------------------ the model
class PretrainingModel(nn.Module):
    """``transformers.BertForPreTraining``, reading packed batches.

    Args:
        config: see :func:`bert_config`.
        causal: a language model from left to right instead: a piece attends to those before it alone. Its batches
            predict the next piece at each, and have no labels, since [CLS] sees nothing.
    """

    def __init__(self, config: BertConfig, *, causal: bool = False):
        super().__init__()
        config.is_decoder = causal
        self.bert = draw_less(BertForPreTraining(config))

    @property
    def config(self) -> BertConfig:
        return self.bert.config

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of the masked pieces, (M, V), and of true and other next sentences, (B, 2)."""
        pieces, first = self.read(batch)
        heads = self.bert.cls
        return heads.predictions(pieces), heads.seq_relationship(self.bert.bert.pooler(first[:, None]))

    def loss(self, batch: Batch, *, of: Batch | None = None) -> Tensor:
        """Mean cross entropy of the masked pieces, and of the labels where there are some; their sum, in nats.

        Args:
            batch: what to predict.
            of: the batch that this one is a part of: the losses of its parts add up to its own.
        """
        whole = of or batch
        pieces, pairs = self(batch)
        loss = F.cross_entropy(pieces, batch.targets.to(pieces.device), reduction="sum") / max(len(whole.targets), 1)
        if batch.labels is not None:
            loss = loss + F.cross_entropy(pairs, batch.labels.to(pairs.device), reduction="sum") / len(whole)
        return loss

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The last layer's output at the masked pieces, (M, D), and at [CLS], (B, D)."""
        device = self.bert.device
        ids, positions, segments = (part.to(device)[None] for part in (batch.ids, batch.positions, batch.segments))
        encoder = self.bert.bert
        hidden = encoder.embeddings(ids, token_type_ids=segments, position_ids=positions)[0]  # (N, D)
        layout = Layout(batch, device)
        *layers, last = encoder.encoder.layer
        for layer in layers:
            hidden = self.run(layer, hidden, layout)
        if self.config.is_decoder:  # predicts everywhere
            hidden = self.run(last, hidden, layout)
            return hidden[batch.masked.to(device)], hidden[layout.starts]
        hidden = self.run(last, hidden, layout, wanted=layout.wanted)  # (W, D)
        return hidden[layout.masked], hidden[layout.first]

    def run(self, layer: nn.Module, hidden: Tensor, layout: Layout, *, wanted: Tensor | None = None) -> Tensor:
        """One layer, (N, D) -> (N, D), or (W, D) at the wanted positions alone."""
        own = layer.attention.self
        asking = hidden if wanted is None else hidden[wanted]
        sizes = [group.pieces for group in layout.groups]
        asked = sizes if wanted is None else [group.rows * group.queries for group in layout.groups]
        parts = own.query(asking).split(asked), own.key(hidden).split(sizes), own.value(hidden).split(sizes)
        parts = zip(layout.groups, *parts, strict=True)
        mixed = [self.attend(own, group, *part, some=wanted is not None) for group, *part in parts]
        attended = layer.attention.output(torch.cat(mixed), asking)
        return layer.output(layer.intermediate(attended), attended)

    def attend(self, own: nn.Module, group: Group, query: Tensor, key: Tensor, value: Tensor, *, some: bool) -> Tensor:
        """What each piece of a group, or ``some`` of each row, takes from its row: like the queries, (·, D)."""
        heads, causal = own.num_attention_heads, self.config.is_decoder
        q = by_head(query, group.rows, heads) if some else group.rectangle(query, heads)
        k, v = group.rectangle(key, heads), group.rectangle(value, heads)
        if self.training and q.device.type == "cpu":  # where torch's own is slow with dropout; no group is padded
            scores = (q * own.scaling) @ k.transpose(2, 3)  # (rows, H, T, T)
            if causal:
                scores = scores.masked_fill(torch.ones(scores.shape[2:], dtype=torch.bool).triu(1), -torch.inf)
            mixed = own.dropout(scores.softmax(-1)) @ v
        else:
            dropout = own.dropout.p if self.training else 0.0
            mask = None if causal else group.real  # padding is behind a row, and no piece before any other
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1) if some else group.pieces_of(mixed)

    @classmethod
    def load(cls, folder: str | Path) -> PretrainingModel:
        """A model that :meth:`save` wrote."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.bert = draw_less(BertForPreTraining.from_pretrained(folder, local_files_only=True))
        return model

    def save(self, folder: str | Path, tokeniser: PreTrainedTokenizerBase) -> None:
        """Write what ``from_pretrained`` of ``AutoModel``, ``AutoModelForMaskedLM`` and so on reads."""
        self.bert.save_pretrained(folder)
        save_tokeniser(tokeniser, folder)
