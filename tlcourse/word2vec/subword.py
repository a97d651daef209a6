"""fastText's character n-grams and the hash that gives each one of a fixed number of rows.

The word *where* is written ``<where>``; its 3-grams are ``<wh``, ``whe``, ``her``, ``ere``, ``re>`` (Bojanowski et al.
2017, TACL, section 3.2). A character is a Unicode code point, so a Thai vowel or tone mark counts as one. Many n-grams
share a row: there are far more of them than rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp

END_OF_SENTENCE = "</s>"  # fastText's own mark; it gives it no n-grams
OFFSET, PRIME = 2166136261, 16777619  # of FNV-1a, 32 bit
BLOCK = 50_000  # words that are cut up at once


def hash_ngram(text: str) -> int:
    """FNV-1a of the text's UTF-8 bytes, 32 bit, as fastText computes it: bytes above 127 are taken as negative."""
    value = OFFSET
    for byte in text.encode():
        signed = byte if byte < 128 else byte | 0xFFFFFF00
        value = ((value ^ signed) * PRIME) & 0xFFFFFFFF
    return value


def ngrams(word: str, min_n: int = 3, max_n: int = 6) -> list[str]:
    """The n-grams of ``<word>`` with min_n to max_n characters, in fastText's order; never ``<`` or ``>`` alone."""
    if word == END_OF_SENTENCE:
        return []
    text = f"<{word}>"
    return [
        text[start : start + n]
        for start in range(len(text))
        for n in range(max(1, min_n), min(max_n, len(text) - start) + 1)
        if n > 1 or 0 < start < len(text) - 1
    ]


def ngram_rows(word: str, *, min_n: int = 3, max_n: int = 6, buckets: int) -> list[int]:
    """The row, 0 to buckets - 1, of each n-gram of a word; none where there are no buckets."""
    return [hash_ngram(ngram) % buckets for ngram in ngrams(word, min_n, max_n)] if buckets else []


def word_rows(words: Sequence[str], *, min_n: int = 3, max_n: int = 6, buckets: int) -> sp.csr_matrix:
    """Which rows of fastText's input matrix each word's vector is the mean of.

    Row i of the result has weights that sum to 1, on column i and on the columns ``V + ngram_rows(words[i])``; an
    n-gram that occurs twice in a word has two entries. So ``word_rows(...) @ inputs`` are the words' vectors.

    Returns:
        (V, V + buckets) float32.
    """
    parts = list(rows_in_blocks(words, min_n=min_n, max_n=max_n, buckets=buckets))
    return sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, buckets), dtype=np.float32)


def rows_in_blocks(words: Sequence[str], *, min_n: int = 3, max_n: int = 6, buckets: int) -> Iterator[sp.csr_matrix]:
    """:func:`word_rows` in parts of some ten thousand rows, for a vocabulary of millions."""
    for start in range(0, len(words), BLOCK):
        block = words[start : start + BLOCK]
        rows, sizes = _hash_all(block, min_n, max_n, buckets)
        indptr = np.concatenate([[0], np.cumsum(sizes + 1)])
        own = indptr[:-1]  # each word's own row comes first
        is_ngram = np.ones(indptr[-1], dtype=bool)
        is_ngram[own] = False
        indices = np.empty(indptr[-1], dtype=np.int32)
        indices[own] = np.arange(start, start + len(block))
        indices[is_ngram] = len(words) + rows
        weights = np.repeat((1 / (sizes + 1)).astype(np.float32), sizes + 1)
        yield sp.csr_matrix((weights, indices, indptr), shape=(len(block), len(words) + buckets))


def _hash_all(words: Sequence[str], min_n: int, max_n: int, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """:func:`ngram_rows` of all words one after the other, and how many each has, (V,).

    All words stand in one array of T characters. The hash of the n characters from each position on is that of the
    n - 1 characters with one more hashed in: a few passes over the array in place of a loop over n-grams.
    """
    lengths = np.array([len(word) + 2 for word in words])  # with < and >
    min_n, max_n = max(1, min_n), min(max_n, int(lengths.max()))
    if not buckets or max_n < min_n:
        return np.empty(0, dtype=np.int64), np.zeros(len(words), dtype=np.int64)
    text = "".join(f"<{word}>" for word in words)
    last = np.repeat(np.cumsum(lengths) - 1, lengths)  # (T,): where the word of a character ends
    first = last - np.repeat(lengths, lengths) + 1
    here = np.arange(len(text))

    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    begins = np.flatnonzero((raw & 0xC0) != 0x80)  # the first byte of each character
    widths = np.diff(begins, append=len(raw))
    signed = raw.view(np.int8).astype(np.int32).view(np.uint32)  # sign-extended

    hashes = np.full(len(text), OFFSET, dtype=np.uint32)
    table = np.empty((len(text), max_n), dtype=np.int64)
    valid = np.zeros((len(text), max_n), dtype=bool)
    for n in range(1, max_n + 1):
        starts = here[here + n - 1 <= last]  # where an n-gram fits into its word
        ends = starts + n - 1
        for k in range(int(widths.max())):  # the bytes of the n-gram's last character
            more = widths[ends] > k
            at = starts[more]
            hashes[at] = (hashes[at] ^ signed[begins[ends[more]] + k]) * np.uint32(PRIME)
        if n == 1:
            starts = starts[(starts > first[starts]) & (starts < last[starts])]
        if n >= min_n:
            table[starts, n - 1] = hashes[starts] % buckets
            valid[starts, n - 1] = True
    per_word = np.add.reduceat(valid.sum(axis=1), np.cumsum(lengths) - lengths)
    marks = np.array([word == END_OF_SENTENCE for word in words])
    if marks.any():
        valid[np.repeat(marks, lengths)] = False
        per_word[marks] = 0
    return table[valid], per_word
