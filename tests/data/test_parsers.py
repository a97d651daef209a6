"""Each published format, and files that are not in it."""

import json

import pandas as pd
import pytest

from tlcourse import data
from tlcourse.data import parsers


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
