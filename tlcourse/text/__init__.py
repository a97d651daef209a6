"""Texts into batches: normalise, cut into words or characters, number them, and serve them to a model."""

from tlcourse.text.batches import ClassificationBatches, LMBatches
from tlcourse.text.tokens import characters, english_words, normalise, thai_words, tokenise
from tlcourse.text.vocab import BOS, EOS, PAD, UNK, Vocab, numericalise

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "ClassificationBatches",
    "LMBatches",
    "Vocab",
    "characters",
    "english_words",
    "normalise",
    "numericalise",
    "thai_words",
    "tokenise",
]
