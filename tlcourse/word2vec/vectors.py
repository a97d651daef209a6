"""One vector a word: look it up, ask what is near it, calculate with it.

>>> vectors = WordVectors(["cat", "dog", "car"], [[1, 0.1], [1, 0.3], [0, 1]])
>>> vectors.nearest("cat", k=1).word.item()
'dog'
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import pandas as pd

from tlcourse.word2vec.subword import ngram_rows, rows_in_blocks

MUL_EPSILON = 1e-3  # keeps 3CosMul from dividing by zero (Levy and Goldberg 2014)
BLOCK = 1 << 22  # numbers of a matrix that are worked on at once, 16 MB as float32


class UnknownWord(KeyError):
    """A word has no vector; the message names it and words of the vocabulary that are spelt nearly so."""

    def __init__(self, word: str, words: Sequence[str]):
        super().__init__(word, words)

    def __str__(self) -> str:  # here, not when raised: most are caught unread, and the search takes time
        word, words = self.args
        near = near_spellings(word, words) if isinstance(word, str) else []
        return f"no vector for {word!r}" + (f"; there is {', '.join(near)}" if near else "")


def near_spellings(word: str, words: Sequence[str], *, k: int = 3) -> list[str]:
    """Up to k of the words that differ from a word in a letter or two or in case, the nearest first."""
    folded = word.casefold()
    alike = (w for w in words if abs(len(w) - len(word)) <= 2 and w[:1].casefold() == folded[:1])
    by_folded: dict[str, str] = {}
    for candidate in islice(alike, 10_000):  # the most frequent ones
        by_folded.setdefault(candidate.casefold(), candidate)
    return [by_folded[match] for match in difflib.get_close_matches(folded, by_folded, n=k, cutoff=0.7)]


def blocks(matrix: np.ndarray) -> Iterator[slice]:
    """Slices that together cover a matrix's rows, each of about 16 MB: a memory-mapped one is never whole in memory."""
    step = max(1, BLOCK // max(1, matrix.shape[1]))
    return (slice(start, min(start + step, len(matrix))) for start in range(0, len(matrix), step))


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors (…, D) brought to length 1; those of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths, lengths, 1))


class WordVectors:
    """Words and their vectors.

    Args:
        words: the V words, the most frequent first.
        matrix: the vector of each, (V, D); kept as float32. An ``np.memmap`` of float32 stays on disk and is not
            searched for infinities.
        counts: how often each word occurred in the training text, (V,); None where that is not known.

    Raises:
        ValueError: there are not as many words as rows, a word stands twice, the matrix is empty or not
            two-dimensional, or a number is not finite.
    """

    def __init__(self, words: Sequence[str], matrix: np.ndarray, counts: np.ndarray | None = None):
        mapped = isinstance(matrix, np.memmap) and matrix.dtype == np.float32
        self.words = tuple(words)
        self.matrix = matrix if mapped else np.asarray(matrix, dtype=np.float32)
        self.counts = None if counts is None else np.asarray(counts)
        if self.matrix.ndim != 2 or not self.matrix.size:
            raise ValueError(f"word vectors are a matrix with a row a word, not of the shape {self.matrix.shape}")
        if len(self.words) != len(self.matrix):
            raise ValueError(f"{len(self.words):,} words, but {len(self.matrix):,} rows")
        if self.counts is not None and self.counts.shape != (len(self.words),):
            raise ValueError(f"{len(self.words):,} words, but counts of the shape {self.counts.shape}")
        self._rows = {word: row for row, word in enumerate(self.words)}
        if len(self._rows) < len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self._rows[word] != row)
            raise ValueError(f"the word {twice!r} stands twice")
        if not mapped:
            for block in blocks(self.matrix):
                if not (finite := np.isfinite(self.matrix[block]).all(axis=1)).all():
                    word = self.words[block.start + int(finite.argmin())]
                    raise ValueError(f"the vector of {word!r} has a number that is infinite or not a number")

    @property
    def dim(self) -> int:
        """How many numbers a vector has, D."""
        return self.matrix.shape[1]

    def __len__(self) -> int:
        """How many words have a vector, V."""
        return len(self.words)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} words, {self.dim} dimensions>"

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def row(self, word: str) -> int:
        """The row of a word in :attr:`matrix`.

        Raises:
            UnknownWord: it is not in the vocabulary.
        """
        try:
            return self._rows[word]
        except KeyError:
            raise UnknownWord(word, self.words) from None

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word, (D,) float32.

        Raises:
            UnknownWord: it has none.
        """
        return np.asarray(self.matrix[self.row(word)])

    @cached_property
    def norms(self) -> np.ndarray:
        """The length of each word's vector, (V,) float64."""
        norms = np.empty(len(self))
        for block in blocks(self.matrix):
            norms[block] = np.linalg.norm(self.matrix[block].astype(np.float64), axis=1)
        return norms

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors scaled to length 1, (V, D) float32, in memory; a row of zeros stays one."""
        unit = np.empty(self.matrix.shape, dtype=np.float32)
        for block in blocks(self.matrix):
            unit[block] = self.matrix[block] / np.where(self.norms[block], self.norms[block], 1)[:, None]
        return unit

    def cosines(self, queries: np.ndarray, *, most_frequent: int | None = None) -> np.ndarray:
        """The cosine of each query's angle to each word, (Q, V) float32; 0 for a vector of zeros.

        Args:
            queries: (Q, D).
            most_frequent: only to so many words, the first.
        """
        matrix = self.matrix[:most_frequent]
        queries = unit_vectors(np.asarray(queries, dtype=np.float64)).astype(np.float32)
        cosines = np.empty((len(queries), len(matrix)), dtype=np.float32)
        for block in blocks(matrix):
            products = queries @ matrix[block].T  # (Q, block)
            cosines[:, block] = products / np.where(self.norms[block], self.norms[block], 1)
        return np.clip(cosines, -1, 1, out=cosines)

    def similarity(self, a: str, b: str) -> float:
        """The cosine of the angle between two words' vectors: 1 for one direction, -1 for the opposite.

        Raises:
            UnknownWord: one of them has no vector.
        """
        a, b = self._directions([a, b])
        return float(np.clip(a @ b, -1, 1))

    def nearest(
        self,
        word_or_vector: str | np.ndarray,
        *,
        k: int = 10,
        most_frequent: int | None = None,
        exclude: Iterable[str] = (),
    ) -> pd.DataFrame:
        """The k words whose vectors point most nearly the same way as a word's, or as a vector (D,).

        Args:
            word_or_vector: a word is not its own neighbour.
            k: how many; fewer where there are not as many.
            most_frequent: choose among so many words, the first.
            exclude: words to leave out.

        Returns:
            Columns ``word`` and ``cosine``, the nearest first.

        Raises:
            UnknownWord: the word has no vector.
            ValueError: the vector has another dimension, or k is below 1.
        """
        if isinstance(word_or_vector, str):
            exclude = {word_or_vector, *exclude}
            word_or_vector = self[word_or_vector]
        query = np.asarray(word_or_vector)
        if query.shape != (self.dim,):
            raise ValueError(f"expected a word or a vector of {self.dim} numbers, not the shape {query.shape}")
        cosines = self.cosines(query[None], most_frequent=most_frequent)[0]
        return self._best(cosines, k, exclude).rename(columns={"score": "cosine"})

    def analogy(
        self,
        a: str,
        b: str,
        c: str,
        *,
        k: int = 5,
        method: str = "add",
        most_frequent: int | None = None,
        exclude: bool = True,
    ) -> pd.DataFrame:
        """The words that are to c as b is to a: *man* is to *king* as *woman* is to what?

        Args:
            a, b, c: the words of the question, in the order of the sentence.
            k: how many answers.
            method: ``"add"`` is 3CosAdd, the words nearest to b - a + c, all of length 1 (Mikolov, Yih and Zweig 2013,
                NAACL, section 4); ``"mul"`` is 3CosMul, the largest cos(x, b) cos(x, c) / (cos(x, a) + 0.001) with
                cosines moved to 0 … 1 (Levy and Goldberg 2014, CoNLL).
            most_frequent: choose among so many words, the first.
            exclude: leave a, b and c out, as all publications do; without it the answer is mostly one of them.

        Returns:
            Columns ``word`` and ``score``, the best first; of 3CosAdd the score is a cosine.

        Raises:
            UnknownWord: one of the words has no vector.
            ValueError: there is no such method, or k is below 1.
        """
        directions = self._directions([a, b, c])  # (3, D)
        if method == "add":
            scores = self.cosines([[-1, 1, 1] @ directions], most_frequent=most_frequent)[0]
        elif method == "mul":
            to_a, to_b, to_c = (self.cosines(directions, most_frequent=most_frequent) + 1) / 2
            scores = to_b * to_c / (to_a + MUL_EPSILON)
        else:
            raise ValueError(f"there is no analogy method {method!r}: choose 'add' or 'mul'")
        return self._best(scores, k, (a, b, c) if exclude else ())

    def odd_one_out(self, words: Sequence[str]) -> str:
        """The word that is farthest, by cosine, from the mean of the words' unit vectors.

        Raises:
            UnknownWord: one of them has no vector.
            ValueError: there are fewer than three; of two, none is the odd one.
        """
        if len(words) < 3 or isinstance(words, str):
            raise ValueError(f"the odd one out of what? Give three words or more, not {words!r}")
        directions = self._directions(words)
        return words[int(np.argmin(directions @ directions.mean(axis=0)))]

    def embedding(self, words: Sequence[str], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Vectors for the vocabulary of a task, to begin its embedding layer with.

        The words that have no vector get a random one, drawn in each dimension from a normal distribution with the
        mean and standard deviation of those that have.

        Returns:
            matrix: (N, D) float32, a row a word.
            known: (N,) bool, whether the row is the word's own.

        Raises:
            ValueError: not one of the words has a vector.
        """
        matrix = np.zeros((len(words), self.dim), dtype=np.float32)
        known = np.ones(len(words), dtype=bool)
        for i, word in enumerate(words):
            try:
                matrix[i] = self[word]
            except UnknownWord:
                known[i] = False
        if not known.any():
            raise ValueError(f"none of the {len(words):,} words has a vector: are these vectors of the same language?")
        drawn = np.random.default_rng(seed).standard_normal((int((~known).sum()), self.dim))
        matrix[~known] = matrix[known].mean(axis=0) + matrix[known].std(axis=0) * drawn
        return matrix, known

    def _directions(self, words: Sequence[str]) -> np.ndarray:
        """The unit vectors of words, (N, D) float64."""
        return unit_vectors(np.stack([self[word] for word in words]).astype(np.float64))

    def _best(self, scores: np.ndarray, k: int, exclude: Iterable[str]) -> pd.DataFrame:
        """The k words of the highest scores (V,); of equal ones the more frequent first."""
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        candidates = np.ones(len(scores), dtype=bool)
        candidates[[row for word in exclude if (row := self._rows.get(word, len(scores))) < len(scores)]] = False
        rows = np.flatnonzero(candidates)
        if k < len(rows):
            kth = np.partition(scores[rows], -k)[-k]
            rows = rows[scores[rows] >= kth]
        rows = rows[np.argsort(-scores[rows], kind="stable")][:k]
        return pd.DataFrame({"word": [self.words[row] for row in rows], "score": scores[rows]})


class SubwordVectors(WordVectors):
    """Words whose vectors are made of their character n-grams, as fastText's are; unseen words have vectors too.

    A word of the vocabulary has the mean of its own row and its n-grams' rows, any other the mean of its n-grams'
    (Bojanowski et al. 2017, TACL, section 3.2; the mean is that of the authors' program).

    Args:
        words: the V words, the most frequent first.
        inputs: a row for each word and then one for each bucket that n-grams are hashed into, (V + buckets, D), the
            input matrix of the training.
        counts: how often each word occurred in the training text, (V,), or None.
        min_n, max_n: how many characters the n-grams have.

    Attributes:
        matrix: the finished vectors of the vocabulary, (V, D), what fastText writes as ``.vec``.
        ngrams: the rows of the buckets, (buckets, D).

    Raises:
        ValueError: as :class:`WordVectors`, and when there are fewer rows than words.
    """

    def __init__(
        self,
        words: Sequence[str],
        inputs: np.ndarray,
        counts: np.ndarray | None = None,
        *,
        min_n: int = 3,
        max_n: int = 6,
    ):
        words = tuple(words)
        self.inputs = np.asarray(inputs, dtype=np.float32)
        self.min_n, self.max_n = min_n, max_n
        if self.inputs.ndim != 2 or len(self.inputs) < len(words):
            raise ValueError(f"{len(words):,} words, but input rows of the shape {self.inputs.shape}")
        self.ngrams = self.inputs[len(words) :]
        if not all(np.isfinite(self.ngrams[block]).all() for block in blocks(self.ngrams)):
            raise ValueError("the vector of an n-gram has a number that is infinite or not a number")
        matrix = np.empty((len(words), self.inputs.shape[1]), dtype=np.float32)
        done = 0
        for rows in rows_in_blocks(words, min_n=min_n, max_n=max_n, buckets=len(self.ngrams)):
            sizes = np.diff(rows.indptr)[:, None]
            rows.data[:] = 1  # sum, then divide, as fastText and gensim do: the same to the last bit
            matrix[done : (done := done + len(sizes))] = (rows @ self.inputs) / sizes.astype(np.float32)
        super().__init__(words, matrix, counts)

    def ngram_rows(self, word: str) -> list[int]:
        """The rows in :attr:`ngrams` of a word's n-grams."""
        return ngram_rows(word, min_n=self.min_n, max_n=self.max_n, buckets=len(self.ngrams))

    def composable(self, word: str) -> bool:
        """Whether a word has any n-gram, so that a vector can be made for it even if it is not in the vocabulary."""
        return bool(self.ngram_rows(word))

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of a word, (D,) float32: of an unseen one, the mean of its n-grams'.

        Raises:
            UnknownWord: it is unseen and too short to have an n-gram.
        """
        if word in self or not (rows := self.ngram_rows(word)):
            return super().__getitem__(word)
        return self.ngrams[rows].sum(axis=0) / np.float32(len(rows))


class MappedSubwordVectors(SubwordVectors):
    """Subword vectors whose finished matrix and n-grams are on disk; they have no ``inputs`` to train on from.

    Args:
        words: the V words, the most frequent first.
        matrix: their finished vectors, (V, D) memory-mapped float32.
        ngrams: the rows of the buckets, (buckets, D) memory-mapped float32.
        min_n, max_n: how many characters the n-grams have.
    """

    def __init__(self, words: Sequence[str], matrix: np.ndarray, ngrams: np.ndarray, *, min_n: int, max_n: int):
        WordVectors.__init__(self, words, matrix)
        self.ngrams, self.min_n, self.max_n = ngrams, min_n, max_n
