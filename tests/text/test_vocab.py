"""The vocabulary: its order, what it knows, and a file that is whole or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.text import BOS, EOS, PAD, UNK, Vocab, numericalise

token_lists = st.lists(st.lists(st.text(min_size=1, max_size=3), max_size=8), max_size=8)
CORPUS = [["ค่ะ", "ยอด", "เงิน"], ["ค่ะ", "net"], [], ["ยอด", "ค่ะ", "บาท"]]


def test_most_frequent_first_then_alphabetical():
    vocab = Vocab.build(CORPUS, min_count=1)
    assert vocab.words == ["<unk>", "<pad>", "<bos>", "<eos>", "ค่ะ", "ยอด", "net", "บาท", "เงิน"]
    assert Vocab.build(reversed(CORPUS), min_count=1) == vocab  # whatever the order of the texts
    assert Vocab.build(CORPUS, min_count=2).words[4:] == ["ค่ะ", "ยอด"]
    assert len(Vocab.build(CORPUS, min_count=1, max_size=6)) == 6  # special tokens included


def test_the_special_tokens_have_their_ids():
    vocab = Vocab.build(CORPUS)
    assert [vocab[word] for word in Vocab.SPECIALS] == [UNK, PAD, BOS, EOS] == [0, 1, 2, 3]
    assert vocab.words[PAD] == "<pad>"


def test_a_text_cannot_forge_a_special_token():
    vocab = Vocab.build([["<pad>", "<bos>", "ก", "<pad>"]], min_count=1)
    assert vocab.words[4:] == ["ก"]
    assert vocab.encode(["<pad>", "<bos>", "ก", "<eos>", "<unk>"]) == [UNK, UNK, 4, UNK, UNK]
    assert "<pad>" not in vocab


def test_encode_and_decode():
    vocab = Vocab.build(CORPUS, min_count=1)
    assert vocab.encode(["ยอด", "ไม่มี"], add_ends=True) == [BOS, 5, UNK, EOS]
    assert vocab.encode([], add_ends=True) == [BOS, EOS]
    assert vocab.decode(np.array([BOS, 5, UNK])) == ["<bos>", "ยอด", "<unk>"]
    assert vocab["ยอด"] == 5
    assert vocab["ไม่มี"] == UNK
    for wrong in (len(vocab), -1):
        with pytest.raises(IndexError, match=f"id {wrong} is not in a vocabulary of 9 words"):
            vocab.decode([wrong])


@given(token_lists)
def test_known_words_survive_the_round_trip(lists):
    words = {word for tokens in lists for word in tokens}
    if not words - set(Vocab.SPECIALS):
        return
    vocab = Vocab.build(lists, min_count=1)
    assert set(vocab.words[4:]) == words - set(Vocab.SPECIALS)
    for tokens in lists:
        known = [token for token in tokens if token in vocab]
        assert vocab.decode(vocab.encode(known)) == known
    assert Vocab(vocab.words) == vocab
    if words.isdisjoint(Vocab.SPECIALS):
        assert vocab.oov_rate(lists) == 0


def test_oov_rate():
    vocab = Vocab.build(CORPUS, min_count=2)
    assert vocab.oov_rate(CORPUS) == 3 / 8
    assert vocab.oov_rate([["ค่ะ"], []]) == 0
    with pytest.raises(ValueError, match="empty"):
        vocab.oov_rate([[]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Vocab.build([]), "0 tokens"),
        (lambda: Vocab.build([[], []]), "0 tokens"),
        (lambda: Vocab.build([["ก", "ข"]], min_count=2), "2 tokens, none of them 2 times"),
        (lambda: Vocab.build(CORPUS, max_size=4), "leaves no room"),
        (lambda: Vocab(["ก"]), "begins with"),
        (lambda: Vocab([]), "begins with"),
        (lambda: Vocab([*Vocab.SPECIALS, "ก", "ข", "ก"]), r"twice.*'ก'"),
        (lambda: Vocab([*Vocab.SPECIALS, "<pad>"]), "twice"),
        (lambda: Vocab([*Vocab.SPECIALS, 7]), "strings"),
    ],
)
def test_what_is_no_vocabulary_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_text_in_the_place_of_tokens_is_refused():
    vocab = Vocab.build(CORPUS)
    for wrong in (lambda: Vocab.build(["ยอดเงิน"]), lambda: vocab.encode("ยอด"), lambda: vocab.oov_rate(["ยอด"])):
        with pytest.raises(TypeError, match="expected a list of tokens"):
            wrong()


@given(token_lists)
def test_a_saved_vocabulary_comes_back(tmp_path_factory, lists):
    lists = [*lists, ["ก"], ['\n\u2028 \\"']]
    path = tmp_path_factory.mktemp("vocab") / "vocab.json"
    vocab = Vocab.build(lists, min_count=1)
    vocab.save(path)
    assert Vocab.load(path) == vocab
    assert Vocab.load(path).digest == vocab.digest
    assert list(path.parent.iterdir()) == [path]


def test_the_digest_tells_vocabularies_apart():
    words = [*Vocab.SPECIALS, "ก", "ข"]
    digest = Vocab(words).digest
    assert len(digest) == 64
    assert digest == Vocab(words).digest
    assert digest != Vocab([*Vocab.SPECIALS, "ข", "ก"]).digest
    assert digest != Vocab([*Vocab.SPECIALS, "กข"]).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content | {"format": "other"}, "lacks the format"),
        (lambda content: content | {"version": 99}, "has version 99"),
        (lambda content: content | {"words": content["words"][:-1]}, "damaged or was edited"),
        (lambda content: content | {"words": [*content["words"], "ค่ะ"]}, "damaged.*twice"),
        (lambda content: content | {"words": content["words"][1:]}, "damaged.*begins with"),
        (lambda content: content | {"words": 3}, "damaged"),
        (lambda content: {k: v for k, v in content.items() if k != "words"}, "damaged"),
        (lambda content: {k: v for k, v in content.items() if k != "digest"}, "damaged or was edited"),
        (lambda content: list(content), "is not a vocabulary"),
    ],
)
def test_a_changed_file_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "vocab.json"
    Vocab.build(CORPUS).save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(ValueError, match=f"vocab.json.*{message}"):
        Vocab.load(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'{"format": "tlc', "ค่ะ".encode("cp874")])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vocab\.json is not a vocabulary"):
        Vocab.load(path)
    with pytest.raises(FileNotFoundError):
        Vocab.load(tmp_path / "none.json")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocab.json"
    old = Vocab.build(CORPUS)
    old.save(path)

    def full_disk(self, text, **kwargs):
        with self.open("w", encoding="utf-8") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Vocab.build(CORPUS, min_count=1).save(path)
    monkeypatch.undo()
    assert Vocab.load(path) == old
    assert list(tmp_path.iterdir()) == [path]


@given(token_lists)
def test_numericalise(lists):
    vocab = Vocab.build([*lists, ["ก"]], min_count=1)
    docs = numericalise(lists, vocab)
    assert len(docs) == len(lists)
    for doc, tokens in zip(docs, lists, strict=True):
        assert doc.dtype == np.int64
        assert doc.tolist() == [BOS, *vocab.encode(tokens)]
