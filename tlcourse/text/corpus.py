"""From many texts to token ids on disk, for a corpus that does not fit into memory.

`build_corpus` takes three steps, and a build that was interrupted goes on where it stopped:

1. Cut the texts into words, on all cores, a shard at a time (`tlcourse.text.shards`).
2. Add up how often each word occurs, and make the vocabulary.
3. Number the tokens. The words of a shard are numbered already, so this is one array look-up a shard.

What is on disk then:

    segmented/*.npz      the shards: kept, so that another vocabulary costs no second cutting; free to delete
    vocab.json           the vocabulary
    train.bin            the token ids of the training documents, each document after a BOS
    train.starts.bin     where in train.bin each document begins, int64
    train.json           what the two hold: counts, dtype, sha256, the digest of the vocabulary
    valid.*              the same for the documents held out
    corpus.json          language, sources, counts, coverage; written last: with it the corpus is finished

All numbers are little-endian. The same texts give the same bytes, however often the build was interrupted.
"""

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from tlcourse.text.shards import CorpusError, Shard, Tokeniser, open_texts, read_header, segment, smallest_dtype
from tlcourse.text.tokens import english_words, thai_words
from tlcourse.text.vocab import BOS, UNK, Vocab, _tokens

__all__ = ["CORPUS", "TOKENS", "WORDS", "Corpus", "CorpusError", "TokenFile", "build_corpus"]

CORPUS, TOKENS = "tlcourse-corpus-1", "tlcourse-tokens-1"
"""The formats of `corpus.json`, and of `train.json` and `valid.json`."""

# Languages that `english_words` cuts well: Latin, Cyrillic or Greek letters, and spaces between words.
_SPACED = (
    "af az be bg bs ca cs cy da de el en eo es et eu fi fr ga gl hr hu id is it lt lv mk ms nb nl nn no pl pt ro ru "
    "sh simple sk sl sq sr sv sw tl tr uk uz"
)
WORDS: dict[str, Tokeniser] = {**dict.fromkeys(_SPACED.split(), english_words), "th": thai_words}
"""The tokeniser of each language, by the code of its Wikipedia."""

_COVERAGE = (1_000, 5_000, 10_000, 20_000, 30_000, 60_000)
_STARTS = np.dtype("<i8")
_BLOCK = 1 << 20  # tokens looked at together
_AGAIN = "Build the corpus again: what is sound of it is kept"


# --- A corpus on disk ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TokenFile:
    """The token ids of many documents in one memory-mapped file. `LMBatches` takes `ids` as they are.

    Attributes:
        path: the file.
        ids: all ids, (tokens,) uint16 or uint32, read from disk as they are used; each document begins with BOS.
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
        """The share of the words that are out of the vocabulary, from 0 to 1."""
        return self.header["unknown"] / max(len(self) - self.documents, 1)

    def document(self, i: int) -> np.ndarray:
        """The ids of one document, BOS first. Raises IndexError when there is no such document."""
        if not 0 <= i < self.documents:
            raise IndexError(f"{self.path} has no document {i}: it has {self.documents:,}")
        stop = self.starts[i + 1] if i + 1 < self.documents else len(self)
        return self.ids[self.starts[i] : stop]

    @classmethod
    def open(cls, folder: Path, split: str, vocab: Vocab) -> "TokenFile":
        """Open "train" or "valid" of a folder; `Corpus.open` says what is checked."""
        header = read_header(folder / f"{split}.json", TOKENS)
        path, starts_path = folder / f"{split}.bin", folder / f"{split}.starts.bin"
        if header.get("vocabulary") != vocab.digest:
            raise CorpusError(
                f"{folder / 'vocab.json'} does not match the ids of {path.name}: they were made with a vocabulary of "
                f"sha256 {header.get('vocabulary')}, this one has {vocab.digest}. Put the right one back, or build "
                "the corpus again"
            )
        dtype = smallest_dtype(len(vocab))
        if header.get("dtype") != dtype.name:
            raise CorpusError(
                f"{folder / split}.json names the dtype {header.get('dtype')!r}, where ids of {len(vocab):,} words are "
                f"{dtype.name}. {_AGAIN}"
            )
        ids = _map(path, dtype, header.get("tokens"), "tokens")
        starts = np.array(_map(starts_path, _STARTS, header.get("documents"), "documents"))
        tokens = cls(path, ids, starts, header)
        if starts[0] != 0 or starts[-1] >= len(ids) or (np.diff(starts) < 1).any():
            raise CorpusError(f"{starts_path} is damaged: its documents do not follow one another. {_AGAIN}")
        some = np.linspace(0, len(starts) - 1, num=64, dtype=int)
        if (ids[starts[some]] != BOS).any():
            raise CorpusError(f"{path} and {starts_path.name} disagree on where documents begin. {_AGAIN}")
        for place in np.linspace(0, len(ids) - 1, num=64, dtype=int):
            tokens._check_ids(slice(place, place + 1024), vocab)
        return tokens

    def verify(self, vocab: Vocab) -> None:
        """Read the whole file and hold it against its header: sha256, ids, counts. Raises CorpusError."""
        with self.path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self.header.get("sha256"):
            raise CorpusError(
                f"{self.path} is damaged: its sha256 is {found}, its header says {self.header.get('sha256')}. {_AGAIN}"
            )
        begins, unknown = [], 0
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._check_ids(block, vocab)
            begins.append(start + np.flatnonzero(self.ids[block] == BOS))
            unknown += int((self.ids[block] == UNK).sum())
        if not np.array_equal(np.concatenate(begins), self.starts) or unknown != self.header.get("unknown"):
            raise CorpusError(f"{self.path} has other documents or unknown words than its header tells. {_AGAIN}")

    def _check_ids(self, places: slice, vocab: Vocab) -> None:
        if (largest := int(self.ids[places].max())) >= len(vocab):
            raise CorpusError(f"{self.path} holds the id {largest}, in a vocabulary of {len(vocab):,} words. {_AGAIN}")


@dataclass(frozen=True, eq=False)
class Corpus:
    """Token ids to train and to validate on, and their vocabulary.

    Attributes:
        folder: where it is on disk.
        vocab: the words of the ids.
        train: the training documents.
        valid: the documents held out; None when the corpus was built with `valid=0`.
        info: what `corpus.json` says: `language`; `sources` (of articles, with their licence); how many
            `documents` and `characters` there are in all; and of the training documents alone how many `tokens`
            (without BOS), how many `distinct` words, and how many words seen `once`.
    """

    folder: Path
    vocab: Vocab
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

        Checked are formats, sizes, the vocabulary's digest and samples of the ids, in a time that does not grow
        with the corpus; `verify` checks everything.

        Raises:
            CorpusError: the build is not finished, a file is of another format, cut short or damaged, or the
                vocabulary is not that of the ids.
        """
        folder = Path(folder)
        info = read_header(folder / "corpus.json", CORPUS)
        try:
            vocab = Vocab.load(folder / "vocab.json")
        except (FileNotFoundError, ValueError) as error:
            raise CorpusError(f"{error}. {_AGAIN}") from error
        train = TokenFile.open(folder, "train", vocab)
        valid = TokenFile.open(folder, "valid", vocab) if info.get("valid") else None
        return cls(folder, vocab, train, valid, info)

    def verify(self) -> None:
        """Read all token ids and check them against sums and counts. Raises CorpusError."""
        for tokens in self._splits().values():
            tokens.verify(self.vocab)

    def documents(self, split: str = "train", n: int = 3) -> list[list[str]]:
        """The words of the first n documents of "train" or "valid", to look at; those unknown are "<unk>"."""
        if split not in self._splits():
            raise ValueError(f"{self.folder} has no split {split!r}; it has {', '.join(self._splits())}")
        tokens = self._splits()[split]
        return [self.vocab.decode(tokens.document(i)[1:]) for i in range(min(n, tokens.documents))]

    def _splits(self) -> dict[str, TokenFile]:
        return {"train": self.train} | ({"valid": self.valid} if self.valid else {})


def _map(path: Path, dtype: np.dtype, count: object, what: str) -> np.memmap:
    """The numbers of a file, (count,). Raises CorpusError when they are not so many."""
    if type(count) is not int or count < 1:
        raise CorpusError(f"the header of {path} tells of {count!r} {what}: it is damaged. {_AGAIN}")
    if not path.is_file():
        raise CorpusError(f"{path} is missing. {_AGAIN}")
    size, expected = path.stat().st_size, count * dtype.itemsize
    if size != expected:
        fault = "was cut short" if size < expected else "is too long"
        raise CorpusError(
            f"{path} {fault}, or its header is wrong: it has {size:,} bytes, and {count:,} {what} take {expected:,}. "
            f"{_AGAIN}"
        )
    return np.memmap(path, dtype, mode="r")


# --- Building one -------------------------------------------------------------------------------------------


def build_corpus(
    texts: Path | list[Path] | Iterable[str],
    folder: str | Path,
    *,
    language: str = "th",
    words: Tokeniser | None = None,
    vocab: Vocab | None = None,
    max_vocab: int = 60_000,
    min_count: int = 2,
    must_have: Iterable[str] = (),
    valid: float = 0.01,
    workers: int | None = None,
    progress: bool = True,
) -> Corpus:
    """Make token ids of texts, and the vocabulary from them; or go on with a build that was interrupted.

    In memory are a few shards for each process and the count of each distinct word, never the corpus. Processes
    are spawned: a script calls this under `if __name__ == "__main__":`.

    Args:
        texts: a folder of articles (a `Path`), a list of such folders, or any iterable of texts.
        folder: where the corpus goes. One corpus a folder: other texts replace it.
        language: picks the tokeniser from `WORDS`; must be that of the articles.
        words: another tokeniser: any function from a text to a list of words.
        vocab: a vocabulary to use as it is, in place of one made from the training documents.
        max_vocab, min_count: size of the vocabulary, special tokens included, and how often a word must occur.
        must_have: words of a task to come. Those that occur in the training documents, be it once, are in the
            vocabulary, in the place that their count gives them.
        valid: share of the documents to hold out, from 0 to below 1. A hash of its text decides for a document,
            so that neither the order nor the number of texts matters, and equal texts stay together.
        workers: how many processes; None takes one a core when there is enough text to repay starting them.
        progress: show bars with the time left.

    Raises:
        CorpusError: a folder of articles is damaged, or is none; there is nothing to make a corpus of.
        ValueError: the language has no tokeniser, or an argument is out of range.
        TypeError: a text is not a string.
        OSError: a file cannot be written, on a full disk say; finished shards are kept.
    """
    if not 0 <= valid < 1:
        raise ValueError(f"valid is the share of the documents to hold out, from 0 to below 1, not {valid}")
    if max_vocab <= len(Vocab.SPECIALS):
        raise ValueError(f"max_vocab={max_vocab} leaves no room beside the {len(Vocab.SPECIALS)} special tokens")
    must_have = {*_tokens(must_have)} - {*Vocab.SPECIALS}
    if vocab is not None and must_have:
        raise ValueError("must_have is for a vocabulary that is made here: leave out must_have or vocab")
    if words is None and language not in WORDS:
        raise ValueError(
            f"no tokeniser is known for the language {language!r}, only for {', '.join(sorted(WORDS))}: give one as "
            "words=, a function from a text to a list of its words"
        )
    texts, characters, sources = open_texts(texts, language)

    folder = Path(folder)
    shard_folder = folder / "segmented"
    shard_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # of several processes that want one corpus, one builds it
        try:
            with tqdm(None, "segment", characters, unit="char", unit_scale=True, delay=1, disable=not progress) as bar:
                shards = segment(texts, shard_folder, words or WORDS[language], workers=workers, bar=bar)
            held_out = _hold_out(shards, valid)
            counts = _count(shards, held_out, progress)
            vocab = vocab or Vocab.from_counts(counts, min_count=min_count, max_size=max_vocab, must_have=must_have)
            info = {
                "format": CORPUS,
                "language": language,
                "sources": sources,
                "valid": valid,
                "shards": [shard.file.stem for shard in shards],
                "documents": sum(len(shard.chance) for shard in shards),
                "characters": sum(shard.characters for shard in shards),
                **_coverage(counts),
            }
            return _finished(folder, vocab, info) or _write(folder, shards, held_out, vocab, info, progress)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            advice = f"{error.strerror}. What is finished is kept: make room, and build again to go on from there"
            raise OSError(error.errno, advice, str(folder)) from error


# --- The vocabulary -----------------------------------------------------------------------------------------


def _hold_out(shards: list[Shard], valid: float) -> list[np.ndarray]:
    """For each shard the documents that are held out, (documents,) bool; at least one in all."""
    chances = np.concatenate([shard.chance for shard in shards])
    bound = valid * 2.0**64
    if valid and not (chances < bound).any():
        bound = np.nextafter(float(chances.min()), np.inf)
    if (chances < bound).all():
        raise CorpusError(
            f"valid={valid} holds out all {len(chances):,} documents and leaves none to train on: give more texts, "
            "cut a long one into several, or use valid=0"
        )
    return [shard.chance < bound for shard in shards]


def _count(shards: list[Shard], held_out: list[np.ndarray], progress: bool) -> Counter:
    """How often each word occurs in the training documents."""
    counts = Counter()
    bar = tqdm(shards, "count", unit="shard", delay=1, disable=not progress)
    for shard, held in zip(bar, held_out, strict=True):
        words, ids, lengths = shard.read()
        occurring = np.bincount(ids[np.repeat(~held, lengths)], minlength=len(words))
        counts.update({word: n for word, n in zip(words, occurring.tolist(), strict=True) if n})
    if not counts:
        raise CorpusError("the training documents have no words")
    return counts


def _coverage(counts: Counter) -> dict[str, Any]:
    """What the counts say of the text."""
    ordered = np.sort(np.fromiter(counts.values(), dtype=np.int64))[::-1]  # (distinct words,)
    shares = np.cumsum(ordered) / ordered.sum()
    sizes = [n for n in _COVERAGE if n < len(ordered)] + [len(ordered)]
    return {
        "tokens": int(ordered.sum()),
        "distinct": len(ordered),
        "once": int((ordered == 1).sum()),
        "coverage": [{"words": n, "share": round(float(shares[n - 1]), 6)} for n in sizes],
    }


# --- Ids ----------------------------------------------------------------------------------------------------


def _finished(folder: Path, vocab: Vocab, info: dict[str, Any]) -> Corpus | None:
    """The corpus, when the folder holds just this one, and sound."""
    with suppress(CorpusError):
        corpus = Corpus.open(folder)
        if corpus.info == info and corpus.vocab == vocab:
            corpus.verify()
            return corpus
    return None


def _write(
    folder: Path, shards: list[Shard], held_out: list[np.ndarray], vocab: Vocab, info: dict[str, Any], progress: bool
) -> Corpus:
    """Write everything but the shards."""
    for name in ("corpus.json", "train.json", "valid.json", "valid.bin", "valid.starts.bin"):
        (folder / name).unlink(missing_ok=True)
    vocab.save(folder / "vocab.json")
    _write_ids(folder, "train", shards, [~held for held in held_out], vocab, progress)
    if info["valid"]:
        _write_ids(folder, "valid", shards, held_out, vocab, progress)
    _write_json(folder / "corpus.json", info)
    return Corpus.open(folder)


def _write_ids(
    folder: Path, split: str, shards: list[Shard], masks: list[np.ndarray], vocab: Vocab, progress: bool
) -> None:
    """Write the ids of the documents whose mask is true, and what tells of them."""
    dtype, path = smallest_dtype(len(vocab)), folder / f"{split}.bin"
    digest, tokens, unknown, starts = hashlib.sha256(), 0, 0, []
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            bar = tqdm(shards, f"number {split}", unit="shard", delay=1, disable=not progress)
            for shard, mask in zip(bar, masks, strict=True):
                words, ids, lengths = shard.read()
                id_of_word = np.array(vocab.encode(words), dtype=dtype)  # (distinct words of the shard,)
                ids, lengths = id_of_word[ids[np.repeat(mask, lengths)]], lengths[mask]
                before = np.cumsum(lengths) - lengths  # words of the shard before each document
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
    """Write a header. The file is whole or not there."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
