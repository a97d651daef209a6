"""Skip-gram, CBOW and fastText, trained in blocks so that the work is matrix products.

The C code of word2vec takes one pair (word, context word) at a time and draws noise words for it. Here a *block* of
neighbouring words is taken together: every word of the block is scored against every word near the block in one matrix
product, and a mask keeps the pairs that are inside a window. The words of a block share their noise words, each
weighted so that the expected gradient is that of five draws a pair. A *batch* of blocks is one step of SGD::

    the block        a  b  c  d                hidden  (B, C, D)     vectors of the words of B blocks
    words near it  y z a  b  c  d  e f         outputs (B, K, D)     C + 2 windows of them, then the noise words
    scores                                     hidden @ outputs^T    (B, C, K)

Sources: Mikolov, Chen, Corrado and Dean (2013) for the two models; Mikolov, Sutskever, Chen, Corrado and Dean (2013)
for negative sampling (equation 4) and subsampling (equation 5); Morin and Bengio (2005) for the hierarchical softmax;
Bojanowski, Grave, Joulin and Mikolov (2017) for n-grams; Ji, Satish, Li and Dubey (2016) for shared noise words.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from tlcourse import profile
from tlcourse.word2vec.corpus import EncodedText
from tlcourse.word2vec.subword import word_rows
from tlcourse.word2vec.vectors import SubwordVectors, WordVectors

MEASURE = 20  # every so many batches the loss is computed; the gradient does not need it


@dataclass(frozen=True, kw_only=True)
class Word2Vec:
    """How word vectors are trained.

    Attributes:
        model: ``skipgram`` predicts the words around from the word, ``cbow`` the word from those around it.
        hierarchical: a binary tree over the vocabulary in place of noise words.
        dim: numbers a vector, D.
        window: the farthest context word; how far a word really looks is drawn from 1 to this, as in the C code.
        negatives: noise words a pair.
        subsample: the threshold t of frequent words; 0 keeps all.
        noise_power: noise words are drawn in proportion to their counts to this power.
        epochs: how often the text is read.
        lr: the rate of SGD at the start; it falls to a ten-thousandth of it in a straight line.
        ngrams: shortest and longest n-gram of characters (fastText); None gives whole words (word2vec).
        buckets: rows that n-grams share.
        block: neighbouring words that are scored together, C.
        shared: noise words that a block shares, N.
        batch: words of one step.
        seed: of the starting vectors and all draws. On a CPU it fixes the result; a GPU adds in another order.
    """

    model: str = "skipgram"
    hierarchical: bool = False
    dim: int = 100
    window: int = 5
    negatives: int = 5
    subsample: float = 1e-3
    noise_power: float = 0.75
    epochs: int = 5
    lr: float = 0.025
    ngrams: tuple[int, int] | None = None
    buckets: int = 200_000
    block: int = 16
    shared: int = 16
    batch: int = 1024
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """What training gives.

    Attributes:
        vectors: a vector a word.
        outputs: the other matrix, (V, D): what a word looks like as the context of others. With a hierarchical
            softmax, the inner nodes of its tree.
        losses: mean loss a prediction in each epoch, in nats, over the batches where it was measured; NaN for an epoch
            of which subsampling left nothing.
    """

    vectors: WordVectors
    outputs: np.ndarray
    losses: list[float]


# ------------------------------------------------------------------------------------- probabilities of the draws
def keep_probability(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """How likely each occurrence of a word is kept, (V,): sqrt(t / f) + t / f, at most 1, f the word's frequency.

    So does the C code of word2vec, and gensim after it; equation 5 of the paper has sqrt(t / f) alone.
    """
    if threshold == 0:
        return np.ones(len(counts))
    f = counts / counts.sum()
    return np.minimum(np.sqrt(threshold / f) + threshold / f, 1)


def noise_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """How likely each word is drawn as noise, (V,): in proportion to its count to the power of 3/4."""
    weights = counts.astype(float) ** power
    return weights / weights.sum()


def huffman(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The binary tree whose frequent words are near the root.

    Returns:
        ``nodes`` (V, L): the inner nodes from the root to each word, -1 after the last; ``turns`` (V, L): at each
        of them, 1 for the branch with the smaller count and 0 for the other. There are V - 1 inner nodes, root last.
    """
    n = len(counts)
    order = count()  # among equal counts, the first made comes first: the tree is the same everywhere
    heap = [(int(c), next(order), word) for word, c in enumerate(counts)]
    heapq.heapify(heap)
    parent, turn = np.zeros(2 * n - 1, int), np.zeros(2 * n - 1, int)
    for inner in range(n, 2 * n - 1):
        (small, _, a), (large, _, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[[a, b]], turn[a] = inner, 1
        heapq.heappush(heap, (small + large, next(order), inner))
    paths = []
    for word in range(n):
        path = [word]
        while path[-1] != 2 * n - 2:
            path.append(parent[path[-1]])
        paths.append(path[::-1])  # from the root down to the word
    longest = max(map(len, paths)) - 1
    nodes, turns = np.full((n, longest), -1), np.zeros((n, longest), int)
    for word, path in enumerate(paths):
        nodes[word, : len(path) - 1] = np.array(path[:-1]) - n
        turns[word, : len(path) - 1] = turn[path[1:]]
    return nodes, turns


# ----------------------------------------------------------------------------------------------- the objectives
class WindowMask:
    """Which words near a block are context of which of its words.

    There are few windows, so they are written down once and looked up.
    """

    def __init__(self, recipe: Word2Vec, device: torch.device):
        c, w = recipe.block, recipe.window
        distance = torch.arange(-w, c + w) - torch.arange(c)[:, None]  # (C, C + 2 W), of each word near from each own
        far = torch.arange(w + 1)
        before = (distance < 0) & (-distance <= far[:, None, None, None])  # (W + 1, 1, C, C + 2 W)
        after = (distance > 0) & (distance <= far[:, None, None])  # (W + 1, C, C + 2 W)
        self.windows = (before | after).float().flatten(0, 2).to(device)
        self.place = torch.arange(c, device=device)
        self.window, self.block = w, c

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """Of how many words of context before and after each word of the blocks, (B, C), from 0 to W.

        Returns:
            (B, C, C + 2 W) float, 1 for a context word.
        """
        return F.embedding((before * (self.window + 1) + after) * self.block + self.place, self.windows)


class NegativeSampling:
    """Tell the true word from noise words: -log s(u·h) - k E[log s(-u'·h)], s the logistic function."""

    def __init__(self, text: EncodedText, recipe: Word2Vec, device: torch.device, generator: torch.Generator):
        self.table = torch.zeros(len(text.words), recipe.dim, device=device)
        self.noise = torch.from_numpy(noise_distribution(text.counts, recipe.noise_power).cumsum()).to(device)
        self.recipe, self.generator = recipe, generator

    def draw(self, blocks: int) -> Tensor:
        """Noise words for each block, (B, N)."""
        where = torch.rand(blocks, self.recipe.shared, dtype=torch.double, generator=self.generator)
        draws = torch.searchsorted(self.noise, where.to(self.noise.device))
        return draws.clamp_(max=len(self.noise) - 1)  # rounding may leave the sum just below 1

    def __call__(self, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the table to score against, (B, K), and the weights (B, C, K) of saying yes and of saying no.

        Args:
            targets: true words, (B, T).
            weights: (B, C, T), how often each is a target of each hidden vector.
        """
        noise = self.draw(len(targets))
        # A noise word that is the pair's own target is left out, as in the C code.
        other = (targets[:, :, None] != noise[:, None]).float()  # (B, T, N)
        no = weights @ other * (self.recipe.negatives / self.recipe.shared)  # (B, C, N)
        return torch.cat([targets, noise], 1), weights, torch.cat([weights, no], 2)


class HierarchicalSoftmax:
    """Find the word by turns in a binary tree: -sum over its path of log s(u·h) or log s(-u·h), by the branch."""

    def __init__(self, text: EncodedText, recipe: Word2Vec, device: torch.device, generator: torch.Generator):
        nodes, turns = (torch.from_numpy(each).to(device) for each in huffman(text.counts))
        self.table = torch.zeros(len(text.words) - 1, recipe.dim, device=device)
        self.nodes, self.on_path = nodes.clamp(min=0), (nodes >= 0).float()  # (V, L)
        self.left = self.on_path * (1 - turns)

    def __call__(self, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :class:`NegativeSampling`; the rows are the inner nodes on the paths to the targets, K = T L."""
        yes, both = (
            (weights[..., None] * each[targets][:, None]).flatten(2)  # (B, C, T L)
            for each in (self.left, self.on_path)
        )
        return self.nodes[targets].flatten(1), yes, both


def gradients(hidden: Tensor, outputs: Tensor, yes: Tensor, both: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the sum of ``-yes log s(x) - no log s(-x)`` over all scores x.

    Args:
        hidden: (B, C, D).
        outputs: (B, K, D).
        yes: weights of the first columns of scores, (B, C, T); the others have none.
        both: ``yes + no`` of all, (B, C, K).

    Returns:
        The scores (B, C, K); the gradients of the hidden vectors and of the outputs, shaped as they are.
    """
    scores = hidden @ outputs.transpose(1, 2)
    wrong = both * scores.sigmoid()  # the derivative of -log s(x) is s(x) - 1, of -log s(-x) it is s(x)
    wrong[..., : yes.shape[2]] -= yes
    return scores, wrong @ outputs, wrong.transpose(1, 2) @ hidden


def total_loss(scores: Tensor, yes: Tensor, both: Tensor) -> Tensor:
    """What :func:`gradients` has the gradient of, in nats: -log s(-x) = softplus(x), -log s(x) = softplus(x) - x."""
    return (both * F.softplus(scores)).sum() - (yes * scores[..., : yes.shape[2]]).sum()


def descend(table: Tensor, rows: Tensor, gradient: Tensor, squares: Tensor, lr: float) -> None:
    """A step of SGD; the gradients of a row that comes more than once add up.

    Many pairs of one batch may move one row, the root of the tree most of all, and a step that is longer than 1 over
    the curvature goes beyond the lowest point. s'(x) is at most 1/4, so a fourth of the squared lengths of all that
    the row is scored against is no less than the curvature; a row whose step would be longer takes that one.

    Args:
        table: (V, D), changed in place.
        rows: which rows, any shape.
        gradient: of each, (..., D); written over.
        squares: the weighted sum of those squared lengths, (...).
    """
    rows, gradient = rows.flatten(), gradient.flatten(0, -2)
    curvature = table.new_zeros(len(table)).index_add_(0, rows, squares.flatten(), alpha=0.25)
    rates = lr / (lr * curvature.index_select(0, rows)).clamp_(min=1)
    # where all columns of a row go to one place, scatter_add_ is faster than index_add_
    table.scatter_add_(0, rows[:, None].expand_as(gradient), gradient.mul_(-rates[:, None]))


def squared_lengths(vectors: Tensor) -> Tensor:
    """(B, K, D) -> (B, 1, K)."""
    return vectors.norm(dim=2).square_()[:, None]


# -------------------------------------------------------------------------------------------- the words' vectors
class WholeWords:
    """A row a word: word2vec."""

    def __init__(self, text: EncodedText, recipe: Word2Vec, device: torch.device, generator: torch.Generator):
        self.table = starting_vectors(len(text.words), recipe.dim, generator).to(device)

    def __call__(self, ids: Tensor) -> Tensor:
        """Vectors of the words, (..., D)."""
        return F.embedding(ids, self.table)

    def update(self, ids: Tensor, gradient: Tensor, squares: Tensor, lr: float) -> None:
        """A step of SGD along the gradients (..., D); see :func:`descend`."""
        descend(self.table, ids, gradient, squares, lr)

    def vectors(self, text: EncodedText) -> WordVectors:
        """The vectors so far."""
        return WordVectors(text.words, self.table.cpu().numpy().copy(), text.counts)


class Subwords:
    """A row a word and a row a bucket of n-grams; a word's vector is their mean: fastText.

    The C code of fastText adds the whole gradient to each of the rows, where the derivative of a mean would divide it
    by their number; so does this, because a rate that suits long words would leave short ones behind.
    """

    def __init__(self, text: EncodedText, recipe: Word2Vec, device: torch.device, generator: torch.Generator):
        self.recipe = recipe
        shortest, longest = recipe.ngrams
        parts = word_rows(text.words, min_n=shortest, max_n=longest, buckets=recipe.buckets)
        # Buckets that no word uses never change. The others are put in the order of their first word, so that those of
        # a frequent word lie side by side: most of the time goes into reaching them.
        used, first, place = np.unique(parts.indices, return_index=True, return_inverse=True)
        order = first.argsort()
        self.used, self.buckets = used[order], parts.shape[1]
        self.first = torch.from_numpy(parts.indptr.astype(np.int64)).to(device)
        self.rows = torch.from_numpy(order.argsort()[place]).to(device)
        self.table = starting_vectors(len(used), recipe.dim, generator).to(device)

    def __call__(self, ids: Tensor) -> Tensor:
        different, places = ids.unique(return_inverse=True)
        rows, bag = self.parts(different)
        starts = torch.searchsorted(bag, torch.arange(len(different), device=ids.device))
        self.looked_up = different, places, rows, bag
        return F.embedding(places, F.embedding_bag(rows, self.table, starts, mode="mean"))

    def parts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of words one after the other, and which word of ``ids`` each is a part of."""
        lengths = self.first[ids + 1] - self.first[ids]
        bag = torch.arange(len(ids), device=ids.device).repeat_interleave(lengths)
        before = (self.first[ids] - lengths.cumsum(0) + lengths)[bag]
        return self.rows[before + torch.arange(len(bag), device=ids.device)], bag

    def update(self, ids: Tensor, gradient: Tensor, squares: Tensor, lr: float) -> None:
        """Of the words that were last looked up."""
        different, places, rows, bag = self.looked_up
        by_word = gradient.new_zeros(len(different), gradient.shape[-1])
        by_word.scatter_add_(0, places.flatten()[:, None].expand(-1, len(by_word[0])), gradient.flatten(0, -2))
        sums = gradient.new_zeros(len(different)).index_add_(0, places.flatten(), squares.flatten())
        descend(self.table, rows, by_word[bag], sums[bag], lr)

    def vectors(self, text: EncodedText) -> SubwordVectors:
        """The vectors so far, and the n-grams to compose others of."""
        shortest, longest = self.recipe.ngrams
        table = np.zeros((self.buckets, self.recipe.dim), np.float32)
        table[self.used] = self.table.cpu().numpy()
        return SubwordVectors(text.words, table, text.counts, min_n=shortest, max_n=longest)


def starting_vectors(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    """Small random numbers, uniform from -1/D to 1/D, as fastText and gensim have them: (rows, D)."""
    return torch.empty(rows, dim).uniform_(-1 / dim, 1 / dim, generator=generator)


# -------------------------------------------------------------------------------------------------- the one loop
def batches(
    text: EncodedText, recipe: Word2Vec, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One reading of the text: blocks with the words near them, shuffled.

    Yields:
        Words near each block (B, C + 2 W), and how many words before and after each word of the block are its
        context (B, C), from 0 to W.
    """
    c, w = recipe.block, recipe.window
    chance = torch.from_numpy(keep_probability(text.counts, recipe.subsample))
    ids = torch.from_numpy(text.ids).long()
    sentences = torch.from_numpy(np.repeat(np.arange(len(text.starts) - 1), np.diff(text.starts)))
    kept = torch.rand(len(ids), dtype=torch.double, generator=generator) < chance[ids]
    ids, sentences = ids[kept].to(device), sentences[kept].to(device)
    if not len(ids):  # a short text, all of it thinned out
        return
    # the words of its sentence before each, and after it
    lengths = sentences.unique_consecutive(return_counts=True)[1]
    before = torch.arange(len(ids), device=device) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    after = lengths.repeat_interleave(lengths) - 1 - before
    reach = torch.randint(1, w + 1, (len(ids),), generator=generator).to(device)
    to_fill = -len(ids) % c
    near = F.pad(ids, (w, w + to_fill)).unfold(0, c + 2 * w, c)  # (blocks, C + 2 W), a view
    before, after = (F.pad(each.minimum(reach), (0, to_fill)).view(-1, c) for each in (before, after))
    order = torch.randperm(len(near), generator=generator).to(device)
    for some in order.split(max(recipe.batch // c, 1)):
        yield near[some], before[some], after[some]


class Training:
    """The two matrices, and how a batch changes them."""

    def __init__(self, text: EncodedText, recipe: Word2Vec, device: torch.device):
        self.recipe = recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        make_inputs = Subwords if recipe.ngrams else WholeWords
        self.inputs = make_inputs(text, recipe, device, self.generator)
        make_objective = HierarchicalSoftmax if recipe.hierarchical else NegativeSampling
        self.objective = make_objective(text, recipe, device, self.generator)
        self.mask = WindowMask(recipe, device)

    @torch.inference_mode()
    def step(self, near: Tensor, before: Tensor, after: Tensor, lr: float, *, measure: bool = False) -> Tensor | None:
        """One step of SGD on a batch of blocks, as :func:`batches` yields them.

        Returns:
            If asked to measure, the mean loss a prediction: of a context word by skip-gram, of a word by CBOW.
        """
        w = self.recipe.window
        centres = near[:, w:-w]  # (B, C)
        mask = self.mask(before, after)  # (B, C, C + 2 W)
        if self.recipe.model == "skipgram":  # each word predicts each of its context words
            hidden, targets, weights = self.inputs(centres), near, mask
        else:  # the mean of its context predicts each word
            size = mask.sum(2)  # (B, C)
            hidden = (mask / size.clamp(min=1)[..., None]) @ self.inputs(near)
            if self.recipe.hierarchical:  # no noise words to share: B C blocks of one word
                hidden, targets, weights = (
                    hidden.view(-1, 1, hidden.shape[2]),
                    centres.reshape(-1, 1),
                    size.view(-1, 1, 1),
                )
                weights = weights.clamp(max=1)
            else:
                targets, weights = centres, torch.diag_embed(size.clamp(max=1))  # (B, C, C)
        rows, yes, both = self.objective(targets, weights)
        outputs = F.embedding(rows, self.objective.table)  # (B, K, D)
        scores, d_hidden, d_outputs = gradients(hidden, outputs, yes, both)
        # a row before the matrix in place of a column after it, which is slow
        squares_hidden = squared_lengths(outputs) @ both.transpose(1, 2)  # (B, 1, C)
        squares_outputs = squared_lengths(hidden) @ both  # (B, 1, K)
        descend(self.objective.table, rows, d_outputs, squares_outputs, lr)
        if self.recipe.model == "skipgram":
            self.inputs.update(centres, d_hidden, squares_hidden, lr)
        else:  # each word of a context takes the whole gradient of the mean, as in the C code
            d_hidden, squares_hidden = d_hidden.view(*centres.shape, -1), squares_hidden.view(len(near), 1, -1)
            self.inputs.update(near, mask.transpose(1, 2) @ d_hidden, squares_hidden @ mask, lr)
        return total_loss(scores, yes, both) / weights.sum().clamp(min=1) if measure else None


def train(
    text: EncodedText,
    recipe: Word2Vec | None = None,
    *,
    device: torch.device | None = None,
    callback: Callable[[int, WordVectors], None] | None = None,
    progress: bool = True,
) -> Trained:
    """Train word vectors.

    Args:
        text: from :func:`tlcourse.word2vec.encode`.
        recipe: by default skip-gram with negative sampling, as the C code has it.
        device: by default that of the profile.
        callback: called with the number of epochs done and the vectors so far, the first time before any.

    Raises:
        ValueError: a setting is out of its range, no sentence has two words, or the training diverged.
    """
    recipe = recipe or Word2Vec()
    check(text, recipe)
    training = Training(text, recipe, device or profile.current().device)
    expected = keep_probability(text.counts, recipe.subsample) @ text.counts * recipe.epochs  # words to read
    done, losses = 0, []
    if callback:
        callback(0, training.inputs.vectors(text))
    with tqdm(total=int(expected), unit="word", unit_scale=True, disable=not progress, delay=1) as bar:
        for epoch in range(1, recipe.epochs + 1):
            measured = []
            for number, batch in enumerate(batches(text, recipe, training.generator, training.inputs.table.device)):
                lr = recipe.lr * max(1 - done / expected, 1e-4)
                loss = training.step(*batch, lr, measure=number % MEASURE == 0)
                if loss is not None:
                    measured.append(loss)
                done += batch[2].numel()
                bar.update(batch[2].numel())
            losses.append(float(sum(measured) / len(measured)) if measured else float("nan"))
            if not training.inputs.table.isfinite().all():
                raise ValueError(f"the training diverged in epoch {epoch}: lower its lr of {recipe.lr}")
            if callback or epoch == recipe.epochs:
                vectors = training.inputs.vectors(text)
            if callback:
                callback(epoch, vectors)
    return Trained(vectors, training.objective.table.cpu().numpy(), losses)


def check(text: EncodedText, recipe: Word2Vec) -> None:
    """Raises ValueError where the recipe or the text will not do, saying why."""
    if recipe.model not in ("skipgram", "cbow"):
        raise ValueError(f"model is 'skipgram' or 'cbow', not {recipe.model!r}")
    for name in ("dim", "window", "negatives", "epochs", "buckets", "block", "shared", "batch"):
        if (value := getattr(recipe, name)) < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
    if recipe.subsample < 0 or not recipe.lr > 0:
        raise ValueError(f"lr is positive and subsample not negative; they are {recipe.lr} and {recipe.subsample}")
    if recipe.ngrams and not 1 <= recipe.ngrams[0] <= recipe.ngrams[1]:
        raise ValueError(f"ngrams are the shortest and the longest, such as (3, 6), not {recipe.ngrams}")
    if len(text.starts) < 2 or np.diff(text.starts).max() < 2:
        raise ValueError("no sentence has two words of the vocabulary, so no word has a context: give a longer text")
