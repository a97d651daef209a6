"""The lesson's sizes and measurements, on the texts at hand and on a model of a few words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse import data
from tlcourse.elmo import ELMoConfig, encode, lesson
from tlcourse.elmo.lesson import SIZES, Task

SMOKE = SIZES["smoke"]
CONFIG = ELMoConfig(filters=((1, 4), (2, 8)), projection_dim=6, lstm_dim=8, char_dim=4)
RECIPE = replace(SMOKE.recipe, config=CONFIG, min_count=1, batch_size=4, samples=30)
TINY = replace(SMOKE, recipe=RECIPE)
TAG = {"แมว": "B-สัตว์", "นก": "B-สัตว์", "กิน": "O", "เห็น": "O", "ที่": "O", "กรุงเทพ": "B-ที่", "เลย": "B-ที่"}
VECTORS = {word: row for word, row in zip(TAG, np.eye(len(TAG)), strict=True) if word != "ที่"}
LAYERS = 1 + CONFIG.n_layers


def drawn(n, seed, shortest=2):
    """Sentences of the few words, in any order."""
    rng = np.random.default_rng(seed)
    return [rng.choice(list(TAG), rng.integers(shortest, 8)).tolist() for _ in range(n)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLCOURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return lesson.bilm(TINY, {"th": drawn(60, 0)}, progress=False)[0]


@pytest.fixture(scope="module")
def at_hand():
    return lesson.tasks(SMOKE)


@pytest.fixture(scope="module")
def tagging():
    words = drawn(200, 1), drawn(40, 2)
    return Task("ours", words, tuple([[TAG[word] for word in line] for line in part] for part in words), "entity_f1")


@pytest.fixture(scope="module")
def labelling():
    """Texts about animals and about places; one is empty."""
    words = [["แมว", "กิน"], ["กรุงเทพ", "เลย"], ["นก"], [], ["เลย"]]
    labels = ["สัตว์", "ที่", "สัตว์", "ที่", "ที่"]
    return Task("ours", (words * 12, words), (labels * 12, labels), "accuracy")


# ------------------------------------------------------------------------------------------------------------ the text
class TestSentences:
    def test_the_smallest_sizes_need_no_network(self, capsys):
        some = lesson.sentences(replace(SMOKE, characters=8_000))
        assert "Going on without" not in capsys.readouterr().out
        assert list(some) == ["th", "en"]
        for language, letters in (("th", "ก-๙"), ("en", "a-z")):
            words = [word for line in some[language] for word in line]
            first, last = letters.split("-")
            assert np.mean([first <= word[0] <= last for word in words]) > 0.7
            assert any(not any(map(str.isalnum, word)) for word in words)  # signs
            assert all(len(line) > 1 for line in some[language]) and all(word.strip() for word in words)
            assert 2000 < sum(map(len, words)) < 40_000

    def test_a_set_that_cannot_be_had_is_left_out(self, capsys):
        some = lesson.sentences(replace(SMOKE, thai=(), english=("wikitext2", "lee"), characters=500))
        assert some["en"] and some["th"]
        assert "Going on without wikitext2." in capsys.readouterr().out

    @pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
    def test_the_sizes_name_what_there_is(self, sizes):
        on = [source for source, _ in {**sizes.tagged, **sizes.labelled}.values()]
        for name in (*sizes.thai, *sizes.english, *on):
            assert data.info(name).name == name


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8), tokens=st.integers(1, 60))
def test_first_words_are_whole_sentences(lengths, tokens):
    some = [["ก", "ข", "ก", "ข", "ค", "ง"][:n] * 2 for n in lengths]
    begins = np.cumsum([0, *(len(line) + 2 for line in some)])[:-1]  # with the marks of its ends
    wanted = [line for line, begin in zip(some, begins, strict=True) if begin < tokens]
    first = lesson.first_words(encode(some, min_count=1), tokens)
    read = [first.words[i] for i in first.ids]
    assert [read[a + 1 : b - 1] for a, b in zip(first.starts, first.starts[1:], strict=False)] == wanted
    assert first.starts[-2] < tokens


def test_first_words_have_a_vocabulary_of_their_own():
    text = encode([["ก", "ก", "ข"], ["ข", "ค", "ค"]], min_count=1)
    first = lesson.first_words(text, 5)
    assert first.vocab.words[4:] == ["ก"] and first.words[4:] == ["ก", "ข"]  # ข occurs once only


# ----------------------------------------------------------------------------------------------------------- the model
class TestBiLM:
    def test_the_second_time_it_comes_from_the_cache(self, cache, monkeypatch):
        lines = [*drawn(51, 0)]
        lines[0], lines[50], lines[49] = ["เฉพาะ"] * 3, ["ที่กัน"] * 3, ["อ่าน"] * 3
        some = {"th": lines[:30], "en": lines[30:]}
        first, text = lesson.bilm(TINY, some, progress=False)
        assert "อ่าน" in text.words and "เฉพาะ" not in text.words and "ที่กัน" not in text.words  # held out
        assert lesson.held_out(some) == {"th": [lines[0]], "en": [lines[50]]}
        assert first.vocab.words == text.vocab.words and first.losses["perplexity"].notna().all()
        (kept,) = (cache / "elmo").glob("*/bilm.safetensors")

        def train(*args, **kwargs):
            raise AssertionError("trained again")

        monkeypatch.setattr(lesson, "train_bilm", train)
        again, read = lesson.bilm(TINY, some, progress=False)
        assert read.digest == text.digest and again.vocab.words == first.vocab.words
        weights = again.language_model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in first.language_model.state_dict().items())
        assert again.losses.equals(first.losses)
        for other in (replace(TINY, recipe=replace(RECIPE, lr=0.02)), replace(TINY, recipe=replace(RECIPE, seed=1))):
            with pytest.raises(AssertionError, match="trained again"):
                lesson.bilm(other, some, progress=False)
        with pytest.raises(AssertionError, match="trained again"):
            lesson.bilm(TINY, some | {"en": [*lines[30:], ["แมว"]]}, progress=False)
        assert kept.exists()


# ----------------------------------------------------------------------------------------------------------- the tasks
class TestTasks:
    def test_words_have_tags(self, at_hand):
        task = at_hand["parts of speech"]
        assert task.on == "orchid" and task.score == "accuracy"
        assert 0.9 * SMOKE.train < len(task.words[0]) <= SMOKE.train
        assert 0.9 * SMOKE.valid < len(task.words[1]) <= SMOKE.valid
        for words, tags in zip(task.words, task.targets, strict=True):
            assert [len(line) for line in words] == [len(line) for line in tags]
            assert all(line and all(word.strip() for word in line) for line in words)
            assert {"NCMN", "VACT"} < {tag for line in tags for tag in line}

    def test_texts_have_labels(self, at_hand):
        task = at_hand["topic"]
        assert task.on == "thai_intents" and task.score == "accuracy"
        for words, labels, n in zip(task.words, task.targets, (SMOKE.train, SMOKE.valid), strict=True):
            assert len(words) == len(labels) <= n
            assert all(type(label) is str for label in labels) and len(set(labels)) > 3
            assert all(isinstance(word, str) for line in words for word in line)

    def test_the_first_of_each(self, at_hand):
        few = lesson.tasks(replace(SMOKE, tagged={}, train=3, valid=2))
        assert list(few) == ["topic"]
        for part, n in enumerate((3, 2)):
            assert list(few["topic"].words[part]) == list(at_hand["topic"].words[part])[:n]
            assert few["topic"].targets[part] == at_hand["topic"].targets[part][:n]

    def test_a_set_that_cannot_be_had_is_left_out(self, capsys):
        sizes = replace(SMOKE, tagged={"named entities": ("thainer", "entities")}, train=3, valid=2)
        assert list(lesson.tasks(sizes)) == ["topic"]
        assert "Going on without thainer." in capsys.readouterr().out

    def test_blanks_go_with_their_tags(self):
        words, tags = [["แมว", " ", "กิน", "\t"], ["\u00a0"], ["นก"]], [["N", "P", "V", "P"], ["P"], ["N"]]
        assert lesson._without_blanks(words, tags) == ([["แมว", "กิน"], ["นก"]], [["N", "V"], ["N"]])
        with pytest.raises(ValueError, match="shorter"):
            lesson._without_blanks([["แมว", "กิน"]], [["N"]])


class TestLayersAndTargets:
    def test_words(self, trained, tagging):
        layers, targets = lesson.layers_and_targets(tagging, trained, 1)
        assert targets == [tag for line in tagging.targets[1] for tag in line]
        assert layers.shape == (LAYERS, len(targets), 2 * CONFIG.projection_dim)
        packed = lesson.features(trained, tagging.words[1])
        np.testing.assert_allclose(layers, packed.words.float(), atol=2e-3)  # those are float16
        assert packed.lengths.tolist() == list(map(len, tagging.words[1]))

    def test_texts(self, trained, labelling):
        layers, targets = lesson.layers_and_targets(labelling, trained, 1)
        assert targets == ["สัตว์", "ที่", "สัตว์", "ที่"]  # without the empty one
        assert layers.shape == (LAYERS, 4, 2 * CONFIG.projection_dim)
        of_words = lesson.features(trained, [["แมว", "กิน"]]).words.float()  # (L, 2, 2P)
        np.testing.assert_allclose(layers[:, 0], of_words.mean(1), atol=2e-3)

    def test_at_most(self, trained, tagging, labelling):
        for task, part in ((tagging, 0), (labelling, 1)):
            layers, targets = lesson.layers_and_targets(task, trained, part)
            fewer, first = lesson.layers_and_targets(task, trained, part, most=3)
            assert np.array_equal(fewer, layers[:, :3]) and first == targets[:3]


class TestRunTask:
    def test_taggers(self, trained, tagging):
        runs = lesson.run_task(tagging, trained, {"planted": VECTORS}, seeds=2)
        assert list(runs) == ["source", "mix", "seed", "score", "weights", "gamma"]
        mixes = runs.groupby("source").mix.unique().map(list)
        assert mixes["ELMo"] == ["0", "1", "2", "mean", "learned"] and mixes["planted"] == ["0"]
        assert len(runs) == 12 and runs.groupby(["source", "mix"]).seed.apply(list).map([0, 1].__eq__).all()
        planted = runs[runs.source == "planted"]
        assert (planted.score == 1).all() and (planted.weights == (1.0,)).all()
        elmo = runs[runs.source == "ELMo"]
        assert elmo.score.between(0, 1).all() and elmo.weights.map(len).eq(LAYERS).all()
        assert elmo[elmo["mix"] == "0"].score.min() > 0.5  # characters tell these few words apart

    def test_texts(self, trained, labelling):
        runs = lesson.run_task(labelling, trained, {"planted": VECTORS}, seeds=1)
        assert runs.groupby("source", sort=False).size().to_dict() == {"ELMo": 5, "planted": 1}
        assert runs[runs.source == "planted"].score.item() == 1  # the empty text is guessed as the rest are: ที่
