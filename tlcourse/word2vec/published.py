"""Word vectors that others have trained, by name: downloaded once, converted once, then read from disk as needed.

>>> from tlcourse.word2vec import published
>>> published.table()  # names, sizes, licences
>>> thai = published.load("thai2fit")  # 60 MB to download
>>> thai.nearest("แมว")
"""

from __future__ import annotations

import gzip
import shutil
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pandas as pd
from filelock import FileLock

from tlcourse.data import DataError, cache_folder, shipped
from tlcourse.data.download import cannot_keep, published_file
from tlcourse.word2vec import formats
from tlcourse.word2vec.vectors import SubwordVectors, WordVectors

CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """What ``data/vectors.toml`` says of published word vectors.

    Attributes:
        name: the name that :func:`load` takes.
        title: one line for people.
        language: ISO 639-1 code.
        dim: numbers in a vector; compared with what was downloaded.
        words: how many there are.
        address: where to download.
        bytes: size of the download; where no checksum is known, the most that it may have.
        checksum: of the download, "sha256:…" say; empty where none is known.
        member: the file in a zip that holds the vectors.
        unpacked_bytes: the most that a zip or gzip file may unpack to.
        subwords: whether it is a whole fastText model, with the vectors of n-grams.
        verified: in words, how it is known that the download is the published one.
        licence, citation, homepage: whom to credit, and where to read more.
    """

    name: str
    title: str
    language: str
    dim: int
    words: int
    address: str
    bytes: int
    verified: str
    licence: str
    citation: str
    homepage: str
    checksum: str = ""
    member: str = ""
    unpacked_bytes: int = 0
    subwords: bool = False

    @property
    def file(self) -> str:
        """Name of the download, as published."""
        return PurePosixPath(self.address).name


def read_table(path: Path | None = None) -> dict[str, Vectors]:
    """The published vectors by name, from ``data/vectors.toml`` or another file like it.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = path or shipped() / "vectors.toml"
    try:
        families = tomllib.loads(path.read_text(encoding="utf-8"))
        return {entry.name: entry for name, fields in families.items() for entry in _entries(name, fields)}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error!r}") from error


def _entries(name: str, fields: dict) -> Iterator[Vectors]:
    """One entry, or one a dimension."""
    if "dims" not in fields:
        yield Vectors(name=name, **fields)
        return
    shared = {field: value for field, value in fields.items() if field not in ("dims", "member")}
    for dim in fields["dims"]:
        yield Vectors(name=f"{name}-{dim}", dim=dim, member=fields["member"].format(dim=dim), **shared)


def names() -> list[str]:
    """The names that :func:`load` takes."""
    return list(read_table())


def info(name: str, *, table: Mapping[str, Vectors] | None = None) -> Vectors:
    """The entry of published word vectors.

    Raises:
        DataError: there are none of that name.
    """
    entries = read_table() if table is None else table
    if name not in entries:
        raise DataError(f"There are no published word vectors {name!r}. There are: {', '.join(entries)}.")
    return entries[name]


def table() -> pd.DataFrame:
    """What there is to load: columns ``name``, ``language``, ``dim``, ``words``, ``download`` (in MB) and ``licence``.

    Where the publisher gives no checksum, ``download`` is the most that will be accepted.
    """
    return pd.DataFrame(
        {
            "name": entry.name,
            "language": entry.language,
            "dim": entry.dim,
            "words": entry.words,
            "download": round(entry.bytes / 1e6),
            "licence": entry.licence,
        }
        for entry in read_table().values()
    )


def fetch(name: str, *, table: Mapping[str, Vectors] | None = None) -> Path:
    """Published word vectors as a folder for :func:`formats.open_memmap`, in the cache.

    The published file is taken from ``<name>/`` in the folder that ``TLCOURSE_DATA`` names, else from the cache, else
    from its publisher. Once it is converted, a download is deleted, unless it holds the vectors of other names too.
    A whole fastText model is in memory while it is converted: 8 GB for two million words.

    Raises:
        DataError: there are none of that name.
        DownloadError: the file cannot be downloaded or kept; the message says what to do.
        ChecksumError: the file is not the published one.
        VectorsError: the file is refused or damaged, or its vectors have not the published dimension.
    """
    entry = info(name, table=table)
    kept = cache_folder() / "vectors"
    folder = kept / name
    if folder.is_dir():
        return folder
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with FileLock(kept / f".{entry.file}.lock"):  # of the file: names that share it download it once
            if not folder.is_dir():  # another process may have made it meanwhile
                file = published_file(name, entry.address, n_bytes=entry.bytes, checksum=entry.checksum, folder=kept)
                _convert(entry, file, folder)
                if not entry.member:
                    (kept / entry.file).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_keep(name, kept, error) from error
    return folder


def load(name: str, *, most_frequent: int | None = None) -> WordVectors:
    """Published word vectors, memory-mapped; those of a whole fastText model are :class:`SubwordVectors`.

    Args:
        name: one of :func:`names`.
        most_frequent: load only so many words, the first.

    Raises:
        ValueError: ``most_frequent`` is below 1.
        DataError, VectorsError: as :func:`fetch`.
    """
    if most_frequent is not None and most_frequent < 1:
        raise ValueError(f"most_frequent must be 1 or more, not {most_frequent}")
    return formats.open_memmap(fetch(name), most_frequent=most_frequent)


def _convert(entry: Vectors, file: Path, folder: Path) -> None:
    """Make the folder of a published file; it is whole, or not there."""
    scratch = folder.with_name(f".{entry.name}.converting")
    shutil.rmtree(scratch, ignore_errors=True)  # what a process left that was stopped
    scratch.mkdir()
    try:
        plain = _unpack(entry, file, scratch / "unpacked")
        whole = scratch / "vectors"
        vectors = formats.to_memmap(plain, whole)
        if vectors.dim != entry.dim:
            raise ValueError(f"they have {vectors.dim} dimensions, not {entry.dim}")
        if entry.subwords != isinstance(vectors, SubwordVectors):
            raise ValueError(f"it is {'a table of words' if entry.subwords else 'a whole fastText model'}")
        whole.rename(folder)
    except ValueError as error:
        reason = str(error).replace(str(scratch / "unpacked"), "it").replace(str(file), "it").rstrip(".")
        raise formats.VectorsError(
            f"{file} does not hold the published vectors of {entry.name}: {reason}. Delete it to download it again."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack(entry: Vectors, file: Path, target: Path) -> Path:
    """The vectors' file itself: a zip's member or a gzip file is unpacked to `target`, no path in it is followed."""
    if file.suffix not in (".zip", ".gz"):
        return file
    try:
        with _opened(entry, file) as packed, target.open("wb") as unpacked:
            while chunk := packed.read(CHUNK):
                if unpacked.tell() + len(chunk) > entry.unpacked_bytes:
                    raise ValueError(f"it unpacks to more than {entry.unpacked_bytes:,} bytes")
                unpacked.write(chunk)
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"the archive is damaged ({error})") from error
    return target


@contextmanager
def _opened(entry: Vectors, file: Path) -> Iterator[BinaryIO]:
    """What a zip or gzip file holds, unpacked as it is read; both check the content against a sum at its end."""
    if file.suffix == ".gz":
        with gzip.open(file) as packed:
            yield packed
        return
    with zipfile.ZipFile(file) as archive:
        if entry.member not in archive.namelist():
            raise ValueError(f"it lacks {entry.member}")
        if (claimed := archive.getinfo(entry.member).file_size) > entry.unpacked_bytes:
            raise ValueError(f"its {entry.member} claims to have {claimed:,} bytes")
        with archive.open(entry.member) as packed:
            yield packed
