"""Corpora on disk: the ids that `numericalise` gives, the same after an interruption, or a clear refusal."""

import errno
import functools
import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from tlcourse.text import BOS, UNK, LMBatches, Vocab, english_words, numericalise, shards, thai_words
from tlcourse.text.corpus import Corpus, CorpusError, build_corpus

TEXTS = [f"อยากเช็คยอดเงิน {i % 7} บาท\nnet ช้า{'มาก' * (i % 4)} คำที่ {i}" for i in range(60)]
build = functools.partial(build_corpus, workers=1, progress=False, valid=0.1)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "_SIZE", 400)


def split(texts, corpus):
    """The training and the validation texts, as the hashes have it."""
    limit = corpus.info["valid"] * 2**64
    chances = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
    held = [int.from_bytes(chance, "big") < limit for chance in chances]
    return [t for t, h in zip(texts, held, strict=True) if not h], [t for t, h in zip(texts, held, strict=True) if h]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def articles(folder: Path, texts: list[str], *, per_file: int = 25, **header) -> Path:
    """A folder of articles."""
    folder.mkdir(exist_ok=True)
    for number, first in enumerate(range(0, len(texts), per_file)):
        with gzip.open(folder / f"articles-{number:05}.jsonl.gz", "wt", encoding="utf-8") as stream:
            for text in texts[first : first + per_file]:
                stream.write(json.dumps({"id": None, "title": "", "text": text}, ensure_ascii=False) + "\n")
    known = {"format": "tlcourse-articles-1", "language": "th", "complete": True, "licence": "CC BY-SA 4.0"}
    known |= {"articles": len(texts), "characters": sum(map(len, texts))}
    (folder / "articles.json").write_text(json.dumps(known | header))
    return folder


# --- What is built ------------------------------------------------------------------------------------------


def test_ids_and_vocabulary_are_those_of_numericalise(tmp_path):
    corpus = build(TEXTS, tmp_path)
    train, valid = ([thai_words(text) for text in part] for part in split(TEXTS, corpus))
    assert len(valid) > 1
    assert corpus.vocab == Vocab.build(train)
    for tokens, lists in ((corpus.train, train), (corpus.valid, valid)):
        expected = numericalise(lists, corpus.vocab)
        assert tokens.documents == len(lists)
        assert all(np.array_equal(tokens.document(i), doc) for i, doc in enumerate(expected))
        assert np.array_equal(tokens.ids, np.concatenate(expected))
        assert tokens.unknown == pytest.approx(corpus.vocab.oov_rate(lists))
    assert 0 < corpus.train.unknown < 0.1
    assert corpus.train.ids.dtype == np.uint16
    assert isinstance(corpus.train.ids, np.memmap)


def test_batches_from_the_memory_map_are_those_from_lists(tmp_path):
    corpus = build(TEXTS, tmp_path)
    docs = [np.array(corpus.train.document(i)) for i in range(corpus.train.documents)]
    options = dict(batch_size=4, bptt=9, shuffle=True)
    mapped, listed = LMBatches(corpus.train.ids, **options), LMBatches(docs, **options)
    for (x, y), (x2, y2) in zip(mapped, listed, strict=True):
        assert x.equal(x2)
        assert y.equal(y2)


def test_what_is_known_of_the_text(tmp_path):
    corpus = build(TEXTS, tmp_path, valid=0)
    counts = Counter(word for text in TEXTS for word in thai_words(text))
    info = corpus.info
    assert info["documents"] == 60
    assert info["characters"] == sum(map(len, TEXTS))
    assert info["tokens"] == counts.total() == len(corpus.train) - 60
    assert info["distinct"] == len(counts)
    assert info["once"] == sum(n == 1 for n in counts.values()) > 10
    assert corpus.coverage == [{"words": len(counts), "share": 1.0}]
    assert corpus.valid is None
    assert corpus.language == "th"
    words = thai_words(TEXTS[1])
    assert corpus.documents(n=2)[1] == [word if word in corpus.vocab else "<unk>" for word in words]
    assert len(corpus.documents(n=10**9)) == 60
    with pytest.raises(ValueError, match="no split 'valid'; it has train"):
        corpus.documents("valid")
    with pytest.raises(IndexError, match="no document 60"):
        corpus.train.document(60)


def test_coverage_counts_the_most_frequent_words(tmp_path):
    # 1,500 words; the first 1,000 stand twice, the others once
    text = " ".join(f"w{i}x" for i in (*range(1500), *range(1000)))
    corpus = build([text], tmp_path, words=str.split, valid=0)
    assert corpus.coverage == [{"words": 1000, "share": 0.8}, {"words": 1500, "share": 1.0}]


def test_words_of_a_task_are_in_when_they_occur(tmp_path):
    texts = ["a a a b b c d e", "f"]
    options = dict(words=str.split, valid=0, min_count=2)
    assert build(texts, tmp_path).vocab.words[4:] == ["a", "b"]
    corpus = build(texts, tmp_path, must_have=["e", "b", "absent", "<pad>"], **options)
    assert corpus.vocab.words[4:] == ["a", "b", "e"]
    assert build(texts, tmp_path, must_have=["e", "b"], max_vocab=6, **options).vocab.words[4:] == ["b", "e"]
    assert build(["c"], tmp_path, must_have=["c"], **options).vocab.words[4:] == ["c"]
    with pytest.raises(ValueError, match="no room beside the 4 special tokens and 2 words of must_have"):
        build(texts, tmp_path, must_have=["e", "b"], max_vocab=5, **options)
    with pytest.raises(TypeError, match="cut it with a tokeniser"):
        build(texts, tmp_path, must_have="e b", **options)


def test_a_given_vocabulary_is_taken(tmp_path):
    vocab = Vocab([*Vocab.SPECIALS, "บาท", *map(str, range(70_000))])
    corpus = build(TEXTS, tmp_path, vocab=vocab)
    assert corpus.vocab == vocab
    assert corpus.train.ids.dtype == np.uint32
    assert set(np.unique(corpus.train.ids[:12])) >= {UNK, BOS, vocab["บาท"]}
    corpus.verify()
    with pytest.raises(ValueError, match="leave out must_have or vocab"):
        build(TEXTS, tmp_path, vocab=vocab, must_have=["บาท"])


def test_validation_does_not_depend_on_the_order_and_keeps_equal_texts_together(tmp_path):
    texts = TEXTS * 2
    corpora = [build(t, tmp_path / str(i)) for i, t in enumerate((texts, texts[::-1], [*texts, "ใหม่"]))]
    held = [sorted(map(tuple, c.documents("valid", 99))) for c in corpora]
    assert held[0] == held[1]
    assert len(held[0]) % 2 == 0
    assert corpora[0].valid.documents <= corpora[2].valid.documents <= corpora[0].valid.documents + 1
    assert corpora[0].vocab == corpora[1].vocab
    few = build(TEXTS[:3], tmp_path / "few", valid=1e-9)  # a small corpus has one too
    assert few.valid.documents == 1


@settings(max_examples=25)
@given(
    st.lists(st.text(st.sampled_from("ab \n\0<>\ud800ก"), max_size=9), min_size=1, max_size=12),
    st.integers(1, 40),
)
def test_every_word_survives(tmp_path_factory, texts, size):
    """Words of any characters, white space and NUL too, in shards of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_SIZE", size)
        folder = tmp_path_factory.mktemp("corpus")
        if not any(texts):
            with pytest.raises(CorpusError, match="no words"):
                build(texts, folder, words=list, valid=0, min_count=1)
            return
        corpus = build(texts, folder, words=list, valid=0, min_count=1)
    assert corpus.documents(n=99) == [list(text.replace("\ud800", "?")) for text in texts]
    corpus.verify()


def test_processes_give_what_one_gives(tmp_path):
    assert Corpus.open(build(TEXTS, tmp_path / "1").folder).vocab == build(TEXTS, tmp_path / "2", workers=2).vocab
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_function_of_a_notebook_is_never_taken_for_another(tmp_path):
    first = build(["a b c a"], tmp_path, words=lambda text: text.split(), valid=0, min_count=1, workers=None)
    second = build(["a b c a"], tmp_path, words=lambda text: list(text), valid=0, min_count=1)
    assert "<unk>" not in (*first.documents()[0], *second.documents()[0])
    assert len(second.train) == 1 + 7
    assert len([*(tmp_path / "segmented").iterdir()]) == 1
    with pytest.raises(ValueError, match="cannot go to another process"):
        build(["a"], tmp_path, words=lambda text: [text], workers=2)


# --- Articles -----------------------------------------------------------------------------------------------


def test_articles_give_what_their_texts_give(tmp_path):
    folder = articles(tmp_path / "articles", TEXTS, source="thwiki")
    corpus = build(folder, tmp_path / "a")
    build(iter(TEXTS), tmp_path / "t")  # a generator has no length
    expected, found = contents(tmp_path / "t"), contents(tmp_path / "a")
    assert corpus.info["sources"] == [{"source": "thwiki", "licence": "CC BY-SA 4.0", "complete": True}]
    assert {**found, "corpus.json": 0} == {**expected, "corpus.json": 0}
    both = build([folder, articles(tmp_path / "more", ["ใหม่"] * 3)], tmp_path / "b", valid=0)
    assert both.train.documents == 63


def test_an_incomplete_folder_is_used_with_a_warning_and_then_added_to(tmp_path, monkeypatch):
    folder = articles(tmp_path / "articles", TEXTS[:40], complete=False)
    with pytest.warns(UserWarning, match="is incomplete") as caught:
        corpus = build_corpus(folder, tmp_path / "c", workers=1, progress=False)
    assert caught[0].filename == __file__
    assert corpus.info["sources"][0]["complete"] is False
    cut = []
    monkeypatch.setattr(shards, "_cut", lambda texts, *rest, real=shards._cut: (cut.extend(texts), real(texts, *rest)))
    articles(folder, TEXTS)
    build(folder, tmp_path / "c")
    assert 20 <= len(cut) < 40
    assert contents(tmp_path / "c") == contents(build(folder, tmp_path / "whole").folder)


def damage_gzip(folder):
    file = folder / "articles-00001.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-20])


def write_lines(*lines):
    def write(folder):
        with gzip.open(folder / "articles-00001.jsonl.gz", "wb") as stream:
            stream.write(b"\n".join(lines))

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage_gzip, "articles-00001.jsonl.gz is damaged"),
        (lambda folder: (folder / "articles-00001.jsonl.gz").write_bytes(b"PK not gzip"), "00001.jsonl.gz is damaged"),
        (write_lines(b'{"text": "a"}', b'{"title": "b"}'), r"00001.jsonl.gz is damaged after article 26: KeyError"),
        (write_lines(b'{"text": "\xff"}'), "is damaged after article 25: UnicodeDecodeError"),
        (write_lines(b"[]"), "is damaged after article 25: TypeError"),
        (write_lines(b'{"text": "a"'), "is damaged after article 25: JSONDecodeError"),
        (lambda folder: (folder / "articles-00001.jsonl.gz").unlink(), "lacks articles-00001.jsonl.gz"),
        (lambda folder: (folder / "articles-00002.jsonl.gz").unlink(), "holds 50 articles, its header tells of 60"),
        (lambda folder: (folder / "articles.json").unlink(), "has no articles.json"),
        (lambda folder: edit(folder / "articles.json", format="tlcourse-articles-2"), "format 'tlcourse-articles-2'"),
        (lambda folder: edit(folder / "articles.json", language="bg"), "are in 'bg', not in 'th': pass language="),
        (lambda folder: (folder / "articles.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "articles.json").write_text("[" * 10**5), "is not JSON"),
    ],
)
def test_damaged_articles_are_refused(tmp_path, change, message):
    folder = articles(tmp_path / "articles", TEXTS)
    change(folder)
    with pytest.raises(CorpusError, match=message):
        build(folder, tmp_path / "corpus")


# --- Interruptions ------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from tests_corpus import TEXTS, build, shards
shards._SIZE = 400
done = 0
def cut(*job, real=shards._cut):
    global done
    done += 1
    if done == int(sys.argv[2]):
        (job[2].parent / "litter.part").write_bytes(b"half")
        os._exit(9)
    real(*job)
shards._cut = cut
build(TEXTS, sys.argv[1])
"""


def failing(target, at, error):
    """The function, but its call number `at` raises."""
    calls = 0

    def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return target(*args, **kwargs)

    return call


def test_a_killed_build_goes_on(tmp_path):
    (tmp_path / "tests_corpus.py").write_bytes(Path(__file__).read_bytes())
    folder = tmp_path / "corpus"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])}
    run = subprocess.run([sys.executable, "-c", KILLED, str(folder), "4"], env=environment, capture_output=True)
    assert run.returncode == 9, run.stderr.decode()
    assert len([*(folder / "segmented").glob("*.npz")]) == 3
    with pytest.raises(CorpusError, match=r"has no corpus.json: what makes it has not been run"):
        Corpus.open(folder)
    build(TEXTS, folder)
    assert contents(folder) == contents(build(TEXTS, tmp_path / "whole").folder)
    assert not [*(folder / "segmented").glob("*.part")]


@pytest.mark.parametrize(
    ("place", "name", "at"),
    [
        ("tlcourse.text.shards", "_cut", 3),
        ("tlcourse.text.corpus", "_count", 1),
        ("tlcourse.text.corpus", "_write_ids", 1),
        ("tlcourse.text.corpus", "_write_ids", 2),
        ("tlcourse.text.corpus", "_write_json", 3),
    ],
)
def test_an_interrupted_build_goes_on_with_identical_bytes(tmp_path, monkeypatch, place, name, at):
    build(TEXTS[:20], tmp_path / "corpus", max_vocab=9)  # another corpus was there before
    module = sys.modules[place]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing(getattr(module, name), at, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build(TEXTS, tmp_path / "corpus")
    with monkeypatch.context() as patch:
        if name != "_cut":
            patch.setattr(shards, "_cut", failing(shards._cut, 1, AssertionError("cut again")))
        build(TEXTS, tmp_path / "corpus")
    assert contents(tmp_path / "corpus") == contents(build(TEXTS, tmp_path / "whole").folder)


def test_a_finished_build_is_left_alone_unless_it_is_damaged(tmp_path):
    corpus = build(TEXTS, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "train.bin").touch()
    stamp = (tmp_path / "train.bin").stat().st_mtime_ns
    build(TEXTS, tmp_path)
    assert (tmp_path / "train.bin").stat().st_mtime_ns == stamp
    ids = np.array(corpus.train.ids)
    ids[-1] = 5 if ids[-1] != 5 else 6
    (tmp_path / "train.bin").write_bytes(ids.tobytes())
    build(TEXTS, tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "vocab.json").write_text("{}")
    build(TEXTS, tmp_path)
    assert contents(tmp_path) == before


def test_another_vocabulary_cuts_no_word_again(tmp_path, monkeypatch):
    build(TEXTS, tmp_path)
    monkeypatch.setattr(shards, "_cut", failing(shards._cut, 1, AssertionError("cut again")))
    assert len(build(TEXTS, tmp_path, max_vocab=9).vocab) == 9
    assert build(TEXTS, tmp_path, valid=0).valid is None
    assert not (tmp_path / "valid.bin").exists()


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_shard_is_made_again(tmp_path, damage):
    build(TEXTS, tmp_path)
    before = contents(tmp_path)
    shard = min((tmp_path / "segmented").iterdir())
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw if damage is None else damage)
    with pytest.warns(UserWarning, match=f"{shard.name} is damaged"):
        build(TEXTS, tmp_path)
    assert contents(tmp_path) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        build(TEXTS, tmp_path)


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", failing(np.savez, 3, full))
        with pytest.raises(OSError, match=r"No space left on device. What is finished is kept") as caught:
            build(TEXTS, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert len([*(tmp_path / "segmented").iterdir()]) == 2
    with monkeypatch.context() as patch:
        patch.setattr(np, "insert", failing(np.insert, 2, full))
        with pytest.raises(OSError, match="make room, and build again"):
            build(TEXTS, tmp_path)
    assert not [*tmp_path.glob("*.part")]
    assert contents(build(TEXTS, tmp_path).folder) == contents(build(TEXTS, tmp_path / "whole").folder)


ORPHANS = """
import os, signal, time
from tests_words import slow
from tlcourse.text import shards
from tlcourse.text.corpus import build_corpus
shards._SIZE = 1
if __name__ == "__main__":
    build_corpus(["a b"] * 8, "corpus", words=slow, workers=1 + 1, progress=False)
"""

SLOW = """
import os, time
def slow(text):
    open(f"pid-{os.getpid()}", "w").close()
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "script.py").write_text(ORPHANS)
    (tmp_path / "tests_words.py").write_text(SLOW)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])}
    script = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: len([*tmp_path.glob("pid-*")]) == 2 or script.poll() is not None)
    script.kill()
    script.wait()
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_running, pids)))
    assert not any(map(is_running, pids))


def wait_until(true, *, seconds=300):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- Refusals -----------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path):
    return build(TEXTS, tmp_path / "corpus")


def cut_short(folder):
    path = folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-3])


def set_number(name, place, value, dtype="<u2"):
    def change(folder):
        numbers = np.fromfile(folder / name, dtype=dtype)
        numbers[place] = value
        numbers.tofile(folder / name)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: Vocab([*Vocab.SPECIALS, "ก"]).save(f / "vocab.json"), "vocab.json does not match the ids of train"),
        (lambda f: (f / "vocab.json").unlink(), "vocab.json"),
        (lambda f: (f / "vocab.json").write_text("{}"), "is not a vocabulary"),
        (cut_short, r"train.bin was cut short, or its header is wrong: it has [\d,]+ bytes"),
        (lambda f: (f / "valid.bin").write_bytes(bytes(9999)), "valid.bin is too long"),
        (lambda f: (f / "train.bin").unlink(), "train.bin is missing"),
        (lambda f: (f / "train.starts.bin").write_bytes(b""), "starts.bin was cut short"),
        (lambda f: (f / "valid.json").unlink(), "has no valid.json"),
        (lambda f: (f / "train.json").write_text("{"), "train.json is damaged, it is not JSON"),
        (lambda f: (f / "train.json").write_text("[]"), "has the format None"),
        (lambda f: edit(f / "train.json", format="tlcourse-tokens-2"), "format 'tlcourse-tokens-2'; this version"),
        (lambda f: edit(f / "corpus.json", format="tlcourse-tokens-1"), "this version of tlcourse reads 'tlcourse-c"),
        (lambda f: edit(f / "train.json", dtype="object"), "names the dtype 'object', where ids of .* are uint16"),
        (lambda f: edit(f / "train.json", tokens=10**18), "takes? 2,000,000,000,000,000,000"),
        (lambda f: edit(f / "train.json", tokens=-4), "tells of -4 tokens"),
        (lambda f: edit(f / "train.json", tokens="many"), "tells of 'many' tokens"),
        (lambda f: edit(f / "train.json", documents=True), "tells of True documents"),
        (lambda f: edit(f / "train.json", documents=10**12), "starts.bin was cut short, or its header is wrong"),
        (lambda f: edit(f / "train.json", vocabulary=None), "does not match"),
        (set_number("train.bin", -1, 65_535), "train.bin holds the id 65535, in a vocabulary of"),
        (set_number("train.bin", 0, UNK), "disagree on where documents begin"),
        (set_number("train.starts.bin", 1, 10**9, "<i8"), "do not follow one another"),
        (set_number("train.starts.bin", -1, 10**9, "<i8"), "do not follow one another"),
        (set_number("train.starts.bin", 1, -7, "<i8"), "do not follow one another"),
    ],
)
def test_open_refuses(corpus, change, message):
    change(corpus.folder)
    with pytest.raises(CorpusError, match=message):
        Corpus.open(corpus.folder)
    build(TEXTS, corpus.folder).verify()  # which any build mends


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_number("train.bin", 1, UNK), "train.bin is damaged: its sha256 is"),
        (lambda f: edit(f / "valid.json", sha256=""), "valid.bin is damaged"),
        (lambda f: edit(f / "valid.json", unknown=-1), "valid.bin has other documents or unknown words"),
    ],
)
def test_verify_sees_the_rest(corpus, change, message):
    corpus.verify()
    change(corpus.folder)
    with pytest.raises(CorpusError, match=message):
        Corpus.open(corpus.folder).verify()


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ([], {}, CorpusError, "there are no texts"),
        (["", " \n"], {"valid": 0}, CorpusError, "have no words"),
        (["บาท"], {"valid": 0}, ValueError, "1 tokens, none of them 2 times"),
        (["บาท " * 5000], {}, CorpusError, "valid=0.1 holds out all 1 documents .* use valid=0"),
        ("บาท", {}, TypeError, "a list of texts"),
        (["บาท", None], {}, TypeError, "text 1 must be a str, not NoneType"),
        ([Path("a"), "บาท"], {}, TypeError, "text 0 must be a str, not .*Path"),
        (["บาท"], {"language": "xx"}, ValueError, "no tokeniser is known for the language 'xx'.*words="),
        (["บาท"], {"valid": 1}, ValueError, "valid is the share"),
        (["บาท"], {"valid": -0.1}, ValueError, "valid is the share"),
        (["บาท"], {"max_vocab": 4}, ValueError, "leaves no room"),
        (["บาท"], {"workers": 0}, ValueError, "workers must be at least 1"),
        (["บาท"], {"words": str.upper}, TypeError, "cut it with a tokeniser"),
        (["บาท"], {"words": str.encode}, TypeError, "must give strings, not"),
    ],
)
def test_what_cannot_be_built(tmp_path, texts, options, error, message):
    with pytest.raises(error, match=message):
        build(texts, tmp_path, **options)


def test_one_giant_document(tmp_path):
    corpus = build(["บาท net " * 20_000], tmp_path, valid=0)
    assert len(corpus.train) == 40_001
    assert len([*(tmp_path / "segmented").iterdir()]) == 1


def test_a_shard_of_many_words_has_wider_numbers(tmp_path):
    text = " ".join(f"{i:x}" for i in range(70_000))
    corpus = build([text], tmp_path, words=str.split, valid=0, min_count=1, max_vocab=80_000)
    assert corpus.documents()[0] == text.split()
    assert corpus.train.ids.dtype == np.uint32


def test_other_languages(tmp_path):
    corpus = build(["Здравей, свят!"] * 2, tmp_path, language="bg", valid=0)
    assert corpus.documents(n=1) == [english_words("Здравей, свят!")]


def test_bars_tell_the_time_left_or_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tlcourse.text.corpus.tqdm", functools.partial(visible, mininterval=0))
    build(TEXTS, tmp_path, progress=True)
    bars = capsys.readouterr().err
    assert re.search(r"segment:  \d\d%.*\d\d:\d\d<\d\d:\d\d", bars)
    assert re.search(r"number valid: 100%", bars)
    build(TEXTS, tmp_path / "silent")
    assert capsys.readouterr().err == ""


def visible(*args, delay, **options):
    """A bar that does not wait for the first second."""
    return tqdm(*args, **options)
