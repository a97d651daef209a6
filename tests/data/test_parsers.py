"""Each published format, and files that are not in it."""

import bz2
import json
from collections import Counter

import pandas as pd
import pytest

from tlcourse import data
from tlcourse.data import parsers
from tlcourse.data.wikipedia import DumpError


def test_intents_with_a_byte_order_mark_and_spaces(small):
    raw = b"\xef\xbb\xbf" + small.csv(small.train[:3])
    splits = parsers.intents([("mari-intent/mari_train.csv", raw), ("test.csv", small.csv(small.test))])
    assert list(splits) == ["train", "test"]
    assert list(splits["train"].columns) == ["text", "action", "object", "destination"]
    assert list(splits["train"].itertuples(index=False, name=None)) == small.train[:3]


def test_intents_keeps_commas_quotes_and_drops_rows_without_a_text():
    raw = b'texts,action,object,destination\n"a ""b"", c",x,y,z\n  ,x,y,z\nNA,x,y,z\n'
    assert parsers.intents([("train.csv", raw)])["train"].text.tolist() == ['a "b", c', "NA"]


HEADER = "texts,action,object,destination\n"


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"", r"train\.csv is empty"),
        (b"\n \r\n", r"train\.csv is empty"),
        (HEADER.encode(), r"train\.csv has no rows"),
        (b"text,label\na,b\n", "no column texts, action, object, destination; its columns are: text, label"),
        ((HEADER + "สวัสดีครับ,a,b,c\n").encode("cp874"), r"not UTF-8 \(byte 32\).*looks like TIS-620"),
        ((HEADER + "สวัสดีครับ,a,b,c\n").encode("utf-16"), "looks like UTF-16"),
        ((HEADER + "café,a,b,c\n").encode("latin-1"), r"not UTF-8 \(byte 35\)\. Save it again as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", r"not UTF-8 \(byte 0\)\. Save"),
        ((HEADER + "ก,a,b,c\nข,a,b,\n").encode(), r"row 2 has no destination"),
        ((HEADER + "ก,a,b,c\nข,a,b,c,d,e\n").encode(), "is not a table"),
    ],
)
def test_a_table_that_is_not_one(raw, says):
    with pytest.raises(data.DataError, match=says):
        parsers.intents([("train.csv", raw)])


def jsonl(*rows) -> bytes:
    return "".join(json.dumps({"category": c, "texts": t}, ensure_ascii=False) + "\n" for t, c in rows).encode()


def test_wisesight_as_published():
    files = [
        ("data/train.jsonl", jsonl(("ดีมาก ", "pos"), ("#ERROR!", "neu"), ("แย่", "neg"))),
        ("data/valid.jsonl", jsonl(("เท่าไหร่\u2028คะ", "q"))),
        ("data/test.jsonl", jsonl(("เฉยๆ", "neu"))),
    ]
    splits = parsers.wisesight(files)
    assert splits["train"].values.tolist() == [["ดีมาก", "pos"], ["แย่", "neg"]]
    assert splits["valid"].values.tolist() == [["เท่าไหร่\u2028คะ", "q"]]
    with pytest.raises(data.DataError, match="not whole: test missing"):
        parsers.wisesight(files[:2])


def test_wisesight_by_sentiment():
    files = [
        (f"{name}.txt", f"{name} 1\r\n\n #ERROR!\n{name} 2\u2028x".encode()) for name in ("pos", "neu", "neg", "q")
    ]
    splits = parsers.wisesight(files)
    assert list(splits) == ["train"] and len(splits["train"]) == 8
    assert splits["train"].iloc[1].tolist() == ["pos 2\u2028x", "pos"]
    with pytest.raises(data.DataError, match="not whole: q missing"):
        parsers.wisesight(files[:3])


@pytest.mark.parametrize("line", ["{}", "[1]", "null", "not json", '{"texts": 1, "category": "pos"}'])
def test_wisesight_with_a_line_that_is_no_message(line):
    raw = jsonl(("ดี", "pos")) + line.encode()
    with pytest.raises(data.DataError, match="line 2 is not a message"):
        parsers.wisesight([("train.jsonl", raw)])


def test_wongnai():
    reviews = '"ร้าน ""ป้า""\nสองบรรทัด; ดี";5\nไม่อร่อย;1\n'
    test = 'reviewID;review\n1;"ราคา; แพง"\n2;เฉยๆ\n'
    splits = parsers.wongnai([("w_review_train.csv", reviews.encode()), ("test_file.csv", test.encode())])
    assert splits["train"].values.tolist() == [['ร้าน "ป้า"\nสองบรรทัด; ดี', 5], ["ไม่อร่อย", 1]]
    assert splits["unlabelled"].text.tolist() == ["ราคา; แพง", "เฉยๆ"]


@pytest.mark.parametrize(
    "line, says",
    [("ดี;6", "row 2 has '6' stars"), ("ดี;", "row 2 has no stars"), ("ดี,5", "row 2 has no stars")],
)
def test_wongnai_without_stars(line, says):
    with pytest.raises(data.DataError, match=says):
        parsers.wongnai([("w_review_train.csv", f"อร่อย;5\n{line}\n".encode())])


def test_imdb():
    files = {
        "aclImdb/test/neg/0_2.txt": "Dull.",
        "aclImdb/test/pos/0_9.txt": "Good.<br /><br />Very.",
        "aclImdb/train/unsup/0_0.txt": "Seen.",
        "aclImdb/train/pos/1_8.txt": "Fine.",
        "aclImdb/train/pos/0_7.txt": "Grand.",
        "aclImdb/train/neg/0_1.txt": "Bad.",
    }
    splits = parsers.imdb((path, text.encode()) for path, text in files.items())
    assert splits["train"].values.tolist() == [["Bad.", "neg"], ["Grand.", "pos"], ["Fine.", "pos"]]
    assert splits["test"].text.tolist() == ["Dull.", "Good.\n\nVery."]
    assert splits["unlabelled"].values.tolist() == [["Seen."]]
    with pytest.raises(data.DataError, match="aclImdb/test is not whole: neg missing"):
        parsers.imdb((path, text.encode()) for path, text in list(files.items())[1:])


def questions(*rows) -> bytes:
    names = ("context", "title", "question", "answers")
    return "".join(json.dumps(dict(zip(names, row, strict=True)) | {"is_pay": {}}) + "\n" for row in rows).encode()


def answer(text: str, start: int) -> dict:
    return {"text": [text], "answer_start": [start], "answer_end": [start + len(text)]}


PASSAGE = " เชียงใหม่เป็นจังหวัด\n\nอยู่ในภาคเหนือ "


def test_thai_wikipedia_qa_keeps_the_places_of_the_answers():
    raw = questions(
        (PASSAGE, "เชียงใหม่", "อยู่ในภาคใด", answer("ภาคเหนือ", 29)),
        (PASSAGE, "เชียงใหม่", "เป็นอะไร", answer("จังหวัด", 14)),
    )
    splits = parsers.thai_wikipedia_qa([("data/train.jsonl", raw), ("data/valid.jsonl", raw)])
    table = splits["train"]
    assert list(splits) == ["train", "valid"] and list(table.columns) == ["text", "title", "question", "answers"]
    assert table.question.tolist() == ["อยู่ในภาคใด", "เป็นอะไร"]
    for text, answers in zip(table.text, table.answers, strict=True):
        [start], [end], [found] = answers["answer_start"], answers["answer_end"], answers["text"]
        assert text[start:end] == found


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"{", questions((1, "t", "q", {})), questions(("c", "t", "q", "an answer"))]
)
def test_thai_wikipedia_qa_with_a_line_that_is_no_question(line):
    raw = questions(("c", "t", "q", answer("c", 0))) + line
    with pytest.raises(data.DataError, match=r"valid\.jsonl: line 2 is not a question with context and title and"):
        parsers.thai_wikipedia_qa([("valid.jsonl", raw)])


PAGE = """รัฐบาลไทย-ข่าวทำเนียบรัฐบาล-\u200bน้ำท่วมภาคเหนือ


วันอังคารที่ 15 ตุลาคม 2567
พิมพ์
\u200bน้ำท่วมภาคเหนือ
น้ำท่วมภาคเหนือ
\xa0นายกฯ ลงพื้นที่ ที่มา : กรม
น้ำท่วมภาคเหนือ

ที่มา : https://www.thaigov.go.th/news/contents/details/1
"""
NEWS = [
    "วันอังคารที่ 15 ตุลาคม 2567\nน้ำท่วมภาคเหนือ\nนายกฯ ลงพื้นที่ ที่มา : กรม\nน้ำท่วมภาคเหนือ",
    "น้ำท่วมภาคเหนือ",
    "https://www.thaigov.go.th/news/contents/details/1",
]


def test_thaigov_as_published_and_as_lines():
    lines = json.dumps({"text": PAGE}) + "\n" + json.dumps({"text": "รัฐบาลไทย-ก\n\nข"})
    files = [("thaigov.jsonl", lines.encode()), ("data/2023/01/02/ข่าว_1_ab.txt", PAGE.encode())]
    splits = parsers.thaigov([*files, ("data/empty_1.txt", b"\n"), ("data/title_1.txt", PAGE.split("\n")[0].encode())])
    assert list(splits) == ["train"]
    assert splits["train"].values.tolist() == [NEWS, ["ข", "ก", ""], NEWS]


@pytest.mark.parametrize("line", ["{}", '{"text": 1}', '"text"', "text"])
def test_thaigov_with_a_line_that_is_no_article(line):
    with pytest.raises(data.DataError, match=r"thaigov\.jsonl: line 1 is not an article with text"):
        parsers.thaigov([("thaigov.jsonl", line.encode())])


ORCHID = r"""%TTitle: การประชุม
%File:
#P1
#1
ครั้งที่ 1 \\
(ดี)//
ครั้ง/CFQC
ที่ 1/DONM
<space>/PUNC
<left_parenthesis>/PUNC
ดี/VATT
<right_parenthesis>/PUNC
//
#P2
#1
%E The first//
#2
#P//
#P/NCMN
//
%TTitle: อื่น
#P1
#1
<b>//
<b>/NCMN
//
"""


def test_orchid():
    splits = parsers.orchid([("orchid97.txt", ORCHID.encode())])
    table = splits["train"]
    assert table.text.tolist() == ["ครั้งที่ 1 (ดี)", "#P", "<b>"]
    assert table.words.tolist() == [["ครั้ง", "ที่ 1", " ", "(", "ดี", ")"], ["#P"], ["<b>"]]
    assert table.tags[0] == ["CFQC", "DONM", "PUNC", "PUNC", "VATT", "PUNC"]
    assert table.paragraph.tolist() == [0, 1, 2] and table.file.tolist() == [0, 0, 1]
    assert splits["unlabelled"].text.tolist() == ["The first"]


@pytest.mark.parametrize(
    "broken, says",
    [
        (ORCHID.replace("(ดี)//", "(ดี)", 1).replace("//", ""), "does not end"),
        (ORCHID.replace("ดี/VATT", "ดี"), "line 11 should be word/TAG"),
        (ORCHID.removesuffix("//\n"), "should be word/TAG"),
    ],
)
def test_orchid_broken_off(broken, says):
    with pytest.raises(data.DataError, match=says):
        parsers.orchid([("orchid97.txt", broken.encode())])


ENTITIES = """#\tO
สม\tB-PERSON
 \tI-PERSON
หญิง\tI-PERSON
ไป\tO
เลย\tB-LOCATION
น่าน\tB-LOCATION

\ufeff\tO
"\ufeff\tO
9\tB-TIME
\u200bน.\tI-TIME
"""


def test_thainer():
    """Signs that look like comments and spaces are words; what cannot be seen is none."""
    for text in (ENTITIES, "\ufeff" + ENTITIES.replace("\n", "\r\n")):
        splits = parsers.thainer([("data.conll", text.encode())])
        table = splits["train"]
        assert list(splits) == ["train"] and list(table.columns) == ["text", "words", "entities"]
        assert table.text.tolist() == ["#สม หญิงไปเลยน่าน", '"9น.']
        assert table.words.tolist() == [["#", "สม", " ", "หญิง", "ไป", "เลย", "น่าน"], ['"', "9", "น."]]
        person = ["B-PERSON", "I-PERSON", "I-PERSON"]
        assert table.entities.tolist() == [
            ["O", *person, "O", "B-LOCATION", "B-LOCATION"],
            ["O", "B-TIME", "I-TIME"],
        ]


@pytest.mark.parametrize(
    "tags, mended",
    [
        ("I-DATE I-DATE O", "B-DATE I-DATE O"),  # at the beginning of a sentence
        ("O I-DATE I-TIME", "O B-DATE B-TIME"),
        ("B-DATE I-TIME I-TIME", "B-DATE B-TIME I-TIME"),
        ("B-ไม่ยืนยัน I-ไม่ยืนยัน I-DATE", "O O B-DATE"),
        ("B-DATE B-DATE I-DATE", "B-DATE B-DATE I-DATE"),
    ],
)
def test_thainer_has_no_entity_without_its_beginning(tags, mended):
    text = "ก\tB-DATE\n\n" + "".join(f"{word}\t{tag}\n" for word, tag in zip("กขค", tags.split(), strict=True))
    assert parsers.thainer([("data.conll", text.encode())])["train"].entities[1] == mended.split()


def test_thainer_when_the_word_that_begins_an_entity_is_taken_out():
    text = "\u200b\tB-DATE\nวัน\tI-DATE\n\n\ufeff\tO\n"
    assert parsers.thainer([("data.conll", text.encode())])["train"].values.tolist() == [["วัน", ["วัน"], ["B-DATE"]]]


@pytest.mark.parametrize(
    "line", ["ก", "ก O", "\tO", "ก\t", "ก\tNOUN\tO", "ก\tDATE", "ก\tB-", "ก\tE-DATE", "ก\tB-DA TE", "ก\to"]
)
def test_thainer_with_a_line_that_is_no_word(line):
    with pytest.raises(data.DataError, match=r"data\.conll: line 2 should be a word, a tab, and O, B-TYPE or I-TYPE"):
        parsers.thainer([("data.conll", f"ก\tO\n{line}\n".encode())])


def conllu(*words, sent_id="n01002017", text="หมู่บ้าน 2 แห่ง") -> str:
    """A sentence; each word is `number form UPOS`."""
    columns = [word.split() for word in words]
    lines = [f"{number}\t{form}\t{form}\t{tag}\t_\t_\t0\troot\t_\tSpaceAfter=No" for number, form, tag in columns]
    return "\n".join([f"# sent_id = {sent_id}", f"# text = {text}", "# text_en = x = y", *lines, "", ""])


VILLAGES = ("1 หมู่บ้าน NOUN", "2 2 NUM", "3 แห่ง NOUN")


def test_pud():
    contraction = ("1-2 du _", "1 de ADP", "2 le DET", "2.1 est AUX", "3 # SYM")
    text = conllu(*VILLAGES) + conllu(*contraction, sent_id="w05010024", text="du #")
    for published in (text, text.replace("\n", "\r\n"), text.rstrip()):
        splits = parsers.pud([("th_pud-ud-test.conllu", published.encode())])
        assert list(splits) == ["train"] and splits["train"].to_dict("list") == {
            "text": ["หมู่บ้าน 2 แห่ง", "du #"],
            "words": [["หมู่บ้าน", "2", "แห่ง"], ["de", "le", "#"]],
            "tags": [["NOUN", "NUM", "NOUN"], ["ADP", "DET", "SYM"]],
            "document": ["n01002", "w05010"],
        }


@pytest.mark.parametrize(
    "broken, says",
    [
        (conllu("1 ก NOUN", "3 ค NOUN"), "line 12 should be word 2 of its sentence"),  # a line is lost
        (conllu("1 ก NOUN", "1 ข NOUN"), "line 12 should be word 2"),
        (conllu("1 ก NN"), "line 11 should be word 1 .* a universal part of speech"),
        (conllu("1 ก _"), "line 11 should be word 1"),
        (conllu("1 ก NOUN").replace("SpaceAfter=No", "No\tcolumn"), "line 11 should be word 1"),
        (conllu("1 ก NOUN").replace("\t_\tSpaceAfter=No", ""), "line 11 should be word 1"),
        (conllu("1-2 ก _").replace("\t", " "), "line 11 should be word 1"),
        (conllu("1 ก NOUN").replace("# text = ", "# was = "), "the sentence of line 8 has no text"),
        (conllu("1 ก NOUN").replace("# sent_id", "# id"), "the sentence of line 8 has no sent_id"),
        (conllu("1 ก NOUN", text=""), "the sentence of line 8 has no text"),
        (conllu(), "the sentence of line 8 has no words"),
        (conllu("1-2 ก _"), "the sentence of line 8 has no words"),
    ],
)
def test_pud_broken(broken, says):
    with pytest.raises(data.DataError, match=rf"th\.conllu: {says}"):
        parsers.pud([("th.conllu", (conllu(*VILLAGES) + broken).encode())])


TREES = r"""(3 (2 It) (4 (2 's) (4 (4 (2 a) (4 lovely)) (2 (2 film) (2 .)))))
(2 (2 Neutral) (2 .))
(0 (1 Dull) (1 (1 (2 and\/or) (1 (2 -LRB-) (2 (1 empty) (2 -RRB-)))) (2 .)))
(4 Wow)
"""


def test_sst2_as_published():
    splits = parsers.sst2((f"trees/{name}.txt", TREES.encode()) for name in ("dev", "test", "train"))
    assert list(splits) == ["valid", "test", "train"]
    for frame in splits.values():
        assert frame.to_dict("list") == {
            "text": ["It 's a lovely film .", "Dull and/or ( empty ) .", "Wow"],
            "sentiment": ["pos", "neg", "pos"],
        }


def test_sst2_as_lines():
    raw = b"it 's \"a film\t1\r\nan hour , at most \t0"
    splits = parsers.sst2([("dev.tsv", raw), ("train.tsv", raw)])
    assert list(splits) == ["valid", "train"]
    assert splits["train"].values.tolist() == [["it 's \"a film", "pos"], ["an hour , at most", "neg"]]


@pytest.mark.parametrize(
    "file, line, what",
    [
        ("train.txt", "(5 (2 Good) (2 .))", "a tree"),
        ("train.txt", "(3 (2 Good) (2 .)", "a tree"),
        ("train.txt", "(3 (2 Good) (2 .)))", "a tree"),
        ("train.txt", "(3 (2 Good) .)", "a tree"),
        ("train.txt", "(3 (2 Good)) (2 .)", "a tree"),
        ("train.txt", "()", "a tree"),
        ("train.txt", "(3 () ())", "a tree"),
        ("train.txt", "Good .\t1", "a tree"),
        ("dev.tsv", "good .", "a text, a tab, and 0 or 1"),
        ("dev.tsv", "good .\t2", "a text, a tab, and 0 or 1"),
        ("dev.tsv", "good .\t1\tx", "a text, a tab, and 0 or 1"),
        ("dev.tsv", "sentence\tlabel", "a text, a tab, and 0 or 1"),
        ("dev.tsv", " \t1", "a text, a tab, and 0 or 1"),
    ],
)
def test_sst2_with_a_line_that_is_none(file, line, what):
    good = "(4 Wow)" if file.endswith(".txt") else "wow\t1"
    with pytest.raises(data.DataError, match=rf"{file}: line 2 is not {what}"):
        parsers.sst2([(file, f"{good}\n{line}\n".encode())])


@pytest.mark.parametrize("parser", [parsers.thainer, parsers.pud, parsers.sst2])
def test_tagged_and_judged_sentences_of_an_empty_or_another_file(parser):
    with pytest.raises(data.DataError, match=r"train\.txt is empty"):
        parser([("train.txt", b"\n\n")])
    with pytest.raises(data.DataError, match=r"train\.txt is not UTF-8"):
        parser([("train.txt", "สวัสดี\tO\n".encode("cp874"))])


WIKITEXT = "\n".join(  # its lines begin and end in a space
    f" {line} " if line else " "
    for line in [
        *["", "= Homarus @-@ like =", "", "The lobster is <unk> .", "It weighs 1 @,@ 000 or 0 @.@ 7 kg .", ""],
        *["= = Habitat = =", "", "It holds that @,@", "= 1 <unk> and x =", "2 .", "", "", "= = = Depth = = =", ""],
        *["= The Crab =", "", "Red .", ""],
    ]
)
ARTICLES = [
    ["The lobster is <unk> .\nIt weighs 1,000 or 0.7 kg .\nIt holds that,\n= 1 <unk> and x =\n2 .", "Homarus-like"],
    ["Red .", "The Crab"],
]


def test_wikitext_has_a_row_an_article_and_no_headings():
    names = ["wikitext-2/wiki.train.tokens", "wikitext-2/wiki.valid.tokens", "test.txt"]
    splits = parsers.wikitext([(name, WIKITEXT.encode()) for name in names])
    assert list(splits) == ["train", "valid", "test"]
    for frame in splits.values():
        assert list(frame.columns) == ["text", "title"] and frame.values.tolist() == ARTICLES
    with_windows_ends = WIKITEXT.replace("\n", "\r\n").encode()
    assert parsers.wikitext([("train.txt", with_windows_ends)])["train"].values.tolist() == ARTICLES


def test_wikitext_without_train_trains_on_valid():
    other = b" = The Eel = \n \n Long . \n"
    splits = parsers.wikitext([("test.txt", other), ("valid.txt", WIKITEXT.encode())])
    assert sorted(splits) == ["test", "train"]
    assert splits["train"].values.tolist() == ARTICLES and splits["test"].title.tolist() == ["The Eel"]
    assert list(parsers.wikitext([("test.txt", other)])) == ["test"]


@pytest.mark.parametrize(
    "text, says",
    [
        ("The lobster . \n\n = Crab = \n\n Red . \n", r"valid\.txt is not in WikiText's form"),
        (" = = Habitat = = \n\n The sea . \n", r"valid\.txt is not in WikiText's form"),
        (" = Crab = \n\n = Eel = \n", r"valid\.txt has no rows"),
        (" \n", r"valid\.txt is empty"),
    ],
)
def test_wikitext_that_is_not_one(text, says):
    with pytest.raises(data.DataError, match=says):
        parsers.wikitext([("valid.txt", text.encode())])


def test_text8_is_cut_into_rows_of_a_thousand_words():
    words = [("anarchism", "originated", "as", "a", "term")[i % 5] for i in range(2_500)]
    rows = parsers.text8([("text8", f" {' '.join(words)}\n".encode())])["train"].text
    assert rows.str.split().map(len).tolist() == [1_000, 1_000, 500]
    assert " ".join(rows).split() == words


@pytest.mark.parametrize("strange", ["A", "1", ".", "ก", "\n"])
def test_text8_has_only_small_letters(strange):
    with pytest.raises(data.DataError, match="is not text8: it has"):
        parsers.text8([("text8", f" anarchism {strange} term".encode())])


DUMP = """<mediawiki xml:lang="en"><siteinfo><dbname>enwiki</dbname></siteinfo>
<page><title>Anarchy</title><ns>0</ns><id>1</id><redirect title="Anarchism"/><revision><id>1</id><text>#REDIRECT
[[Anarchism]]</text></revision></page>
<page><title>Anarchism</title><ns>0</ns><id>2</id><revision><id>2</id><text>{paragraph}

== History ==
{paragraph}

{paragraph}</text></revision></page></mediawiki>"""
PARAGRAPH = "[[Anarchism]] is a [[political philosophy|philosophy]]; fewer than 200 letters would be a stub."


@pytest.mark.parametrize("pack", [bz2.compress, bytes])
def test_wikipedia_dump(pack):
    raw = pack(DUMP.format(paragraph=PARAGRAPH).encode())
    table = parsers.wikipedia_dump([("enwiki-pages-articles.xml.bz2", raw)])["train"]
    line = "Anarchism is a philosophy; fewer than 200 letters would be a stub."
    assert table.to_dict("list") == {"text": [f"{line}\n{line}\n{line}"], "title": ["Anarchism"]}


def test_a_wikipedia_dump_that_is_cut_off():
    raw = bz2.compress(DUMP.format(paragraph=PARAGRAPH).encode())
    with pytest.raises(DumpError, match=r"enwiki\.xml\.bz2 is damaged"):
        parsers.wikipedia_dump([("a/enwiki.xml.bz2", raw[:-20])])


def test_documents():
    splits = parsers.documents([("lee.cor", b"Hundreds of people have left .\n\n Fire  \r\n")])
    assert splits["train"].to_dict("list") == {"text": ["Hundreds of people have left .", "Fire"]}
    with pytest.raises(data.DataError, match=r"lee\.cor is empty"):
        parsers.documents([("lee.cor", b"\n")])


SIMLEX = "# SimLex-999\n# Word 1\tWord 2\tHuman (mean)\nold\tnew\t1.58\nnull\tnan\t9\n"


def test_simlex999():
    table = parsers.simlex999([("simlex999.txt", SIMLEX.encode())])["test"]
    assert table.values.tolist() == [["old", "new", 1.58], ["null", "nan", 9.0]] and table.score.dtype == float


@pytest.mark.parametrize(
    "text, says",
    [
        (SIMLEX + "hard\tdifficult\thigh\n", "row 3 has 'high' as its score"),
        (SIMLEX + "hard\tdifficult\n", "row 3 has no score"),
        (SIMLEX + "\tdifficult\t3\n", "row 3 has no word1"),
        (SIMLEX.replace("Word 2", "Other"), r"has no column Word 2; its columns are: # Word 1, Other, Human \(mean\)"),
        ("\n".join(SIMLEX.split("\n")[:2]), "has no rows"),
        ("# SimLex-999", "is not a table"),
    ],
)
def test_simlex999_broken(text, says):
    with pytest.raises(data.DataError, match=rf"simlex999\.txt:? {says}"):
        parsers.simlex999([("simlex999.txt", text.encode())])


ANALOGIES = ": family\nboy girl brother sister\n\n: gram8-plural\ncat cats dog dogs\nDog dogs cat cats\n"


def test_word_analogies():
    table = parsers.word_analogies([("questions-words.txt", ANALOGIES.encode())])["test"]
    assert list(table.columns) == ["category", "a", "b", "c", "d"]
    assert Counter(table.category) == {"family": 1, "gram8-plural": 2}
    assert table.values.tolist()[0] == ["family", "boy", "girl", "brother", "sister"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("boy girl brother sister\n" + ANALOGIES, 1),
        (ANALOGIES + "king queen man\n", 7),
        (ANALOGIES + "king queen man woman child\n", 7),
        (":\nboy girl brother sister\n", 2),
    ],
)
def test_word_analogies_broken(text, line):
    with pytest.raises(data.DataError, match=rf"questions-words\.txt: line {line} is neither `: category` nor"):
        parsers.word_analogies([("questions-words.txt", text.encode())])


SENSES = "language,word,sense,text,start,end\nen,bank,river,Bank after bank gave way.,0,4\n"
THAI_SENSES = "language,word,sense,text,start,end\nth,ตา,eye,หลับตาแล้วนับสาม,4,6\n"


def test_word_senses():
    splits = parsers.word_senses([("en.csv", SENSES.encode()), ("th.csv", THAI_SENSES.encode())])
    table = splits["test"]
    assert list(splits) == ["test"] and list(table.columns) == ["language", "word", "sense", "text", "start", "end"]
    assert table.index.tolist() == [0, 1] and table.start.tolist() == [0, 4] and table.end.tolist() == [4, 6]
    assert [text[start:end] for text, start, end in table[["text", "start", "end"]].values] == ["Bank", "ตา"]


@pytest.mark.parametrize(
    "text, says",
    [
        (SENSES + "en,bank,river,The bank.,3,7\n", "row 2 has not 'bank' at 3 to 7"),
        (SENSES + "en,bank,river,The bank.,4,99\n", "row 2 has not 'bank' at 4 to 99"),
        (SENSES + "en,bank,river,The bank.,here,8\n", "row 2 has 'here' as its start"),
        (SENSES + "en,bank,river,The bank.,4.5,8\n", "row 2 has '4.5' as its start"),
        (SENSES + f"en,bank,river,The bank.,4,{10**30}\n", "row 2 has '10+' as its end"),
        (SENSES + "en,bank,,The bank.,4,8\n", "row 2 has no sense"),
        (SENSES.replace("start", "begin"), "has no column start"),
    ],
)
def test_word_senses_broken(text, says):
    with pytest.raises(data.DataError, match=rf"en\.csv:? {says}"):
        parsers.word_senses([("en.csv", text.encode())])


ODD = "language,words,odd\nen,cat dog horse table,table\nth,แมว สุนัข โต๊ะ,โต๊ะ\n"


def test_word_sets():
    pairs = "language,male,female\nen,he,she\n"
    tables = parsers.word_sets([("odd_one_out.csv", ODD.encode()), ("gender_pairs.csv", pairs.encode())])
    assert tables["odd_one_out"].words.tolist() == [["cat", "dog", "horse", "table"], ["แมว", "สุนัข", "โต๊ะ"]]
    assert tables["gender_pairs"].to_dict("list") == {"language": ["en"], "male": ["he"], "female": ["she"]}


@pytest.mark.parametrize(
    "text, says",
    [
        (ODD + "en,cat dog horse,table\n", "row 3 has not 'table', the odd one, among its words"),
        (ODD + "en,,table\n", "row 3 has no words"),
        (ODD.replace("odd", "other"), "has no column odd"),
        ("language,words,odd\n", "has no rows"),
    ],
)
def test_word_sets_broken(text, says):
    with pytest.raises(data.DataError, match=rf"odd_one_out\.csv:? {says}"):
        parsers.word_sets([("odd_one_out.csv", text.encode())])


@pytest.mark.parametrize("name", ["a.txt", "b.txt"])
def test_lines(name):
    assert parsers.read_lines("\ufeffก\r\n\n  ข \n".encode(), name) == ["ก", "ข"]
    with pytest.raises(data.DataError, match=f"{name} is empty"):
        parsers.read_lines(b" \n", name)


def test_labels_are_categorical_and_the_same_in_all_splits(cache, catalogue):
    loaded = data.load("truevoice", catalogue=catalogue)
    assert loaded.classes == ["billing and payment", "internet", "promotions"]  # no promotions in test
    for frame in (loaded.train, loaded.valid, loaded.test):
        assert isinstance(frame.index, pd.RangeIndex)
        assert frame.destination.cat.categories.tolist() == loaded.classes
        assert frame.text.str.strip().equals(frame.text)
    assert not set(loaded.train.text) & set(loaded.valid.text)
    with pytest.raises(data.DataError, match="truevoice has no split 'unlabelled'; it has train, valid, test"):
        loaded.unlabelled  # noqa: B018
