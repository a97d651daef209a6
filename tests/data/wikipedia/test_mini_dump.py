"""The embedded Thai dump: its form, how many pages of each kind, its constructs, and that its prose is varied."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

DUMP = Path(__file__).parents[3] / "data" / "wikipedia" / "thwiki-mini-pages-articles.xml"
NAME = {"": "http://www.mediawiki.org/xml/export-0.11/"}
STUBS = {"สะเดาดิน", "เขาช้างเผือก"}
DISAMBIGUATION = "โขน (แก้ความกำกวม)"
ORIGINAL, COPY = "ปลากัด", "ปลากัดภาคกลาง"

ROOT = ElementTree.parse(DUMP).getroot()  # raises ParseError if the file is not well-formed
PAGES = ROOT.findall("page", NAME)


def text(page: ElementTree.Element) -> str:
    return page.findtext("revision/text", namespaces=NAME)


def title(page: ElementTree.Element) -> str:
    return page.findtext("title", namespaces=NAME)


def thai_letters(string: str) -> int:
    return len(re.findall("[ก-ฺเ-๎]", string))


def prose(wikitext: str) -> str:
    """Roughly what a reader reads: enough to judge the articles by, not a parser."""
    wikitext = re.sub(
        r"<!--.*?-->|<ref[^>]*/>|<(ref|math|gallery|pre|syntaxhighlight)\b.*?</\1>", "", wikitext, flags=re.S
    )
    for inner in (r"\{\{[^{}]*\}\}", r"\{\|(?:(?!\{\|).)*?\n\|\}"):  # from the inside out
        while wikitext != (wikitext := re.sub(inner, "", wikitext, flags=re.S)):
            pass
    wikitext = re.sub(r"\[\[(?:ไฟล์|ภาพ|File|หมวดหมู่|[a-z]{2,6}):(?:\[\[.*?\]\]|[^\[\]])*\]\]", "", wikitext)
    wikitext = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]|\[\S+ ([^\]]*)\]", r"\1\2", wikitext)
    return re.sub(r"'{2,}|^[=*#:;]+|=+$|<[^>]*>", "", wikitext, flags=re.M)


ARTICLES = {
    title(page): text(page)
    for page in PAGES
    if page.findtext("ns", namespaces=NAME) == "0"
    and page.find("redirect", NAME) is None
    and title(page) not in {*STUBS, DISAMBIGUATION, COPY}
}
WIKITEXT = "\n".join(ARTICLES.values())


def test_the_head_is_that_of_the_thai_wikipedia():
    info = ROOT.find("siteinfo", NAME)
    spaces = {int(space.get("key")): space.text for space in info.find("namespaces", NAME)}
    assert ROOT.get("version") == "0.11" and ROOT.get("{http://www.w3.org/XML/1998/namespace}lang") == "th"
    assert info.findtext("dbname", namespaces=NAME) == "thwiki"
    assert info.findtext("base", namespaces=NAME).startswith("https://th.wikipedia.org/wiki/")
    assert (spaces[0], spaces[1], spaces[2]) == (None, "พูดคุย", "ผู้ใช้")
    assert (spaces[6], spaces[10], spaces[14]) == ("ไฟล์", "แม่แบบ", "หมวดหมู่")


def test_pages_of_each_kind():
    assert len(PAGES) == 63 and len({title(page) for page in PAGES}) == 63
    assert Counter(page.findtext("ns", namespaces=NAME) for page in PAGES) == {"0": 60, "1": 1, "10": 1, "14": 1}
    assert len(ARTICLES) == 51
    texts = {title(page): text(page) for page in PAGES}
    assert texts[ORIGINAL] == texts[COPY] and len(set(texts.values())) == 62
    assert all(thai_letters(texts[stub]) < 100 for stub in STUBS)
    assert "{{แก้กำกวม}}" in texts[DISAMBIGUATION]
    redirects = {title(page): page.find("redirect", NAME) for page in PAGES}
    targets = {name: redirect.get("title") for name, redirect in redirects.items() if redirect is not None}
    assert len(targets) == 5 and set(targets.values()) <= ARTICLES.keys()
    assert all(f"[[{target}" in texts[name] for name, target in targets.items())


def test_revisions_are_plausible():
    for path in ("id", "revision/id"):
        ids = [int(page.findtext(path, namespaces=NAME)) for page in PAGES]
        assert len(set(ids)) == 63 and min(ids) > 0
    page_ids = [int(page.findtext("id", namespaces=NAME)) for page in PAGES]
    assert page_ids == sorted(page_ids)  # as in a dump
    for page in PAGES:
        stamp = page.findtext("revision/timestamp", namespaces=NAME)
        assert re.fullmatch(r"20(19|2[0-5])-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp)
        assert page.findtext("revision/contributor/username", namespaces=NAME) == "ผู้เขียนหลักสูตร"
        assert page.findtext("revision/model", namespaces=NAME) == "wikitext"
        assert int(page.find("revision/text", NAME).get("bytes")) == len(text(page).encode())


@pytest.mark.parametrize(
    ("pattern", "least"),  # in how many articles
    [
        (r"^\{\{(กล่องข้อมูล|Infobox|Taxobox|Speciesbox)", 25),
        (r"\{\{[^{}]*\{\{[^{}]*\{\{", 2),  # a template in a template in a template, or three open in a row
        (r"\{\{lang-en\|", 8),
        (r"\{\{IPA", 4),
        (r"<ref>", 10),
        (r"<ref name=[^>]*/>", 2),
        (r"<references ?/>", 3),
        (r"\{\{(อ้างเว็บ|อ้างหนังสือ|อ้างวารสาร)", 5),
        (r"\{\{cite (web|book)", 3),
        (r"\{\{รายการอ้างอิง", 15),
        (r"\{\{บทความหลัก\|", 1),
        (r"\{\{coord\|", 3),
        (r"\{\{convert\|", 3),
        (r"^\{\|", 15),
        (r"^\{\|(?:(?!^\|\}).)*^\{\|", 2),  # a table in a table
        (r"^\{\|(?:(?!^\|\}).)*\{\{", 2),  # a template in a table
        (r"\[\[ไฟล์:[^\[\]]*\[\[", 4),  # a link in a caption
        (r"\[\[ภาพ:", 2),
        (r"\[\[File:", 1),
        (r"\[\[หมวดหมู่:", 50),
        (r"\[\[(en|ja|fr|de|km|lo|zh|ms):", 12),
        (r"\[\[[^\]|:]+\|[^\]]+\]\]", 30),
        (r"\[\[[^\]|:]+\]\][ก-ฮ]", 40),  # letters run on after a link
        (r"\[https?://\S+ [^\]]+\]", 7),
        (r"'''[^'\n]+'''", 48),
        (r"(?<!')''[^'\n]+''(?!')", 25),
        (r"^[^'\n]*'''[^'\n]+$", 1),  # bold never closed
        (r"^==[^=]+==$", 45),
        (r"^===[^=]+===$", 2),
        (r"^====[^=].*====$", 1),
        (r"== อ้างอิง ==", 15),
        (r"== ดูเพิ่ม ==", 5),
        (r"== แหล่งข้อมูลอื่น ==", 4),
        (r"<math", 5),
        (r"<gallery", 3),
        (r"<!--", 2),
        (r"<br ?/>", 1),
        (r"&nbsp;", 1),
        (r"&ndash;", 2),
        (r"<nowiki>", 1),
        (r"<poem>", 1),
        (r"<syntaxhighlight", 1),
        (r"^\*", 20),
        (r"^#", 10),
        (r"^; ?.*\n?:|^; .* : ", 4),
        (r"__NOTOC__", 1),
        (r"\{\{DEFAULTSORT:", 2),
        (r"พ\.ศ\. \d{4}", 30),
        (r"[๐-๙]", 12),
        (r"พ\.ศ\. [๐-๙]{4}", 8),
        (r"\u200b", 1),
        (r"เเ", 1),
        (r"([่้๊๋])\1", 2),
        (r"[่-๋][ัิ-ู]", 1),  # a tone mark typed before its vowel
        (r"ํ[่-๋]า", 1),  # ◌ํ and า where ำ belongs
    ],
)
def test_constructs(pattern, least):
    found = [name for name, wikitext in ARTICLES.items() if re.search(pattern, wikitext, flags=re.M | re.S)]
    assert len(found) >= least


def test_the_file_escapes_what_wikitext_needs():
    raw = DUMP.read_text("utf-8")
    for escaped in ("&amp;nbsp;", "&lt;ref&gt;", "&quot;", "&lt;nowiki&gt;&amp;amp;&lt;/nowiki&gt;"):
        assert escaped in raw
    assert "<!DOCTYPE" not in raw and 150_000 < DUMP.stat().st_size < 300_000


@pytest.mark.parametrize("name", ARTICLES)
def test_an_article_is_thai_prose(name):
    read = prose(ARTICLES[name])
    letters = sum(character.isalpha() or character in "ัิีึืฺุู็่้๊๋์ํ" for character in read)
    assert 500 <= thai_letters(read) <= 2_600
    assert thai_letters(read) > 0.9 * letters


def test_no_two_articles_share_a_phrase_or_an_opening():
    """Thai has no full stop: a sentence is taken for what stands between two spaces, if it is long enough."""
    phrases = {
        name: {phrase for phrase in prose(wikitext).split() if thai_letters(phrase) >= 18}
        for name, wikitext in ARTICLES.items()
    }
    assert sum(map(len, phrases.values())) > 1_000
    for one, other in combinations(phrases, 2):
        assert not phrases[one] & phrases[other], (one, other)
    openings = {prose(wikitext).replace(name, "").strip()[:15] for name, wikitext in ARTICLES.items()}
    assert len(openings) == len(ARTICLES)
