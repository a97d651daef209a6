"""Finding a data set's files: a folder of the user's, the cache, the network."""

import errno
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pooch
import requests
from filelock import FileLock
from tqdm.auto import tqdm

from tlcourse.data.catalogue import DataError, Entry
from tlcourse.data.files import has_members

CHUNK = 1 << 16  # bytes

pooch.get_logger().setLevel("WARNING")  # the progress bar says what is being downloaded


class DownloadError(DataError):
    """A data set could not be downloaded; the message names the ways out."""


class ChecksumError(DownloadError):
    """A file is not the one that the catalogue knows; the message names both sums."""


def cache_folder() -> Path:
    """Where downloads are kept: `TLCOURSE_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("TLCOURSE_CACHE") or pooch.os_cache("tlcourse")).expanduser()


def data_folder() -> Path | None:
    """The folder named by `TLCOURSE_DATA`; None when it names none.

    Raises:
        DataError: the variable names a folder that is not there.
    """
    named = os.environ.get("TLCOURSE_DATA")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataError(f"TLCOURSE_DATA={named} is not a folder: correct it, or unset it to download.")
    return folder


def in_folder(entry: Entry, folder: Path) -> Path | None:
    """A set in its sub-folder of `folder`: the published file, else its files unpacked; None for neither.

    Raises:
        ChecksumError: the published file is there, but is not the one that was published.
    """
    below = folder / entry.sub_folder
    if entry.file and (file := below / entry.file).is_file():
        verify(file, entry)
        return file
    return below if below.is_dir() and has_members(below, entry) else None


def verify(file: Path, entry: Entry) -> None:
    """Hold a file against the catalogue's sha256.

    Raises:
        ChecksumError: naming both sums.
    """
    if (found := pooch.file_hash(str(file))) != entry.sha256:
        raise ChecksumError(
            f"{file} is not the published {entry.file} of {entry.name}:\n"
            f"  sha256 expected {entry.sha256}\n  sha256 found    {found}\n"
            "It is damaged, or its publisher has changed it: delete it and load again."
        )


def fetch(entry: Entry, cache: Path) -> tuple[Path, bool]:
    """The published file of a set, from the cache or else from its addresses.

    Returns:
        The file, or the folder of a set of several; and whether it was downloaded now.

    Raises:
        DownloadError: no address could be reached, the file cannot be kept (a full disk, say), or a set that is
            cloned by hand is not there yet.
        ChecksumError: what was downloaded is not what was published; nothing of it is kept.
    """
    folder = cache / entry.sub_folder
    if entry.repository:
        return _cloned(entry, folder), False
    if entry.hub:
        return _from_hub(entry, folder)
    file = folder / entry.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # two notebooks that start together download once
            if file.is_file() and pooch.file_hash(str(file)) != entry.sha256:
                warnings.warn(f"{file} is damaged and will be downloaded again.", stacklevel=2)
                file.unlink()
            if file.is_file():
                return file, False
            _retrieve(entry, file)
            return file, True
    except OSError as error:
        raise cannot_keep(f"{entry.file} ({entry.bytes:,} bytes)", folder, error) from error


def cannot_keep(what: str, folder: Path, error: OSError) -> DownloadError:
    """The error that says why a download cannot be kept in a folder of the cache, and what to do."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return DownloadError(
        f"{what} cannot be kept in {folder}: {error.strerror or error}. "
        f"{shutil.disk_usage(there).free:,} bytes are free there. "
        "Make room, or set TLCOURSE_CACHE to another folder."
    )


def _cloned(entry: Entry, folder: Path) -> Path:
    """The folder of a set that is cloned by hand, if it is there."""
    if has_members(folder, entry):
        return folder
    raise DownloadError(
        f"{entry.name} is not downloaded for you: its publisher has it as a git repository, not as a file whose "
        "sha256 could be checked.\nWhat you can do:\n  - "
        f"clone it: git clone --depth 1 {entry.repository} {folder}\n  - "
        f"set TLCOURSE_DATA to a folder with its files in {entry.sub_folder}/: {', '.join(entry.members)}"
    )


def _from_hub(entry: Entry, folder: Path) -> tuple[Path, bool]:
    """The folder with a set's files of the Hugging Face hub, and whether some were downloaded now.

    A commit names every byte of its files, so they need no sum of ours; the hub's client checks their sizes.
    """
    missing = [member for member in entry.members if not (folder / member).is_file()]
    if not missing:
        return folder, False
    from huggingface_hub import hf_hub_download

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for member in missing:
                hf_hub_download(entry.hub, member, repo_type="dataset", revision=entry.revision, local_dir=folder)
    except Exception as error:  # it may be one of several libraries' own
        if isinstance(error, OSError) and error.errno:  # the hub's own have no number
            raise cannot_keep(f"{entry.name} ({entry.bytes:,} bytes)", folder, error) from error
        raise DownloadError(
            f"{entry.name} could not be downloaded from the Hugging Face hub ({entry.bytes:,} bytes).\n"
            f"  {entry.address}\n    {error}\n"
            "What you can do:\n"
            "  - load again where there is a network, and HF_HUB_OFFLINE is not set\n"
            f"  - set TLCOURSE_DATA to a folder with its files in {entry.sub_folder}/: {', '.join(entry.members)}\n"
            f"  - put them in {folder}"
        ) from error
    return folder, True


def _retrieve(entry: Entry, file: Path) -> None:
    """Download to `file` from the first address that has the published file."""
    part = file.with_name(f"{file.name}.part")
    failures, wrong = [], False
    for address in entry.addresses:
        try:
            pooch.retrieve(
                address,
                f"sha256:{entry.sha256}",
                fname=file.name,
                path=file.parent,
                downloader=ResumingDownloader(part, n_bytes=entry.bytes),
            )
            return
        except requests.RequestException as error:
            failures.append(f"{address}\n    {_reason(error)}")
        except ValueError as error:  # so pooch reports a wrong sum, with both sums in its message
            failures.append(f"{address}\n    {error}")
            wrong = True
    ways_out = [
        f"download the file in a browser and put it at {file}",
        f"set TLCOURSE_DATA to a folder with {entry.sub_folder}/{entry.file}, or its files in {entry.sub_folder}/",
        'use the sample that ships with the course: load(..., fallback="thai_intents")',
    ]
    if part.is_file() and part.stat().st_size:
        ways_out.insert(0, f"load again: it goes on after the {part.stat().st_size:,} bytes that are here")
    raise (ChecksumError if wrong else DownloadError)(
        f"{entry.name} could not be downloaded ({entry.file}, {entry.bytes:,} bytes).\n  "
        + "\n  ".join(failures)
        + "\nWhat you can do:\n  - "
        + "\n  - ".join(ways_out)
    )


def published_file(name: str, address: str, *, n_bytes: int, checksum: str = "", folder: Path) -> Path:
    """A file that its publisher keeps under `address`: weights or vectors, which no catalogue of data sets holds.

    It is taken from `<name>/` in the folder that `TLCOURSE_DATA` names, else from `folder`, else downloaded to there,
    from where an interrupted download stopped. The caller holds the lock of `folder`.

    Args:
        name: of what the file belongs to, for messages and for the sub-folder of `TLCOURSE_DATA`.
        address: where to download it; its last part is the file's name.
        n_bytes: its size; where no sum is known, the most that it may have.
        checksum: as published, with the algorithm, "md5:…" say; empty where none is known.
        folder: where to keep it.

    Raises:
        DownloadError: it cannot be downloaded; the message says what to do.
        ChecksumError: it is not the published one, or is larger than it may be.
        OSError: it cannot be kept; the disk is full, say.
    """
    file = PurePosixPath(address).name
    users = data_folder()
    if users and (given := users / name / file).is_file():
        algorithm, _, expected = checksum.partition(":")
        if expected and (found := pooch.file_hash(str(given), alg=algorithm)) != expected:
            raise ChecksumError(f"{given} is not the published one: its {algorithm} is {found}, not {expected}")
        return given
    path = folder / file
    try:
        pooch.retrieve(
            address,
            checksum or None,
            fname=file,
            path=folder,
            downloader=ResumingDownloader(folder / f"{file}.part", n_bytes=n_bytes),
        )
        if (size := path.stat().st_size) > n_bytes:  # without a sum nothing else notices
            path.unlink()
            raise ValueError(f"more than the {n_bytes:,} bytes that it may have came ({size:,})")
    except (requests.RequestException, ValueError) as error:  # pooch's ValueError is a wrong sum
        wrong = isinstance(error, ValueError)
        raise (ChecksumError if wrong else DownloadError)(
            f"{name} could not be downloaded.\n  {address}\n    {error if wrong else _reason(error)}\n"
            "What you can do:\n"
            "  - call again: it goes on where it stopped\n"
            f"  - download the file in a browser and put it at {path}\n"
            f"  - set TLCOURSE_DATA to a folder with {name}/{file}"
        ) from error
    return path


def _reason(error: requests.RequestException) -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.Timeout):
        return "no answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)


class ResumingDownloader:
    """A downloader for pooch that goes on where an interrupted download stopped.

    What has come so far is kept in a `.part` file, and the rest is asked for with a Range header; a server
    that knows no ranges sends the whole file, and the download starts afresh. pooch checks the sum.

    Args:
        part: where to keep an unfinished download.
        n_bytes: size of the published file; a server that sends more is cut off.
        timeout: seconds to wait for a connection, and for an answer on it.
        headers: to send along, a User-Agent say.
        progress: show a bar.
    """

    def __init__(
        self,
        part: Path,
        *,
        n_bytes: int,
        timeout: tuple[float, float] = (5, 30),
        headers: Mapping[str, str] = MappingProxyType({}),
        progress: bool = True,
    ) -> None:
        self.part, self.n_bytes, self.timeout, self.headers, self.progress = part, n_bytes, timeout, headers, progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` and move it to `output_file` when it is complete.

        Raises:
            requests.RequestException: no answer, a refusal, or a connection that broke off.
            OSError: the disk is full; the unfinished download is removed.
        """
        have = self.part.stat().st_size if self.part.is_file() else 0
        if have < self.n_bytes:
            self._receive(url, have)
        self.part.replace(output_file)

    def _receive(self, url: str, have: int) -> None:
        """Write what the server sends to `part`, after the `have` bytes that are there."""
        headers = {"Accept-Encoding": "identity", **self.headers} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            if have and response.status_code == requests.codes.requested_range_not_satisfiable:
                return self._receive(url, 0)
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
            announced = min(have + int(response.headers.get("Content-Length", 0)), self.n_bytes)
            try:
                self._write(response, have)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    self.part.unlink(missing_ok=True)
                raise
        if (got := self.part.stat().st_size) < announced:
            raise requests.exceptions.ChunkedEncodingError(f"{got:,} of {announced:,} bytes came")

    def _write(self, response: requests.Response, have: int) -> None:
        bar = tqdm(
            desc=self.part.stem,
            total=self.n_bytes,
            initial=have,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
        )
        with bar, self.part.open("ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > self.n_bytes:
                    return
