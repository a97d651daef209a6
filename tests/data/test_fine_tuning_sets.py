"""The sets to fine-tune on: spam, pairs, questions and their answers; and the Hugging Face hub, on this machine."""

import http.server
import io
import json
import os
import re
import threading
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from tlcourse import data
from tlcourse.data import parsers
from tlcourse.text import normalise


def parquet(**columns) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


# --- spam -----------------------------------------------------------------------------------------------------


def test_spam(cache):
    spam = data.load("spam")
    assert (spam.source, spam.label, spam.classes, spam.cut) == ("embedded", "label", ["ham", "spam"], ())
    assert {name: len(frame) for name, frame in spam.splits.items()} == {"train": 160, "valid": 40, "test": 40}
    for frame in spam.splits.values():
        assert list(frame.columns) == ["text", "label", "language"]
        shares = frame.groupby("language").label.value_counts(normalize=True)
        assert (frame.language == "th").mean() == 0.5
        assert shares["th", "spam"] == shares["en", "spam"] == 0.4
    whole = pd.concat(spam.splits.values())
    assert whole.text.is_unique and (whole.text == whole.text.map(str.strip)).all()
    assert ((whole.language == "th") == whole.text.str.contains("[ก-๙]")).all()


def test_no_two_messages_are_of_one_template(cache):
    whole = pd.concat(data.load("spam").splits.values())
    grams = [{text[i : i + 4] for i in range(len(text) - 3)} for text in whole.text.str.lower()]
    for (one, a), (other, b) in combinations(zip(whole.text, grams, strict=True), 2):
        assert len(a & b) < 0.3 * len(a | b), (one, other)


def test_links_and_numbers_of_messages_cannot_be_real(cache):
    whole = pd.concat(data.load("spam").splits.values())
    links = whole.text.str.findall(r"[a-z0-9-]+\.(?:[a-z0-9-]+\.)*[a-z]{2,}(?:/\S*)?").explode().dropna()
    files = ("zip", "html")
    assert len(links) > 25
    assert [link for link in links if not re.search(r"\.example(/|$)", link) and not link.endswith(files)] == []
    numbers = whole.text.str.findall(r"\b0\d[\d -]{6,}\d\b|\b\d{3}-\d{4}\b").explode().dropna()
    assert len(numbers) > 3  # 07700 900… and 555-01… are kept for fiction
    assert [number for number in numbers if not re.match(r"0+[-0]|07700 900|555-01", number)] == []


SMS = b'ham\tOk lar... &lt;#&gt; "u\r\nspam\tWIN\ta prize\n'


def test_sms_spam():
    splits = parsers.sms_spam([("SMSSpamCollection", SMS)])
    assert splits["train"].values.tolist() == [['Ok lar... &lt;#&gt; "u', "ham"], ["WIN\ta prize", "spam"]]


@pytest.mark.parametrize("line", [b"eggs\tnone", b"ham", b"ham\t ", b"spam and ham"])
def test_sms_spam_broken(line):
    with pytest.raises(data.DataError, match="SMSSpamCollection: line 3 is not spam or ham, a tab and a message"):
        parsers.sms_spam([("SMSSpamCollection", SMS + line)])


def test_sms_spam_is_cut(folder):
    (folder / "sms_spam").mkdir()
    lines = [f"{'spam' if i % 5 == 0 else 'ham'}\tmessage {i}" for i in range(100)]
    (folder / "sms_spam" / "SMSSpamCollection").write_text("\n".join(lines))
    sms = data.load("sms_spam")
    assert sms.cut == ("test", "valid") and [len(f) for f in sms.splits.values()] == [81, 9, 10]
    assert sms.test.label.value_counts().to_dict() == {"ham": 8, "spam": 2}


# --- questions and answers ------------------------------------------------------------------------------------


def test_small_qa(cache):
    qa = data.load("small_qa")
    assert (qa.source, qa.label) == ("embedded", None)
    assert {name: len(frame) for name, frame in qa.splits.items()} == {"train": 84, "valid": 18, "test": 18}
    passages = [set(frame.context) for frame in qa.splits.values()]
    assert len(set.union(*passages)) == sum(map(len, passages)) == 40
    for frame in qa.splits.values():
        assert list(frame.columns) == [*parsers.QUESTIONS, "language"] and (frame.language == "th").mean() == 0.5
        for row in frame.itertuples():
            assert row.context[row.start : row.start + len(row.answer)] == row.answer and row.answers == [row.answer]
            assert row.context == normalise(row.context) and row.question == normalise(row.question)
            around = row.context[row.start - 1 : row.start] + row.context[row.start + len(row.answer) :][:1]
            assert row.language == "th" or not any(map(str.isalnum, around)), row  # no piece of a word
    whole = pd.concat(qa.splits.values())
    assert whole.question.is_unique
    place = whole.start / whole.context.str.len()
    assert place.min() < 0.1 and place.max() > 0.9 and 0.4 < place.mean() < 0.6


SMALL = "language,context,question,answer,start\nth,ตากลมโต,ตาเป็นอย่างไร,กลม,2\n"


@pytest.mark.parametrize(
    "line, says",
    [
        ("en,A cat sat,Who?,cat,3", "row 2 has not 'cat' at 3"),
        ("en,A cat sat,Who?,cat,99", "row 2 has not 'cat' at 99"),
        ("en,A cat sat,Who?,cat,-9", "row 2 has '-9' as its start"),
        ("en,A cat sat,Who?,,0", "row 2 has no answer"),
    ],
)
def test_small_qa_broken(line, says):
    assert parsers.small_qa([("train.csv", SMALL.encode())])["train"].answer.tolist() == ["กลม"]
    with pytest.raises(data.DataError, match=f"train.csv: {says}"):
        parsers.small_qa([("train.csv", (SMALL + line).encode())])


def answers(*found: tuple[str, int]) -> dict:
    return {"text": [text for text, _ in found], "answer_start": [start for _, start in found]}


def squad(*given: dict, context="Oslo is in Norway. Oslo is cold.") -> bytes:
    return parquet(context=[context] * len(given), question=["Where?"] * len(given), answers=list(given), id=given)


def test_squad_keeps_the_places_of_the_answers():
    raw = squad(answers((" Norway", 10), ("in Norway", 8), ("Norway", 11)), answers(("Oslo", 19)))
    table = parsers.squad([("plain_text/validation-00000-of-00001.parquet", raw)])["valid"]
    assert table.columns.tolist() == parsers.QUESTIONS
    assert table[["answer", "start", "answers"]].values.tolist() == [
        ["Norway", 11, ["Norway", "in Norway"]],
        ["Oslo", 19, ["Oslo"]],
    ]


@pytest.mark.parametrize("wrong", [("Norway", 10), ("Norway", 300), ("Norway", -21), (" ", 4), ("", 0), ("Bergen", 11)])
def test_answers_that_are_not_where_they_say_are_left_out_and_counted(wrong):
    good = answers(("Norway", 11))
    with pytest.warns(UserWarning, match="1 of 3 questions are left out"):
        table = parsers.squad([("train-0.parquet", squad(good, answers(wrong), answers(wrong, ("Oslo", 0))))])["train"]
    assert table.answer.tolist() == ["Norway", "Oslo"] and table.answers.tolist() == [["Norway"], ["Oslo"]]
    with pytest.warns(UserWarning), pytest.raises(data.DataError, match=r"train-0\.parquet has no rows"):
        parsers.squad([("train-0.parquet", squad(answers(wrong)))])


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"", "is no parquet file, or is damaged"),
        (b"PAR1 and no more", "is no parquet file, or is damaged"),
        (squad(answers(("Oslo", 0)))[:-20], "is no parquet file, or is damaged"),
        (parquet(context=["c"], text=["t"]), "has no column question, answers; its columns are: context, text"),
        (parquet(context=[], question=[], answers=[]), "has no rows"),
    ],
)
def test_a_parquet_file_that_is_none(raw, says):
    with pytest.raises(data.DataError, match=rf"train-0\.parquet {says}"):
        parsers.squad([("train-0.parquet", raw)])


PASSAGE = (
    "เชียงตุงน้อยเป็นเมืองริมแม่น้ำที่คนปลูกชาและทอผ้าขายมาหลายชั่วอายุคน แล้ว "
    "ตลาดของเมืองเปิดทุกวันพุธและคนจากหมู่บ้านบนเขาจะลงมาขายน้ำผึ้งป่ากับสมุนไพร "
    "ในฤดูหนาวหมอกลงจัดจนเรือข้ามฟากต้องหยุดวิ่งถึงเก้าโมงเช้าแทบทุกวันของเดือน"
)


def passages(*rows: tuple[str, str, str]) -> bytes:
    """JSON lines of context, question, answer."""
    lines = []
    for context, question, answer in rows:
        start = context.index(answer)
        given = answers((answer, start)) | {"answer_end": [start + len(answer)]}
        lines.append(json.dumps({"context": context, "title": "t", "question": question, "answers": given}))
    return "\n".join(lines).encode()


WEDNESDAY = (PASSAGE, "ตลาดของเมืองเปิดวันใด", "ทุกวันพุธ")


def test_thai_qa_has_the_columns_of_squad():
    raw = passages(WEDNESDAY, (f" {PASSAGE}", "ใครลงมาขาย", " ตลาดของ"))
    table = parsers.thai_qa([("train.jsonl", raw)])["train"]
    assert table.columns.tolist() == parsers.QUESTIONS and table.answer.tolist() == ["ทุกวันพุธ", "ตลาดของ"]
    for row in table.itertuples():
        assert row.context.startswith(row.answer, row.start)


def test_pairs_one_with_the_answer_and_one_without():
    raw = passages(WEDNESDAY, (PASSAGE, "ในฤดูหนาวเรือข้ามฟากหยุดถึงกี่โมง", "เก้าโมงเช้า"))
    table = parsers.thai_qa_pairs([("train.jsonl", raw)])["train"]
    assert table.columns.tolist() == ["first", "second", "label"]
    assert table.label.tolist() == ["entailment", "not_entailment"] * 2
    assert table["second"].str.contains("ทุกวันพุธ").tolist()[:2] == [True, False]
    assert table["second"].str.contains("เก้าโมงเช้า").tolist()[2:] == [True, False]


def test_no_pairs_of_a_passage_of_one_sentence_or_with_the_answer_everywhere():
    everywhere = f"{'ก' * 70}พุธ {'ข' * 70}พุธ"
    raw = passages(("ตลาดเปิดวันพุธ", "วันใด", "พุธ"), (everywhere, "วันใด", "พุธ"), WEDNESDAY)
    table = parsers.thai_qa_pairs([("train.jsonl", raw)])["train"]
    assert table["first"].tolist() == [WEDNESDAY[1]] * 2


def test_pairs_of_train_are_of_no_passage_that_is_held_out():
    other = (PASSAGE.replace("ชา", "กาแฟ"), "ปลูกอะไร", "กาแฟ")
    train = passages((f"{PASSAGE} \n", *WEDNESDAY[1:]), other)
    pairs = parsers.thai_qa_pairs([("train.jsonl", train), ("valid.jsonl", passages(WEDNESDAY))])
    assert set(pairs["train"]["first"]) == {"ปลูกอะไร"} and set(pairs["valid"]["first"]) == {WEDNESDAY[1]}


@given(st.text(alphabet="กข \n", max_size=300), st.data())
def test_sentences_are_a_passage_cut_at_blanks_but_not_within_the_answer(text, draw):
    if not text.strip():
        return
    start = draw.draw(st.sampled_from([i for i, letter in enumerate(text) if not letter.isspace()]))
    end = len(text[: draw.draw(st.integers(start + 1, len(text)))].rstrip())
    sentences = parsers._sentences(text, start, end)
    assert "".join("".join(sentence.split()) for sentence, _ in sentences) == "".join(text.split())
    [answering] = [sentence for sentence, has_answer in sentences if has_answer]
    assert text[start:end] in answering
    for sentence, following in pairwise(sentence for sentence, _ in sentences):
        assert len(sentence) >= parsers.LEAST or re.search(
            rf"{re.escape(sentence)}\s*\n\s*{re.escape(following)}", text
        )


@pytest.mark.parametrize("name, rows", [("thai_qa", (5_761, 742)), ("thai_qa_pairs", (11_000, 1_480))])
def test_the_real_passages(cache, monkeypatch, name, rows):
    real = os.environ.get("TLCOURSE_REAL_DATA", "")
    if not (real and (Path(real) / "thai_wikipedia_qa").is_dir()):
        pytest.skip("TLCOURSE_REAL_DATA names no folder with thai_wikipedia_qa")
    monkeypatch.setenv("TLCOURSE_DATA", real)
    loaded = data.load(name)
    assert len(loaded.train) >= rows[0] and len(loaded.valid) >= rows[1]
    if name == "thai_qa":
        assert all(row.context.startswith(row.answer, row.start) for row in loaded.train.itertuples())
        return
    for frame in loaded.splits.values():
        assert Counter(frame.label) == dict.fromkeys(["entailment", "not_entailment"], len(frame) / 2)
        kinds = [frame[frame.label == label].reset_index() for label in loaded.classes]
        shared = [
            [len(parsers._trigrams(row.first) & parsers._trigrams(row.second)) for row in kind.itertuples()]
            for kind in kinds
        ]
        assert 0.4 < (pd.Series(shared[0]) > pd.Series(shared[1])).mean() < 0.6  # words in common do not tell
        assert 0.4 < (kinds[0].second.str.len() > kinds[1].second.str.len()).mean() < 0.6  # nor does length


# --- GLUE and the hub -----------------------------------------------------------------------------------------


def glue_files(name: str) -> dict[str, bytes]:
    """The parquet files of a set of GLUE, two rows each, in the columns of the hub."""
    texts, labels = parsers.GLUE[name]
    rows = {column: [f"{column} 1", f"{column} 2"] for column in texts}
    files = {}
    for member in data.info(f"glue_{name}").members:
        given = [-1, -1] if "test" in member else [2.5, 5.0] if labels is None else [len(labels) - 1, 0]
        files[member] = parquet(**rows, label=given, idx=[0, 1])
    return files


@pytest.mark.parametrize("name", parsers.GLUE)
def test_glue(folder, name):
    for member, raw in glue_files(name).items():
        path = folder / "glue" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    glue = data.load(f"glue_{name}")
    texts, labels = parsers.GLUE[name]
    columns = ["text"] if len(texts) == 1 else ["first", "second"]
    assert glue.train.columns.tolist() == [*columns, "label"] and glue.unlabelled.columns.tolist() == columns
    assert glue.train.iloc[0].tolist()[:-1] == [f"{column} 1" for column in texts]
    assert glue.valid.label.tolist() == ([2.5, 5.0] if labels is None else [labels[-1], labels[0]])
    assert set(glue.classes) == {*labels[:1], *labels[-1:]} if labels else glue.classes == []
    more = ["valid_mismatched", "unlabelled_mismatched"] if name == "mnli" else []
    assert set(glue.splits) == {"train", "valid", "unlabelled", *more}


def test_glue_with_a_label_that_is_none():
    raw = parquet(sentence=["a", "b"], label=[1, 2])
    with pytest.raises(data.DataError, match=r"cola/train-0\.parquet has the label 2; there are 0 to 1"):
        parsers.glue([("cola/train-0.parquet", raw)])


@pytest.fixture
def hub(monkeypatch, cache):
    """A hub on this machine: the files of glue_rte by their paths, which a test may change, and what was asked."""
    entry = data.info("glue_rte")
    root = f"/datasets/{entry.hub}/resolve/{entry.revision}/"
    files, asked = {root + member: raw for member, raw in glue_files("rte").items()}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/datasets/"):  # it asks for more than files
                asked.append(self.path)
            if (raw := files.get(self.path)) is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("ETag", f'"{abs(hash(raw)):x}"')
            self.send_header("X-Repo-Commit", entry.revision)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(raw)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield files, asked
        server.shutdown()
        thread.join()


def test_a_set_of_the_hub_is_downloaded_once(hub, cache):
    files, asked = hub
    first = data.load("glue_rte")
    assert set(asked) == set(files)
    asked.clear()
    again = data.load("glue_rte")
    assert (first.source, again.source, asked) == ("download", "cache", [])
    assert again.train.equals(first.train) and first.classes == ["entailment", "not_entailment"]
    (cache / "glue/rte/test-00000-of-00001.parquet").unlink()
    assert data.load("glue_rte").source == "download"  # of what is missing
    assert {path.rpartition("/")[2] for path in asked} == {"test-00000-of-00001.parquet"}


def test_a_file_that_the_hub_has_not(hub):
    files, _ = hub
    files.popitem()
    with pytest.raises(data.DownloadError, match="glue_rte could not be downloaded from the Hugging Face hub"):
        data.load("glue_rte")


def test_the_hub_out_of_reach_names_the_ways_out(cache):
    entry = data.info("glue_sst2")
    with pytest.raises(data.DownloadError) as error:
        data.load("glue_sst2")  # HF_HUB_OFFLINE is set
    for part in (entry.address, f"{entry.bytes:,} bytes", "HF_HUB_OFFLINE", "TLCOURSE_DATA", "in glue/: sst2/train"):
        assert part in str(error.value)
    with pytest.warns(UserWarning, match="Using spam in place of glue_sst2"):
        assert data.load("glue_sst2", fallback="spam").name == "spam"


def test_a_cache_that_cannot_be_written_to(hub, cache):
    cache.write_text("no folder")
    with pytest.raises(data.DownloadError, match=r"glue_rte \(1,274,409 bytes\) cannot be kept in"):
        data.load("glue_rte")
