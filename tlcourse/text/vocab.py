"""The vocabulary: which words a model knows, and the number of each."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

UNK, PAD, BOS, EOS = range(4)
"""Ids of the special tokens: a word out of the vocabulary, padding, the beginning and the end of a text."""

_FORMAT, _VERSION = "tlcourse vocabulary", 1


class Vocab:
    """The words of a model, most frequent first; the id of a word is its place.

    The first four are special: `Vocab.SPECIALS`, with the ids `UNK`, `PAD`, `BOS` and `EOS`. They are no words
    of a text. Should a text contain "<pad>", it is an unknown word there, and cannot pass for padding.

    `words`: all words in the order of their ids, the special tokens first. Raises ValueError when those are
    not first or a word stands twice.
    """

    SPECIALS = ("<unk>", "<pad>", "<bos>", "<eos>")

    def __init__(self, words: Sequence[str]):
        self.words = list(words)
        n = len(self.SPECIALS)
        if tuple(self.words[:n]) != self.SPECIALS:
            raise ValueError(f"a vocabulary begins with {self.SPECIALS}, not with {self.words[:n]}")
        if not all(isinstance(word, str) for word in self.words):
            raise ValueError("the words of a vocabulary must be strings")
        if twice := [word for word, count in Counter(self.words).items() if count > 1]:
            raise ValueError(f"{len(twice)} words stand twice in the vocabulary: {twice[:5]}")
        self._ids = {word: i for i, word in enumerate(self.words) if i >= n}  # of what a text may contain

    @classmethod
    def build(cls, token_lists: Iterable[Iterable[str]], *, min_count: int = 2, max_size: int = 60_000) -> "Vocab":
        """The words seen at least `min_count` times, most frequent first, equal counts in alphabetical order.

        `max_size` is the size of the whole vocabulary, special tokens included: the width of a softmax over it.

        Raises ValueError when no token is left or `max_size` has no room for one; TypeError when a text is not
        cut into tokens yet.
        """
        counts = Counter()
        for tokens in token_lists:
            counts.update(_tokens(tokens))
        return cls.from_counts(counts, min_count=min_count, max_size=max_size)

    @classmethod
    def from_counts(
        cls, counts: Counter, *, min_count: int = 2, max_size: int = 60_000, must_have: Iterable[str] = ()
    ) -> "Vocab":
        """As `build`, from how often each word occurs.

        `must_have`: words that are in the vocabulary if they occur at all, in the place that their count gives them.

        Raises ValueError when no word is left, or `max_size` has no room for one or for the `must_have` words.
        """
        words = counts.keys() - {*cls.SPECIALS}
        must = words & {*_tokens(must_have)}
        room = max_size - len(cls.SPECIALS)
        if room < max(len(must), 1):
            beside = f"{len(cls.SPECIALS)} special tokens" + (f" and {len(must):,} words of must_have" if must else "")
            raise ValueError(f"max_size={max_size} leaves no room beside the {beside}")

        def rank(word: str) -> tuple[int, str]:
            return -counts[word], word

        frequent = sorted((word for word in words - must if counts[word] >= min_count), key=rank)
        chosen = sorted([*must, *frequent[: room - len(must)]], key=rank)
        if not chosen:
            raise ValueError(
                f"no words for a vocabulary: the corpus has {counts.total():,} tokens, none of them {min_count} times"
            )
        return cls([*cls.SPECIALS, *chosen])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        """Whether the word of a text is known."""
        return word in self._ids

    def __getitem__(self, word: str) -> int:
        """The id of a word or a special token; UNK for any other."""
        return self.SPECIALS.index(word) if word in self.SPECIALS else self._ids.get(word, UNK)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.words == other.words

    def __repr__(self) -> str:
        return f"Vocab({len(self):,} words: {' '.join(self.words[: len(self.SPECIALS) + 5])} …)"

    def encode(self, tokens: Iterable[str], *, add_ends: bool = False) -> list[int]:
        """The ids of the tokens of one text, between BOS and EOS when `add_ends`."""
        ids = [self._ids.get(token, UNK) for token in _tokens(tokens)]
        return [BOS, *ids, EOS] if add_ends else ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of the ids. Raises IndexError when an id is not of this vocabulary."""
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < len(self)]:
            raise IndexError(f"id {wrong[0]} is not in a vocabulary of {len(self)} words")
        return [self.words[i] for i in ids]

    def oov_rate(self, token_lists: Iterable[Iterable[str]]) -> float:
        """The share of the tokens that are out of the vocabulary, from 0 to 1. ValueError without any token."""
        total = unknown = 0
        for tokens in token_lists:
            ids = self.encode(tokens)
            total += len(ids)
            unknown += ids.count(UNK)
        if total == 0:
            raise ValueError("an out-of-vocabulary rate needs tokens: the corpus is empty")
        return unknown / total

    @property
    def digest(self) -> str:
        """The sha256 of the words in their order: models of one digest share their ids."""
        return hashlib.sha256(json.dumps(self.words, ensure_ascii=False).encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON. The file at `path` is the old one or the whole new one, never a part."""
        path = Path(path)
        content = {"format": _FORMAT, "version": _VERSION, "digest": self.digest, "words": self.words}
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            partial.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Vocab":
        """Read a vocabulary that `save` wrote. Raises ValueError, naming the file, when it is anything else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # not UTF-8, or not JSON
            raise ValueError(f"{path} is not a vocabulary: {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{path} is not a vocabulary: it lacks the format {_FORMAT!r}")
        if content.get("version") != _VERSION:
            raise ValueError(f"{path} has version {content.get('version')}; this code reads version {_VERSION}")
        try:
            vocab = cls(content["words"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error!r}") from error
        if vocab.digest != content.get("digest"):
            raise ValueError(
                f"{path} is damaged or was edited: its words have the sha256 {vocab.digest}, "
                f"it says {content.get('digest')}"
            )
        return vocab


def numericalise(token_lists: Iterable[Iterable[str]], vocab: Vocab, *, progress: bool = False) -> list[np.ndarray]:
    """Each text as a document: BOS and the ids of its tokens, int64 of shape (1 + tokens,).

    BOS tells a language model where a text begins, and keeps an empty text from having no length. To look a
    word up takes less time than to send it to another process: this runs in one.
    """
    bar = tqdm(token_lists, unit="text", delay=1, disable=not progress)
    return [np.array([BOS, *vocab.encode(tokens)], dtype=np.int64) for tokens in bar]


def _tokens(tokens: Iterable[str]) -> Iterable[str]:
    if isinstance(tokens, str):  # iterable too, but into characters
        raise TypeError(f"expected a list of tokens, got the text {tokens!r:.60}: cut it with a tokeniser first")
    return tokens
