"""The catalogue: what each data set is, where it lives and under which licence."""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

PACKAGE = Path(__file__).parents[1]


class DataError(Exception):
    """A data set, or a file of one, is not as it should be; the message says what to do."""


class UnknownDataset(DataError):
    """The catalogue has no data set of this name."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the catalogue says of one data set.

    Attributes:
        name: the name that `load` takes.
        title: one line for people.
        languages: ISO 639-1 codes.
        labels: label columns, the default one first; empty where each word has a label instead.
        licence: SPDX identifier, or the publisher's words.
        citation, homepage: whom to credit, and where to read more.
        splits: in words, which splits are published and which are cut here.
        parser: the function of `tlcourse.data.parsers` that reads the files.
        members: patterns of the files it reads, matched from the right of their paths.
        addresses: where to download; the same file at each, tried in order.
        sha256: of the downloaded file.
        bytes: size of the downloaded file, or of the files together.
        hub, revision: data set on the Hugging Face hub, `owner/name`, and the commit whose `members` are downloaded.
        repository: git repository to clone by hand, of a set that is published as no file with a known sum.
        package: `distribution:path` of a file in an installed package.
        embedded: folder, below `shipped()`, of a set that ships with the course.
        folder: sub-folder of the cache and of `TLCOURSE_DATA`, shared by sets that are made from the same files;
            empty for the set's name.
        unpacked_bytes: the most that its files may hold together.
        cut: splits to cut from the training rows where the publisher has none, in this order.
        group: column whose equal values stay on one side of a cut.
        needs: splits that it is not whole without, published or cut.
    """

    name: str
    title: str
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    splits: str
    parser: str
    members: tuple[str, ...]
    unpacked_bytes: int
    addresses: tuple[str, ...] = ()
    sha256: str = ""
    bytes: int = 0
    hub: str = ""
    revision: str = ""
    repository: str = ""
    package: str = ""
    embedded: str = ""
    folder: str = ""
    cut: tuple[str, ...] = ()
    group: str = "text"
    needs: tuple[str, ...] = ("train", "valid", "test")

    def __post_init__(self) -> None:
        places = [self.addresses, self.hub, self.repository, self.package, self.embedded]
        if sum(map(bool, places)) != 1:
            raise DataError(
                f"[{self.name}] in the catalogue needs one of addresses, hub, repository, package, embedded"
            )
        if self.addresses and not (len(self.sha256) == 64 and self.bytes > 0):
            raise DataError(f"[{self.name}] in the catalogue is downloaded, so it needs its sha256 and bytes")
        if self.hub and not (len(self.revision) == 40 and self.bytes > 0):
            raise DataError(f"[{self.name}] in the catalogue is on the hub, so it needs its revision and bytes")

    @property
    def label(self) -> str | None:
        """The default label column; None where a set has no label for a whole text."""
        return self.labels[0] if self.labels else None

    @property
    def address(self) -> str:
        """The first address, or the page on the hub; empty for what is not downloaded."""
        page = f"https://huggingface.co/datasets/{self.hub}/tree/{self.revision}" if self.hub else ""
        return self.addresses[0] if self.addresses else page

    @property
    def file(self) -> str:
        """Name of the one downloaded file, as published; empty where there is none."""
        return PurePosixPath(self.address).name if self.addresses else ""

    @property
    def sub_folder(self) -> str:
        """Where its files lie in the cache and in `TLCOURSE_DATA`."""
        return self.folder or self.name


def shipped() -> Path:
    """The folder of the data that comes with the course: in a wheel, or in a checkout of the repository."""
    for folder in (PACKAGE / "_data", PACKAGE.parent / "data"):
        if (folder / "catalogue.toml").is_file():
            return folder
    raise DataError(f"The catalogue of data sets is missing beside {PACKAGE}: install tlcourse again.")


@cache
def read_catalogue(path: Path | None = None) -> dict[str, Entry]:
    """Read a catalogue, by default the one that ships with the course: entries by name."""
    path = path or shipped() / "catalogue.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: Entry(name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
            for name, table in tables.items()
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise DataError(f"The catalogue {path} cannot be read: {error}") from error


def names() -> list[str]:
    """Names of the data sets in the catalogue."""
    return list(read_catalogue())


def info(name: str, *, catalogue: dict[str, Entry] | None = None) -> Entry:
    """The catalogue's entry for a data set.

    Raises:
        UnknownDataset: no such set; the message names those that come near.
    """
    catalogue = read_catalogue() if catalogue is None else catalogue
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), catalogue, cutoff=0.5)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UnknownDataset(f"There is no data set {name!r}.{meant} There are: {', '.join(catalogue)}.")
