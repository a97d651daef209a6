"""Word vectors on disk, in the formats that other programs read and write.

* *text*: a line a word, its numbers in digits; word2vec's has a first line ``words dimensions``, as fastText's
  ``.vec`` has, and GloVe's has none.
* *binary*: word2vec's ``.bin``, the same first line and then each word and its numbers as float32.
* *fastText*: fastText's ``.bin``, a whole model with the rows of the n-grams, so that unseen words have vectors.
* a *folder* of our own, for vectors larger than memory: float32 ``.npy`` files and the words, see :func:`to_memmap`.

The first three may be packed with gzip. What a file claims to hold is compared with its size before memory is asked
for. Of a word that stands twice the first row is kept, as in gensim; a warning counts the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import struct
import tempfile
import warnings
import zlib
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import pandas as pd

from tlcourse.word2vec.vectors import MappedSubwordVectors, SubwordVectors, WordVectors, blocks

CHUNK = 1 << 22  # bytes that are read at once
GZIP_RATIO = 1032  # DEFLATE packs no better
HEADER = re.compile(rb"(\d{1,18}) (\d{1,18})")
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")  # hardly in a text
UNWRITABLE = re.compile(r"[ \t-\r\0\ud800-\udfff]")

FASTTEXT_MAGIC = 793712314
FASTTEXT_VERSION = 12
FASTTEXT_ARGS = "<12id"  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t
FASTTEXT_LOSSES = {"hierarchical softmax": 1, "negative sampling": 2}
FASTTEXT_MODELS = {"cbow": 1, "skipgram": 2}
SUPERVISED = 3
LONGEST_NGRAM = 50  # characters; more is damage

WORDS, MATRIX = "words.txt", "matrix.npy"  # in a folder
NGRAMS, LENGTHS = "ngrams.npy", "ngrams.json"  # beside them, of a fastText model


class VectorsError(ValueError):
    """A file does not hold word vectors, or words cannot be written; the message names both."""


# ------------------------------------------------------------------------------------------------------------ load
def load(path: str | Path) -> WordVectors:
    """Word vectors from a file of any of the formats above, found from what it holds, or from a folder.

    Raises:
        FileNotFoundError: there is no such file.
        VectorsError: it is empty, damaged, cut short or of another kind, it claims more or less than it holds, or
            a number is not finite.
    """
    return open_memmap(path) if Path(path).is_dir() else _load(path)


def load_text(path: str | Path) -> WordVectors:
    """:func:`load` for text: word2vec's, fastText's ``.vec`` or GloVe's."""
    return _load(path, "text")


def load_binary(path: str | Path) -> WordVectors:
    """:func:`load` for word2vec's binary format."""
    return _load(path, "binary")


def load_fasttext(path: str | Path) -> SubwordVectors:
    """:func:`load` for fastText's ``.bin``.

    Of a supervised model only the words are read: labels have no vectors among theirs. Quantised models are refused:
    their vectors are approximate.
    """
    return _load(path, "fastText")


def _load(path: str | Path, wanted: str | None = None) -> WordVectors:
    with _Reader(path) as reader:
        kind = _kind(reader)
        if kind != (wanted or kind):
            reader.fail(f"is not in the {wanted} format but in the {kind} one: load() takes any")
        return _read_fasttext(reader) if kind == "fastText" else _read_table(reader, TABLES[kind](reader))


# ------------------------------------------------------------------------------------------------------------ save
def save_text(vectors: WordVectors, path: str | Path) -> Path:
    """Write vectors as word2vec's text, packed if the name ends in ``.gz``; nine digits, so that no bit is lost.

    Raises:
        VectorsError: a word is empty or has a blank in it: the formats end a word at a blank.
    """
    line = " ".join(["%s"] + ["%.9g"] * vectors.dim) + "\n"
    with _writing(path, vectors.words) as file:
        file.write(b"%d %d\n" % vectors.matrix.shape)
        for block in blocks(vectors.matrix):
            rows = zip(vectors.words[block], vectors.matrix[block].tolist(), strict=True)
            file.write("".join(line % (word, *row) for word, row in rows).encode())
    return Path(path)


def save_binary(vectors: WordVectors, path: str | Path) -> Path:
    """Write vectors in word2vec's binary format, packed if the name ends in ``.gz``; errors as :func:`save_text`."""
    with _writing(path, vectors.words) as file:
        file.write(b"%d %d\n" % vectors.matrix.shape)
        for block in blocks(vectors.matrix):
            rows = zip(vectors.words[block], vectors.matrix[block].astype("<f4"), strict=True)
            file.write(b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in rows))
    return Path(path)


def save_fasttext(
    vectors: SubwordVectors,
    path: str | Path,
    *,
    outputs: np.ndarray | None = None,
    model: str = "skipgram",
    loss: str = "negative sampling",
    window: int = 5,
    epochs: int = 5,
    min_count: int = 5,
    negatives: int = 5,
    sample: float = 1e-4,
) -> Path:
    """Write fastText's ``.bin``, which fastText and gensim read; packed if the name ends in ``.gz``.

    Args:
        vectors: words without counts are written as if each had occurred once.
        path: where to.
        outputs: the output matrix of the training, (V, D), zeros where there is none; only who trains on needs it.
        model: how the vectors were trained, ``"skipgram"`` or ``"cbow"``.
        loss: with what, ``"negative sampling"`` or ``"hierarchical softmax"``.
        window, epochs, min_count, negatives, sample: the other settings of the training, which the file has a place
            for.

    Raises:
        VectorsError: as :func:`save_text`; or the vectors have no ``inputs``, the rows that such a file keeps: those
            of whole words, and those that stay on disk.
        ValueError: the outputs have another shape, or there is no such model or loss.
    """
    if model not in FASTTEXT_MODELS or loss not in FASTTEXT_LOSSES:
        raise ValueError(f"fastText has {', '.join(FASTTEXT_MODELS)}, with {' or '.join(FASTTEXT_LOSSES)}")
    if not hasattr(vectors, "inputs"):
        raise VectorsError(
            f"{vectors!r} cannot be written to {path}: fastText's format holds the rows that vectors are composed of, "
            "which these have not kept. Take the .bin that they came from, or save_text or save_binary."
        )
    outputs = np.zeros(vectors.matrix.shape, dtype="<f4") if outputs is None else np.asarray(outputs, dtype="<f4")
    if outputs.shape != vectors.matrix.shape:
        raise ValueError(f"outputs have the shape {outputs.shape}, the vectors {vectors.matrix.shape}")
    counts = np.ones(len(vectors), dtype=np.int64) if vectors.counts is None else vectors.counts
    args = (vectors.dim, window, epochs, min_count, negatives, 1, FASTTEXT_LOSSES[loss], FASTTEXT_MODELS[model])
    subwords = (len(vectors.ngrams), vectors.min_n, vectors.max_n)
    with _writing(path, vectors.words) as file:
        file.write(struct.pack("<2i", FASTTEXT_MAGIC, FASTTEXT_VERSION))
        file.write(struct.pack(FASTTEXT_ARGS, *args, *subwords, 100, sample))
        file.write(struct.pack("<3i2q", len(vectors), len(vectors), 0, int(counts.sum()), -1))
        for word, count in zip(vectors.words, counts.tolist(), strict=True):
            file.write(word.encode() + struct.pack("<xqb", count, 0))
        for matrix in (vectors.inputs, outputs):
            file.write(struct.pack("<?2q", False, *matrix.shape))
            for block in blocks(matrix):
                file.write(matrix[block].astype("<f4").tobytes())
    return Path(path)


@contextmanager
def _writing(path: str | Path, words: Iterable[str]) -> Iterator[BinaryIO]:
    """A file to write words and vectors to, which has its name only when it is whole."""
    path = Path(path)
    for word in words:
        if not word or UNWRITABLE.search(word):
            raise VectorsError(
                f"the word {word!r} cannot be written to {path}: it is empty, or has a blank, a line break or half a "
                "character in it, and a reader would lose its way. Leave it out, or put _ for the blank."
            )
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
                    yield packed
            else:
                yield raw
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------- larger than the memory
def to_memmap(path: str | Path, folder: str | Path) -> WordVectors:
    """Turn a file of any of the formats above into a folder that :func:`open_memmap` opens at once.

    The file is read as a stream, some megabytes at a time; but a fastText model is in memory while it is converted.
    The folder appears when it is whole.

    Raises:
        FileExistsError: there is something of the folder's name already.
        VectorsError: as :func:`load`; also for a word with a line break in it.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: open_memmap() reads it, or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _Reader(path) as reader, tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        (whole := Path(scratch) / "whole").mkdir()
        kind = _kind(reader)
        if kind == "fastText":
            model = _read_fasttext(reader)
            words = model.words
            np.save(whole / MATRIX, model.matrix)
            np.save(whole / NGRAMS, model.ngrams)
            (whole / LENGTHS).write_text(json.dumps({"min_n": model.min_n, "max_n": model.max_n}), encoding="utf-8")
        else:
            words = _stream(reader, TABLES[kind](reader), whole / MATRIX)
        if any("\n" in word for word in words):
            reader.fail("has a word with a line break in it, which a list of words has no place for")
        (whole / WORDS).write_text("\n".join(words), encoding="utf-8", newline="\n")
        whole.rename(folder)
    return open_memmap(folder)


def open_memmap(folder: str | Path, *, most_frequent: int | None = None) -> WordVectors:
    """Word vectors that stay on disk, from a folder that :func:`to_memmap` made.

    Args:
        folder: of a fastText model, it gives :class:`SubwordVectors`.
        most_frequent: take only so many words, the first.

    Raises:
        VectorsError: the folder is missing, damaged, or of another kind.
    """
    folder = Path(folder)
    try:
        with (folder / WORDS).open(encoding="utf-8", newline="\n") as file:
            words = file.read().split("\n")[:most_frequent]
        matrix = _mapped(folder / MATRIX)[:most_frequent]
        if not (folder / NGRAMS).is_file():
            return WordVectors(words, matrix)
        lengths = json.loads((folder / LENGTHS).read_text(encoding="utf-8"))
        return MappedSubwordVectors(words, matrix, _mapped(folder / NGRAMS), **lengths)
    except (OSError, ValueError, TypeError) as error:
        raise VectorsError(f"{folder} is no folder of word vectors, make it again with to_memmap(): {error}") from error


def _mapped(path: Path) -> np.ndarray:
    matrix = np.load(path, mmap_mode="r")
    if matrix.dtype != np.float32:
        raise ValueError(f"{path.name} is of {matrix.dtype}, not float32")
    return matrix


def _stream(reader: _Reader, table: _Table, path: Path) -> list[str]:
    """Write the rows of a table as ``.npy`` while they are read; gives their words."""
    words = _Words(reader)
    with path.open("wb") as file:
        _write_npy_header(file, (0, table.dim))
        for rows in words.checked(table):
            file.write(rows.astype("<f4").tobytes())
        file.seek(0)
        _write_npy_header(file, (len(words.texts), table.dim))  # as long as before
    return words.texts


def _write_npy_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


# --------------------------------------------------------------------------------------------------- reading safely
class _Reader:
    """The bytes of a file, unpacked where it is gzip's, and how many there can still be."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._raw = self.path.open("rb")
        self.packed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file = gzip.GzipFile(fileobj=self._raw) if self.packed else self._raw
        self.room = self.path.stat().st_size * (GZIP_RATIO if self.packed else 1)  # bytes not yet taken, at most
        self.buffer = b""  # read, not yet taken

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error) -> None:
        self._raw.close()

    def fail(self, what: str) -> NoReturn:
        raise VectorsError(f"{self.path} {what}")

    def need(self, n_bytes: int, claim: str) -> None:
        """Refuse a claim that takes more bytes than the file can have."""
        if n_bytes > self.room:
            self.fail(
                f"claims to hold {claim}, which takes {n_bytes:,} bytes, but has at most {self.room:,}: it is cut "
                "short or damaged. Copy or download it again."
            )

    def fill(self) -> bool:
        """Add a chunk to the buffer; False at the end of the file."""
        try:
            chunk = self._file.read(CHUNK)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.fail(f"is cut short or damaged, it does not unpack ({error}). Copy or download it again.")
        self.buffer += chunk
        return bool(chunk)

    def drop(self, n_bytes: int) -> None:
        self.buffer = self.buffer[n_bytes:]
        self.room -= n_bytes

    def take(self, n_bytes: int) -> bytes:
        """The next bytes, exactly so many."""
        while len(self.buffer) < n_bytes:
            if not self.fill():
                self.fail("is cut short: it ends in the middle. Copy or download it again.")
        taken = self.buffer[:n_bytes]
        self.drop(n_bytes)
        return taken

    def unpack(self, layout: str) -> tuple:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def records(self, n: int, mark: bytes, width: int) -> Iterator[tuple[list[bytes], bytes]]:
        """n words, each up to a mark and followed by ``width`` bytes, in batches: the words, and all their bytes."""
        while n:
            words, payloads, start = [], [], 0
            while len(words) < n and 0 <= (end := self.buffer.find(mark, start)) < len(self.buffer) - width:
                words.append(self.buffer[start:end])
                start = end + 1 + width
                payloads.append(self.buffer[end + 1 : start])
            self.drop(start)
            n -= len(words)
            if words:
                yield words, b"".join(payloads)
            elif len(self.buffer) > CHUNK + width:
                self.fail("is damaged: a word in it has no end. Copy or download it again.")
            if n and not self.fill():
                self.fail(f"is cut short: {n:,} of its words are missing. Copy or download it again.")

    def rows(self, n: int, dim: int) -> Iterator[np.ndarray]:
        """n rows of float32, in blocks."""
        step = max(1, CHUNK // (4 * dim))
        for start in range(0, n, step):
            size = min(step, n - start)
            yield np.frombuffer(self.take(4 * dim * size), dtype="<f4").reshape(size, dim)

    def end(self) -> None:
        """Refuse a file that goes on, except with blank lines."""
        while self.fill() or self.buffer:
            if self.buffer.strip():
                self.fail("goes on after the last row that it claims to hold: its claim is wrong, or its size")
            self.drop(len(self.buffer))


def _kind(reader: _Reader) -> str:
    """The format of a file, from its beginning."""
    if not reader.fill():
        reader.fail("is empty")
    head = reader.buffer
    if _is_fasttext(head):
        return "fastText"
    first, _, after = head.partition(b"\n")
    fields = first.rstrip(b" \r").split(b" ")
    if claim := HEADER.fullmatch(first.rstrip(b" \r")):
        row = after.partition(b"\n")[0].rstrip(b" \r").split(b" ")
        numbers = row[1:][-int(claim[2]) :]
        if not numbers or not all(map(_is_number, numbers)):
            return "binary"
        by_chance = len(numbers) != int(claim[2]) and CONTROL.search(after[:4096])  # bytes that look like digits
        return "binary" if by_chance else "text"
    if len(fields) > 1 and _is_number(fields[-1]):
        return "text"
    reader.fail(
        f"holds no word vectors: it begins with {head[:12]!r}. Expected word2vec's text or binary format, GloVe's "
        "text, or a fastText model; unpack an archive first."
    )


def _gather(parts: Iterable[np.ndarray], dim: int, expected: int) -> np.ndarray:
    """One matrix of all rows; it grows as they come where not so many were expected."""
    matrix, n = np.empty((expected, dim), dtype=np.float32), 0
    for part in parts:
        if (needed := n + len(part)) > len(matrix):
            matrix.resize((max(needed, n * 3 // 2), dim), refcheck=False)
        matrix[n:needed] = part
        n = needed
    if n < len(matrix):
        matrix.resize((n, dim), refcheck=False)
    return matrix


class _Words:
    """The words of a file as texts, each once."""

    def __init__(self, reader: _Reader):
        self.reader = reader
        self.texts: list[str] = []
        self._seen: set[str] = set()
        self._undecodable = 0

    def add(self, raw: list[bytes]) -> np.ndarray:
        """Take up words; returns which of them are new, (N,) bool."""
        new = np.ones(len(raw), dtype=bool)
        for i, word in enumerate(raw):
            try:
                text = word.decode()
            except UnicodeDecodeError:
                text = word.decode(errors="replace")
                self._undecodable += 1
            if text in self._seen:
                new[i] = False
            else:
                self._seen.add(text)
                self.texts.append(text)
        return new

    def warn(self, n_rows: int) -> None:
        """Say what became of the words of a file of so many."""
        notes = []
        if self._undecodable:
            notes.append(f"{self._undecodable:,} words are not UTF-8, what cannot be read in them stands as \ufffd")
        if again := n_rows - len(self.texts):
            notes.append(f"{again:,} rows are left out, whose words stood there before")
        if notes:
            warnings.warn(f"{self.reader.path}: {'; '.join(notes)}", stacklevel=2)

    def checked(self, table: _Table) -> Iterator[np.ndarray]:
        """The rows of a table, with one of each word and finite numbers, as many as claimed."""
        n = 0
        for raw, rows in table.batches:
            n += len(raw)
            if n > (table.claimed or n):
                self.reader.fail(f"claims {table.claimed:,} words but has more: its first line is wrong")
            if not (finite := np.isfinite(rows).all(axis=1)).all():
                word = raw[int(finite.argmin())].decode(errors="replace")
                self.reader.fail(f"is damaged: the vector of {word!r} has a number that is infinite or not a number")
            new = self.add(raw)
            yield rows if new.all() else rows[new]
        if n < (table.claimed or 1):
            self.reader.fail(f"claims {table.claimed or 1:,} words but has {n:,}: it is cut short. Copy it again.")
        self.warn(n)


# ------------------------------------------------------------------------------------------------- text and binary
@dataclass
class _Table:
    """Words and rows as a file has them, in batches."""

    claimed: int | None  # how many words, by the file's first line
    dim: int
    batches: Iterator[tuple[list[bytes], np.ndarray]]


def _read_table(reader: _Reader, table: _Table) -> WordVectors:
    words = _Words(reader)
    expected = 0 if reader.packed else table.claimed or 0  # it was compared with the file's size
    matrix = _gather(words.checked(table), table.dim, expected)
    return WordVectors(words.texts, matrix)


def _claim(reader: _Reader, number_bytes: int) -> tuple[int, int]:
    """The first line: how many words and dimensions, where each number takes so many bytes or more."""
    line = reader.buffer.partition(b"\n")[0]
    claimed, dim = map(int, HEADER.match(line).groups())
    if not claimed or not dim:
        reader.fail(f"holds no vectors: its first line claims {claimed} words of {dim} dimensions")
    reader.drop(len(line) + 1)
    reader.need(claimed * (dim * number_bytes + 1), f"{claimed:,} words of {dim:,} dimensions")
    return claimed, dim


def _text(reader: _Reader) -> _Table:
    first = reader.buffer.partition(b"\n")[0].rstrip(b" \r")
    if HEADER.fullmatch(first):
        claimed, dim = _claim(reader, 2)  # a digit and a blank
        return _Table(claimed, dim, _text_batches(reader, dim, 2))
    fields = first.split(b" ")
    dim = sum(1 for _ in takewhile(_is_number, reversed(fields[1:])))
    return _Table(None, dim, _text_batches(reader, dim, 1))


def _text_batches(reader: _Reader, dim: int, number: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """The rows of a text; ``number`` is the first one's line."""
    more = True
    while more:
        more = reader.fill()
        end = reader.buffer.rfind(b"\n") + 1 if more else len(reader.buffer)
        if more and len(reader.buffer) - end > CHUNK:
            reader.fail(f"is damaged or of another kind: after line {number:,} there is one of megabytes")
        words, numbers, lines = [], [], []
        for n, line in enumerate(reader.take(end).split(b"\n"), start=number):
            if line := line.rstrip(b" \r"):
                word, _, values = line.partition(b" ")
                if values.count(b" ") != dim - 1:  # a word with blanks in it, as GloVe has some
                    word, *fields = line.rsplit(b" ", dim)
                    values = b" ".join(fields)
                words.append(word)
                numbers.append(values)
                lines.append(n)
            number = n
        if words:
            rows = _numbers(numbers, dim)
            if rows is None:
                wrong = bisect(range(len(numbers)), False, key=lambda i: _numbers(numbers[: i + 1], dim) is None)
                text = (words[wrong] + b" " + numbers[wrong])[:40].decode(errors="replace")
                reader.fail(
                    f"is damaged: line {lines[wrong]:,} is not a word and {dim:,} numbers but begins {text!r}. "
                    "Copy or download it again."
                )
            yield words, rows


def _numbers(lines: list[bytes], dim: int) -> np.ndarray | None:
    """Lines of numbers with one blank between them, (N, D); None where there is anything else."""
    if any(line.count(b" ") != dim - 1 for line in lines):
        return None
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is found later
            rows = pd.read_csv(
                io.BytesIO(b"\n".join(lines)),
                sep=" ",
                lineterminator="\n",
                header=None,
                dtype=np.float32,
                na_filter=False,
                quoting=csv.QUOTE_NONE,
            ).to_numpy()
    except ValueError:
        return None
    return rows if rows.shape == (len(lines), dim) else None


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _binary(reader: _Reader) -> _Table:
    claimed, dim = _claim(reader, 4)
    return _Table(claimed, dim, _binary_batches(reader, claimed, dim))


def _binary_batches(reader: _Reader, claimed: int, dim: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
    for words, payload in reader.records(claimed, b" ", 4 * dim):
        words = [word.lstrip(b"\n") for word in words]  # the original program ends each row with one, gensim does not
        yield words, np.frombuffer(payload, dtype="<f4").reshape(len(words), dim)
    reader.end()


TABLES: dict[str, Callable[[_Reader], _Table]] = {"text": _text, "binary": _binary}


# -------------------------------------------------------------------------------------------------------- fastText
def _is_fasttext(head: bytes) -> bool:
    """Whether a file begins as fastText's: with its mark or, before version 11, at once with sensible settings."""
    if len(head) >= 8 and struct.unpack_from("<i", head)[0] == FASTTEXT_MAGIC:
        return True
    if len(head) < struct.calcsize(FASTTEXT_ARGS):
        return False
    dim, *_, loss, model, _, _, max_n, _, sample = struct.unpack_from(FASTTEXT_ARGS, head)
    return (
        0 < dim < 1 << 16
        and 1 <= loss <= 3
        and 1 <= model <= SUPERVISED
        and 0 <= max_n <= LONGEST_NGRAM
        and 0 <= sample <= 1
    )


def _read_fasttext(reader: _Reader) -> SubwordVectors:
    """A fastText model: settings, words, the input and the output matrix (fasttext.cc, ``FastText::loadModel``)."""
    marked = struct.unpack_from("<i", reader.buffer)[0] == FASTTEXT_MAGIC
    version = reader.unpack("<2i")[1] if marked else 0
    if version > FASTTEXT_VERSION:
        reader.fail(f"is of fastText's format {version}; up to {FASTTEXT_VERSION} can be read: write it as .vec")
    dim, *_, model, buckets, min_n, max_n, _, _ = reader.unpack(FASTTEXT_ARGS)
    if max_n > LONGEST_NGRAM:
        reader.fail(f"is damaged: it claims n-grams of up to {max_n:,} characters. Copy it again.")
    if model == SUPERVISED and version < FASTTEXT_VERSION:
        max_n = 0  # they had none, whatever the settings say
    n_all, n_words, n_labels, _ = reader.unpack("<3iq")
    pruned = reader.unpack("<q")[0] if marked else -1
    if min(n_words, n_labels, buckets) < 0 or n_words + n_labels != n_all or dim < 1:
        reader.fail(
            f"is damaged: it claims {n_words:,} words and {n_labels:,} labels, {n_all:,} in all. Copy it again."
        )
    reader.need(n_all * 10, f"{n_all:,} words")

    words, counts, new = _Words(reader), [], []
    entry = np.dtype([("count", "<i8"), ("kind", "i1")])
    for raw, payload in reader.records(n_all, b"\0", entry.itemsize):
        entries = np.frombuffer(payload, dtype=entry)
        is_word = entries["kind"] == 0  # labels come after all words
        new.append(words.add([word for word, keep in zip(raw, is_word, strict=True) if keep]))
        counts.append(entries["count"][is_word][new[-1]])
    new = np.concatenate([*new, np.ones(0, dtype=bool)])
    if not n_words or len(new) != n_words:
        reader.fail(f"is damaged: it claims {n_words:,} words but has {len(new):,}. Copy it again.")
    words.warn(n_words)

    if pruned > 0 or (marked and reader.unpack("<?")[0]):
        reader.fail("is a quantised fastText model, whose vectors are approximate: take the model it was made from")
    rows, columns = reader.unpack("<2q")
    if (rows, columns) != (n_words + buckets, dim):
        reader.fail(
            f"is damaged: {n_words:,} words and {buckets:,} buckets of {dim:,} dimensions do not fit a matrix of the "
            f"shape {(rows, columns)}. Copy it again."
        )
    reader.need(rows * dim * 4, f"{rows:,} rows of {dim:,} dimensions")
    inputs = _gather(reader.rows(rows, dim), dim, 0 if reader.packed else rows)
    _skip_outputs(reader, marked, dim)
    if not new.all():
        inputs = inputs[np.concatenate([new, np.ones(buckets, dtype=bool)])]
    try:
        return SubwordVectors(words.texts, inputs, np.concatenate(counts), min_n=min_n, max_n=max_n)
    except ValueError as error:
        reader.fail(f"is damaged: {error}. Copy it again.")


def _skip_outputs(reader: _Reader, marked: bool, dim: int) -> None:
    """Pass over the output matrix, which only training needs; it shows whether the file is whole."""
    if marked and reader.unpack("<?")[0]:
        reader.fail("is a quantised fastText model, whose vectors are approximate: take the model it was made from")
    rows, columns = reader.unpack("<2q")
    if rows < 0 or columns != dim:
        reader.fail(f"is damaged: its output matrix has the shape {(rows, columns)}. Copy it again.")
    reader.need(rows * dim * 4, f"{rows:,} rows of outputs")
    for _ in reader.rows(rows, dim):
        pass
    reader.end()
