"""The real sets: from a package, embedded, and, where TLCOURSE_REAL_DATA names a folder, those in it."""

import os
from pathlib import Path

import pandas as pd
import pytest

from tlcourse import data

REAL = os.environ.get("TLCOURSE_REAL_DATA", "")


@pytest.fixture
def real(cache, monkeypatch):
    """`load`, with TLCOURSE_DATA naming the folder of real data; skips for what is not there."""

    def load(name: str) -> data.Dataset:
        if not (REAL and (Path(REAL) / name).is_dir()):
            pytest.skip(f"TLCOURSE_REAL_DATA names no folder with {name}")
        monkeypatch.setenv("TLCOURSE_DATA", REAL)
        return data.load(name)

    return load


def test_orchid(cache):
    orchid = data.load("orchid")
    assert (orchid.source, orchid.label, orchid.cut, orchid.classes) == (
        "package",
        None,
        ("test", "valid"),
        [],
    )
    parts = [orchid.train, orchid.valid, orchid.test]
    whole = pd.concat(parts)
    assert len(whole) == 23_126 and len(whole) + len(orchid.unlabelled) == 24_893
    assert (whole.words.map(len) == whole.tags.map(len)).all() and whole.words.map(len).sum() == 342_721
    assert len({tag for tags in whole.tags for tag in tags}) == 46
    assert (whole.words.map("".join) == whole.text).mean() > 0.96  # elsewhere the corpus has slips
    files = [set(part.file) for part in parts]
    assert len(set.union(*files)) == sum(map(len, files)) == 164
    assert all(0.08 < len(part) / len(whole) < 0.12 for part in parts[1:])


def test_truevoice(real):
    truevoice = real("truevoice")
    assert (truevoice.source, truevoice.cut) == ("folder", ("valid",))
    assert len(truevoice.train) + len(truevoice.valid) == 12_939 and len(truevoice.test) in (1_618, 3_236)
    assert len(truevoice.valid) == 1_295 and not set(truevoice.train.text) & set(truevoice.valid.text)
    assert len(truevoice.classes) == 7
    share = [part.destination.value_counts(normalize=True) for part in (truevoice.train, truevoice.valid)]
    assert (share[0] - share[1]).abs().max() < 0.001
    assert (truevoice.train.text.str.strip() != "").all()


def test_wisesight(real):
    wisesight = real("wisesight")
    parts = [wisesight.train, wisesight.valid, wisesight.test]
    assert sum(map(len, parts)) >= 24_064
    assert wisesight.classes == ["neg", "neu", "pos", "q"]
    if wisesight.cut:
        assert sum(len(set(part.text)) for part in parts) == len(set(pd.concat(parts).text))


def test_thai_wikipedia_qa(real):
    qa = real("thai_wikipedia_qa")
    assert (qa.source, qa.label, qa.cut) == ("folder", None, ())
    assert (len(qa.train), len(qa.valid)) == (5_761, 742)
    assert (qa.train.text.nunique(), qa.valid.text.nunique()) == (1_523, 190)
    assert len(set(qa.train.text) & set(qa.valid.text)) == 1  # as published
    assert len(qa.texts("train")) <= 1_520 and not set(qa.texts("train")) & set(qa.texts("valid"))
    for frame in qa.splits.values():
        for text, answers in zip(frame.text, frame.answers, strict=True):
            [start], [end], [found] = answers["answer_start"], answers["answer_end"], answers["text"]
            assert text[start:end] == found


def test_thaigov(real):
    thaigov = real("thaigov")
    assert (thaigov.source, thaigov.label, thaigov.cut) == ("folder", None, ("valid",))
    whole = pd.concat([thaigov.train, thaigov.valid])
    assert len(whole) >= 8_500 and 0.09 < len(thaigov.valid) / len(whole) < 0.11
    assert not set(thaigov.train.text) & set(thaigov.valid.text)
    assert (whole.text.str.len() > 20).all() and whole.url.str.startswith("http").mean() > 0.99
    assert not whole.text.str.contains("\nที่มา : https://www.thaigov.go.th").any()


@pytest.mark.skipif(not (data.shipped() / "thai_intents").is_dir(), reason="not written yet")
def test_thai_intents(cache):
    intents = data.load("thai_intents")
    assert (intents.source, intents.cut, len(intents.classes)) == ("embedded", (), 7)
    assert len(intents.train) + len(intents.valid) + len(intents.test) >= 1_200
    assert len(intents.unlabelled) >= 1_500
    texts = [set(part.text) for part in (intents.train, intents.valid, intents.test, intents.unlabelled)]
    assert len(set.union(*texts)) == sum(map(len, texts))
