"""GloVe: vectors whose products are the logarithms of how often words occur together.

Pennington, Socher and Manning (2014), https://aclanthology.org/D14-1162. Equation 8 asks, for each cell X_ij of the
matrix of co-occurrences that is not zero, that w_i · w~_j + b_i + b~_j be log X_ij; frequent pairs weigh more.

The authors' C code takes one cell at a time. Here a *batch* is a random part of the cells, kept as a sparse matrix,
and all that a step does is a product of it with the tables of vectors, which are dense::

    scores of the cells          words @ contexts^T, only where the batch has cells     (V, V) sparse
    gradient of the words        errors @ contexts                                      (V, D)
    gradient of the contexts     errors^T @ words                                       (V, D)

No vector is copied for a cell, so a step costs little more than the arithmetic. The biases are two more columns, each
beside a column of ones in the other table: [w, b, 1] · [w~, 1, b~] = w · w~ + b + b~.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, sparray, spmatrix
from torch import Tensor
from tqdm.auto import tqdm

from tlcourse import profile
from tlcourse.word2vec.corpus import EncodedText
from tlcourse.word2vec.vectors import WordVectors

PAIRS = 1 << 23  # counted at once: half a gigabyte
CELLS_PER_WORD = 4  # of a batch, on average


@dataclass(frozen=True, kw_only=True)
class GloVe:
    """How GloVe is trained; the authors' settings, with fewer epochs.

    Attributes:
        dim: numbers a vector, D.
        window: the farthest context word on either side.
        x_max, alpha: of :func:`weighting`.
        epochs: how often each cell is seen.
        lr: AdaGrad's first step for a gradient of 1.
        batch: cells of a step. None takes four times as many as there are words: as small as is cheap, since every
            step passes over the whole tables. On 0.8 and 7 million cells the loss is from the second epoch on within
            0.5 % of that of one cell at a time, as the C code takes them.
        seed: of the starting vectors and the batches.

    Raises:
        ValueError: a setting is out of its range.
    """

    dim: int = 100
    window: int = 10
    x_max: float = 100
    alpha: float = 0.75
    epochs: int = 15
    lr: float = 0.05
    batch: int | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("dim", "window", "epochs", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but has to be 1 or more")
        for name in ("x_max", "alpha", "lr"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, but has to be a number greater than 0")


# ------------------------------------------------------------------------------------------------------ the counts
def cooccurrences(text: EncodedText, *, window: int = 10, symmetric: bool = True) -> csr_matrix:
    """How often words occur near each other; a pair d words apart counts 1/d, none reaches across a sentence's end.

    Args:
        window: the farthest that counts.
        symmetric: count the words on both sides; otherwise only those before a word.

    Returns:
        (V, V) float64: cell (i, j) is what word j counts as context of word i.

    Raises:
        ValueError: ``window`` is less than 1.
    """
    if window < 1:
        raise ValueError(f"window is {window}, but has to be 1 or more")
    v, block = len(text.words), max(PAIRS // window, 1)
    ends = np.repeat(text.starts[1:], np.diff(text.starts))  # (T,) where the sentence of each place ends
    total = csr_matrix((v, v))
    for start in range(0, len(text), block):
        places = np.arange(start, min(start + block, len(text)))
        followers = np.minimum(ends[places] - places - 1, window)  # how many words inside the window come after
        first = np.concatenate([[0], np.cumsum(followers)])
        distance = np.arange(first[-1]) - np.repeat(first[:-1], followers) + 1
        after = text.ids[np.repeat(places, followers) + distance]
        # Places are summed by word, as a product of two sparse matrices: (V, places) @ (places, V).
        by_word = csr_matrix((np.ones(len(places)), (text.ids[places], places - start)), shape=(v, len(places)))
        total += (by_word @ csr_matrix((1 / distance, after, first), shape=(len(places), v))).T
    return (total + total.T if symmetric else total).tocsr()


def weighting(x: np.ndarray, *, x_max: float = 100, alpha: float = 0.75) -> np.ndarray:
    """What cells weigh in the objective: (x / x_max)^alpha, at most 1 (equation 9)."""
    return np.minimum(np.asarray(x) / x_max, 1) ** alpha


# --------------------------------------------------------------------------------------------------- the objective
@dataclass(frozen=True, eq=False)
class Cells:
    """Some n cells of a matrix of co-occurrences, by rows and, for products with the transpose, by columns.

    Attributes:
        minus_log: -log x in each cell, (V, V) sparse (CSR).
        weight: of each cell, in the order of ``minus_log``, (n,).
        column_starts, rows: the cells by columns, as CSR of the transpose has them, (V + 1,) and (n,).
        by_column: where each of these is in ``minus_log``, (n,).
    """

    minus_log: Tensor
    weight: Tensor
    column_starts: Tensor
    rows: Tensor
    by_column: Tensor

    @classmethod
    def of(cls, counts: csr_matrix, recipe: GloVe, device: torch.device | str = "cpu") -> Cells:
        """The cells of a sparse matrix."""
        places = csr_matrix((np.arange(counts.nnz, dtype=np.int32), counts.indices, counts.indptr), counts.shape)
        columns = places.tocsc()
        weight = weighting(counts.data, x_max=recipe.x_max, alpha=recipe.alpha)

        def tensor(values: np.ndarray, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.from_numpy(values).to(device, dtype)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            minus_log = torch.sparse_csr_tensor(
                tensor(counts.indptr),
                tensor(counts.indices),
                tensor(-np.log(counts.data), torch.float32),
                counts.shape,
                check_invariants=False,
            )
        return cls(
            minus_log,
            tensor(weight, torch.float32),
            tensor(columns.indptr),
            tensor(columns.indices),
            tensor(columns.data),
        )


def loss_and_gradients(cells: Cells, words: Tensor, contexts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half the objective of equation 8 over some cells, and its gradients.

    Half, because the C code prints half of it and leaves the factor 2 out of the gradient. AdaGrad divides by the
    size of the gradients, so that the factor would only make the first steps longer.

    Args:
        words: [w, b, 1] of each word, (V, D + 2).
        contexts: [w~, 1, b~] of each, (V, D + 2).

    Returns:
        The loss summed over the cells; the gradients, which are 0 in the columns of ones.
    """
    errors = torch.sparse.sampled_addmm(cells.minus_log, words, contexts.T)  # scores - log x, at the cells only
    error = errors.values()  # (n,)
    pull = cells.weight * error
    loss = pull @ error / 2
    error.copy_(pull)
    transposed = torch.sparse_csr_tensor(
        cells.column_starts, cells.rows, pull[cells.by_column], errors.shape, check_invariants=False
    )
    of_words, of_contexts = errors @ contexts, transposed @ words
    of_words[:, -1] = of_contexts[:, -2] = 0
    return loss, of_words, of_contexts


# -------------------------------------------------------------------------------------------------------- training
def starting_tables(n: int, dim: int, generator: torch.Generator) -> list[Tensor]:
    """Words and contexts, each (V, D + 2), uniform within a half over D of zero, the biases too."""
    tables = [(torch.rand(n, dim + 2, generator=generator) - 0.5) / dim for _ in range(2)]
    tables[0][:, -1] = tables[1][:, -2] = 1
    return tables


def random_batches(counts: csr_matrix, recipe: GloVe, device: torch.device) -> list[Cells]:
    """All cells in random parts, as equal as can be."""
    cells = counts.tocoo()
    size = recipe.batch or CELLS_PER_WORD * counts.shape[0]
    order = np.random.default_rng(recipe.seed).permutation(cells.nnz)
    parts = np.array_split(order, math.ceil(cells.nnz / size))
    return [
        Cells.of(csr_matrix((cells.data[part], (cells.row[part], cells.col[part])), counts.shape), recipe, device)
        for part in parts
    ]


def adagrad_step(table: Tensor, squares: Tensor, gradient: Tensor, lr: float) -> None:
    """A step of the C code's AdaGrad, whose sum of squares starts at 1 and holds the rate.

    So a step is g / sqrt(1 / lr^2 + sum of g^2): the rate matters at the start only, later it is 1. The C code adds
    a gradient to the sum after the step; with the many cells of a batch the first step would be far too long.
    """
    squares.addcmul_(gradient, gradient, value=lr**2)
    table.addcdiv_(gradient, squares.sqrt(), value=-lr)


def train_glove(
    text: EncodedText,
    recipe: GloVe | None = None,
    *,
    counts: spmatrix | sparray | None = None,
    device: torch.device | str | None = None,
    callback: Callable[[int, float, WordVectors], None] | None = None,
    progress: bool = True,
) -> WordVectors:
    """Train GloVe: each word's vector is the sum of the one it has as a word and the one it has as context.

    The batches are drawn once and come in another order each epoch. On a CPU the seed fixes the result. Apple's GPUs
    have no sparse products, so there the CPU works.

    Args:
        text: from :func:`tlcourse.word2vec.encode`; with ``counts`` only its words matter.
        recipe: by default ``GloVe()``.
        counts: from :func:`cooccurrences`, where they are at hand, (V, V); by default they are counted.
        device: by default that of the profile.
        callback: called after each epoch with the number of epochs done, their last one's mean loss a cell (half of
            the weighted squared error, as the C code prints it) and the vectors so far.

    Raises:
        ValueError: no two words of the text are in one window, or ``counts`` do not fit the text or have a cell
            that is no positive number.
    """
    recipe = recipe or GloVe()
    counts = checked(cooccurrences(text, window=recipe.window) if counts is None else counts, text)
    device = torch.device(device or profile.current().device)
    device = torch.device("cpu") if device.type == "mps" else device
    generator = torch.Generator().manual_seed(recipe.seed)
    tables = [table.to(device) for table in starting_tables(len(text.words), recipe.dim, generator)]
    squares = [torch.ones_like(table) for table in tables]
    batches = random_batches(counts, recipe, device)

    def vectors() -> WordVectors:
        return WordVectors(text.words, (tables[0] + tables[1])[:, : recipe.dim].cpu().numpy(), text.counts)

    with tqdm(total=counts.nnz * recipe.epochs, unit="cell", unit_scale=True, delay=1, disable=not progress) as bar:
        for epoch in range(1, recipe.epochs + 1):
            total = torch.zeros((), dtype=torch.float64, device=device)
            for i in torch.randperm(len(batches), generator=generator):
                loss, *gradients = loss_and_gradients(batches[i], *tables)
                for table, square, gradient in zip(tables, squares, gradients, strict=True):
                    adagrad_step(table, square, gradient, recipe.lr)
                total += loss
                bar.update(len(batches[i].weight))
            if callback:
                callback(epoch, total.item() / counts.nnz, vectors())
    return vectors()


def checked(counts: spmatrix | sparray, text: EncodedText) -> csr_matrix:
    """Co-occurrences as training takes them: a cell once, none of them 0.

    Raises:
        ValueError: they do not fit the text, there are none, or one is no positive number.
    """
    n = len(text.words)
    if counts.shape != (n, n):
        raise ValueError(f"co-occurrences of the shape {counts.shape} do not fit a text of {n:,} words")
    counts = csr_matrix(counts, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    if not counts.nnz:
        raise ValueError("no two words of the text stand in one window of a sentence, so there is nothing to learn")
    if not ((counts.data > 0) & (counts.data < np.inf)).all():
        raise ValueError("co-occurrences have to be positive numbers; some are negative, infinite or not a number")
    return counts
