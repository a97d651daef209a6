"""Reading the files of a data set: from a folder, a zip or a tar, without writing anything.

Archives are read in memory, one member at a time; nothing is unpacked to disk, and an archive with a member
that names a place outside is refused all the same.
"""

import gzip
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from tlcourse.data.catalogue import DataError, Entry


def read_files(path: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    """The files of a data set that match `entry.members`, one at a time: `(path, bytes)`.

    Args:
        path: a folder, a `.zip`, a `.tar.gz` or a single file; a file in a folder may be gzipped.
        entry: says which members to read and how many bytes they may hold together.

    Raises:
        DataError: nothing there, or none of the members; a corrupt archive; one that leads outside itself, or that
            unpacks to more than `entry.unpacked_bytes`.
    """
    if not path.exists():
        raise DataError(f"{entry.name} is missing at {path}: install tlcourse again.")
    if path.is_dir():
        read = _from_folder
    elif path.suffix == ".zip":
        read = _from_zip
    elif path.name.endswith(".tar.gz"):
        read = _from_tar
    else:
        read = _from_file
    found = False
    try:
        for name, raw in read(path, entry):
            found = True
            yield name, raw
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is corrupt or not whole ({error}): get {entry.name} again.") from error
    if not found:
        raise DataError(f"{path} holds none of the files of {entry.name}: {', '.join(entry.members)}.")


def installed_file(entry: Entry) -> Path:
    """A file of an installed package, found without importing it.

    Raises:
        DataError: the package is not installed, or no longer has that file.
    """
    distribution, _, file = entry.package.partition(":")
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(file)))
    except metadata.PackageNotFoundError:
        raise DataError(f"{entry.name} is in a package: pip install {distribution}") from None
    if not path.is_file():
        raise DataError(f"{entry.name}: the installed {distribution} has no {file}; install another version.")
    return path


def has_members(folder: Path, entry: Entry) -> bool:
    """Whether an unpacked copy of a data set lies in a folder."""
    return any(_wanted(file, entry) for file in _walk(folder))


def _walk(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix()


@cache
def _pattern(members: tuple[str, ...]) -> re.Pattern:
    """Matches the paths that end in one of `members`; a `*` stays within a name and begins no hidden file."""
    endings = (r"(?!\.)[^/]*".join(map(re.escape, member.split("*"))) for member in members)
    return re.compile(rf"(.*/)?({'|'.join(endings)})(\.gz)?")


def _wanted(name: str, entry: Entry) -> bool:
    return _pattern(entry.members).fullmatch(name) is not None


def _safe(name: str, path: Path) -> str:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0]:
        raise DataError(f"{path} is refused: its member {name!r} leads outside the archive.")
    return "/".join(parts)


class _Budget:
    """Counts down what an entry's files may hold together."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self.path, self.left, self.most = path, entry.unpacked_bytes, entry.unpacked_bytes

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise DataError(f"{self.path} is refused: it unpacks to more than {self.most:,} bytes.")


def _from_folder(path: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    budget = _Budget(path, entry)
    for name in _walk(path):
        if _wanted(name, entry):
            yield _read_one(path / name, name, budget)


def _from_file(path: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    yield _read_one(path, path.name, _Budget(path, entry))


def _read_one(file: Path, name: str, budget: _Budget) -> tuple[str, bytes]:
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as stream:
        raw = stream.read(budget.left + 1)
    budget.spend(len(raw))
    return name.removesuffix(".gz"), raw


def _from_zip(path: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    budget = _Budget(path, entry)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _safe(member.filename, path)
            if not member.is_dir() and _wanted(name, entry):
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise DataError(f"{path} is refused: its member {member.filename!r} is a link.")
                budget.spend(member.file_size)  # zipfile reads no more than this
                yield name, archive.read(member)


def _from_tar(path: Path, entry: Entry) -> Iterator[tuple[str, bytes]]:
    budget = _Budget(path, entry)
    with tarfile.open(path, "r|gz") as archive:  # a stream: one pass, no index of 100,000 members
        for member in archive:
            name = _safe(member.name, path)
            if not member.isdir() and _wanted(name, entry):
                if not member.isfile():
                    raise DataError(f"{path} is refused: its member {member.name!r} is a link or a device.")
                budget.spend(member.size)
                yield name, archive.extractfile(member).read()
