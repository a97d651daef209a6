"""Batches for language modelling and for classification.

Both are plain iterables of `(x, y)` that `fastai.data.core.DataLoaders(train, valid)` takes as they are. The order
of an epoch follows from `seed` and the number of the epoch alone, so that a run can stop after any batch and go on
with the next: `state_dict` says where, `load_state_dict` goes there.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tlcourse.text.vocab import BOS, EOS, PAD


def reverse(doc: np.ndarray) -> np.ndarray:
    """The document read from its end, for a backward language model; BOS and EOS keep their places."""
    start = int(len(doc) > 0 and doc[0] == BOS)
    stop = len(doc) - int(len(doc) > start and doc[-1] == EOS)
    return np.concatenate([doc[:start], doc[start:stop][::-1], doc[stop:]])


class _Batches:
    """What both kinds share: the position within the run, and what fastai asks of a loader."""

    n_inp = 1  # of a batch (x, y), one tensor goes into the model

    def __init__(self, *, batch_size: int, shuffle: bool, seed: int, backwards: bool, device: torch.device | str | None):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size = self.bs = batch_size
        self.shuffle, self.seed, self.backwards = shuffle, seed, backwards
        self.device = None if device is None else torch.device(device)
        self._epoch, self._step, self._first_step = 0, 0, 0

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first, self._first_step = self._epoch, self._first_step, 0
        for step, batch in enumerate(self._epoch_batches(epoch, first), start=first + 1):
            # The position is that of the batch after this one: what a run resumed from here begins with.
            self._epoch, self._step = (epoch + 1, 0) if step == len(self) else (epoch, step)
            yield tuple(tensor.to(self.device) for tensor in batch) if self.device else batch

    def state_dict(self) -> dict[str, int]:
        """The position after the last batch served: the epoch and the number of its batches already served."""
        return {"epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position: the next iteration serves what remains of that epoch, the one after it the next."""
        epoch, step = state["epoch"], state["step"]
        if epoch < 0 or not 0 <= step < len(self):
            raise ValueError(f"no batch {step} of epoch {epoch}: an epoch has {len(self)} batches; other data or sizes?")
        self._epoch = epoch
        self._step = self._first_step = step


class LMBatches(_Batches):
    """Language-model batches: contiguous streams for truncated backpropagation through time.

    The documents are joined into one stream of tokens, which is cut into `batch_size` rows of equal length (what
    is left over at the end is dropped). A batch holds the next `bptt` columns of every row: row i of a batch goes
    on where row i of the batch before it stopped, so that a hidden state carried over stays with its text. The
    last batch of an epoch is shorter when the rows are no multiple of `bptt`.

    Yields `(x, y)`, both int64 of shape (batch, time); `y` is the token after each token of `x`.

    `docs`: a list of arrays of ids, each beginning with BOS (see `numericalise`), or all documents in one array,
    which may be a memory map: it is read a batch at a time and cut into documents at every BOS.
    `shuffle`: another order of the documents each epoch. `backwards`: each document from its end.

    Raises ValueError when the documents hold too few tokens for one column of a batch.
    """

    def __init__(
        self,
        docs: Sequence[np.ndarray] | np.ndarray,
        *,
        batch_size: int,
        bptt: int,
        shuffle: bool = False,
        seed: int = 42,
        backwards: bool = False,
        device: torch.device | str | None = None,
    ):
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed, backwards=backwards, device=device)
        if bptt < 1:
            raise ValueError(f"bptt must be at least 1, not {bptt}")
        self.bptt = bptt
        if isinstance(docs, np.ndarray) and docs.dtype != object:
            self._tokens = _checked(docs)
            starts = np.flatnonzero(docs == BOS)
            self._starts = starts if len(starts) and starts[0] == 0 else np.insert(starts, 0, 0)
        else:
            docs = [_checked(doc, position) for position, doc in enumerate(docs)]
            docs = [doc for doc in docs if len(doc)]
            self._tokens = np.concatenate(docs) if docs else np.empty(0, dtype=np.int64)
            self._starts = np.cumsum([0, *map(len, docs[:-1])])
        self._lengths = np.diff(self._starts, append=len(self._tokens))
        self.row_length = (len(self._tokens) - 1) // batch_size  # the last token is only ever a target
        if self.row_length < 1:
            raise ValueError(
                f"{len(self._tokens)} tokens are too few for batch_size={batch_size}: "
                f"one batch takes at least {batch_size + 1}"
            )

    def __len__(self) -> int:
        return math.ceil(self.row_length / self.bptt)

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self._starts))
        if self.shuffle:
            order = self._rng(epoch).permutation(order)
        ends = np.cumsum(self._lengths[order])  # where each document ends in this epoch's stream
        for column in range(first * self.bptt, self.row_length, self.bptt):
            time = min(self.bptt, self.row_length - column)
            rows = [
                self._read(order, ends, start, start + time + 1)
                for start in range(column, column + self.batch_size * self.row_length, self.row_length)
            ]
            window = torch.from_numpy(np.stack(rows).astype(np.int64, copy=False))  # (B, T + 1)
            yield window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _read(self, order: np.ndarray, ends: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Tokens `start` to `stop` of the stream in which the documents follow one another in `order`."""
        if not self.shuffle and not self.backwards:
            return self._tokens[start:stop]
        pieces = []
        for place in range(np.searchsorted(ends, start, side="right"), np.searchsorted(ends, stop, side="left") + 1):
            doc = order[place]
            begin = ends[place] - self._lengths[doc]
            tokens = self._tokens[self._starts[doc] : self._starts[doc] + self._lengths[doc]]
            if self.backwards:
                tokens = reverse(tokens)
            pieces.append(tokens[max(start - begin, 0) : stop - begin])
        return np.concatenate(pieces)


class ClassificationBatches(_Batches):
    """Classification batches: texts of like length together, padded on the right.

    Yields `(x, y)`: `x` int64 of shape (batch, time), padded with PAD, so that `x != PAD` is the mask of the true
    tokens; `y` int64 of shape (batch,). Every example is served exactly once an epoch. The batch with the longest
    text comes first: a run that lacks the memory fails at its first step.

    Without `shuffle` batches go from long to short. With it, each length is shrunk by a random factor of up to
    a quarter before sorting, and the batches then come in random order: other company for each text in every
    epoch, while no text is padded by more than a third of its length.

    `docs`: arrays of ids (see `numericalise`); an empty one becomes [BOS]. `labels`: whole numbers from 0.
    `max_tokens` caps batch × time with smaller batches for long texts (a text longer than that goes alone).
    `backwards`: each document from its end; the padding stays on the right.
    """

    def __init__(
        self,
        docs: Sequence[np.ndarray],
        labels: Sequence[int] | np.ndarray,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 42,
        backwards: bool = False,
        max_tokens: int | None = None,
        n_classes: int | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed, backwards=backwards, device=device)
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
        docs = [_checked(doc, position) for position, doc in enumerate(docs)]
        self.docs = [doc if len(doc) else np.array([BOS], dtype=np.int64) for doc in docs]
        self.labels = _checked_labels(labels, n_classes)
        if len(self.docs) != len(self.labels):
            raise ValueError(f"{len(self.docs)} documents but {len(self.labels)} labels")
        if not self.docs:
            raise ValueError("no documents to make batches of")
        self._lengths = np.array([len(doc) for doc in self.docs])
        self._shrink = 0.25 if shuffle else 0.0
        self._sizes = self._batch_sizes(max_tokens)

    def _batch_sizes(self, max_tokens: int | None) -> list[int]:
        """The sizes of the batches, those of the longest texts first; the same in every epoch.

        Shrinking lengths lowers the k-th longest for every k, so that the texts of a batch which begins at rank k
        are, shrunk, no longer than the k-th longest text, and before it at most 1 / (1 - shrink) times that.
        """
        longest_first = np.sort(self._lengths)[::-1]
        sizes, rank = [], 0
        while rank < len(longest_first):
            size = self.batch_size
            if max_tokens is not None:
                longest = min(longest_first[rank] / (1 - self._shrink), longest_first[0])
                size = max(1, min(size, int(max_tokens // longest)))
            sizes.append(min(size, len(longest_first) - rank))
            rank += sizes[-1]
        if len(sizes) > 1 and sizes[-1] == 1 and sizes[-2] > 2:  # batch normalisation cannot train on one example
            sizes[-2:] = [sizes[-2] - 1, 2]
        return sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def indices(self, epoch: int = 0) -> list[np.ndarray]:
        """The positions in `docs` of each batch's examples, in the order served.

        To put predictions back: `ordered[np.concatenate(batches.indices())] = predictions`.
        """
        rng = self._rng(epoch)
        length = self._lengths * (1 - self._shrink * rng.random(len(self.docs)))
        batches = np.split(np.argsort(-length, kind="stable"), np.cumsum(self._sizes)[:-1])
        batches = [batch[np.argsort(-self._lengths[batch], kind="stable")] for batch in batches]
        longest = max(range(len(batches)), key=lambda i: self._lengths[batches[i][0]])
        rest = [i for i in range(len(batches)) if i != longest]
        if self.shuffle:
            rest = rng.permutation(rest).astype(int)
        return [batches[i] for i in [longest, *rest]]

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.indices(epoch)[first:]:
            x = np.full((len(batch), self._lengths[batch].max()), PAD, dtype=np.int64)  # (B, T)
            for row, i in enumerate(batch):
                x[row, : self._lengths[i]] = reverse(self.docs[i]) if self.backwards else self.docs[i]
            yield torch.from_numpy(x), torch.from_numpy(self.labels[batch])


def _checked(doc: np.ndarray | Sequence[int], position: int | None = None) -> np.ndarray:
    """The document as a one-dimensional array of ids."""
    name = "the array of documents" if position is None else f"document {position}"
    doc = np.asarray(doc) if len(doc) else np.empty(0, dtype=np.int64)
    if doc.ndim != 1 or not np.issubdtype(doc.dtype, np.integer):
        raise TypeError(f"{name} must be one-dimensional and of token ids, not {doc.dtype} of shape {doc.shape}")
    return doc


def _checked_labels(labels: Sequence[int] | np.ndarray, n_classes: int | None) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and not np.issubdtype(labels.dtype, np.integer)):
        raise TypeError(
            f"labels must be one whole number each, such as frame[column].cat.codes, not {labels.dtype} of shape "
            f"{labels.shape}"
        )
    top = np.inf if n_classes is None else n_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= top))
    if len(wrong):
        allowed = "0 or more" if n_classes is None else f"from 0 to {n_classes - 1}"
        raise ValueError(
            f"{len(wrong)} labels out of range, the first at position {wrong[0]}: {labels[wrong[0]]} must be {allowed} "
            "(-1 is how pandas codes a missing category)"
        )
    return labels.astype(np.int64)
