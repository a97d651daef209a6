"""How good word vectors are: beside people's judgements, on analogies, on held-out text; and what bias they learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from tlcourse.word2vec.corpus import EncodedText
from tlcourse.word2vec.vectors import MUL_EPSILON, WordVectors, unit_vectors

BLOCK = 1 << 21  # scores that are held at once, 8 MB


# ---------------------------------------------------------------------------------------------- word similarity
@dataclass(frozen=True)
class Correlation:
    """A rank correlation and how far it can be trusted.

    Attributes:
        rho: Spearman's, from -1 to 1.
        p: of the hypothesis that there is none, two-sided.
        used: pairs that were compared.
        skipped: pairs with an unknown value.
        interval: where rho lies with the asked confidence.
    """

    rho: float
    p: float
    used: int
    skipped: int
    interval: tuple[float, float]


def correlation(x: Sequence[float], y: Sequence[float], *, confidence: float = 0.95) -> Correlation:
    """Spearman's correlation of two measurements of the same things, (N,) each; NaN stands for unknown.

    The interval is Fisher's, with the standard error for ranks of Bonett and Wright (2000).

    Raises:
        ValueError: fewer than four things have both values.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    both = ~(np.isnan(x) | np.isnan(y))
    used = int(both.sum())
    if used < 4:
        raise ValueError(f"of {len(x)} pairs {used} have both values, and a correlation needs four: too few are known")
    rho, p = map(float, stats.spearmanr(x[both], y[both]))
    error = np.sqrt((1 + rho**2 / 2) / (used - 3))
    with np.errstate(divide="ignore"):  # a perfect correlation is infinitely far out
        low, high = np.tanh(np.arctanh(rho) + error * np.array(stats.norm.interval(confidence)))
    return Correlation(rho, p, used, len(x) - used, (float(low), float(high)))


def word_similarity(
    vectors: WordVectors, pairs: pd.DataFrame, *, most_frequent: int | None = 300_000, confidence: float = 0.95
) -> Correlation:
    """How well cosines follow people's judgements of how alike words are, as on SimLex-999 (Hill et al. 2015).

    Case does not matter: of the spellings of a word the most frequent is taken, as in gensim's
    ``evaluate_word_pairs``, with which the figures agree.

    Args:
        vectors: to be judged.
        pairs: columns ``word1``, ``word2`` and ``score``, larger for more alike.
        most_frequent: only these words count as known; None for all.
        confidence: of the interval.

    Raises:
        ValueError: a column is missing, or fewer than four pairs are known.
    """
    _need(pairs, "word1", "word2", "score")
    rows = _rows(_spellings(vectors, most_frequent), pairs[["word1", "word2"]])  # (P, 2)
    return correlation(_cosines(vectors, rows), pairs["score"], confidence=confidence)


def pair_cosines(vectors: WordVectors, pairs: pd.DataFrame, *, most_frequent: int | None = None) -> pd.DataFrame:
    """How near the words of each pair are: synonyms, antonyms, or any other kind.

    Args:
        pairs: columns ``word1`` and ``word2``; further ones, such as ``kind``, are kept.
        most_frequent: the words to rank among; None for all.

    Returns:
        The pairs with ``cosine``, and ``rank``: the place of the second word among the neighbours of the first, 1
        for the nearest. NaN where a word is unknown.

    Raises:
        ValueError: a column is missing.
    """
    _need(pairs, "word1", "word2")
    rows = _rows({word: row for row, word in enumerate(vectors.words)}, pairs[["word1", "word2"]], fold=str)  # (P, 2)
    cosines = _cosines(vectors, rows)
    known = np.flatnonzero((rows >= 0).all(axis=1))
    ranks = np.full(len(pairs), np.nan)
    for block in _blocks(len(known), BLOCK // len(vectors)):
        pair = known[block]
        scores = vectors.cosines(vectors.matrix[rows[pair, 0]], most_frequent=most_frequent)  # (K, n)
        itself = (np.arange(scores.shape[1]) == rows[pair, :, None]).any(axis=1)  # (K, n) neither is between the two
        ranks[pair] = ((scores > cosines[pair, None]) & ~itself).sum(axis=1) + 1
    return pairs.assign(cosine=cosines, rank=ranks)


# ----------------------------------------------------------------------------------------------------- analogies
def analogies(
    vectors: WordVectors,
    questions: pd.DataFrame,
    *,
    method: Literal["add", "mul"] = "add",
    most_frequent: int | None = 30_000,
) -> pd.DataFrame:
    """How many questions "a is to b as c is to ?" are answered with d.

    The answer is the best of the most frequent words but a, b and c: by 3CosAdd (Mikolov et al. 2013) or 3CosMul
    (Levy and Goldberg 2014, CoNLL). Case does not matter, as in gensim's ``evaluate_word_analogies``: of the
    spellings of a, b and c the most frequent is taken, any of d is right.

    Args:
        questions: columns ``category``, ``a``, ``b``, ``c``, ``d``.
        most_frequent: the words that may be asked for and answered; None for all, which takes them into memory.

    Returns:
        A row a category and ``total``: ``category``, ``asked``, ``skipped`` (a word is unknown), ``right``, and
        ``accuracy``, right of asked.

    Raises:
        ValueError: a column is missing, or the method is another.
    """
    if method not in ("add", "mul"):
        raise ValueError(f"method is 'add' or 'mul', not {method!r}")
    _need(questions, "category", "a", "b", "c", "d")
    spellings = _spellings(vectors, most_frequent)
    rows = _rows(spellings, questions[["a", "b", "c", "d"]])  # (Q, 4)
    same = _rows(spellings, vectors.words[:most_frequent])  # (n,) words that differ in case have one number
    others = np.flatnonzero(same != np.arange(len(same)))  # all but the most frequent of such words
    unit = unit_vectors(vectors.matrix[:most_frequent])  # (n, D)
    known = (rows >= 0).all(axis=1)
    right = np.zeros(len(rows), dtype=bool)
    asked = np.flatnonzero(known)
    for block in _blocks(len(asked), BLOCK // len(same)):
        *abc, d = rows[asked[block]].T  # (Q,) each
        scores = _analogy_scores(unit, *abc, method)  # (Q, n)
        for given in abc:
            scores[np.arange(len(given)), given] = -np.inf
            question, other = np.nonzero(same[others] == given[:, None])
            scores[question, others[other]] = -np.inf
        right[asked[block]] = same[scores.argmax(axis=1)] == d

    marks = pd.DataFrame({"asked": known, "skipped": ~known, "right": right}).astype(int)
    table = marks.groupby(questions["category"].to_numpy(), sort=False).sum()
    table = pd.concat([table, table.sum().to_frame("total").T]).rename_axis("category").reset_index()
    return table.assign(accuracy=table["right"] / table["asked"])


def _analogy_scores(unit: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, method: str) -> np.ndarray:
    """How well each of n words answers each question, (Q, n); a, b and c (Q,) are rows of ``unit`` (n, D)."""
    a, b, c = unit[a], unit[b], unit[c]  # (Q, D)
    if method == "add":
        return (b - a + c) @ unit.T
    to_a, to_b, to_c = ((1 + word @ unit.T) / 2 for word in (a, b, c))  # cosines moved to 0 … 1
    return to_b * to_c / (to_a + MUL_EPSILON)


# ------------------------------------------------------------------------------------------------- held-out text
@dataclass(frozen=True)
class HeldOut:
    """At which place among all V words the one that stood there comes; 1 is the best.

    Attributes:
        mean, median: of the places.
        reciprocal: the mean of 1 / place; 1 is the best.
        by_frequency: the mean place when words are merely ranked by their frequency in the training text.
        places: how many places of the text were tried.
    """

    mean: float
    median: float
    reciprocal: float
    by_frequency: float
    places: int


def held_out_rank(
    vectors: WordVectors,
    outputs: np.ndarray,
    text: EncodedText,
    *,
    window: int = 5,
    given: Literal["word", "window"] = "word",
    noise: float = 0.75,
    sample: int = 5000,
    seed: int = 0,
) -> HeldOut:
    """How well an objective predicts text that it was not trained on.

    At random places of the text, all V words are ranked as a neighbour of the word there (what skip-gram learns), or
    as the word there, given the mean of the vectors around it (what CBOW learns). Negative sampling makes outputs ·
    vector the log of how much likelier a word is than its noise (Levy and Goldberg 2014, NIPS, section 3.1), so the
    log of the noise is added; without it rare words come first, and frequency alone predicts better. Words of equal
    score share a place. For gensim the matrices are ``model.wv.vectors`` and ``model.syn1neg``.

    Args:
        vectors: of the training text's V words.
        outputs: (V, D), the objective's other matrix, in the order of the vectors' words.
        text: from :func:`.corpus.encode_like`, or the training text itself; its counts are those of the training.
        window: words on either side; each counts the same.
        given: what a word is predicted from.
        noise: the power of the counts that negatives were drawn with; 0 ranks by outputs · vector alone.
        sample: how many places to try.

    Raises:
        ValueError: the outputs have not the vectors' shape, the text not their words, or no sentence two known words.
    """
    if given not in ("word", "window"):
        raise ValueError(f"given is 'word' or 'window', not {given!r}")
    if outputs.shape != vectors.matrix.shape:
        raise ValueError(f"outputs are {outputs.shape}, the vectors {vectors.matrix.shape}: they must be alike")
    if set(text.words) != set(vectors.words):
        raise ValueError("the text is not encoded in the words of the vectors: see encode_like")
    rng = np.random.default_rng(seed)
    places = rng.permutation(len(text))[:sample]
    offsets = np.r_[-window:0, 1 : window + 1]
    around = places[:, None] + offsets  # (P, 2 window)
    sentence = np.searchsorted(text.starts, places, side="right")
    inside = (around >= text.starts[sentence - 1, None]) & (around < text.starts[sentence, None])
    alone = ~inside.any(axis=1)
    places, around, inside = places[~alone], around[~alone], inside[~alone]
    if not len(places):
        raise ValueError("no sentence of the held-out text has two words of the vocabulary, so there is no neighbour")

    order = [vectors.row(word) for word in text.words]
    matrix, outputs = vectors.matrix[order], outputs[order]  # (V, D)
    log_noise = (noise * np.log(text.counts)).astype(np.float32)  # (V,) but for a constant
    middle, neighbours = text.ids[places], text.ids[np.where(inside, around, 0)]  # (P,), (P, 2 window)
    if given == "word":
        one = (inside * rng.random(inside.shape)).argmax(axis=1)
        hidden, targets = matrix[middle], neighbours[np.arange(len(places)), one]  # (P, D), (P,)
    else:
        hidden = (matrix[neighbours] * inside[..., None]).sum(axis=1) / inside.sum(axis=1, keepdims=True)
        targets = middle
    ranks = np.empty(len(places))
    for block in _blocks(len(places), BLOCK // len(outputs)):
        scores = hidden[block].astype(np.float32) @ outputs.T + log_noise  # (P, V)
        own = np.take_along_axis(scores, targets[block, None], axis=1)
        ranks[block] = ((scores > own).sum(axis=1) + (scores >= own).sum(axis=1) + 1) / 2
    return HeldOut(
        mean=float(ranks.mean()),
        median=float(np.median(ranks)),
        reciprocal=float((1 / ranks).mean()),
        by_frequency=float(targets.mean() + 1),
        places=len(ranks),
    )


# ---------------------------------------------------------------------------------------------------------- bias
def bias_direction(vectors: WordVectors, pairs: Iterable[tuple[str, str]]) -> np.ndarray:
    """The direction in which the words of definitional pairs (she, he; woman, man; …) differ most.

    The first principal component of the pairs' unit vectors, each pair centred on its middle (Bolukbasi et al. 2016,
    section 5.1), (D,) of length 1. It points towards the first words.

    Raises:
        UnknownWord: a word of a pair has no vector.
        ValueError: there is no pair.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("a direction needs one pair of words at least")
    unit = unit_vectors(np.array([[vectors[a], vectors[b]] for a, b in pairs]))  # (P, 2, D)
    centred = unit - unit.mean(axis=1, keepdims=True)
    _, _, components = np.linalg.svd(centred.reshape(2 * len(pairs), -1), full_matrices=False)
    direction = components[0]
    return direction * np.copysign(1, (unit[:, 0] - unit[:, 1]).sum(axis=0) @ direction)


def projections(vectors: WordVectors, words: Iterable[str], pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """How far words lean to the first or the second words of the definitional pairs.

    Returns:
        ``word`` and ``projection``, its cosine with :func:`bias_direction`, positive towards the first words; NaN
        for an unknown word. Beside a share of women by occupation, see :func:`correlation`.

    Raises:
        UnknownWord: a word of a pair has no vector.
        ValueError: there is no pair.
    """
    words = list(words)
    direction = bias_direction(vectors, pairs)

    def projection(word: str) -> float:
        try:
            return float(unit_vectors(vectors[word]) @ direction)
        except KeyError:
            return np.nan

    return pd.DataFrame({"word": words, "projection": [projection(word) for word in words]})


@dataclass(frozen=True)
class Weat:
    """A word embedding association test.

    Attributes:
        effect: d, in standard deviations; from -2 to 2 where X and Y are of one size.
        p: the share of ways to deal the words of X and Y into two such sets that gives as large a difference.
    """

    effect: float
    p: float


def weat(
    vectors: WordVectors,
    X: Sequence[str],
    Y: Sequence[str],
    A: Sequence[str],
    B: Sequence[str],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> Weat:
    """Whether X goes with A and Y with B, more than the other way round (Caliskan, Bryson and Narayanan 2017).

    A word's association is its mean cosine with A less that with B; the effect is the mean association of X less
    that of Y, in standard deviations (of the population) over both. The permutation test is one-sided, as published,
    and exact where there are no more partitions than ``permutations``; the sets' own counts, so p is never 0.

    Args:
        X, Y: target words, such as flowers and insects; two or more in each.
        A, B: attribute words, such as pleasant and unpleasant ones.
        permutations: the most partitions to try.

    Raises:
        UnknownWord: a word has no vector.
        ValueError: a set is empty, or has a single target word.
    """
    if min(len(X), len(Y)) < 2 or min(len(A), len(B)) < 1:
        sizes = ", ".join(f"{name} {len(words)}" for name, words in zip("XYAB", (X, Y, A, B), strict=True))
        raise ValueError(f"X and Y need two words at least, A and B one; given are {sizes}")
    x, y, a, b = (unit_vectors(np.array([vectors[word] for word in words], dtype=float)) for words in (X, Y, A, B))
    lean = a.mean(axis=0) - b.mean(axis=0)  # (D,): a mean of cosines is a product with the mean
    x, y = x @ lean, y @ lean  # the association of each word

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    test = stats.permutation_test(
        (x, y), difference, vectorized=True, n_resamples=permutations, alternative="greater", batch=1000, rng=seed
    )
    return Weat(effect=float(test.statistic / np.concatenate([x, y]).std()), p=float(test.pvalue))


# -------------------------------------------------------------------------------------------------- shared steps
def _need(frame: pd.DataFrame, *columns: str) -> None:
    if missing := [column for column in columns if column not in frame]:
        raise ValueError(f"no column {', '.join(missing)}; there are {', '.join(map(str, frame.columns))}")


def _spellings(vectors: WordVectors, most_frequent: int | None) -> dict[str, int]:
    """The row of each word in capitals; of spellings that differ in case, the most frequent one's."""
    words = vectors.words[:most_frequent]
    return {words[row].upper(): row for row in reversed(range(len(words)))}


def _rows(numbers: dict[str, int], words: pd.DataFrame | Sequence[str], fold=str.upper) -> np.ndarray:
    """The row of each word, in the words' shape; -1 where it has none."""
    words = np.asarray(words, dtype=object)
    return np.array([numbers.get(fold(word), -1) for word in words.flat], dtype=int).reshape(words.shape)


def _cosines(vectors: WordVectors, rows: np.ndarray) -> np.ndarray:
    """The cosine of the words of each pair (P, 2) of rows; NaN where a row is -1."""
    known = (rows >= 0).all(axis=1)
    pairs = unit_vectors(vectors.matrix[rows[known]])  # (K, 2, D)
    cosines = np.full(len(rows), np.nan)
    cosines[known] = (pairs[:, 0] * pairs[:, 1]).sum(axis=1)
    return cosines


def _blocks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover n rows, ``size`` at a time, one at least."""
    size = max(size, 1)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
