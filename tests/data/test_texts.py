"""Texts for a language model: distinct, and none to train on that is held out."""

import gzip
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse import data

texts = st.lists(st.text("กข \n", min_size=1, max_size=3).filter(str.strip), max_size=20)


def letters(texts: list[str]) -> set[str]:
    return {"".join(text.split()) for text in texts}


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, texts)
def test_texts_to_train_on_are_distinct_and_not_held_out(train, valid, test, unlabelled):
    columns = {"train": train, "valid": valid, "test": test, "unlabelled": unlabelled}
    frames = {split: pd.DataFrame({"text": values}, dtype=object) for split, values in columns.items()}
    dataset = data.Dataset("small", "folder", None, frames)
    held_out = letters(valid + test)
    for split in ("train", "unlabelled"):
        assert letters(dataset.texts(split)) == letters(columns[split]) - held_out
    assert letters(dataset.texts("valid")) == letters(valid) and letters(dataset.texts("test")) == letters(test)
    for split in columns:
        found = dataset.texts(split)
        assert len(letters(found)) == len(found) and found == [text.strip() for text in found]


def question(passage: str) -> str:
    answers = {"text": [passage[0]], "answer_start": [0], "answer_end": [1]}
    return json.dumps({"context": passage, "title": "t", "question": "q", "answers": answers})


def test_passages_of_a_folder_without_a_test_split(folder):
    passages = {"train": ["ก", "ข", "ข", "ค ง", "ฃ"], "valid": ["ฅ", "ฅ", "คง"]}
    (folder / "thai_wikipedia_qa").mkdir()
    for split, rows in passages.items():
        raw = "\n".join(map(question, rows)).encode()
        (folder / f"thai_wikipedia_qa/{split}.jsonl.gz").write_bytes(gzip.compress(raw))
    qa = data.load("thai_wikipedia_qa")
    assert (qa.source, qa.label, qa.cut, qa.classes) == ("folder", None, (), [])
    assert (len(qa.train), len(qa.valid)) == (5, 3)  # as published
    assert qa.texts() == ["ก", "ข", "ฃ"] and qa.texts("valid") == ["ฅ", "คง"]
    with pytest.raises(data.DataError, match="no split 'test'"):
        qa.test  # noqa: B018
    with pytest.raises(data.DataError, match="no split 'unlabelled'"):
        qa.texts("unlabelled")
    (folder / "thai_wikipedia_qa/valid.jsonl.gz").unlink()
    with pytest.raises(data.DataError, match="has no valid rows, only train: a file is missing"):
        data.load("thai_wikipedia_qa")


def test_the_published_archive_of_passages(folder, small, monkeypatch):
    raw = {f"data/{split}.jsonl": question(split).encode() for split in ("train", "valid", "test")}
    (folder / "thai_wikipedia_qa").mkdir()
    (folder / "thai_wikipedia_qa/data.zip").write_bytes(
        small.zipped(raw | {"__MACOSX/data/._train.jsonl": b"\0\1", "data/README.md": b"hello"})
    )
    monkeypatch.setattr("tlcourse.data.download.verify", lambda file, entry: None)
    qa = data.load("thai_wikipedia_qa")
    assert {split: frame.text.tolist() for split, frame in qa.splits.items()} == {
        "train": ["train"],
        "valid": ["valid"],
        "test": ["test"],
    }
