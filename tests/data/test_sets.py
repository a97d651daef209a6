"""The real sets: from a package, embedded, and, where TLCOURSE_REAL_DATA names a folder, those in it."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tlcourse import data
from tlcourse.data.parsers import WORD_SETS

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


def test_thainer(real):
    thainer = real("thainer")
    assert (thainer.label, thainer.cut) == (None, ("test", "valid"))
    parts = [thainer.train, thainer.valid, thainer.test]
    whole = pd.concat(parts)
    assert len(whole) == 6_348 and all(0.08 < len(part) / len(whole) < 0.12 for part in parts[1:])
    assert sum(part.text.nunique() for part in parts) == whole.text.nunique() == 6_347
    assert (whole.words.map(len) == whole.entities.map(len)).all() and whole.words.map(len).sum() == 251_256
    assert (whole.words.map("".join) == whole.text).all() and not whole.text.str.contains("[\u200b\ufeff]").any()
    tags = [tag for entities in whole.entities for tag in entities]
    assert len(set(tags)) == 26 and sum(tag.startswith("B-") for tag in tags) == 17_662
    assert set(tags) == {tag for entities in thainer.train.entities for tag in entities}
    for entities in whole.entities:
        for before, tag in zip(["O", *entities], entities, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_ud_thai_pud(real):
    pud = real("ud_thai_pud")
    assert (pud.source, pud.label, pud.cut) == ("folder", None, ("test", "valid"))
    parts = [pud.train, pud.valid, pud.test]
    whole = pd.concat(parts)
    assert len(whole) == whole.text.nunique() == 1_000
    assert (whole.words.map(len) == whole.tags.map(len)).all() and whole.words.map(len).sum() == 22_330
    assert len({tag for tags in whole.tags for tag in tags}) == 16  # all but INTJ
    assert (whole.words.map("".join) == whole.text.str.replace(" ", "")).all()
    assert sum(part.document.nunique() for part in parts) == whole.document.nunique() == 397
    assert all(0.08 < len(part) / len(whole) < 0.12 for part in parts[1:])


def test_sst2(real):
    sst2 = real("sst2")
    assert sst2.classes == ["neg", "pos"] and len(sst2.valid) == 872
    assert sst2.valid.sentiment.value_counts().to_dict() == {"pos": 444, "neg": 428}
    if sst2.cut:
        assert (sst2.cut, len(sst2.train), len(sst2.test)) == (("test",), 6_228, 692)
        assert not set(sst2.train.text) & set(sst2.test.text)
    else:
        assert (len(sst2.train), len(sst2.test)) == (6_920, 1_821)


def test_sst2_from_its_archive(folder, small):
    """The published archive has all three splits, so nothing is cut."""
    trees = {"train": "(3 (3 Good) (2 .))\n(1 (1 Bad) (2 .))\n", "dev": "(4 Grand)\n", "test": "(0 Dire)\n(2 So)\n"}
    archive = small.zipped({f"trees/{name}.txt": text.encode() for name, text in trees.items()})
    (folder / "sst2").mkdir()
    (folder / "sst2" / "trainDevTestTrees_PTB.zip").write_bytes(archive)
    entry = replace(data.info("sst2"), sha256=hashlib.sha256(archive).hexdigest(), bytes=len(archive))
    sst2 = data.load("sst2", catalogue={"sst2": entry})
    assert sst2.cut == () and {split: len(frame) for split, frame in sst2.splits.items()} == {
        "train": 2, "valid": 1, "test": 1
    }  # fmt: skip
    assert sst2.test.sentiment.tolist() == ["neg"] and sst2.test.sentiment.cat.categories.tolist() == ["neg", "pos"]


def test_ud_thai_pud_is_cloned_by_hand(cache):
    with pytest.raises(data.DownloadError, match=r"git clone --depth 1 \S+/UD_Thai-PUD .*ud_thai_pud"):
        data.load("ud_thai_pud")


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


def words(dataset: data.Dataset) -> int:
    """Words of its texts, white space between them."""
    return sum(frame.text.str.split().map(len).sum() for frame in dataset.splits.values())


def test_gensim_wikipedia(cache):
    wikipedia = data.load("gensim_wikipedia")
    assert (wikipedia.source, wikipedia.label, wikipedia.cut) == ("package", None, ("valid",))
    whole = pd.concat([wikipedia.train, wikipedia.valid])
    assert len(whole) == whole.title.nunique() == 106 and len(wikipedia.valid) == 11
    assert {"Anarchism", "Alabama", "Aristotle"} <= set(whole.title)
    assert 400_000 < words(wikipedia) < 500_000
    assert not whole.text.str.contains("[[", regex=False).any() and not whole.text.str.contains("==").any()


def test_lee(cache):
    lee = data.load("lee")
    assert (lee.source, lee.label, lee.cut) == ("package", None, ("valid",))
    assert (len(lee.train), len(lee.valid), words(lee)) == (270, 30, 59_890)
    assert not set(lee.train.text) & set(lee.valid.text)


def test_simlex999(cache):
    simlex = data.load("simlex999")
    assert (simlex.source, list(simlex.splits), len(simlex.test)) == ("package", ["test"], 999)
    assert simlex.test.score.between(0, 10).all() and simlex.test.iloc[0].tolist() == ["old", "new", 1.58]
    assert len(set(simlex.test.word1) | set(simlex.test.word2)) == 1_028
    with pytest.raises(data.DataError, match="simlex999 has no texts; its columns are word1, word2, score"):
        simlex.texts("test")
    with pytest.raises(data.DataError, match="simlex999 has no split 'train'; it has test"):
        simlex.train  # noqa: B018


def test_word_analogies(cache):
    analogies = data.load("word_analogies")
    assert (analogies.source, list(analogies.splits)) == ("package", ["test"])
    assert len(analogies.test) == 19_544 and analogies.test.category.nunique() == 14
    assert analogies.test.category.str.startswith("gram").sum() == 10_675  # as Mikolov et al. count
    assert analogies.test.iloc[0].tolist() == ["capital-common-countries", "Athens", "Greece", "Baghdad", "Iraq"]


def test_word_senses(cache):
    senses = data.load("word_senses")
    assert (senses.source, list(senses.splits), senses.label) == ("embedded", ["test"], None)
    sentences = senses.test.groupby(["language", "word", "sense"]).size()
    assert len(senses.test) == 256 and (sentences == 8).all()
    assert (sentences.groupby(["language", "word"]).size() == 2).all()
    assert {"bank", "crane", "stick", "cats", "ตา", "ขัน", "เกาะ"} <= set(senses.test.word)


def test_word_sets(cache):
    sets = data.load("word_sets")
    assert sets.source == "embedded" and set(sets.splits) == set(WORD_SETS) == set(data.info("word_sets").needs)
    for name, table in sets.splits.items():
        assert list(table.columns) == WORD_SETS[name] and len(table) > 20
    with pytest.raises(data.DataError, match="word_sets has no split 'train'; it has gender_pairs, occupations"):
        sets.train  # noqa: B018


def test_word_sets_that_are_not_whole(folder):
    (folder / "word_sets").mkdir()
    for file in (data.shipped() / "word_sets").glob("[g-o]*.csv"):
        (folder / "word_sets" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(data.DataError, match="has no thai_analogies rows, only gender_pairs, occupations, odd_one_out"):
        data.load("word_sets")


def article(title: str) -> str:
    return f" \n = {title} = \n \n It is the {title} . \n"


def test_wikitext2_from_its_archive(folder, small):
    """The published archive holds all three, so nothing is cut; and it must be the published one."""
    names = ["train", "valid", "test"]
    archive = small.zipped({f"wikitext-2/wiki.{name}.tokens": article(name).encode() for name in names})
    path = folder / "wikitext2" / "wikitext-2-v1.zip"
    path.parent.mkdir()
    path.write_bytes(archive)
    with pytest.raises(data.ChecksumError, match=r"is not the published wikitext-2-v1\.zip of wikitext2"):
        data.load("wikitext2")
    entry = replace(data.info("wikitext2"), sha256=hashlib.sha256(archive).hexdigest(), bytes=len(archive))
    loaded = data.load("wikitext2", catalogue={"wikitext2": entry})
    assert loaded.cut == () and {split: frame.title.tolist() for split, frame in loaded.splits.items()} == {
        name: [name] for name in names
    }


def test_wikitext2_from_a_folder_without_train(folder):
    (folder / "wikitext2").mkdir()
    path = folder / "wikitext2" / "test.txt"
    path.write_text("".join(article(f"test {i}") for i in range(5)))
    with pytest.raises(data.DataError, match=r"has no train rows, only test: .*wiki\.train\.tokens"):
        data.load("wikitext2")
    path.with_name("valid.txt").write_text("".join(article(f"valid {i}") for i in range(20)))
    loaded = data.load("wikitext2")
    assert loaded.cut == ("valid",) and {split: len(frame) for split, frame in loaded.splits.items()} == {
        "train": 18, "valid": 2, "test": 5
    }  # fmt: skip


def test_text8_from_its_file(folder):
    (folder / "text8").mkdir()
    (folder / "text8" / "text8").write_text(
        " " + " ".join(f"w{'abcdefghij'[i % 10] * (i // 1_000)}" for i in range(20_000))
    )
    text8 = data.load("text8")
    assert (text8.source, text8.cut, words(text8)) == ("folder", ("valid",), 20_000)
    assert (len(text8.train), len(text8.valid)) == (18, 2)


def test_wikitext2(real):
    wikitext = real("wikitext2")
    whole = pd.concat(wikitext.splits.values())
    assert len(wikitext.test) == 60 and len(whole) in (120, 720)
    if wikitext.cut:
        assert (len(wikitext.train), len(wikitext.valid)) == (54, 6)
    assert not whole.text.str.contains("@[-,.]@").any() and whole.text.str.contains("<unk>").any()
    assert not set(wikitext.train.title) & {"", "<formula>"}


@pytest.mark.skipif(not (data.shipped() / "thai_intents").is_dir(), reason="not written yet")
def test_thai_intents(cache):
    intents = data.load("thai_intents")
    assert (intents.source, intents.cut, len(intents.classes)) == ("embedded", (), 7)
    assert len(intents.train) + len(intents.valid) + len(intents.test) >= 1_200
    assert len(intents.unlabelled) >= 1_500
    texts = [set(part.text) for part in (intents.train, intents.valid, intents.test, intents.unlabelled)]
    assert len(set.union(*texts)) == sum(map(len, texts))
