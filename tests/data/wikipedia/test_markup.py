"""Wikitext into text: each construct, sentences left whole, and junk that must neither hang nor raise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.data.wikipedia import pages, plain_text
from tlcourse.data.wikipedia.markup import MAX_DEPTH, convert, paragraphs

few = settings(deadline=None, max_examples=50)


def thai(wikitext: str) -> str:
    return plain_text(wikitext, language="th")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # links
        ("เป็น[[เมืองหลวง]]ของ[[ประเทศไทย|ไทย]]", "เป็นเมืองหลวงของไทย"),
        ("[[bus]]es, [[a|]] [[กรุงเทพฯ#ประวัติ|ประวัติ]]", "buses, a ประวัติ"),
        ("[http://a.th เว็บ ก] และ [https://b.th]จบ [//c.th [[ค]]]", "เว็บ ก และ จบ ค"),
        ("ดู https://a.th/ก_ข", "ดู https://a.th/ก_ข"),
        # files, categories, other languages, in any of their names, with links in captions
        ("[[ไฟล์:A.jpg|thumb|200px|ภาพ[[วัด|วัดพระแก้ว]] [[ก]]]]ก", "ก"),
        ("[[File:A.jpg]][[Image:A|คำ]][[ภาพ:ก.png|thumb]][[สื่อ:ก.ogg|ฟัง]]ก", "ก"),
        ("ก\n[[หมวดหมู่:จังหวัด]]\n[[Category:Cities|ก]]\n[[en:Bangkok]]\n[[zh-min-nan:Bangkok]]", "ก"),
        ("ดู[[:หมวดหมู่:จังหวัด]] [[:en:Bangkok]] [[:en:Bangkok|บางกอก]]", "ดูหมวดหมู่:จังหวัด Bangkok บางกอก"),
        ("[[มาตรฐาน: ภาคหนึ่ง]]", "มาตรฐาน: ภาคหนึ่ง"),
        # templates
        ("{{กล่องข้อมูล\n| ชื่อ = {{lang|en|x}}\n| ภาพ = [[ไฟล์:A.jpg]]\n}}\n'''ก''' ข", "ก ข"),
        ("{{lang|th|ก}} {{lang-en|Bangkok}} {{Langx|en|Rama|label=x}} {{nowrap|ข ค}}", "ก Bangkok Rama ข ค"),
        ("{{lang|1=th|2=ก}} {{Nowrap| ข }} {{ nobr | ค}}", "ก ข ค"),
        ("สูง {{convert|2,565|m|ft|0}} ถึง {{convert|5|to|10|km|mi}}", "สูง 2,565 m ถึง 5 to 10 km"),
        ("{{cvt|5|ft|8|in|m}} {{cvt|3|ft|m|1}}", "5 ft 8 in 3 ft"),
        ("{{convert|5}}{{lang|th}}{{convert|5|to}}ก", "ก"),
        ("H{{sub|2}}O {{frac|3|1|2}} {{formatnum:12345}} ก{{snd}}ข{{nbsp}}ค", "H2O 3 1/2 12345 ก – ข ค"),
        ("{{lang|th|ก{{nowrap|ข[[ค|ง]]}}}}", "กขง"),
        ("{{อ้างอิงเว็บ|url=http://a|title=ก}}{{ไม่รู้จัก|ข}}{{PAGENAME}}{{DEFAULTSORT:ก}}ค", "ค"),
        # elements
        ('ก<ref name="a">{{cite web|url=x}} [[ข]]</ref>ข<ref name="a" />ค<REF>x</REF>', "กขค"),
        ("ก <!-- ข\n\nค --> ง<!-- ไม่ปิด", "ก ง"),
        ("สูตร <math>\\frac{a}{b} {{x}}</math> ก<chem>H2O</chem>", "สูตร ก"),
        ("ก<gallery>\nไฟล์:A.jpg|ข\n\nB.jpg</gallery>ข<syntaxhighlight lang='py'>f({{1}})</syntaxhighlight>ค", "กขค"),
        ("<nowiki>[[ก]] {{ข}} ''ค''</nowiki> &lt;ref&gt;", "[[ก]] {{ข}} ''ค'' <ref>"),
        ("x<sup>2</sup> <span style='color:red'>ก</span> <small>ข</small>", "x2 ก ข"),
        ("ก<br />ข<p>ค</p>", "ก\nข\nค"),
        ("a < b และ c > d, i<3", "a < b และ c > d, i<3"),
        ("&nbsp;ก&amp;ข &quot;ค&quot; &#3585; &#xE02; AT&T &notanentity;", 'ก&ข "ค" ก ข AT&T &notanentity;'),
        # tables
        ("ก\n{| class=wikitable\n! หัว\n|-\n| a || {{x|y}}\n{|\n| ใน\n|}\n|}\nข", "ก\nข"),
        (":{|\n| a\n|}\nข", "ข"),
        ("ก\n<table><tr><td>ข</td></tr></table>\nค", "ก\nค"),
        # bold, italics, switches, rules
        ("'''หนา''' ''เอียง'' '''''ทั้งสอง''''' l''''idea'''", "หนา เอียง ทั้งสอง l'idea"),
        ("__NOTOC__ก__ไม่มีสารบัญ__ __init__\n----\nข", "ก __init__\nข"),
        # lists and paragraphs
        ("* ก\n** ข\n# ค\n: ง\n; จ : ฉ\n*\n ช", "ก\nข\nค\nง\nจ : ฉ\nช"),
        ("บรรทัดแรก\nบรรทัดสอง\n\nย่อหน้าใหม่", "บรรทัดแรก บรรทัดสอง\nย่อหน้าใหม่"),
        # headings and sections
        ("ก\n== ประวัติ ==\nข\n=== ย่อย ===\nค", "ก\nข\nค"),
        ("ก\n==อ้างอิง==\n* x\n=== หนังสือ ===\n* y\n== ต่อ ==\nข\n== ดูเพิ่ม ==\n* z", "ก\nข"),
        ("ก\n== '''References''' ==<!-- x -->\nx\n== See also ==\ny\n==External links==\nz", "ก"),
        ("ก\n== แหล่งข้อมูลอื่น ==\n* [http://a ข]\n{{โครง}}\n[[หมวดหมู่:ก]]", "ก"),
    ],
)  # fmt: skip
def test_constructs(wikitext, text):
    assert convert(wikitext, language="th") == (text, frozenset() if "ไม่ปิด" not in wikitext else {"unclosed"})


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("กรุงเทพฯ ({{IPA|x}}) เป็น", "กรุงเทพฯ เป็น"),
        ("กรุงเทพฯ ({{IPA|x}}, {{เสียง|y}}) เป็น", "กรุงเทพฯ เป็น"),
        ("ก ({{lang-en|A}}, {{IPA|x}}) ข", "ก (A) ข"),
        ("ก ({{IPA|x}}; {{lang-en|A}}) ข", "ก (A) ข"),
        ("ก (เกิด {{เกิด|1}}) ข", "ก (เกิด) ข"),
        ("ก {{x}}, ข{{y}} , ค {{z}}.", "ก, ข, ค."),
        ("ก, {{x}}, ข", "ก, ข"),
        ("ก（{{x}}）ข [{{y}}]", "กข"),
        ("{{x}}, ก", "ก"),
        ("ก<ref>x</ref> , ข", "ก, ข"),
        ("f() และ ( ) ไม่ถูกแตะ ,", "f() และ ( ) ไม่ถูกแตะ ,"),
    ],
)
def test_a_sentence_is_mended_where_something_was_taken_out_and_only_there(wikitext, text):
    assert thai(wikitext) == text


def test_thai_is_normalised_and_its_digits_stay():
    assert thai("เเม่\u200bน้ํา\u200c  มากกกกก พ.ศ. ๒๔๓๙ และ 2439") == "แม่น้ำ มากกก พ.ศ. ๒๔๓๙ และ 2439"


def test_sections_and_namespaces_of_other_languages():
    wikitext = "а [[Файл:Б.jpg|в]]\n== Източници ==\nг"
    assert plain_text(wikitext, language="bg") == "а"
    assert plain_text(wikitext, language="xx") == "а в\nг"
    german = "a [[Datei:B.jpg|thumb|c]][[Kategorie:D]]"
    assert convert(german, language="de", namespaces=["Datei", "Kategorie"]).paragraphs == "a"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("บทนำ\n{| class=x\n! หัว\n|-\n| a || b\n\nย่อหน้าหลังตาราง", "บทนำ\nย่อหน้าหลังตาราง"),
        ("{{กล่องข้อมูล\n| ชื่อ = {{x}}\n| ปี = {{y\n\n'''ก''' ข\n\nค", "ก ข\nค"),
        ("ก [[ข\n\nค [[ง]]", "ก ข\nค ง"),
        ("ก<ref>ไม่ปิด\n\nข", "ก\nข"),
        ("{|\n| {{x\n|}\nก", "ก"),
        ("{{x|\n{|\n| a\n}}\nก", "ก"),
    ],
)
def test_what_never_ends_keeps_what_follows_and_is_told(wikitext, text):
    assert convert(wikitext, language="th") == (text, {"unclosed"})


def test_stray_endings_are_dropped():
    assert convert("ก }} ข ]] ค\n|}\nง </ref>", language="th") == ("ก ข ค\nง", frozenset())


@pytest.mark.parametrize("opening", ["{{x|", "{{lang|th|", "[[x|", "{{x\n{|\n|"])
def test_a_thousand_deep(opening):
    closing = {"{{x\n{|\n|": "\n|}\n}}", "[[x|": "]]"}.get(opening, "}}")
    text, faults = convert("ก่อน " + opening * 1000 + "ใน" + closing * 1000 + " หลัง", language="th")
    assert (text, faults) == ("ก่อน x หลัง" if opening == "[[x|" else "ก่อน หลัง", {"too deep"})
    inner = opening * (MAX_DEPTH // 2 - 1) + "ใน" + closing * (MAX_DEPTH // 2 - 1)
    assert convert(inner, language="th").faults == frozenset()


# Each of these makes some regular expression that is written without care take quadratic time: at 100 kB, minutes.
HOSTILE = [
    "{{",
    "{{lang|th|",
    "}}",
    "[[",
    "]]",
    "{|\n",
    "\n|}",
    "|",
    "<ref>",
    "<ref ",
    "<!--",
    "<gallery>",
    "<",
    "&",
    "'",
]
HOSTILE += [
    "[http://a ",
    "[http://a",
    "=",
    "=\n",
    "__A",
    "(",
    "{{a}}(",
    "({{a}}",
    "{{a}},",
    ",",
    " ",
    "\n ",
    "่",
    "เ",
    "<br",
]


@pytest.mark.parametrize("junk", HOSTILE)
def test_junk_takes_time_in_proportion(junk):
    text = plain_text("ก{{a}}" + junk * (100_000 // len(junk)) + "ข", language="th")
    assert isinstance(text, str)


words = st.text(alphabet="กขคงเา่ab12", min_size=1, max_size=6)
lines = st.lists(words, min_size=1, max_size=6).map(" ".join)


@few
@given(st.lists(lines, min_size=1, max_size=5))
def test_text_without_markup_is_its_own_text(some):
    from tlcourse.text import normalise

    expected = [line for line in map(normalise, some) if line]
    assert thai("\n\n".join(some)).split("\n") == (expected or [""])


MARKUP = [
    "{{",
    "}}",
    "{|",
    "|}",
    "[[",
    "]]",
    "|",
    "\n",
    "=",
    "''",
    "'''",
    "<ref>",
    "</ref>",
    "<ref/>",
    "<!--",
    "-->",
    "*",
    ":",
]
MARKUP += [
    "(",
    ")",
    ",",
    "<nowiki>",
    "</nowiki>",
    "<table>",
    "&lt;",
    "[http://a ",
    "]",
    "lang|",
    "File:",
    "\0",
    "ก",
    "ข ",
    "<br>",
]


@few
@given(st.lists(st.sampled_from(MARKUP), max_size=60).map("".join) | st.text(max_size=60))
def test_junk_never_raises_and_leaves_no_blank_lines(junk):
    text = thai(junk)
    assert "\0" not in text
    assert all(line == line.strip() and line for line in text.split("\n")) or not text


@few
@given(st.recursive(words, lambda inner: st.builds("{{{{x|{}|[[ก|{}]]}}}}".format, inner, inner), max_leaves=30), words)
def test_whatever_stands_in_a_dropped_template_goes_with_it(inner, word):
    assert thai(f"{{{{y|{inner}}}}}\n\n{word}") == thai(word)


def test_text_without_markup_from_others():
    text = "บทนำ  ยาว\n\nประวัติ\n\nเนื้อหา\u200b\n\n...\nอ้างอิง\n\nหนังสือ ก"
    assert paragraphs(text, language="th") == "บทนำ ยาว\nประวัติ\nเนื้อหา"


def test_real_articles_keep_their_sentences_and_lose_their_markup(gensim_dumps):
    bulgarian = next(pages(gensim_dumps / "bgwiki-latest-pages-articles-shortened.xml.bz2"))
    first = convert(bulgarian.wikitext, language="bg")
    assert first.faults == frozenset()
    assert first.paragraphs.startswith("Григорианският календар (понякога наричан и Грегориански")
    english = [plain_text(page.wikitext, language="en") for page in pages(gensim_dumps / "enwiki-table-markup.xml.bz2")]
    assert english[0].startswith("The constructive vote of no confidence (in German: konstruktives Misstrauensvotum,")
    for text in [first.paragraphs, *english]:
        for left in ("{{", "}}", "[[", "]]", "{|", "|}", "<ref", "'''", "()", " ,", "Category:", "thumb|", "style="):
            assert left not in text
