"""Dumps page by page: real ones, and every way in which one can be damaged."""

import bz2
import random
import tracemalloc

import pytest

from tlcourse.data import DataError
from tlcourse.data.wikipedia import DumpError, Page, pages, read_site
from tlcourse.data.wikipedia import dump as dump_module

NAMES = ["thwiki.xml", "thwiki.xml.bz2", "thwiki.xml.gz"]


def read_until_error(file):
    """The pages that came, and the error."""
    found = []
    with pytest.raises(DumpError) as error:
        for page in pages(file):
            found.append(page)
    return found, str(error.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schema", ["0.3", "0.10", "0.11", "0.12"])
def test_pages_of_any_schema_and_packing(export, name, schema):
    raw = export.xml(
        export.page(5, "ก < ข & ค\n", title="A & B"),
        export.page(6, "#เปลี่ยนทาง [[A & B]]", redirect="A & B"),
        export.page(7, "คุย", namespace=1),
        schema=schema,
    )
    file = export.write(raw, name)
    assert list(pages(file)) == [
        Page(5, 1005, "A & B", 0, None, "ก < ข & ค\n"),
        Page(6, 1006, "บทความ 6", 0, "A & B", "#เปลี่ยนทาง [[A & B]]"),
        Page(7, 1007, "บทความ 7", 1, None, "คุย"),
    ]
    site = read_site(file)
    assert (site.name, site.language, site.namespaces[14]) == ("thwiki", "th", "หมวดหมู่")


def test_a_multistream_dump(export):
    raw = export.xml(*(export.page(i, f"หน้า {i}") for i in range(9)))
    file = export.folder / "multistream.xml.bz2"
    file.write_bytes(b"".join(bz2.compress(raw[i : i + 700]) for i in range(0, len(raw), 700)))
    assert [page.id for page in pages(file)] == list(range(9))


def test_gensims_real_dumps(gensim_dumps):
    english = gensim_dumps / "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    found = list(pages(english))
    articles = [page for page in found if page.namespace == 0 and page.redirect is None]
    assert (len(found), len(articles), articles[0].title) == (206, 106, "Anarchism")
    assert read_site(english).language == "en"
    bulgarian = gensim_dumps / "bgwiki-latest-pages-articles-shortened.xml.bz2"  # in UTF-16
    assert [page.title for page in pages(bulgarian) if page.namespace == 0] == ["Григориански календар"]
    assert read_site(bulgarian).namespaces[6] == "Файл"
    no_siteinfo = gensim_dumps / "enwiki-table-markup.xml.bz2"
    assert len(list(pages(no_siteinfo))) == 5
    assert (read_site(no_siteinfo).name, read_site(no_siteinfo).language) == ("", "en")


def test_the_last_revision_counts_and_deleted_text_is_empty(export):
    raw = export.xml(export.page(5, "เก่า")).replace(
        b"  </page>", b'<revision><id>9</id><text deleted="deleted" /></revision>  </page>'
    )
    assert [(page.revision, page.wikitext) for page in pages(export.write(raw))] == [(9, "")]


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_dump_yields_what_came_before(export, name):
    letters = random.Random(0).choices("กขคงจฉชซฌญ", k=120_000)
    texts = ["".join(letters[n : n + 3000]) for n in range(0, 120_000, 3000)]
    file = export.write(export.xml(*(export.page(n, text) for n, text in enumerate(texts))), name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 3 // 5])
    found, message = read_until_error(file)
    assert 0 < len(found) < 40
    assert [page.wikitext for page in found] == texts[: len(found)]
    for part in (str(file), f"after {len(found):,} articles", "bytes", "fetch it again"):
        assert part in message


def test_xml_cut_in_the_middle_of_a_page(export):
    raw = export.xml(export.page(1, "หนึ่ง"), export.page(2, "สอง"))
    found, message = read_until_error(export.write(raw[: raw.index("สอง".encode()) + 4]))
    assert [page.id for page in found] == [1] and "after 1 articles" in message


def test_a_corrupt_bz2(export):
    raw = export.xml(*(export.page(n, str(n) * 200) for n in range(300)))
    file = export.folder / "corrupt.xml.bz2"
    streams = [bz2.compress(raw[i : i + 50_000]) for i in range(0, len(raw), 50_000)]
    streams[2] = streams[2][:40] + bytes(60) + streams[2][100:]
    file.write_bytes(b"".join(streams))
    found, message = read_until_error(file)
    assert [page.id for page in found] == list(range(len(found))) and len(found) > 50
    assert "damaged" in message


def test_invalid_utf_8(export):
    raw = export.xml(export.page(1, "หนึ่ง"), export.page(2, "สอง"))
    found, message = read_until_error(export.write(raw.replace("สอง".encode(), b"\xff\xfe\xc3")))
    assert [page.id for page in found] == [1] and "not well-formed" in message


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;">]>',
        '<!DOCTYPE m [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE mediawiki SYSTEM "http://127.0.0.1:9/evil.dtd">',
    ],
)
def test_entities_and_document_types_are_refused(export, doctype):
    raw = doctype.encode() + export.xml(export.page(1, "&lol2;"))
    found, message = read_until_error(export.write(raw))
    assert found == [] and "refused" in message
    with pytest.raises(DumpError, match="refused"):
        read_site(export.write(raw))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no element found"),
        (b"<html><body>404 Not Found</body></html>", "begins with <html>"),
        (b"not XML at all", "damaged"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"(\xb5/\xfd\x04", "Zstandard"),
    ],
)
def test_what_is_no_dump(export, raw, words):
    file = export.write(raw, "thwiki.xml")
    assert words in read_until_error(file)[1]
    with pytest.raises(DumpError, match=words):
        read_site(file)


def test_a_page_without_a_usable_id(export):
    raw = export.xml(export.page(1, "หนึ่ง"), export.page(2, "สอง").replace("<id>2</id>", "<id>two</id>"))
    found, message = read_until_error(export.write(raw))
    assert [page.id for page in found] == [1] and "title, id or namespace" in message


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(pages(tmp_path / "none.xml"))
    assert issubclass(DumpError, DataError)


def test_a_page_over_five_megabytes_has_no_text(export):
    just = "ก" * 1_666_666 + "ab"
    raw = export.xml(export.page(1, just), export.page(2, just + "c"), export.page(3, "ค"))
    assert [page.wikitext for page in pages(export.write(raw, "thwiki.xml"))] == [just, None, "ค"]


def peak_memory(file) -> int:
    """Bytes that reading the file takes at most, at any one time."""
    tracemalloc.start()
    for _ in pages(file):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_dump_nor_with_a_page(export, monkeypatch):
    monkeypatch.setattr(dump_module, "MAX_BYTES", 50_000)
    monkeypatch.setattr(dump_module, "CHUNK", 10_000)
    small, many, long = (
        peak_memory(export.write(raw))
        for raw in (
            export.xml(*(export.page(n, "ก" * 1000) for n in range(30))),
            export.xml(*(export.page(n, "ก" * 1000) for n in range(600))),
            export.xml(*(export.page(n, "ก" * 1000) for n in range(30)), export.page(30, "ก" * 600_000)),
        )
    )
    assert many < small + 200_000 and long < small + 400_000  # the XML is 2 MB longer


def test_progress_tells_the_bytes_of_the_file(export):
    file = export.write(export.xml(export.page(1, "หนึ่ง")))
    told = []
    list(pages(file, progress=told.append))
    assert told[-1] == file.stat().st_size and told == sorted(told)
