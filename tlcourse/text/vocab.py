"""The vocabulary: which words a model knows, and the number of each."""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

UNK, PAD, BOS, EOS = range(4)
"""Ids of the special tokens: a word not in the vocabulary, padding, the beginning and the end of a text."""

_FORMAT = "tlcourse vocabulary"
_VERSION = 1


class Vocab:
    """The words of a model, most frequent first; a word's id is its place.

    The first four are special (`Vocab.SPECIALS`, with ids `UNK`, `PAD`, `BOS`, `EOS`). They stand for something
    that is no word, so a text that happens to contain "<pad>" cannot forge padding: in a text it is unknown.

    `words`: every word in the order of ids, the special tokens first. Raises ValueError when they are not
    first or when a word stands twice.
    """

    SPECIALS = ("<unk>", "<pad>", "<bos>", "<eos>")

    def __init__(self, words: Sequence[str]):
        words = list(words)
        first = tuple(words[: len(self.SPECIALS)])
        if first != self.SPECIALS:
            raise ValueError(f"a vocabulary begins with {self.SPECIALS}, not {first}")
        if not all(isinstance(word, str) for word in words):
            raise ValueError("a vocabulary's words must be strings")
        self.words = words
        self._special_ids = {word: i for i, word in enumerate(self.SPECIALS)}
        self._ids = {word: i for i, word in enumerate(words) if i >= len(self.SPECIALS)}
        if len(self._ids) + len(self.SPECIALS) != len(words) or self._ids.keys() & self._special_ids:
            twice = [word for word, n in Counter(words).items() if n > 1]
            raise ValueError(f"{len(twice)} words stand twice in the vocabulary: {twice[:5]}")

    @classmethod
    def build(cls, token_lists: Iterable[Iterable[str]], *, min_count: int = 2, max_size: int = 60_000) -> "Vocab":
        """The words seen at least `min_count` times, most frequent first, equal counts in the order of the words.

        `max_size` is the size of the whole vocabulary, special tokens included: the width of a softmax over it.
        Raises ValueError when there is no token at all or `max_size` has no room for a word.
        """
        if max_size <= len(cls.SPECIALS):
            raise ValueError(f"max_size counts the {len(cls.SPECIALS)} special tokens too: {max_size} leaves no room")
        counts = Counter()
        for tokens in token_lists:
            if isinstance(tokens, str):
                raise TypeError(f"expected lists of tokens, got a text: {tokens!r:.60}; call tokenise first")
            counts.update(tokens)
        if not counts:
            raise ValueError("no tokens to build a vocabulary from: the corpus is empty")
        for special in cls.SPECIALS:
            del counts[special]
        known = sorted((word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word))
        return cls([*cls.SPECIALS, *known[: max_size - len(cls.SPECIALS)]])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def __getitem__(self, word: str) -> int:
        """The id of a word or of a special token; UNK when it is not known."""
        return self._ids.get(word, self._special_ids.get(word, UNK))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.words == other.words

    __hash__ = None

    def __repr__(self) -> str:
        return f"Vocab({len(self):,} words: {' '.join(self.words[len(self.SPECIALS) :][:5])} …)"

    def encode(self, tokens: Iterable[str], *, add_ends: bool = False) -> list[int]:
        """The ids of the tokens of one text, between BOS and EOS when `add_ends`."""
        if isinstance(tokens, str):
            raise TypeError(f"expected a list of tokens, got a text: {tokens!r:.60}")
        ids = [self._ids.get(token, UNK) for token in tokens]
        return [BOS, *ids, EOS] if add_ends else ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of the ids. Raises IndexError when an id is not of this vocabulary."""
        words = []
        for i in ids:
            if not 0 <= i < len(self):
                raise IndexError(f"id {int(i)} is not in a vocabulary of {len(self):,} words")
            words.append(self.words[i])
        return words

    def oov_rate(self, token_lists: Iterable[Iterable[str]]) -> float:
        """The share of the tokens that are out of the vocabulary, between 0 and 1."""
        total = unknown = 0
        for tokens in token_lists:
            ids = self.encode(tokens)
            total += len(ids)
            unknown += ids.count(UNK)
        if total == 0:
            raise ValueError("no tokens to measure the out-of-vocabulary rate on: the corpus is empty")
        return unknown / total

    @property
    def digest(self) -> str:
        """The sha256 of the words in their order: two models with one digest share their ids."""
        return hashlib.sha256(json.dumps(self.words, ensure_ascii=False).encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON; the file at `path` is the old one or the whole new one, never a part."""
        path = Path(path)
        content = {"format": _FORMAT, "version": _VERSION, "digest": self.digest, "words": self.words}
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                json.dump(content, file, ensure_ascii=False, indent=0)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    @classmethod
    def load(cls, path: str | Path) -> "Vocab":
        """Read a vocabulary written by `save`. Raises ValueError, naming the file, when it is anything else."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # not UTF-8, or not JSON
            raise ValueError(f"{path} is not a vocabulary: {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{path} is not a vocabulary: its format should be {_FORMAT!r}")
        if content.get("version") != _VERSION:
            raise ValueError(f"{path} has version {content.get('version')}; this code reads version {_VERSION}")
        if not isinstance(content.get("words"), list):
            raise ValueError(f"{path} has no list of words")
        try:
            vocab = cls(content["words"])
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if vocab.digest != content.get("digest"):
            raise ValueError(
                f"{path} is damaged or was edited: its words have sha256 {vocab.digest}, "
                f"the file says {content.get('digest')}"
            )
        return vocab


def numericalise(
    token_lists: Iterable[Sequence[str]], vocab: Vocab, *, progress: bool = False
) -> list[np.ndarray]:
    """Each text as a document: an int64 array of BOS and the ids of its tokens, shape (1 + tokens,).

    BOS tells a language model where one text ends and the next begins, and keeps an empty text from being empty.
    A look-up takes less time than sending a token to another process: this runs in one.
    """
    return [
        np.array([BOS, *vocab.encode(tokens)], dtype=np.int64)
        for tokens in tqdm(token_lists, unit="text", disable=not progress)
    ]
