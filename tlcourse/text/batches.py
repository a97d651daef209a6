"""Batches for language modelling and for classification.

Both are plain iterables of `(x, y)`, which `fastai.data.core.DataLoaders(train, valid)` takes as they are. The
order of an epoch follows from the seed and the number of the epoch alone, so that a run can stop after any batch
and go on with the next one: `state_dict` tells the position, `load_state_dict` goes there.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tlcourse.text.vocab import BOS, EOS, PAD


def reverse(doc: np.ndarray) -> np.ndarray:
    """The document read from its end, for a backward language model. BOS and EOS keep their places."""
    start = int(len(doc) > 0 and doc[0] == BOS)
    stop = len(doc) - int(len(doc) > start and doc[-1] == EOS)
    return np.concatenate([doc[:start], doc[start:stop][::-1], doc[stop:]])


class _Batches:
    """What both kinds share: the position in a run, and what fastai looks for in a loader."""

    n_inp = 1  # of the tensors of a batch, one goes into the model

    def __init__(
        self, *, batch_size: int, shuffle: bool, seed: int, backwards: bool, device: torch.device | str | None
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size = self.bs = batch_size
        self.shuffle, self.seed, self.backwards = shuffle, seed, backwards
        self.device = None if device is None else torch.device(device)
        self._epoch = self._step = self._first_step = 0

    def __len__(self) -> int:
        """The number of batches of an epoch, the same in each."""
        raise NotImplementedError

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number `first` on."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first, self._first_step = self._epoch, self._first_step, 0
        for served, (x, y) in enumerate(self._epoch_batches(epoch, first), start=first + 1):
            # Set before the batch is served: a checkpoint written after training on it goes on with the next.
            self._epoch, self._step = (epoch, served) if served < len(self) else (epoch + 1, 0)
            yield (x, y) if self.device is None else (x.to(self.device), y.to(self.device))

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def state_dict(self) -> dict[str, int]:
        """The position: the epoch and how many of its batches were served."""
        return {"epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position: the next iteration serves what is left of that epoch, the one after it the next epoch.

        Raises ValueError when an epoch has not so many batches.
        """
        epoch, step = state["epoch"], state["step"]
        if epoch < 0 or not 0 <= step < len(self):
            raise ValueError(
                f"there is no batch {step} of epoch {epoch}: an epoch has {len(self)}. Was the position saved "
                "with other data or another batch_size?"
            )
        self._epoch = epoch
        self._step = self._first_step = step


class LMBatches(_Batches):
    """Language-model batches: contiguous streams, for truncated backpropagation through time.

    The documents are joined into one stream of tokens, which is cut into `batch_size` rows of one length (what
    is left over is dropped). A batch holds the next `bptt` columns of all rows: its row i goes on where row i of
    the batch before it stopped, so that a hidden state carried over stays with its text. The last batch of an
    epoch is shorter when the length of the rows is no multiple of `bptt`.

    Yields `(x, y)`, both int64 of shape (batch, time); `y` holds the token that follows each token of `x`.

    `docs`: arrays of ids, each beginning with BOS (see `numericalise`); or all documents in one array, cut at
    every BOS. That may be a memory map: a batch reads no more of it than it needs.
    `shuffle`: the documents in another order each epoch. `backwards`: each document from its end.

    Raises ValueError when the documents have too few tokens for a batch.
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
            self._tokens = _ids(docs, name="the array of documents")
            self._starts = np.union1d([0], np.flatnonzero(self._tokens == BOS))
        else:
            docs = [_ids(doc, name=f"document {i}") for i, doc in enumerate(docs)]
            self._tokens = np.concatenate([np.empty(0, dtype=np.int64), *docs])
            self._starts = np.cumsum([0, *map(len, docs[:-1])])
        self._lengths = np.diff(self._starts, append=len(self._tokens))
        self._row_length = (len(self._tokens) - 1) // batch_size  # the very last token is only a target
        if self._row_length < 1:
            raise ValueError(
                f"{len(self._tokens)} tokens are too few for batches of {batch_size} rows, which take at least "
                f"{batch_size + 1}: give more text or a smaller batch_size"
            )

    def __len__(self) -> int:
        return math.ceil(self._row_length / self.bptt)

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self._starts))
        if self.shuffle:
            order = self._rng(epoch).permutation(order)
        ends = np.cumsum(self._lengths[order])  # where in the stream each document ends
        row_starts = np.arange(self.batch_size) * self._row_length
        for column in range(first * self.bptt, self._row_length, self.bptt):
            time = min(self.bptt, self._row_length - column)
            rows = [self._read(start, start + time + 1, order, ends) for start in row_starts + column]
            window = torch.from_numpy(np.stack(rows).astype(np.int64))  # (B, T + 1)
            yield window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _read(self, start: int, stop: int, order: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The tokens from `start` to `stop` of the stream that holds the documents in `order`."""
        if not self.shuffle and not self.backwards:
            return self._tokens[start:stop]
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        pieces = []
        for doc, end in zip(order[first : last + 1], ends[first : last + 1], strict=True):
            tokens = self._tokens[self._starts[doc] : self._starts[doc] + self._lengths[doc]]
            begin = end - len(tokens)
            if self.backwards:
                tokens = reverse(tokens)
            pieces.append(tokens[max(start - begin, 0) : stop - begin])
        return np.concatenate(pieces)


class SortedBatches(_Batches):
    """Batches of items of like length, so that little is padded; what a batch is of them, `_batch` says.

    An epoch serves every item exactly once. The batch with the longest item comes first, so that a run that lacks
    the memory fails at its first step, not in its last epoch.

    Without `shuffle` the batches go from long to short. With it each length is shrunk by up to a quarter, at
    random, before the items are sorted, and the other batches follow the first at random: an item meets others
    in every epoch, and none is padded by more than a third of its length.

    `lengths`: a number each. `max_tokens`: at most so many tokens in a batch, padding included, by fewer items where
    they are long; an item that is longer goes alone.

    Raises ValueError when there are no items.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 42,
        backwards: bool = False,
        max_tokens: int | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed, backwards=backwards, device=device)
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {max_tokens}")
        self._lengths = np.array(lengths)
        if not len(self._lengths):
            raise ValueError("no documents to make batches of")
        self._shrink = 0.25 if shuffle else 0.0
        self._sizes = self._batch_sizes(max_tokens)

    def _batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch of the items at these places."""
        raise NotImplementedError

    def _batch_sizes(self, max_tokens: int | None) -> list[int]:
        """How many items each batch has, long ones first: the same in every epoch, whatever its shuffling.

        Shrinking makes the k-th longest length no longer, for each k. So the items from rank k on are, shrunk, at
        most as long as the k-th longest is, and in truth at most 1 / (1 - shrink) times as long.
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
        if len(sizes) > 1 and sizes[-1] == 1 and sizes[-2] > 2:  # batch normalisation cannot train on one text
            sizes[-2:] = [sizes[-2] - 1, 2]
        return sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def indices(self, epoch: int = 0) -> list[np.ndarray]:
        """For each batch of an epoch the places of its items.

        Puts predictions back into their order: `ordered[np.concatenate(indices())] = predictions`.
        """
        rng = self._rng(epoch)
        lengths = self._lengths * (1 - self._shrink * rng.random(len(self._lengths)))
        batches = np.split(np.argsort(-lengths, kind="stable"), np.cumsum(self._sizes)[:-1])
        first = int(np.argmax([self._lengths[batch].max() for batch in batches]))
        rest = np.delete(np.arange(len(batches)), first)
        if self.shuffle:
            rest = rng.permutation(rest)
        return [batches[i] for i in (first, *rest)]

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        for places in self.indices(epoch)[first:]:
            yield self._batch(places)


class ClassificationBatches(SortedBatches):
    """Classification batches: texts of like length together (see `SortedBatches`), padded on the right.

    Yields `(x, y)`: `x` int64 of shape (batch, time), padded with PAD, so that `x != PAD` is the mask of the true
    tokens; `y` int64 of shape (batch,).

    `docs`: arrays of ids (see `numericalise`); an empty one becomes [BOS]. `labels`: a number from 0 each, below
    `n_classes` when that is given. `backwards`: each document from its end.

    Raises ValueError when there are no documents, one holds PAD, their number is not that of the labels, or a
    label is out of range; TypeError when ids or labels are no whole numbers.
    """

    def __init__(
        self,
        docs: Sequence[np.ndarray],
        labels: Sequence[int] | np.ndarray,
        *,
        n_classes: int | None = None,
        **order,
    ):
        docs = [_ids(doc, name=f"document {i}") for i, doc in enumerate(docs)]
        if padded := [i for i, doc in enumerate(docs) if (doc == PAD).any()]:
            raise ValueError(f"document {padded[0]} holds the padding id {PAD}: give documents without padding")
        self.docs = [doc if len(doc) else np.array([BOS]) for doc in docs]
        self.labels = _labels(labels, n_classes)
        if len(self.docs) != len(self.labels):
            raise ValueError(f"{len(self.docs)} documents but {len(self.labels)} labels")
        super().__init__([len(doc) for doc in self.docs], **order)

    def _batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        x = np.full((len(places), self._lengths[places].max()), PAD, dtype=np.int64)  # (B, T)
        for row, i in enumerate(places):
            x[row, : self._lengths[i]] = reverse(self.docs[i]) if self.backwards else self.docs[i]
        return torch.from_numpy(x), torch.from_numpy(self.labels[places])


def _ids(doc: np.ndarray | Sequence[int], *, name: str) -> np.ndarray:
    """The document as an array of one dimension."""
    ids = np.asarray(doc)
    if ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
        raise TypeError(f"{name} must be a row of token ids, not {ids.dtype} of shape {ids.shape}")
    return ids if len(ids) else np.empty(0, dtype=np.int64)


def _labels(labels: Sequence[int] | np.ndarray, n_classes: int | None) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and not np.issubdtype(labels.dtype, np.integer)):
        raise TypeError(
            f"labels must be one whole number a document, such as frame[column].cat.codes gives, not "
            f"{labels.dtype} of shape {labels.shape}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= (np.inf if n_classes is None else n_classes)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} labels are not from 0 to {'C' if n_classes is None else n_classes} - 1, the first is "
            f"{labels[wrong[0]]} at position {wrong[0]} (pandas codes a missing category as -1)"
        )
    return labels.astype(np.int64)
