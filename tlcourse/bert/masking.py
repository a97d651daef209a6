"""The masked language model's task: hide some pieces of a text, to be told from what stands around them.

::

    pieces = Pieces.of(tokeniser)
    masked = mask_tokens(ids, pieces.maskable(ids), Masking(), pieces=pieces, generator=np.random.default_rng(0))

Devlin et al. (2019), section 3.1 and appendix A.1: 15 % of the pieces are chosen, and the model is to tell what they
were; of those 80 % are replaced by [MASK], 10 % by a random piece and 10 % stay as they are. Called anew for each
epoch, the same text is masked differently each time (dynamic masking, Liu et al. 2019, section 4.1). B is the rows of
a batch, T the pieces of a row, M the chosen ones of a batch, V the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

MASK, RANDOM, KEPT = range(3)  # what became of a chosen piece


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How many pieces are chosen, and what becomes of them.

    Attributes:
        share: of a row's pieces, special ones aside, that are chosen; at least one is.
        mask: share of the chosen ones that are replaced by [MASK].
        random: share that is replaced by a random piece; the rest stays.
        whole_word: choose words, with all their pieces, instead of pieces.
        most: choose no more than so many pieces of a row.

    Raises:
        ValueError: a share is out of its range.
    """

    share: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    whole_word: bool = False
    most: int | None = None

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} of the pieces must be above 0 and at most 1")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1 + 1e-9:
            raise ValueError(f"mask={self.mask} and random={self.random} are shares of the chosen pieces: at most 1")
        if self.most is not None and self.most < 1:
            raise ValueError(f"most={self.most} must be at least 1")

    def how_many(self, maskable: np.ndarray) -> np.ndarray:
        """How many pieces are chosen in rows that have so many to choose from, both (B,)."""
        chosen = np.clip(np.rint(maskable * self.share).astype(np.int64), 1, self.most)
        return np.minimum(chosen, maskable)


@dataclass(frozen=True, eq=False)
class Pieces:
    """What masking has to know of a vocabulary.

    Attributes:
        mask_id: of [MASK].
        special: (V,) bool, which pieces are no part of a text: [PAD], [CLS], [SEP], [MASK] and [UNK].
        starts_word: (V,) bool, which pieces begin a word: those without ``##``.
        ordinary: the ids of all others than the special ones, any of which may replace a piece.
    """

    mask_id: int
    special: np.ndarray = field(repr=False)
    starts_word: np.ndarray = field(repr=False)
    ordinary: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, tokeniser: PreTrainedTokenizerBase) -> Pieces:
        """The pieces of a tokeniser.

        Raises:
            ValueError: it has no [MASK], or nothing but special pieces.
        """
        if tokeniser.mask_token_id is None:
            raise ValueError("this tokeniser has no [MASK]: take one made for masked language models")
        special = np.zeros(len(tokeniser), dtype=bool)
        special[tokeniser.all_special_ids] = True
        if special.all():
            raise ValueError("this tokeniser has only special pieces")
        starts_word = np.ones(len(tokeniser), dtype=bool)
        for piece, number in tokeniser.get_vocab().items():
            starts_word[number] = not piece.startswith("##")
        return cls(tokeniser.mask_token_id, special, starts_word, np.flatnonzero(~special))

    def maskable(self, ids: np.ndarray) -> np.ndarray:
        """Which pieces may be chosen: all but the special ones."""
        return ~self.special[ids]


@dataclass(frozen=True, eq=False)
class Masked:
    """A batch, masked.

    Attributes:
        ids: (B, T), with the chosen pieces replaced.
        positions: (M,) of the chosen pieces in the flattened batch, ascending.
        targets: (M,) what they were.
        kind: (M,) what became of them: ``MASK``, ``RANDOM`` or ``KEPT``.
    """

    ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    kind: np.ndarray


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    masking: Masking,
    *,
    pieces: Pieces,
    generator: np.random.Generator,
) -> Masked:
    """Choose pieces and replace them.

    A row of n maskable pieces has ``max(1, round(share * n))`` of them chosen, each equally likely. Whole words are
    chosen in a random order, as in Google's ``create_pretraining_data``: a word that would be too much is left
    out, so that a row may fall short of the share. A random piece may by chance be the one that was there.

    Args:
        ids: (B, T); it is not changed.
        maskable: (B, T) bool, which positions may be chosen: no special pieces, no padding.
        masking: how many, and what becomes of them.
        pieces: of the vocabulary.
        generator: draws.
    """
    ids, maskable = np.asarray(ids), np.asarray(maskable)
    wanted = masking.how_many(maskable.sum(1))  # (B,)
    if masking.whole_word:
        chosen = choose_words(maskable, pieces.starts_word[ids], wanted, generator)
    else:
        chosen = choose_pieces(maskable, wanted, generator)
    positions = np.flatnonzero(chosen)  # (M,)
    targets = ids.ravel()[positions]
    kind = np.searchsorted([masking.mask, masking.mask + masking.random], generator.random(len(positions)), "right")
    random = generator.choice(pieces.ordinary, len(positions))
    replaced = ids.copy()
    replaced.ravel()[positions] = np.choose(kind, [pieces.mask_id, random, targets])
    return Masked(replaced, positions, targets, kind)


def choose_pieces(maskable: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``wanted`` (B,) of the maskable positions of each row, (B, T) bool."""
    lots = np.where(maskable, generator.random(maskable.shape), 2.0)
    rank = np.argsort(np.argsort(lots, axis=1), axis=1)
    return rank < wanted[:, None]


def choose_words(
    maskable: np.ndarray, starts_word: np.ndarray, wanted: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Whole words of each row, together at most ``wanted`` (B,) pieces, (B, T) bool.

    A word begins at a piece that starts one, and after a special piece, where truncation may have left its end.
    """
    begins = maskable & (starts_word | ~np.pad(maskable, ((0, 0), (1, 0)))[:, :-1])
    word = np.where(maskable, begins.cumsum(1), 0)  # (B, T) number of the word, from 1
    rows, words = np.arange(len(word)), word.max(initial=0)
    sizes = np.zeros((len(word), words + 1), dtype=np.int64)
    np.add.at(sizes, (rows[:, None], word), maskable)
    order = generator.random((len(word), words)).argsort(1) + 1  # (B, words), each row another
    taken, room = np.zeros_like(sizes, dtype=bool), wanted.copy()
    for nth in order.T:  # the nth word in the order of each row
        fits = (sizes[rows, nth] <= room) & (sizes[rows, nth] > 0)
        taken[rows, nth] = fits
        room -= np.where(fits, sizes[rows, nth], 0)
    return taken[rows[:, None], word] & maskable
