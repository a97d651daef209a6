"""From many texts to token ids on disk, for a corpus that does not fit into memory.

`build_corpus` takes three steps, and a build that was interrupted goes on where it stopped:

1. Cut the texts into words on all cores, some two million characters at a time. Each such *shard* is a file:
   the distinct words, and for every token the number of its word among them.
2. Add up how often each word occurs, and make the vocabulary.
3. Number the tokens. With the words of a shard numbered already this is one array look-up a shard.

What is on disk then:

    segmented/*.npz      the shards: kept, so that another vocabulary costs no second cutting; free to delete
    vocab.json           the vocabulary
    train.bin            the token ids of the training documents, each document after a BOS
    train.starts.bin     where in train.bin each document begins, int64
    train.json           what the two hold: counts, dtype, sha256, the digest of the vocabulary
    valid.bin …          the same for the documents held out
    corpus.json          language, sources and licences, coverage of the text by its most frequent words

All numbers are little-endian; the same texts give the same bytes, however often the build was interrupted.
"""

import errno
import gzip
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
import zipfile
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from tlcourse.text.tokens import _importable, english_words, thai_words
from tlcourse.text.vocab import BOS, UNK, Vocab, _tokens

ARTICLES, CORPUS, TOKENS = "tlcourse-articles-1", "tlcourse-corpus-1", "tlcourse-tokens-1"
"""Formats of a folder of articles, of `corpus.json`, and of `train.json` and `valid.json`."""

_SHARD = 2_000_000  # characters: a second or two of one core
_COVERAGE = (1_000, 5_000, 10_000, 20_000, 30_000, 60_000)
_DTYPES = ("uint16", "uint32")
_STARTS = np.dtype("<i8")
_BLOCK = 1 << 20  # tokens looked at together

# Languages that `english_words` cuts well: in Latin, Cyrillic or Greek letters, with spaces between words.
_SPACED = (
    "af az be bg bs ca cs cy da de el en eo es et eu fi fr ga gl hr hu id is it lt lv mk ms nb nl nn no pl pt ro ru "
    "sh simple sk sl sq sr sv sw tl tr uk uz"
)
WORDS: dict[str, Callable[[str], list[str]]] = {**dict.fromkeys(_SPACED.split(), english_words), "th": thai_words}
"""The tokeniser of each language, by the code of its Wikipedia."""


class CorpusError(ValueError):
    """Articles or a corpus on disk are not as they should be; the message says what to do."""


# --- A corpus on disk ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenFile:
    """The token ids of many documents in one memory-mapped file. `LMBatches` takes `ids` as they are.

    Attributes:
        path: the file.
        ids: all ids, (tokens,), uint16 or uint32, read from disk as they are used; each document begins with BOS.
        starts: where in `ids` each document begins, (documents,).
        header: what `train.json` says.
    """

    path: Path
    ids: np.memmap = field(repr=False)
    starts: np.ndarray = field(repr=False)
    header: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        """The number of tokens, the BOS of each document included."""
        return len(self.ids)

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.starts)

    @property
    def unknown(self) -> float:
        """The share of the words that are not in the vocabulary, from 0 to 1."""
        return self.header["unknown"] / max(len(self) - self.documents, 1)

    def document(self, i: int) -> np.ndarray:
        """The ids of one document, BOS first. Raises IndexError when there is no such document."""
        if not 0 <= i < self.documents:
            raise IndexError(f"{self.path} has no document {i}, only {self.documents:,}")
        stop = self.starts[i + 1] if i + 1 < self.documents else len(self)
        return self.ids[self.starts[i] : stop]

    @classmethod
    def open(cls, folder: Path, split: str, vocab: Vocab) -> "TokenFile":
        """Open `train` or `valid` of a folder; see `Corpus.open` for what is checked."""
        header = _header(folder / f"{split}.json", TOKENS)
        path, starts_path = folder / f"{split}.bin", folder / f"{split}.starts.bin"
        if header.get("vocabulary") != vocab.digest:
            raise CorpusError(
                f"{folder / 'vocab.json'} does not match the ids of {path.name}: they were made with the vocabulary "
                f"{header.get('vocabulary')}, this one has the digest {vocab.digest}. Build the corpus again, or put "
                "the right vocabulary back"
            )
        if header.get("dtype") not in _DTYPES:
            raise CorpusError(f"{path.stem}.json names the dtype {header.get('dtype')!r}, none of {_DTYPES}")
        ids = _map(path, np.dtype(header["dtype"]).newbyteorder("<"), header.get("tokens"), "tokens")
        starts = _map(starts_path, _STARTS, header.get("documents"), "documents")
        tokens = cls(path, ids, np.array(starts), header)
        unknown = header.get("unknown")
        if not (isinstance(unknown, int) and 0 <= unknown <= len(ids)):
            raise CorpusError(f"{path.stem}.json tells of {unknown!r} unknown words among {len(ids):,}")
        if starts[0] != 0 or tokens.starts[-1] >= len(ids) or (np.diff(tokens.starts) < 1).any():
            raise CorpusError(f"{starts_path} is damaged: its documents do not follow one another. {_AGAIN}")
        # 64 places say enough of a file that is otherwise sound; `verify` reads it all.
        some = np.linspace(0, tokens.documents - 1, num=64, dtype=int)
        if (ids[tokens.starts[some]] != BOS).any():
            raise CorpusError(f"{path} and {starts_path.name} disagree on where documents begin. {_AGAIN}")
        for place in np.linspace(0, len(ids) - 1, num=64, dtype=int):
            tokens._check_ids(slice(place, place + 1024), len(vocab))
        return tokens

    def _check_ids(self, places: slice, size: int) -> None:
        if (largest := int(self.ids[places].max())) >= size:
            raise CorpusError(f"{self.path} holds the id {largest}, in a vocabulary of {size:,} words. {_AGAIN}")

    def verify(self, vocab: Vocab) -> None:
        """Read the file whole and hold it against its header: sha256, ids, counts. Raises CorpusError."""
        if (found := _sha256(self.path)) != self.header.get("sha256"):
            raise CorpusError(
                f"{self.path} is damaged: its sha256 is {found}, its header says {self.header.get('sha256')}. {_AGAIN}"
            )
        begins, unknown = [], 0
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._check_ids(block, len(vocab))
            begins.append(start + np.flatnonzero(self.ids[block] == BOS))
            unknown += int((self.ids[block] == UNK).sum())
        if not np.array_equal(np.concatenate(begins), self.starts) or unknown != self.header["unknown"]:
            raise CorpusError(
                f"{self.path} does not hold what its header and {self.path.stem}.starts.bin tell. {_AGAIN}"
            )


@dataclass(frozen=True)
class Corpus:
    """Token ids to train and to validate on, and their vocabulary.

    Attributes:
        folder: where it is on disk.
        vocab: the words of the ids.
        train: the training documents.
        valid: the documents held out; None when the corpus was built with `valid=0`.
        info: what `corpus.json` says: `language`, `sources` (of articles: with licence), `documents`,
            `characters`, `tokens` (without BOS), `distinct` words and words seen `once` in the training documents.
    """

    folder: Path
    vocab: Vocab = field(repr=False)
    train: TokenFile
    valid: TokenFile | None
    info: dict[str, Any] = field(repr=False)

    @property
    def language(self) -> str:
        """The language code."""
        return self.info["language"]

    @property
    def coverage(self) -> list[dict[str, float]]:
        """Rows `{"words": n, "share": s}`: the n most frequent words are the share s of the training tokens."""
        return self.info["coverage"]

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """Open a corpus that `build_corpus` made.

        Checked are formats, sizes, the vocabulary's digest, and samples of the ids: the same short time for a
        corpus of any size. `verify` checks the rest.

        Raises:
            CorpusError: the build is not finished, a file is of another format, cut short or damaged, or the
                vocabulary is not that of the ids.
        """
        folder = Path(folder)
        info = _header(folder / "corpus.json", CORPUS)
        try:
            vocab = Vocab.load(folder / "vocab.json")
        except FileNotFoundError:
            raise CorpusError(f"{folder} has lost its vocab.json. {_AGAIN}") from None
        train = TokenFile.open(folder, "train", vocab)
        valid = TokenFile.open(folder, "valid", vocab) if info.get("valid") else None
        return cls(folder, vocab, train, valid, info)

    def verify(self) -> None:
        """Read all token ids and check them against sums and counts. Raises CorpusError."""
        for tokens in self._splits().values():
            tokens.verify(self.vocab)

    def documents(self, split: str = "train", n: int = 3) -> list[list[str]]:
        """The words of the first n documents of "train" or "valid", to look at; unknown ones are "<unk>"."""
        tokens = self._splits().get(split)
        if tokens is None:
            raise ValueError(f"{self.folder} has no split {split!r}, only {', '.join(self._splits())}")
        return [self.vocab.decode(tokens.document(i)[1:]) for i in range(min(n, tokens.documents))]

    def _splits(self) -> dict[str, TokenFile]:
        return {"train": self.train} | ({"valid": self.valid} if self.valid else {})


_AGAIN = "Build the corpus again: what is sound is kept"


def _header(path: Path, format: str) -> dict[str, Any]:
    """A small JSON file of a format. Raises CorpusError."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(_BLOCK))
    except FileNotFoundError:
        raise CorpusError(f"{path.parent} has no {path.name}: it is no finished {format.split('-')[1]}") from None
    except ValueError as error:
        raise CorpusError(f"{path} is damaged, it is not JSON: {error}") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != format:
        raise CorpusError(f"{path} has the format {found!r}; this version of tlcourse reads {format!r}")
    return header


def _map(path: Path, dtype: np.dtype, count: object, what: str) -> np.memmap:
    """The numbers of a file, which must be `count` of them. Raises CorpusError."""
    if type(count) is not int or count < 1:
        raise CorpusError(f"the header of {path} tells of {count!r} {what}: it is damaged. {_AGAIN}")
    if not path.is_file():
        raise CorpusError(f"{path} is missing. {_AGAIN}")
    if (size := path.stat().st_size) != count * dtype.itemsize:
        fault = "was cut short" if size < count * dtype.itemsize else "is too long"
        raise CorpusError(
            f"{path} {fault}, or its header is wrong: it has {size:,} bytes, and {count:,} {what} take "
            f"{count * dtype.itemsize:,}. {_AGAIN}"
        )
    return np.memmap(path, dtype, mode="r")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- Building one -------------------------------------------------------------------------------------------


def build_corpus(
    texts: Path | list[Path] | Iterable[str],
    folder: str | Path,
    *,
    language: str = "th",
    words: Callable[[str], list[str]] | None = None,
    vocab: Vocab | None = None,
    max_vocab: int = 60_000,
    min_count: int = 2,
    must_have: Iterable[str] = (),
    valid: float = 0.01,
    workers: int | None = None,
    progress: bool = True,
) -> Corpus:
    """Make token ids of texts, and the vocabulary from them; or go on with a build that was interrupted.

    Memory holds a few shards for each process and the count of each distinct word, never the corpus. Processes
    are spawned: a script calls this under `if __name__ == "__main__":`.

    Args:
        texts: a folder of articles (a `Path`), a list of such folders, or any iterable of texts.
        folder: where the corpus goes. One corpus a folder: other texts replace it.
        language: picks the tokeniser (`WORDS`); must be that of the articles.
        words: another tokeniser, any function from a text to a list of words.
        vocab: a vocabulary to use as it is; by default one is made from the training documents.
        max_vocab, min_count: size of the vocabulary, special tokens included, and how often a word must occur.
        must_have: words of a task to come. Those that occur in the training documents at all are in the
            vocabulary, in the place that their count gives them.
        valid: share of the documents to hold out, from 0 to below 1. A hash of its text decides for a document,
            so that neither the order nor the number of texts matters, and equal texts stay together.
        workers: how many processes; None takes one a core where the texts repay starting them.
        progress: show bars with the time left.

    Raises:
        CorpusError: an articles folder is damaged, or none; or there is nothing to make a corpus of.
        ValueError: no tokeniser for the language, or an argument out of range.
        TypeError: a text is not a string.
        OSError: the disk is full, say; the shards that are finished are kept.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"valid is the share of the documents to hold out, from 0 to below 1, not {valid}")
    if max_vocab <= len(Vocab.SPECIALS):
        raise ValueError(f"max_vocab={max_vocab} leaves no room beside the {len(Vocab.SPECIALS)} special tokens")
    must_have = frozenset(_tokens(must_have)) - {*Vocab.SPECIALS}
    if vocab is not None and must_have:
        raise ValueError("must_have words go into a vocabulary that is made here: leave out either it or vocab")
    if words is None and language not in WORDS:
        raise ValueError(
            f"no tokeniser is known for the language {language!r}, only for {' '.join(sorted(WORDS))}: pass words=, "
            "a function from a text to a list of its words"
        )
    words = words or WORDS[language]
    workers = _checked(workers, words)
    texts, characters, sources = _open_texts(texts, language)

    folder = Path(folder)
    (folder / "segmented").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # of several processes that want one corpus, one builds it
        try:
            bar = tqdm(desc="segment", total=characters, unit="char", unit_scale=True, delay=1, disable=not progress)
            with bar:
                shards = _segment(texts, folder / "segmented", words, workers, bar)
            held = _hold_out(shards, valid)
            made, info = _count(shards, held, progress, must_have, max_vocab, min_count, given=vocab)
            info = {
                "format": CORPUS,
                "language": language,
                "valid": valid,
                "sources": sources,
                "texts": hashlib.sha256("".join(shard.file.name for shard in shards).encode()).hexdigest(),
                **info,
            }
            return _finished(folder, made, info) or _write(folder, shards, held, made, info, progress)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                kept = "What is finished is kept: make room and build again, it goes on from there"
                raise OSError(error.errno, f"{error.strerror}. {kept}", str(folder)) from error
            raise


def _checked(workers: int | None, words: Callable[[str], list[str]]) -> int | None:
    """The number of processes, where it is given or follows from the tokeniser."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if _importable(words):
        return workers
    if workers is not None and workers > 1:
        raise ValueError(f"{words} cannot go to another process: put it into a module, or use workers=1")
    return 1


# --- Where texts come from ----------------------------------------------------------------------------------


def _open_texts(
    texts: Path | list[Path] | Iterable[str], language: str
) -> tuple[Iterator[str], int | None, list[dict[str, Any]]]:
    """The texts, their number of characters where that is known, and what is known of their sources."""
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts; a folder of articles is a Path")
    folders = [texts] if isinstance(texts, Path) else texts
    if isinstance(folders, list) and folders and all(isinstance(folder, Path) for folder in folders):
        headers = [_articles_header(folder, language) for folder in folders]
        pairs = zip(folders, headers, strict=True)
        read = itertools.chain.from_iterable(_read_articles(*pair) for pair in pairs)
        known = ("source", "licence", "complete")
        sources = [{key: header[key] for key in known if key in header} for header in headers]
        return read, sum(header.get("characters", 0) for header in headers) or None, sources
    sized = hasattr(texts, "__len__")
    return iter(texts), sum(len(t) for t in texts if isinstance(t, str)) if sized else None, []


def _articles_header(folder: Path, language: str) -> dict[str, Any]:
    header = _header(folder / "articles.json", ARTICLES)
    if header.get("language") != language:
        raise CorpusError(f"{folder} is in the language {header.get('language')!r}, not {language!r}: say language=")
    if not header.get("complete"):
        warnings.warn(
            f"{folder} is incomplete: the corpus gets the articles that are there. Extract to the end and build "
            "again: only what is new is then cut into words",
            stacklevel=4,
        )
    return header


def _read_articles(folder: Path, header: dict[str, Any]) -> Iterator[str]:
    """The texts of a folder of articles, in order. Raises CorpusError."""
    found = 0
    for number, file in enumerate(sorted(folder.glob("articles-*.jsonl.gz"))):
        if file.name != f"articles-{number:05}.jsonl.gz":
            raise CorpusError(f"{folder} lacks articles-{number:05}.jsonl.gz. Extract the articles again")
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    found += 1
                    yield json.loads(line)["text"]
        except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
            raise CorpusError(
                f"{file} is damaged, at article {found} of the folder: {error!r:.200}. Extract the articles again"
            ) from error
    if header.get("complete") and found != header.get("articles", found):
        raise CorpusError(f"{folder} holds {found:,} articles, not {header['articles']:,}. Extract them again")


# --- Step 1: words ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shard:
    """Some documents cut into words: in a file, and of each document a hash that says on which side it goes."""

    file: Path
    chance: np.ndarray  # (documents,) uint64
    characters: int

    def read(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The distinct words; each token as its place among them, (tokens,); the lengths, (documents,)."""
        with zipfile.ZipFile(self.file) as archive:
            if archive.testzip():
                raise zipfile.BadZipFile("a wrong sum")
        with np.load(self.file) as arrays:
            words, ids, lengths = json.loads(bytes(arrays["words"])), arrays["ids"], arrays["lengths"]
        if len(lengths) != len(self.chance) or lengths.sum() != len(ids) or (len(ids) and ids.max() >= len(words)):
            raise ValueError("wrong counts")
        return words, ids, lengths

    def is_whole(self) -> bool:
        """Whether the file is there and sound."""
        try:
            self.read()
        except FileNotFoundError:
            return False
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            warnings.warn(f"{self.file} is damaged ({error}): its texts are cut again", stacklevel=2)
            return False
        return True


def _segment(
    texts: Iterator[str], folder: Path, words: Callable[[str], list[str]], workers: int | None, bar: tqdm
) -> list[_Shard]:
    """Cut the texts into words, except those of which a shard is there already."""
    for litter in folder.glob("*.part"):
        litter.unlink()
    # A tokeniser of a notebook has no name that would tell it from the one of the next build.
    tokeniser = pickle.dumps(words, protocol=4) if _importable(words) else os.urandom(16)
    shards = []

    def missing() -> Iterator[tuple[list[str], _Shard]]:
        for shard_texts, shard in _shards(texts, folder, tokeniser):
            shards.append(shard)
            if shard.is_whole():
                bar.n += shard.characters
                bar.initial += shard.characters  # took no time: the time left follows from the others
                bar.refresh()
            else:
                yield shard_texts, shard

    jobs = missing()
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        first = list(itertools.islice(jobs, 2 * cores))
        workers = min(cores, max(len(first) // 2, 1))  # a process repays its start with two shards
        jobs = itertools.chain(first, jobs)
    if workers == 1:
        for shard_texts, shard in jobs:
            _cut(shard_texts, words, shard.file)
            bar.update(shard.characters)
    else:
        _cut_in_processes(jobs, words, workers, bar)
    if not shards:
        raise CorpusError("no texts to make a corpus of: the iterable, or the folder of articles, is empty")
    for stale in {*folder.glob("*.npz")} - {shard.file for shard in shards}:
        stale.unlink()
    return shards


def _shards(texts: Iterator[str], folder: Path, tokeniser: bytes) -> Iterator[tuple[list[str], _Shard]]:
    """The texts, some `_SHARD` characters at a time. The name of a shard is a hash of what made it."""

    def shard() -> _Shard:
        name = hashlib.sha256(b"".join([CORPUS.encode(), tokeniser, *digests])).hexdigest()[:32]
        chance = np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=">u8")
        return _Shard(folder / f"{name}.npz", chance, size)

    some, digests, size = [], [], 0
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} must be a str, not {type(text).__name__}: {text!r:.80}")
        raw = text.encode(errors="replace")  # half a surrogate pair, which JSON can hold, becomes a "?"
        some.append(raw.decode())
        digests.append(hashlib.sha256(raw).digest())
        size += len(text)
        if size >= _SHARD:
            yield some, shard()
            some, digests, size = [], [], 0
    if some:
        yield some, shard()


def _cut(texts: list[str], words: Callable[[str], list[str]], file: Path) -> None:
    """Write the words of the texts. The file is whole or not there."""
    places: dict[str, int] = defaultdict()
    places.default_factory = places.__len__  # a new word gets the next place
    ids, ends = array("I"), [0]
    for text in texts:
        ids.extend(map(places.__getitem__, _tokens(words(text))))
        ends.append(len(ids))
    if wrong := [word for word in places if not isinstance(word, str)]:
        raise TypeError(f"a tokeniser must give strings, not {wrong[0]!r:.80}")
    arrays = {
        "words": np.frombuffer(json.dumps([*places], ensure_ascii=False).encode(), dtype="u1"),
        "ids": np.array(ids, dtype=_smallest(len(places))),
        "lengths": np.diff(ends),
    }
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            np.savez(stream, **arrays)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _smallest(size: int) -> np.dtype:
    """The dtype for ids below `size`."""
    return np.dtype("<u2" if size <= 1 << 16 else "<u4")


def _cut_in_processes(
    jobs: Iterator[tuple[list[str], _Shard]], words: Callable[[str], list[str]], workers: int, bar: tqdm
) -> None:
    """`_cut` in several processes, with a few jobs waiting: the texts need not fit into memory."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    pool = ProcessPoolExecutor(workers, spawn, initializer=_start_process)
    running = {}
    try:
        for shard_texts, shard in jobs:
            running[pool.submit(_cut, shard_texts, words, shard.file)] = shard
            if len(running) >= 2 * workers:
                _take_one(running, bar)
        while running:
            _take_one(running, bar)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"one of {workers} processes ended early. In a script, call build_corpus under "
            'if __name__ == "__main__":. Elsewhere the memory may not suffice for so many. workers=1 always works, '
            "and goes on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _take_one(running: dict, bar: tqdm) -> None:
    """Wait for a job to end, and count what has ended."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        future.result()
        bar.update(running.pop(future).characters)


def _start_process() -> None:
    """A process leaves Ctrl-C to the one that started it, and ends with it, killed or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


# --- Step 2: the vocabulary ---------------------------------------------------------------------------------


def _hold_out(shards: list[_Shard], valid: float) -> list[np.ndarray]:
    """For each shard the documents that are held out, (documents,) bool: at least one of the corpus."""
    chances = np.concatenate([shard.chance for shard in shards])
    bound = valid * 2.0**64
    if valid and not (chances < bound).any():
        bound = np.nextafter(float(chances.min()), np.inf)
    held = [shard.chance < bound for shard in shards]
    if all(mask.all() for mask in held):
        raise CorpusError(
            f"with valid={valid} all {len(chances):,} documents are held out and none is left to train on: give "
            "more texts, or cut a long one into several; or use valid=0"
        )
    return held


def _count(
    shards: list[_Shard],
    held: list[np.ndarray],
    progress: bool,
    must_have: frozenset[str],
    max_vocab: int,
    min_count: int,
    *,
    given: Vocab | None,
) -> tuple[Vocab, dict[str, Any]]:
    """The vocabulary of the training documents, and what there is to say of them."""
    counts, tokens = Counter(), 0
    for shard, mask in tqdm([*zip(shards, held, strict=True)], "count", delay=1, disable=not progress):
        words, ids, lengths = shard.read()
        train = ids[np.repeat(~mask, lengths)]
        occurring = np.bincount(train, minlength=len(words))
        counts.update({word: n for word, n in zip(words, occurring.tolist(), strict=True) if n})
        tokens += len(ids)
    if not counts:
        raise CorpusError(f"the training documents, of {tokens:,} words in all, have no words")
    vocab = given or _choose(counts, must_have, max_vocab, min_count)
    ordered = np.sort(np.fromiter(counts.values(), dtype=np.int64))[::-1]
    shares = np.cumsum(ordered) / ordered.sum()
    sizes = [n for n in _COVERAGE if n < len(ordered)] + [len(ordered)]
    return vocab, {
        "documents": sum(len(shard.chance) for shard in shards),
        "characters": sum(shard.characters for shard in shards),
        "tokens": tokens,
        "distinct": len(ordered),
        "once": int((ordered == 1).sum()),
        "coverage": [{"words": n, "share": round(float(shares[n - 1]), 6)} for n in sizes],
    }


def _choose(counts: Counter, must_have: frozenset[str], max_vocab: int, min_count: int) -> Vocab:
    """The vocabulary as `Vocab.build` makes it, with the words of `must_have` that occur."""
    must = [word for word in must_have if word in counts]
    room = max_vocab - len(Vocab.SPECIALS) - len(must)
    if room < 0:
        raise ValueError(f"{len(must):,} of the must_have words occur: max_vocab={max_vocab:,} has no room for them")

    def rank(word: str) -> tuple[int, str]:
        return -counts[word], word

    frequent = {word for word, count in counts.items() if count >= min_count} - {*must, *Vocab.SPECIALS}
    words = sorted([*must, *sorted(frequent, key=rank)[:room]], key=rank)
    if not words:
        raise CorpusError(f"no words for a vocabulary: none of the {counts.total():,} occurs {min_count} times")
    return Vocab([*Vocab.SPECIALS, *words])


# --- Step 3: ids --------------------------------------------------------------------------------------------


def _finished(folder: Path, vocab: Vocab, info: dict[str, Any]) -> Corpus | None:
    """The corpus, when the folder holds just this one and it is sound."""
    with suppress(CorpusError):
        corpus = Corpus.open(folder)
        if corpus.info == info and corpus.vocab == vocab:
            corpus.verify()
            return corpus
    return None


def _write(
    folder: Path, shards: list[_Shard], held: list[np.ndarray], vocab: Vocab, info: dict[str, Any], progress: bool
) -> Corpus:
    """Write everything but the shards. `corpus.json` comes last: with it, the corpus is finished."""
    for name in ("corpus.json", "train.json", "valid.json", "valid.bin", "valid.starts.bin"):
        (folder / name).unlink(missing_ok=True)
    vocab.save(folder / "vocab.json")
    masks = {"train": [~mask for mask in held]} | ({"valid": held} if info["valid"] else {})
    for split, mask in masks.items():
        _write_ids(folder, split, [*zip(shards, mask, strict=True)], vocab, progress)
    _write_json(folder / "corpus.json", info)
    return Corpus.open(folder)


def _write_ids(folder: Path, split: str, shards: list[tuple[_Shard, np.ndarray]], vocab: Vocab, progress: bool) -> None:
    """Write the ids of the documents for which the masks are true, and the header of the file."""
    dtype, path = _smallest(len(vocab)), folder / f"{split}.bin"
    digest, tokens, unknown, starts = hashlib.sha256(), 0, 0, []
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            for shard, mask in tqdm(shards, f"number {split}", delay=1, disable=not progress):
                words, ids, lengths = shard.read()
                number = np.array(vocab.encode(words), dtype=dtype)  # of each distinct word of the shard
                ids, lengths = number[ids[np.repeat(mask, lengths)]], lengths[mask]
                before = np.cumsum(lengths) - lengths  # tokens before each document
                unknown += int((ids == UNK).sum())
                ids = np.insert(ids, before, BOS)
                starts.append(tokens + before + np.arange(len(before)))
                tokens += len(ids)
                digest.update(ids)
                stream.write(ids)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    starts = np.concatenate(starts).astype(_STARTS)
    (folder / f"{split}.starts.bin").write_bytes(starts.tobytes())
    header = {
        "format": TOKENS,
        "dtype": dtype.name,
        "tokens": tokens,
        "documents": len(starts),
        "unknown": unknown,
        "vocabulary": vocab.digest,
        "sha256": digest.hexdigest(),
        "starts": f"{split}.starts.bin",
    }
    _write_json(folder / f"{split}.json", header)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(path)
