"""Texts into batches: normalise, cut into words or characters, number them, and serve them to a model."""

from tlcourse.text.tokens import characters, english_words, normalise, thai_words, tokenise
from tlcourse.text.vocab import BOS, EOS, PAD, UNK, Vocab, numericalise

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "ClassificationBatches",
    "LMBatches",
    "SortedBatches",
    "Vocab",
    "characters",
    "english_words",
    "normalise",
    "numericalise",
    "thai_words",
    "tokenise",
]


def __getattr__(name: str) -> object:
    """The batches, when first asked for: they need torch, for which a process that cuts words need not wait."""
    if name in {"ClassificationBatches", "LMBatches", "SortedBatches"}:
        from tlcourse.text import batches

        return getattr(batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
