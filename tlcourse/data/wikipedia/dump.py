"""A Wikimedia dump, page by page, in bounded memory.

The XML is MediaWiki's export format (https://www.mediawiki.org/wiki/Help:Export), of any version, plain or packed
with bzip2 (of one stream or many) or gzip.
"""

import bz2
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn
from xml.parsers import expat

from tlcourse.data.catalogue import DataError

MAX_BYTES = 5_000_000  # of one page's wikitext; MediaWiki itself refuses to save more than 2 MB
CHUNK = 1 << 18  # bytes unpacked at a time

_PACKED = {b"BZh": bz2.open, b"\x1f\x8b": gzip.open}
_UNKNOWN = {b"7z\xbc\xaf": "7-Zip", b"(\xb5/\xfd": "Zstandard", b"PK\x03\x04": "zip"}
_KEPT = {
    "mediawiki/siteinfo/dbname",
    "mediawiki/siteinfo/namespaces/namespace",
    "mediawiki/page/title",
    "mediawiki/page/ns",
    "mediawiki/page/id",
    "mediawiki/page/revision/id",
    "mediawiki/page/revision/text",
}


class DumpError(DataError):
    """A dump is damaged, or is not the dump that was asked for; the message says where and what to do."""


_FAULTS = (OSError, EOFError, zlib.error, expat.ExpatError, DumpError)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a wiki, in its last revision.

    Attributes:
        namespace: 0 for articles.
        redirect: the title that the page sends its readers to; None for all others.
        wikitext: None where it is longer than `MAX_BYTES`.
    """

    id: int
    revision: int | None
    title: str
    namespace: int
    redirect: str | None
    wikitext: str | None


@dataclass(frozen=True)
class Site:
    """Which wiki a dump is of.

    Attributes:
        name: its database, such as "thwiki"; empty where the dump does not say.
        language: the language code in the address of the wiki, such as "th"; empty likewise.
        namespaces: names by number, such as {6: "ไฟล์", 14: "หมวดหมู่"}.
    """

    name: str = ""
    language: str = ""
    namespaces: dict[int, str] = field(default_factory=dict)


def pages(path: Path | str, *, progress: Callable[[int], object] | None = None) -> Iterator[Page]:
    """The pages of a dump, of all namespaces, redirects among them, in the order of the file.

    Args:
        path: a `.xml`, `.xml.bz2` or `.xml.gz`; the first bytes decide, not the name.
        progress: called with the number of bytes of the file that have been read so far.

    Raises:
        DumpError: the file is cut off, corrupt, not UTF-8, no MediaWiki export, or declares entities. It comes after
            all pages that are whole.
        OSError: the file cannot be read.
    """
    path = Path(path)
    reader = _Reader(path)
    with ExitStack() as stack:
        packed = stack.enter_context(path.open("rb"))
        stream = _unpacked(packed, path, stack)
        while True:
            try:
                chunk = stream.read1(CHUNK)  # `read` would lose what came before an error
                reader.feed(chunk)
            except _FAULTS as error:
                yield from reader.take()
                reader.fail(error, packed.tell())
            yield from reader.take()
            if progress:
                progress(packed.tell())
            if not chunk:
                return


def read_site(path: Path | str) -> Site:
    """The wiki that a dump is of, from the dump's first lines.

    Raises: as `pages`.
    """
    path = Path(path)
    reader = _Reader(path)
    with ExitStack() as stack:
        packed = stack.enter_context(path.open("rb"))
        stream = _unpacked(packed, path, stack)
        while not reader.pages_begun:
            try:
                chunk = stream.read1(1 << 14)
                reader.feed(chunk)
            except _FAULTS as error:
                if reader.pages_begun:
                    break
                reader.fail(error, packed.tell())
            if not chunk:
                break
    return reader.site


def _unpacked(packed: IO[bytes], path: Path, stack: ExitStack) -> IO[bytes]:
    """The XML of a file that may be packed."""
    head = packed.peek(4)[:4]
    for magic, name in _UNKNOWN.items():
        if head.startswith(magic):
            raise DumpError(f"{path} is packed with {name}: unpack it first, or take the .xml.bz2 of the dump.")
    for magic, unpack in _PACKED.items():
        if head.startswith(magic):
            return stack.enter_context(unpack(packed))
    return packed


class _Reader:
    """What expat tells of a dump, made into pages.

    Only the text of the elements in `_KEPT` is held, and of a page not more than `MAX_BYTES`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.site = Site()
        self.articles = 0  # pages of namespace 0 so far, for messages
        self.pages_begun = False
        self._element = ""  # the open elements, joined by slashes
        self._text: list[str] | None = None  # of the open element, where it is kept
        self._length = 0
        self._fields: dict[str, str | None] = {}
        self._namespace = 0
        self._done: list[Page] = []
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = CHUNK
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        # A dump declares no entities; a file that does may blow up in memory or read other files.
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self._refuse

    def feed(self, chunk: bytes) -> None:
        """Read on; an empty chunk is the end."""
        self._parser.Parse(chunk, not chunk)

    def take(self) -> list[Page]:
        """The pages that have become whole."""
        done, self._done = self._done, []
        return done

    def fail(self, error: Exception, position: int) -> NoReturn:
        """Say where the dump is damaged."""
        if isinstance(error, DumpError) or (isinstance(error, OSError) and error.errno is not None):
            raise error  # it says all there is to say, or is the disk's
        raise DumpError(
            f"{self.path} is damaged: {error}. That is after {self.articles:,} articles and {position:,} of "
            f"{self.path.stat().st_size:,} bytes; all before it was read. The file is cut off or corrupt: "
            "compare its sha1 with the one published beside it, and fetch it again."
        ) from error

    def _refuse(self, *declaration: object) -> NoReturn:
        raise DumpError(f"{self.path} declares a document type or entities, as no dump of Wikimedia's does: refused.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if not self._element:
            if tag != "mediawiki":
                raise DumpError(f"{self.path} is no MediaWiki export: it begins with <{tag}>, not with <mediawiki>.")
            self.site = Site(language=attributes.get("xml:lang", ""))
        self._element = f"{self._element}/{tag}" if self._element else tag
        if self._element in _KEPT:
            self._text, self._length = [], 0
            self._namespace = int(attributes.get("key", 0))
        elif self._element == "mediawiki/page":
            self._fields, self.pages_begun = {}, True
        elif self._element == "mediawiki/page/redirect":
            self._fields["redirect"] = attributes.get("title", "")

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._length += len(text.encode())
            if self._length <= MAX_BYTES:
                self._text.append(text)
            else:
                self._text.clear()

    def _end(self, tag: str) -> None:
        element, self._element = self._element, self._element.rpartition("/")[0]
        if element in _KEPT:
            text = "".join(self._text) if self._length <= MAX_BYTES else None
            self._text = None
            if element.startswith("mediawiki/page/"):
                self._fields[element.removeprefix("mediawiki/page/")] = text
            elif element == "mediawiki/siteinfo/dbname":
                language = text.removesuffix("wiki").replace("_", "-") if text.endswith("wiki") else self.site.language
                self.site = Site(text, language, self.site.namespaces)
            else:
                self.site.namespaces[self._namespace] = text
        elif element == "mediawiki/page":
            self._finish()

    def _finish(self) -> None:
        get = self._fields.get
        try:
            revision = get("revision/id")
            page = Page(
                id=int(self._fields["id"]),
                revision=int(revision) if revision else None,
                title=self._fields["title"],
                namespace=int(get("ns", "0")),
                redirect=get("redirect"),
                wikitext=get("revision/text", ""),
            )
        except (KeyError, ValueError) as error:
            raise DumpError(
                f"{self.path}: a page has no usable title, id or namespace ({error}). It comes after {self.articles:,} "
                f"articles, at line {self._parser.CurrentLineNumber:,} of the XML: the file is damaged, fetch it again."
            ) from error
        self.articles += page.namespace == 0
        self._done.append(page)
