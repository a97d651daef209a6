"""Small exports, written as Wikimedia writes them."""

import bz2
import gzip
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-{schema}/" version="{schema}" xml:lang="{language}">
  <siteinfo>
    <sitename>วิกิพีเดีย</sitename>
    <dbname>{dbname}</dbname>
    <namespaces>
      <namespace key="-2" case="first-letter">สื่อ</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">ไฟล์</namespace>
      <namespace key="14" case="first-letter">หมวดหมู่</namespace>
    </namespaces>
  </siteinfo>
"""


def page(number: int, wikitext: str, *, title: str = "", namespace: int = 0, redirect: str = "") -> str:
    """A `<page>`, its revision a thousand higher than its id, its contributor's id in between."""
    return f"""  <page>
    <title>{escape(title or f"บทความ {number}")}</title>
    <ns>{namespace}</ns>
    <id>{number}</id>
    {f"<redirect title={quoteattr(redirect)} />" if redirect else ""}
    <revision>
      <id>{number + 1000}</id>
      <contributor><username>ใคร</username><id>7</id></contributor>
      <model>wikitext</model>
      <text bytes="{len(wikitext.encode())}" xml:space="preserve">{escape(wikitext)}</text>
      <content><role>slot</role><id>3</id><text>another slot</text></content>
    </revision>
  </page>
"""


@dataclass
class Export:
    """Writes exports into a folder."""

    folder: Path
    page = staticmethod(page)

    def xml(self, *pages: str, dbname: str = "thwiki", language: str = "th", schema: str = "0.11") -> bytes:
        head = HEAD.format(dbname=dbname, language=language, schema=schema)
        return (head + "".join(pages) + "</mediawiki>\n").encode()

    def write(self, raw: bytes, name: str = "thwiki-20251101-pages-articles.xml.bz2") -> Path:
        """Write the XML, packed as the name says; bzip2 in blocks of 100 kB, so that small files have several."""
        pack = {".bz2": partial(bz2.compress, compresslevel=1), ".gz": gzip.compress}.get(Path(name).suffix, bytes)
        file = self.folder / name
        file.write_bytes(pack(raw))
        return file


@pytest.fixture
def export(tmp_path) -> Export:
    return Export(tmp_path)


@pytest.fixture(scope="session")
def gensim_dumps() -> Path:
    """The folder of the real dumps that gensim ships."""
    spec = find_spec("gensim")
    if spec is None:
        pytest.skip("gensim is not installed")
    return Path(spec.origin).parent / "test/test_data"
