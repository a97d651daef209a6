"""A text as the word vectors read it: the numbers of its words in one long row, and where its sentences begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np


@dataclass(frozen=True, eq=False)
class EncodedText:
    """A text whose words are numbered by frequency, the most frequent 0; rare words are left out, as word2vec does.

    Attributes:
        words: the V words, by number.
        counts: how often each occurs, (V,) int64, falling.
        ids: the words of the text in their order, (T,) int32.
        starts: where each sentence begins in ``ids``, (S + 1,) int64; the last is T.
    """

    words: tuple[str, ...]
    counts: np.ndarray = field(repr=False)
    ids: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """How many words the text has, T."""
        return len(self.ids)


def encode(sentences: Iterable[Sequence[str]], *, min_count: int = 5, max_vocab: int | None = None) -> EncodedText:
    """Count and number the words of a text.

    Args:
        sentences: each a list of words; no window reaches across their ends.
        min_count: words that occur less often are dropped before windows are cut.
        max_vocab: the most words to keep, the most frequent ones.

    Raises:
        ValueError: fewer than two different words are left: there would be nothing to tell apart.
        TypeError: a sentence is a string, not a list of words.
    """
    sentences = [_words(sentence) for sentence in sentences]
    counted = Counter(chain.from_iterable(sentences))
    frequent = sorted(((n, w) for w, n in counted.items() if n >= min_count), key=lambda entry: (-entry[0], entry[1]))
    frequent = frequent[:max_vocab]
    if len(frequent) < 2:
        raise ValueError(
            f"of {len(counted):,} different words {len(frequent)} occur {min_count} times or more; word vectors need "
            "two at least: give a longer text, or a smaller min_count"
        )
    words = tuple(word for _, word in frequent)
    ids, starts = _numbered(sentences, words)
    return EncodedText(words, np.array([n for n, _ in frequent], dtype=np.int64), ids, starts)


def encode_like(text: EncodedText, sentences: Iterable[Sequence[str]]) -> EncodedText:
    """Further sentences in the words, and with the counts, of a text; other words are dropped, as rare ones are.

    Raises:
        TypeError: a sentence is a string, not a list of words.
    """
    ids, starts = _numbered(map(_words, sentences), text.words)
    return replace(text, ids=ids, starts=starts)


def _numbered(sentences: Iterable[Sequence[str]], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the known words in one row, (T,), and where each sentence begins in it, (S + 1,)."""
    number = {word: i for i, word in enumerate(words)}
    known = [[number[word] for word in sentence if word in number] for sentence in sentences]
    starts = np.cumsum([0, *map(len, known)], dtype=np.int64)
    return np.fromiter(chain.from_iterable(known), dtype=np.int32, count=starts[-1]), starts


def _words(sentence: Sequence[str]) -> Sequence[str]:
    if isinstance(sentence, str):  # iterable too, but into characters
        raise TypeError(f"expected a list of words, got the text {sentence!r:.60}: cut it with a tokeniser first")
    return sentence
