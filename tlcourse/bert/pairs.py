"""From documents to BERT's rows: two segments that follow each other or do not, with their special tokens.

`Documents` holds the pieces of many documents, sentence by sentence; `sentence_pairs` deals them out, another way
in each epoch, as a function of the seed and the epoch alone.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerFast

from tlcourse.text.shards import CorpusError, read_header, smallest_dtype
from tlcourse.text.tokens import THAI

DOCUMENTS = "tlcourse-bert-documents-1"
"""The format that `documents.json` names."""

# --- Sentences ----------------------------------------------------------------------------------------------

_LEAST = 40  # characters of a Thai sentence: some ten words
_THAI_LETTER = re.compile(f"[{THAI}]")
_BLANK = re.compile(r"\s+")
# After . ! ? … and what closes, before a capital, a digit or what opens; not after one capital ("J. Smith") or
# the commonest titles.
_END = re.compile(
    r"(?<=[.!?…])(?<!\b[A-Z]\.)(?<!\b(?:Mr|Dr|St|Ms|vs)\.)(?<!\b(?:Mrs|etc)\.)[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])"
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, without the blanks around them; a text of blanks has none.

    A line's end ends a sentence. English: so does a full stop, a question or an exclamation mark before a capital.
    Thai writes no end of a sentence: a blank may stand there, or between clauses, or round a number (Aroonmanakun,
    2007, "Thoughts on Word and Sentence Segmentation in Thai"). So what stands between blanks is joined until it
    has 40 characters: clauses more than sentences, and enough for the question whether B follows A.
    """
    sentences = []
    for line in text.splitlines():
        if _THAI_LETTER.search(line):
            sentences += _clauses(line)
        else:
            begin = 0
            for end in _END.finditer(line):
                sentences.append(line[begin : end.end()].strip())
                begin = end.end()
            sentences.append(line[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _clauses(line: str) -> list[str]:
    """What stands between blanks, joined up to the least length; too short an end joins what is before it."""
    line = line.strip()
    ends = [0]
    for blank in _BLANK.finditer(line):
        if blank.start() - ends[-1] >= _LEAST:
            ends.append(blank.end())
    if len(ends) > 1 and len(line) - ends[-1] < _LEAST:
        ends.pop()
    return [line[a:b].strip() for a, b in zip(ends, [*ends[1:], len(line)], strict=True)]


# --- Documents ----------------------------------------------------------------------------------------------

_BATCH = 4_000  # sentences given to the tokeniser at a time


@dataclass(frozen=True, eq=False)
class Documents:
    """The pieces of many documents, without special tokens.

    Attributes:
        ids: all pieces, (N,), in the smallest type that holds the vocabulary.
        sentence_starts: where in `ids` each sentence begins, and their end, (S + 1,) int64. None is empty.
        document_starts: the number of each document's first sentence, and of all sentences, (D + 1,) int64. None
            is empty.
        cls, sep: the ids of [CLS] and [SEP].
        empty: how many texts had no pieces and are left out.
    """

    ids: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray
    cls: int
    sep: int
    empty: int = 0

    def __len__(self) -> int:
        """The number of pieces."""
        return len(self.ids)

    @property
    def sentences(self) -> int:
        """The number of sentences."""
        return len(self.sentence_starts) - 1

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.document_starts) - 1

    @cached_property
    def begins(self) -> np.ndarray:
        """Where in `ids` each document begins, and their end, (D + 1,) int64."""
        return self.sentence_starts[self.document_starts]

    @cached_property
    def digest(self) -> str:
        """A hash of all that the documents hold: the same for the same pieces in the same sentences."""
        total = hashlib.sha256(f"{DOCUMENTS} {self.cls} {self.sep}".encode())
        for array in (self.ids.astype("<i4"), self.sentence_starts, self.document_starts):
            total.update(np.ascontiguousarray(array))
        return total.hexdigest()

    def document_of(self, positions: np.ndarray) -> np.ndarray:
        """The number of the document in which each position of `ids` lies."""
        return np.searchsorted(self.begins, positions, "right") - 1

    @classmethod
    def from_texts(cls, texts: Iterable[str], tokeniser: PreTrainedTokenizerFast) -> "Documents":
        """Each text a document, cut by `split_sentences`. Raises as `from_sentences` does."""
        return cls.from_sentences(map(split_sentences, texts), tokeniser)

    @classmethod
    def from_sentences(cls, documents: Iterable[Sequence[str]], tokeniser: PreTrainedTokenizerFast) -> "Documents":
        """Each list of sentences a document. "[SEP]" and its like, written in a text, are letters and brackets.

        Raises:
            TypeError: a document is a string, not a list of sentences.
            ValueError: the tokeniser has no [CLS] or [SEP]; no document has a piece.
        """
        if tokeniser.cls_token_id is None or tokeniser.sep_token_id is None:
            raise ValueError("the tokeniser has no [CLS] or no [SEP]: BERT's rows are made of them")
        sentences = (
            (n, sentence) for n, document in enumerate(documents) for sentence in _checked(n, document) or [""]
        )
        dtype = smallest_dtype(len(tokeniser))
        ids, lengths, numbers = [], [], []  # pieces; pieces of each sentence; the number of its document
        while batch := list(itertools.islice(sentences, _BATCH)):
            pieces = tokeniser(
                [sentence for _, sentence in batch],
                add_special_tokens=False,
                split_special_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            ).input_ids
            ids.append(np.fromiter(itertools.chain.from_iterable(pieces), dtype))
            lengths += map(len, pieces)
            numbers += [n for n, _ in batch]
        if not any(lengths):
            raise ValueError("no document has a piece: there is nothing to make rows of")
        per_document = np.bincount(numbers, weights=np.array(lengths) > 0).astype(np.int64)  # sentences
        return cls(
            np.concatenate(ids),
            _starts([length for length in lengths if length]),
            _starts(per_document[per_document > 0]),
            tokeniser.cls_token_id,
            tokeniser.sep_token_id,
            int((per_document == 0).sum()),
        )

    def save(self, folder: str | Path) -> None:
        """Write the documents into a folder; `load` maps them into memory."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        header = folder / "documents.json"
        header.unlink(missing_ok=True)  # written last: with it the folder is whole
        for name in ("ids", "sentence_starts", "document_starts"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        known = {"format": DOCUMENTS, "cls": self.cls, "sep": self.sep, "empty": self.empty, "digest": self.digest}
        header.write_text(json.dumps(known | {"pieces": len(self)}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "Documents":
        """The documents of a folder, whose pieces are read from disk as they are used.

        Raises CorpusError when the folder holds none, or what it holds was cut short or does not fit together.
        """
        folder = Path(folder)
        header = read_header(folder / "documents.json", DOCUMENTS)
        try:
            ids = np.load(folder / "ids.npy", mmap_mode="r")
            sentence_starts, document_starts = (
                np.load(folder / f"{name}_starts.npy") for name in ("sentence", "document")
            )
            documents = cls(ids, sentence_starts, document_starts, header["cls"], header["sep"], header["empty"])
            ends = (len(ids), documents.sentences) == (sentence_starts[-1], document_starts[-1])
            if not ends or len(ids) != header["pieces"] or (np.diff(sentence_starts) < 1).any():
                raise ValueError("they are not of one another")
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise CorpusError(f"the documents of {folder} are damaged: {error}. Make them again") from error
        return documents


def _checked(n: int, document: Sequence[str]) -> Sequence[str]:
    if isinstance(document, str):
        raise TypeError(f"document {n} is a text ({document[:30]!r}): give its sentences, or use from_texts")
    return document


def _starts(lengths: Sequence[int]) -> np.ndarray:
    """Where each of adjoining stretches begins, and their end, int64."""
    return np.concatenate([[0], np.cumsum(lengths)])


# --- Pairs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows [CLS] A [SEP] B [SEP], or [CLS] A [SEP] where there is no question to answer.

    Attributes:
        ids: the pieces of all rows, special tokens among them, (N,).
        starts: where in `ids` each row begins, and their end, (R + 1,) int64.
        first_length: the pieces of each row that have token type 0, [CLS] to the first [SEP], (R,) int32.
        is_next: whether B truly follows A, (R,) bool.
        source: where in the `ids` of the documents A and B come from, before they were truncated: begin and end,
            (R, 2, 2) int64. B truly follows A where A's end is B's begin. No B: 0, 0.
    """

    ids: np.ndarray
    starts: np.ndarray
    first_length: np.ndarray
    is_next: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.first_length)

    @property
    def labels(self) -> np.ndarray:
        """BERT's labels, (R,) int64: 0 where B follows A, 1 where it does not."""
        return (~self.is_next).astype(np.int64)

    @property
    def lengths(self) -> np.ndarray:
        """The pieces of each row, (R,) int64."""
        return np.diff(self.starts)

    def row(self, i: int) -> np.ndarray:
        """The pieces of one row. Raises IndexError when there is no such row."""
        if not 0 <= i < len(self):
            raise IndexError(f"there is no row {i} of {len(self):,}")
        return self.ids[self.starts[i] : self.starts[i + 1]]


def sentence_pairs(
    documents: Documents,
    *,
    max_length: int = 128,
    short: float = 0.1,
    nsp: Literal["order"] | bool = True,
    seed: int = 0,
    epoch: int = 0,
) -> Pairs:
    """Deal the documents out into rows, in a random order. Another epoch deals anew.

    The algorithm is that of Devlin et al. (2019), appendix A.2, and of Google's `create_pretraining_data.py`: whole
    sentences are gathered until they fill a row; a random number of them are A. A fair coin says whether B is the
    rest, or sentences from anywhere in *another* document; then the rest is given back, to be used next. What is
    too long loses pieces one by one from the longer segment, from its front or its end by a fair coin.

    Two things differ. Google's code takes a random B whenever one sentence stands alone, which makes more than half
    of the B's random and ties the label to the length: here a lone sentence is cut in two, and one of a single
    piece is no A (a B it may be), so that each row's coin is fair. And a sentence longer than half a row is first
    cut into even parts, so that a text without sentence ends is not lost.

    Args:
        documents: the pieces.
        max_length: the most pieces of a row, special tokens included.
        short: the share of rows gathered up to a random shorter length, so that fine-tuning on short texts is not
            unheard of.
        nsp: True for next or other document; "order" for ALBERT's question whether the two segments are swapped
            (Lan et al., 2020; `is_next` is then the order); False for none: RoBERTa's FULL-SENTENCES (Liu et al.,
            2019), rows filled with sentences across documents, a [SEP] between two documents, the same each epoch
            but for the order.
        seed, epoch: alone decide what is random.

    Raises ValueError when `max_length` is below 5, `short` is no share, or there is no other document to draw from.
    """
    if max_length < 5:
        raise ValueError(
            f"max_length={max_length} leaves no room for two segments and three special tokens: at least 5"
        )
    if not 0 <= short <= 1:
        raise ValueError(f"short={short} is no share from 0 to 1")
    if nsp not in (True, False, "order"):
        raise ValueError(f'nsp={nsp!r} must be True, "order" or False')
    rng = np.random.default_rng([seed, epoch])
    if not nsp:
        return _full_sentences(documents, max_length, rng)
    if nsp is True and documents.documents < 2:
        raise ValueError(
            'B is drawn from another document, and there is only one: give two or more, or use nsp="order" or nsp=False'
        )
    room = max_length - 3
    starts = _cut_long(documents.sentence_starts, room // 2)
    source, is_next = _deal(documents.begins, starts, room, short, nsp == "order", rng)
    order = rng.permutation(len(is_next))
    source, is_next = source[order], is_next[order]
    return _write(documents, documents.ids, source, _truncate(source, room, rng), is_next)


def _cut_long(starts: np.ndarray, longest: int) -> np.ndarray:
    """The starts with those of even parts of each sentence longer than `longest`."""
    lengths = np.diff(starts)
    parts = -(-lengths // longest)
    part = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.append(
        np.repeat(starts[:-1], parts) + part * np.repeat(lengths, parts) // np.repeat(parts, parts), starts[-1]
    )


def _deal(
    begins: np.ndarray, starts: np.ndarray, room: int, short: float, swap: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`source` and `is_next` of all rows. All documents advance together, by a row each round."""
    firsts = np.searchsorted(starts, begins)  # (D + 1,) sentence numbers
    own = np.arange(len(begins) - 1)  # documents that are not used up
    here = firsts[:-1]  # the sentence that comes next in each of them
    rounds = []
    while len(own):
        n = len(own)
        target = np.where(rng.random(n) < short, rng.integers(2, room + 1, n), room)
        stop = np.searchsorted(starts, starts[here] + target)
        stop = np.minimum(np.maximum(stop, here + 2), firsts[own + 1])
        begin, end = starts[here], starts[stop]
        lone = stop == here + 1
        follows = rng.random(n) < 0.5
        middle = rng.integers(here + 1, np.maximum(stop, here + 2))  # sentence with which B may begin
        cut = starts[middle]
        cut_lone = rng.integers(begin + 1, np.maximum(end, begin + 2))
        cut = np.where(lone & (follows | swap), cut_lone, cut)
        first, second = np.stack([begin, cut], 1), np.stack([cut, end], 1)
        if swap:
            first, second = (np.where(follows[:, None], a, b) for a, b in ((first, second), (second, first)))
        else:
            other = rng.integers(0, len(firsts) - 2, n)
            other += other >= own
            b = rng.integers(firsts[other], firsts[other + 1])
            b_stop = np.searchsorted(starts, starts[b] + np.maximum(target - (cut - begin), 1))
            b_stop = np.minimum(b_stop, firsts[other + 1])
            second = np.where(follows[:, None], second, np.stack([starts[b], starts[b_stop]], 1))
        usable = ~lone | (end - begin > 1)
        rounds.append((np.stack([first, second], 1)[usable], follows[usable]))
        here = np.where(follows | swap, stop, middle)
        left = here < firsts[own + 1]
        own, here = own[left], here[left]
    source, is_next = (np.concatenate(arrays) for arrays in zip(*rounds, strict=True))
    return source, is_next


def _truncate(source: np.ndarray, room: int, rng: np.random.Generator) -> np.ndarray:
    """What of each segment stays, (R, 2, 2): the outcome of dropping pieces from the longer one, one by one."""
    a, b = (source[:, :, 1] - source[:, :, 0]).T
    a_left = np.minimum(a, np.maximum(room - room // 2, room - b))
    left = np.stack([a_left, np.minimum(b, room - a_left)], 1)
    dropped = np.stack([a, b], 1) - left
    begin = source[:, :, 0] + rng.binomial(dropped, 0.5)
    return np.stack([begin, begin + left], 2)


def _full_sentences(documents: Documents, max_length: int, rng: np.random.Generator) -> Pairs:
    """Rows filled with whole sentences, a [SEP] where a document ends within a row."""
    room = max_length - 2
    starts = _cut_long(documents.sentence_starts, room)
    number = documents.document_of(starts[:-1])  # of the document of each sentence
    separated = np.insert(documents.ids, documents.begins[1:-1], documents.sep)
    begin, end = starts[:-1] + number, starts[1:] + number  # of each sentence in `separated`
    following = np.searchsorted(end, begin + room, "right").tolist()  # the sentence with which the next row begins
    firsts = [0]
    while (after := following[firsts[-1]]) < len(begin):
        firsts.append(after)
    first = rng.permutation(np.array(firsts))
    last = np.array(following)[first] - 1
    source = np.zeros((len(first), 2, 2), np.int64)
    source[:, 0] = np.stack([starts[first], starts[last + 1]], 1)
    kept = np.stack([begin[first], end[last]], 1)[:, None]
    return _write(documents, separated, source, kept, np.zeros(len(first), bool))


_ROWS = 1 << 15  # written at a time, to need little memory


def _write(
    documents: Documents, pieces: np.ndarray, source: np.ndarray, kept: np.ndarray, is_next: np.ndarray
) -> Pairs:
    """The rows whose segments are `pieces[begin:end]` for `kept`, (R, 1 or 2, 2)."""
    begins, lengths = kept[:, :, 0], kept[:, :, 1] - kept[:, :, 0]
    starts = _starts(lengths.sum(1) + 1 + kept.shape[1])
    ids = np.full(starts[-1], documents.sep, documents.ids.dtype)
    ids[starts[:-1]] = documents.cls
    places = starts[:-1, None] + 1 + np.cumsum(lengths + 1, 1) - lengths - 1  # (R, 1 or 2) where segments go
    for block in (slice(i, i + _ROWS) for i in range(0, len(kept), _ROWS)):
        n = lengths[block].ravel()
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        ids[np.repeat(places[block].ravel(), n) + within] = pieces[np.repeat(begins[block].ravel(), n) + within]
    return Pairs(ids, starts, (lengths[:, 0] + 2).astype(np.int32), is_next, source)
