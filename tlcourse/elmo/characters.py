"""Words as ELMo's networks see them: bytes between a mark for the beginning and one for the end of the word.

The numbers are those of the published models (bilm-tf's ``UnicodeCharsVocabulary``, AllenNLP's
``ELMoCharacterMapper``), one higher than a byte's value, because 0 stands for "no word here".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SENTENCE_BEGIN, SENTENCE_END, WORD_BEGIN, WORD_END, WORD_PADDING = range(257, 262)
N_CHARACTERS = 262  # 0 (no word), 256 bytes, and the five above
LONGEST = 50  # ids of a word, its marks among them

BOS, EOS = "<S>", "</S>"  # a word spelt so is the beginning or the end of a sentence


def word_ids(word: str, *, longest: int = LONGEST) -> list[int]:
    """The ``longest`` ids of one word.

    A word is cut after ``longest - 2`` bytes of UTF-8, if need be within a character: 16 Thai characters are 48 bytes.
    An empty word has its two marks and nothing between. Lone surrogates, which are no characters, are left out.
    """
    if word in (BOS, EOS):
        inside = [SENTENCE_BEGIN if word == BOS else SENTENCE_END]
    else:
        inside = [byte + 1 for byte in word.encode("utf-8", "ignore")[: longest - 2]]
    ids = [WORD_BEGIN, *inside, WORD_END]
    return ids + [WORD_PADDING] * (longest - len(ids))


def character_ids(sentences: Sequence[Sequence[str]], *, longest: int = LONGEST) -> Tensor:
    """Sentences of words as a batch: (B, T + 2, longest) int64, T the number of words of the longest sentence.

    Each sentence stands between its marks of beginning and end, so an empty one has two rows. Behind a shorter
    sentence the rows are 0. No sentences give (0, 2, longest).

    Raises:
        TypeError: a sentence is a text, not its words, or a word is no text.
        ValueError: ``longest`` is below 3, too little for the mark of a sentence.
    """
    if longest < 3:
        raise ValueError(f"longest={longest} must be 3 or more: a word's two marks and what is between")
    known: dict[str, Tensor] = {}  # most words of a batch come more than once
    ids = torch.zeros(len(sentences), max(map(len, sentences), default=0) + 2, longest, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        if isinstance(sentence, str):
            raise TypeError(f"sentence {row} is a text ({sentence[:30]!r}): give its words, as a list")
        for position, word in enumerate([BOS, *sentence, EOS]):
            if not isinstance(word, str):
                raise TypeError(f"word {position - 1} of sentence {row} is no text: {word!r}")
            if word not in known:
                known[word] = torch.tensor(word_ids(word, longest=longest))
            ids[row, position] = known[word]
    return ids
