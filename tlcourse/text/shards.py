"""From texts to words on disk: the first step of a corpus, on all cores, and resumable.

The texts are taken some two million characters at a time. Each such *shard* is a file: the distinct words, and
for every token the number of its word among them. It is named by a hash of its texts and the tokeniser, so that
a shard that is there is not made again, and one of other texts is never taken for it.
"""

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tlcourse.text.tokens import _importable, cores, possible_workers
from tlcourse.text.vocab import _tokens

ARTICLES = "tlcourse-articles-1"
"""The format that the `articles.json` of a folder of articles names."""

_FORMAT = b"tlcourse-shard-1"
_SIZE = 2_000_000  # characters of a shard: a few seconds of one core

Tokeniser = Callable[[str], list[str]]


class CorpusError(ValueError):
    """Articles or a corpus on disk are not as they should be; the message says what to do."""


def read_header(path: Path, format: str) -> dict[str, Any]:
    """A small JSON file that names its format. Raises CorpusError when it is another, damaged or missing."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(1 << 20))
    except FileNotFoundError:
        raise CorpusError(f"{path.parent} has no {path.name}: what makes it has not been run to its end") from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is damaged, it is not JSON: {error}") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != format:
        raise CorpusError(f"{path} has the format {found!r}; this version of tlcourse reads {format!r}")
    return header


# --- Texts --------------------------------------------------------------------------------------------------


def open_texts(
    texts: Path | list[Path] | Iterable[str], language: str
) -> tuple[Iterator[str], int | None, list[dict[str, Any]]]:
    """The texts, the number of their characters where that is known, and what articles say of their source.

    Raises:
        CorpusError: a folder is no folder of articles, or of another language; it is damaged (while reading).
        TypeError: one text in place of many.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts; a folder of articles is a pathlib.Path")
    folders = [texts] if isinstance(texts, Path) else texts
    if isinstance(folders, list | tuple) and folders and all(isinstance(folder, Path) for folder in folders):
        headers = list(map(_articles_header, folders, itertools.repeat(language)))
        read = itertools.chain.from_iterable(map(_read_articles, folders, headers))
        sources = [{key: header.get(key) for key in ("source", "licence", "complete")} for header in headers]
        return read, sum(header.get("characters", 0) for header in headers) or None, sources
    sized = hasattr(texts, "__len__")
    return iter(texts), sum(len(text) for text in texts if isinstance(text, str)) if sized else None, []


def _articles_header(folder: Path, language: str) -> dict[str, Any]:
    header = read_header(folder / "articles.json", ARTICLES)
    if header.get("language") != language:
        raise CorpusError(
            f"the articles of {folder} are in {header.get('language')!r}, not in {language!r}: pass language="
        )
    if not header.get("complete"):
        warnings.warn(
            f"{folder} is incomplete: only the articles that are there are used. Extract the rest and build again: "
            "only what is new is then cut into words",
            stacklevel=4,  # the call of build_corpus
        )
    return header


def _read_articles(folder: Path, header: dict[str, Any]) -> Iterator[str]:
    """The texts of a folder of articles, in order."""
    again = "Extract the articles again"
    found = 0
    for number, file in enumerate(sorted(folder.glob("articles-*.jsonl.gz"))):
        if file.name != f"articles-{number:05}.jsonl.gz":
            raise CorpusError(f"{folder} lacks articles-{number:05}.jsonl.gz. {again}")
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    text = json.loads(line)["text"]
                    found += 1
                    yield text
        except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
            raise CorpusError(f"{file} is damaged after article {found:,}: {error!r:.99}. {again}") from error
    if header.get("complete") and found != header.get("articles"):
        raise CorpusError(f"{folder} holds {found:,} articles, its header tells of {header.get('articles')}. {again}")


# --- Shards -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shard:
    """Some documents cut into words.

    Attributes:
        file: where they are.
        chance: of each document the first eight bytes of the sha256 of its text, (documents,) uint64.
        characters: of their texts.
    """

    file: Path
    chance: np.ndarray
    characters: int

    def read(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The distinct words; for each token the number of its word, (tokens,); the lengths, (documents,).

        Raises FileNotFoundError, or ValueError when the file is damaged.
        """
        try:
            with zipfile.ZipFile(self.file) as archive:
                if archive.testzip():
                    raise ValueError("a wrong checksum")
            with np.load(self.file) as arrays:
                words, ids, lengths = json.loads(bytes(arrays["words"])), arrays["ids"], arrays["lengths"]
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{self.file} is damaged: {error}") from error
        return words, ids, lengths


def segment(
    texts: Iterator[str], folder: Path, words: Tokeniser, *, workers: int | None = None, bar: tqdm
) -> list[Shard]:
    """Cut texts into words, except those whose shard is in the folder already. Shards of other texts go.

    Raises:
        CorpusError: no texts.
        TypeError: a text, or a word that the tokeniser gives, is not a string.
        ValueError: `workers` is below 1, or the tokeniser cannot be sent to a process.
        RuntimeError: a process ended early.
    """
    workers = possible_workers(workers, words)
    for litter in folder.glob("*.part"):
        litter.unlink()

    shards = []

    def missing() -> Iterator[tuple[list[str], Shard]]:
        for some, shard in _shards(texts, folder, words):
            shards.append(shard)
            if _is_whole(shard):
                _skip(bar, shard.characters)
            else:
                yield some, shard

    jobs = missing()
    if workers is None:
        first = list(itertools.islice(jobs, 2 * cores()))
        workers = min(cores(), max(len(first) // 2, 1))  # two shards repay the start of a process
        jobs = itertools.chain(first, jobs)
    if workers == 1:
        for some, shard in jobs:
            _cut(some, words, shard.file)
            bar.update(shard.characters)
    else:
        _cut_in_processes(jobs, words, workers, bar)
    if not shards:
        raise CorpusError("there are no texts to make a corpus of")
    for stale in {*folder.glob("*.npz")} - {shard.file for shard in shards}:
        stale.unlink()
    return shards


def _skip(bar: tqdm, characters: int) -> None:
    """Count what was there already. It took no time: the time left follows from the others."""
    if not bar.disable:
        bar.n += characters
        bar.initial += characters
        bar.refresh()


def _shards(texts: Iterator[str], folder: Path, words: Tokeniser) -> Iterator[tuple[list[str], Shard]]:
    """Some `_SIZE` characters of texts at a time, and the shard to make of them."""
    # A function of a notebook has no name that tells it from the one that bears the name tomorrow.
    tokeniser = pickle.dumps(words, protocol=4) if _importable(words) else os.urandom(16)

    def shard() -> Shard:
        name = hashlib.sha256(b"".join([_FORMAT, tokeniser, *digests])).hexdigest()[:32]
        chance = np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=">u8")
        return Shard(folder / f"{name}.npz", chance, size)

    some, digests, size = [], [], 0
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} must be a str, not {type(text).__name__}: {text!r:.80}")
        raw = text.encode(errors="replace")  # half a surrogate pair, which JSON may hold, becomes a "?"
        some.append(raw.decode())
        digests.append(hashlib.sha256(raw).digest())
        size += len(text)
        if size >= _SIZE:
            yield some, shard()
            some, digests, size = [], [], 0
    if some:
        yield some, shard()


def _is_whole(shard: Shard) -> bool:
    """Whether the file of a shard is there and sound."""
    try:
        shard.read()
    except FileNotFoundError:
        return False
    except ValueError as error:
        warnings.warn(f"{error}. Its texts are cut into words again", stacklevel=2)
        return False
    return True


def _cut(texts: list[str], words: Tokeniser, file: Path) -> None:
    """Cut the texts into words and write their shard. The file is whole or not there."""
    places: dict[str, int] = defaultdict()
    places.default_factory = places.__len__  # a new word gets the next number
    ids, ends = array("I"), [0]
    for text in texts:
        ids.extend(map(places.__getitem__, _tokens(words(text))))
        ends.append(len(ids))
    if wrong := [word for word in places if not isinstance(word, str)]:
        raise TypeError(f"a tokeniser must give strings, not {wrong[0]!r:.80}")
    arrays = {
        "words": np.frombuffer(json.dumps([*places], ensure_ascii=False).encode(), dtype=np.uint8),
        "ids": np.array(ids, dtype=smallest_dtype(len(places))),
        "lengths": np.diff(ends),
    }
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            np.savez(stream, **arrays)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def smallest_dtype(size: int) -> np.dtype:
    """The dtype for ids below `size`."""
    return np.dtype("<u2" if size <= 1 << 16 else "<u4")


# --- Processes ----------------------------------------------------------------------------------------------


def _cut_in_processes(jobs: Iterator[tuple[list[str], Shard]], words: Tokeniser, workers: int, bar: tqdm) -> None:
    """`_cut` in several processes, with few jobs waiting: the texts need not fit into memory."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    pool = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    running: dict[Future, Shard] = {}
    try:
        for some, shard in jobs:
            running[pool.submit(_cut, some, words, shard.file)] = shard
            if len(running) >= 2 * workers:
                _await_one(running, bar)
        while running:
            _await_one(running, bar)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"one of {workers} processes ended early. In a script, call build_corpus under "
            'if __name__ == "__main__":. Elsewhere the memory may not suffice for so many. workers=1 always works, '
            "and goes on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _await_one(running: dict[Future, Shard], bar: tqdm) -> None:
    """Wait for a job to end, and count what has ended."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        future.result()
        bar.update(running.pop(future).characters)


def _end_with_parent() -> None:
    """A process leaves Ctrl-C to the one that started it, and ends when that one does, even by a kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
