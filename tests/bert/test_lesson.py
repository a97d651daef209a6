"""The lesson's measurements, on a few texts and on models that have hardly learned."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tlcourse import data
from tlcourse.bert import lesson
from tlcourse.bert.lesson import KINDS, SIZES, Task
from tlcourse.bert.pretrain import BertRecipe
from tlcourse.text import english_words

TINY = BertRecipe(size=(1, 64), max_length=32, steps=2, batch_size=4)
SMOKE = replace(
    SIZES["smoke"],
    characters=15_000,
    vocab_size=500,
    recipe=replace(TINY, max_length=96),
    small=TINY,
    seeds=1,
    words=20,
)
DOCUMENTS = [
    "The tide was out. Boats lay on the sand. Children looked for crabs. Nobody saw the cloud. Then it rained.",
    "She opened the ledger. The sums were wrong. She added them again. A page was missing. The clerk had left.",
    "Short. Too short.",
]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLCOURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TLCOURSE_DATA", raising=False)
        yield lesson.text(SMOKE)


@pytest.fixture(scope="module")
def own(text):
    return lesson.bert(SMOKE, text, progress=False)


class TestText:
    def test_both_languages_are_read(self, text):
        assert set(text.texts) == {"th", "en"}
        assert all(text.texts.values())

    def test_one_document_in_fifty_is_held_out(self, text):
        whole = sum(len(some) for some in text.texts.values())
        aside = sum(len(text.aside(language)) for language in text.texts)
        assert text.held_out.documents + text.held_out.empty == aside
        assert text.documents.documents + text.documents.empty == whole - aside
        assert text.aside("th")[0] == text.texts["th"][0]

    def test_the_second_time_it_comes_from_the_cache(self, text, monkeypatch):
        monkeypatch.setattr(lesson, "train_wordpiece", None)
        again = lesson.text(SMOKE)
        assert again.documents.digest == text.documents.digest
        assert again.tokeniser.get_vocab() == text.tokeniser.get_vocab()


class TestModels:
    def test_it_is_trained_once(self, text, own, monkeypatch):
        monkeypatch.setattr(lesson, "pretrain_bert", None)
        trained, folder = lesson.bert(SMOKE, text)
        assert folder == own[1]
        assert trained.recipe == SMOKE.recipe

    def test_the_variants_differ_in_one_thing_each(self, text):
        models = lesson.variants(SMOKE, text, progress=False)
        assert len({folder for _, folder in models.values()}) == len(lesson.VARIANTS)
        for (name, seed), (trained, _) in models.items():
            assert trained.recipe == replace(SMOKE.small, seed=seed, **lesson.VARIANTS[name])

    def test_variants_are_compared_with_one_that_was_not_pretrained(self, text):
        models = {(lesson.PAPER, 0): lesson.bert(replace(SMOKE, recipe=SMOKE.small), text, progress=False)}
        compared = lesson.compare_variants(replace(SMOKE, held_out=10), models)
        assert compared.variant.tolist() == [lesson.PAPER, "not pretrained"]
        assert compared.accuracy.between(0, 1).all()

    def test_each_kind_of_masking_is_measured_by_itself(self, text, own):
        by_kind = lesson.accuracy_by_kind(own[0], text.held_out)
        assert by_kind.index.tolist() == ["[MASK]", "random", "kept"]
        assert by_kind.between(0, 1).all()


class TestKindsOfPairs:
    def test_what_does_not_follow_is_of_its_kind(self):
        pairs = lesson.kinds_of_pairs(DOCUMENTS, n=30)
        assert (pairs.groupby(["kind", "follows"]).size() == 30).all()
        place = {
            sentence: (d, i)
            for d, document in enumerate(DOCUMENTS)
            for i, sentence in enumerate(lesson.split_sentences(document))
        }
        for row in pairs.itertuples():
            (one, i), (other, j) = place[row.first], place[row.second]
            assert row.follows == (one == other and j == i + 1)
            if not row.follows:
                right = {KINDS[0]: one != other, KINDS[1]: one == other and j not in (i, i + 1)}
                assert right.get(row.kind, one == other and j == i - 1)

    def test_long_sentences_are_cut_where_they_do_not_meet(self):
        documents = [f"{'long ' * 40}end. Begin {'and on ' * 40}. Three. Four." for _ in range(2)]
        pairs = lesson.kinds_of_pairs(documents, n=20)
        first = pairs[pairs.follows & pairs["first"].str.startswith("long")]["first"]
        assert (pairs[["first", "second"]].map(len) <= lesson.LONGEST_SENTENCE).all(axis=None)
        assert not len(first) or first.str.endswith("end.").all()

    def test_too_few_documents(self):
        with pytest.raises(ValueError, match="1 texts have four sentences"):
            lesson.kinds_of_pairs(DOCUMENTS[:1] + DOCUMENTS[2:], n=3)


class TestToldApart:
    PAIRS = pd.DataFrame({"kind": ["a"] * 4 + ["b"] * 2, "follows": [True, True, False, False, True, False]})

    def test_the_area_is_the_share_of_right_orders(self):
        told = lesson.told_apart(self.PAIRS, [0.9, 0.4, 0.5, 0.1, 0.2, 0.2])
        assert told.to_dict() == {"a": 0.75, "b": 0.5}

    def test_shared_words(self):
        pairs = pd.DataFrame({"first": ["a red boat", "two crabs"], "second": ["the red boat sank", "sums were wrong"]})
        cosine = lesson.shared_words(pairs, english_words)
        assert cosine[0] > 0.3
        assert cosine[1] == pytest.approx(0)

    def test_order_does_not_matter_to_shared_words(self):
        pairs = pd.DataFrame({"first": ["one two", "two three"], "second": ["two three", "one two"]})
        np.testing.assert_allclose(*lesson.shared_words(pairs, english_words))


class TestTuning:
    def test_a_row_a_run(self, own):
        task = Task(label="destination", encoder="bert", epochs={30: 1, 60: 1}, lr=1e-3)
        runs = lesson.label_curves(replace(SMOKE, tasks={"thai_intents": task}, held_out=20), own[1])
        assert runs.groupby(["method", "labels"]).size().to_dict() == {
            (method, labels): 1 for method in lesson.TREATMENTS for labels in (30, 60)
        }
        assert runs[["accuracy", "macro_f1"]].map(lambda score: 0 <= score <= 1).all(axis=None)

    def test_a_task_that_cannot_be_had_is_left_out_and_named(self, own, monkeypatch, capsys):
        def gone(name):
            raise data.DownloadError(f"{name} could not be downloaded")

        monkeypatch.setattr(data, "load", gone)
        assert lesson.label_curves(SMOKE, own[1]).empty
        assert "Going on without thai_intents" in capsys.readouterr().out

    def test_answers_stay_where_they_are_said_to_be(self):
        frame = data.load("small_qa").train.head(30)
        for near, row in zip(lesson.near_answers(frame).itertuples(), frame.itertuples(), strict=True):
            assert near.context[near.start : near.start + len(near.answer)] == row.answer
            assert near.context in row.context

    def test_all_four_shapes(self, text, own):
        parts = lesson.shape_data(replace(SMOKE, held_out=10), text)
        assert list(parts) == ["sentences", "pairs", "answers", "tags"]
        few = {shape: (train.head(12), valid.head(6)) for shape, (train, valid) in parts.items()}
        shapes = {shape: (name, label, rows, 1) for shape, (name, label, rows, _) in SMOKE.shapes.items()}
        scores = lesson.four_shapes(replace(SMOKE, shapes=shapes), few, own[1])
        assert set(scores["shape"]) == set(parts)
        assert scores.groupby("shape").weights.nunique().eq(2).all()
        assert scores.value.between(0, 1).all()
