"""Fetching a dump of a Wikipedia from Wikimedia or a mirror."""

import re
import shutil
from pathlib import Path

import pooch
import requests
from filelock import FileLock

import tlcourse
from tlcourse.data.download import ChecksumError, DownloadError, ResumingDownloader, _reason, cache_folder

MIRROR = "https://dumps.wikimedia.org"
# Wikimedia asks every program to say what it is: https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy
_HEADERS = {
    "User-Agent": f"tlcourse/{tlcourse.__version__} (a course on transfer learning) "
    f"python-requests/{requests.__version__}",
    "Accept-Encoding": "identity",
}

_LANGUAGE = re.compile(r"[a-z]+(?:-[a-z]+)*")
_DATE = re.compile(r"latest|\d{8}")
_TIMEOUT = (5, 30)  # seconds to connect, and to wait for an answer


def default_folder(language: str = "th") -> Path:
    """Where a Wikipedia's dump, articles and token ids are kept if no other folder is named: in the cache.

    Raises:
        ValueError: no language code.
    """
    return cache_folder() / "wikipedia" / _checked(language)


def _checked(language: str) -> str:
    """A language code that may become part of a path and an address."""
    if not _LANGUAGE.fullmatch(language):
        raise ValueError(f"{language!r} is no language code of a Wikipedia; it is like 'th', 'simple' or 'zh-yue'")
    return language


def fetch(
    language: str = "th",
    *,
    date: str = "latest",
    folder: Path | str | None = None,
    mirror: str = MIRROR,
    progress: bool = True,
) -> Path:
    """Download the articles of a Wikipedia: `thwiki-20251101-pages-articles.xml.bz2`, about 400 MB for Thai.

    An interrupted download goes on where it stopped. The sha1 is that of the dump's own list; a file that is there
    already, and whole, is not downloaded again.

    Args:
        language: code of the Wikipedia, as in its address.
        date: of the dump, YYYYMMDD, or the latest.
        folder: where to keep the file; None for `default_folder`.
        mirror: an address with the same folders as Wikimedia's.
        progress: show a bar.

    Raises:
        ValueError: no language code, or no date.
        DownloadError: there is no such dump, it is not finished yet, the server cannot be reached, or the disk is full.
        ChecksumError: what came is not what was published; nothing of it is kept.
    """
    wiki = _checked(language).replace("-", "_") + "wiki"
    if not _DATE.fullmatch(date):
        raise ValueError(f"{date!r} is no date of a dump; it is like '20251101', or 'latest'")
    folder = Path(folder) if folder else default_folder(language)
    name, sha1 = _published(f"{mirror}/{wiki}/{date}/{wiki}-{date}-sha1sums.txt", wiki, mirror)
    address = f"{mirror}/{wiki}/{name.split('-')[1]}/{name}"
    file, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # two that start together download once
            if file.is_file() and pooch.file_hash(str(file), "sha1") == sha1:
                return file
            size = _size(address)
            missing = size - (part.stat().st_size if part.is_file() else 0)
            if (free := shutil.disk_usage(folder).free) < missing:
                raise DownloadError(
                    f"{name} needs {missing:,} bytes more, and {free:,} are free in {folder}: make room, "
                    "or name another folder."
                )
            downloader = ResumingDownloader(part, n_bytes=size, headers=_HEADERS, progress=progress)
            pooch.retrieve(address, f"sha1:{sha1}", fname=name, path=folder, downloader=downloader)
            return file
    except requests.RequestException as error:
        have = part.stat().st_size if part.is_file() else 0
        again = f"call again: it goes on after the {have:,} bytes that are here" if have else "try again later"
        raise DownloadError(f"{address} could not be downloaded: {_reason(error)}. You can {again}.") from error
    except ValueError as error:  # so pooch reports a wrong sum, with both sums in its message
        raise ChecksumError(f"{address} is not what its list of sums says; call again. {error}") from error
    except OSError as error:
        raise DownloadError(
            f"{name} cannot be kept in {folder}: {error.strerror or error}. Make room, or name another folder."
        ) from error


def _published(address: str, wiki: str, mirror: str) -> tuple[str, str]:
    """Name and sha1 of the articles' file, as the dump's list of sums has them."""
    try:
        with requests.get(address, headers=_HEADERS, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            lines = response.text.splitlines()
    except requests.RequestException as error:
        if isinstance(error, requests.HTTPError) and error.response.status_code == requests.codes.not_found:
            raise DownloadError(
                f"There is no {address}: no Wikipedia has this language code, or no dump this date. "
                f"{mirror}/{wiki}/ lists the dates (Wikimedia keeps the last few months), "
                f"{mirror}/backup-index.html the languages."
            ) from error
        raise DownloadError(f"{address} could not be read: {_reason(error)}. Try again later.") from error
    for line in lines:
        sha1, _, name = line.partition("  ")
        if re.fullmatch(rf"{wiki}-\d{{8}}-pages-articles\.xml\.bz2", name) and re.fullmatch(r"[\da-f]{40}", sha1):
            return name, sha1
    raise DownloadError(
        f"{address} names no {wiki}-…-pages-articles.xml.bz2: this dump is not finished, or the mirror is none of "
        f"Wikimedia's. Take an earlier date; {mirror}/{wiki}/ lists them."
    )


def _size(address: str) -> int:
    """Bytes of the file at an address."""
    with requests.head(address, headers=_HEADERS, timeout=_TIMEOUT, allow_redirects=True) as response:
        response.raise_for_status()
        if "Content-Length" not in response.headers:
            raise DownloadError(f"{address}: the server does not say how many bytes it has. Take another mirror.")
        return int(response.headers["Content-Length"])
