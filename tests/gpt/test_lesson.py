"""The lesson's measurements, on a few texts and on models that have hardly learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tlcourse.bert import lesson as bert_lesson
from tlcourse.gpt import lesson
from tlcourse.gpt.lesson import SIZES
from tlcourse.gpt.pretrain import GPTRecipe

SMOKE = replace(
    SIZES["smoke"],
    characters=15_000,
    vocab_size=500,
    recipe=GPTRecipe(size=(1, 64), max_length=96, steps=2, batch_size=4),
    tasks={"thai_intents": replace(SIZES["smoke"].tasks["thai_intents"], epochs={20: 1})},
    seeds=1,
    held_out=20,
    probed=300,
    shots=replace(SIZES["smoke"].shots, documents=20, seeds=1, rounds=3),
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLCOURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TLCOURSE_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def text():
    return lesson.text(SMOKE)


@pytest.fixture(scope="module")
def own(text):
    return lesson.gpt(SMOKE, text, progress=False)


class TestText:
    def test_one_document_in_fifty_is_held_out(self, text):
        whole = sum(len(some) for some in text.texts.values())
        aside = sum(len(text.aside(language)) for language in text.texts)
        assert text.held_out.documents + text.held_out.empty == aside
        assert text.documents.documents + text.documents.empty == whole - aside

    @pytest.mark.parametrize("profile", SIZES)
    def test_it_is_what_the_lesson_on_bert_reads(self, profile):
        ours, theirs = SIZES[profile], bert_lesson.SIZES[profile]
        assert (ours.thai, ours.english, ours.characters) == (theirs.thai, theirs.english, theirs.characters)
        assert ours.vocab_size == theirs.vocab_size
        assert ours.recipe.size == theirs.recipe.size

    def test_the_second_time_it_comes_from_the_cache(self, text, monkeypatch):
        monkeypatch.setattr(lesson, "train_bpe", None)
        assert lesson.text(SMOKE).documents.digest == text.documents.digest


def test_a_model_is_trained_once(text, own, monkeypatch):
    monkeypatch.setattr(lesson, "pretrain_gpt", None)
    again, folder = lesson.gpt(SMOKE, text)
    assert folder == own[1]
    assert again.losses.equals(own[0].losses)


@pytest.fixture(scope="module")
def runs(text, own):
    return lesson.lambda_runs(SMOKE, own[1], text)


class TestLambdaRuns:
    def test_each_lambda_is_run_and_fresh_weights_with_the_papers(self, runs):
        assert runs[runs.weights == "pretrained"].lam.tolist() == list(SMOKE.lams)
        assert runs[runs.weights == "fresh"].lam.tolist() == [lesson.PAPER]
        assert (runs.labels == 20).all() and set(runs.task) == {"thai_intents"}

    def test_the_auxiliary_loss_keeps_the_language_model_of_the_task(self, runs):
        loss = runs[runs.weights == "pretrained"].set_index("lam").task_loss
        assert loss[lesson.PAPER] < loss[0.0]

    def test_losses_are_nats_of_a_vocabulary(self, runs, text):
        assert runs[["general_loss", "task_loss"]].lt(1.5 * np.log(len(text.tokeniser))).all(axis=None)

    def test_a_run_is_made_once(self, runs, text, own, monkeypatch):
        monkeypatch.setattr(lesson, "finetune_gpt", None)
        assert lesson.lambda_runs(SMOKE, own[1], text).equals(runs)

    def test_a_set_that_cannot_be_had_is_left_out(self, text, own, monkeypatch, capsys):
        def offline(name):
            raise lesson.data.DownloadError(f"{name} is not here")

        monkeypatch.setattr(lesson.data, "load", offline)
        assert lesson.lambda_runs(SMOKE, own[1], text).empty
        assert "Going on without thai_intents" in capsys.readouterr().out


class TestShotRuns:
    def test_each_size_reads_tasks_and_the_last_the_other_kinds(self):
        runs = lesson.shot_runs(replace(SMOKE, shots=replace(SMOKE.shots, sizes=((1, 64), (2, 64)))))
        models = runs[["documents", "size"]].drop_duplicates().to_numpy().tolist()
        first, *others = lesson.KINDS
        assert models == [[first, "1 × 64"], [first, "2 × 64"], *([kind, "2 × 64"] for kind in others)]
        assert runs.groupby("documents", sort=False).chance.first().tolist() == [1 / 5, 1 / 5, 1 / 10]
        assert runs.form.ge(runs.task).all() and runs.form.between(0, 1).all()

    def test_a_model_is_trained_once(self, monkeypatch):
        kind = next(iter(lesson.KINDS))
        first = lesson.reader_of_tasks(SMOKE, kind, (1, 64))
        monkeypatch.setattr(lesson, "pretrain_gpt", None)
        again = lesson.reader_of_tasks(SMOKE, kind, (1, 64))
        assert again.model.state_dict().keys() == first.model.state_dict().keys()
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), first.model.parameters(), strict=True))


def test_few_labels_of_each_class():
    (loaded,) = lesson.tasks(SMOKE).values()
    assert len(loaded.test) == SMOKE.held_out
    some = lesson.few(loaded, SMOKE.tasks["thai_intents"], 20, seed=0)
    assert len(some) == 20
    assert len(lesson.few(loaded, SMOKE.tasks["thai_intents"], None, seed=0)) == len(loaded.train)


def test_the_beginning_has_no_blank_texts():
    assert lesson.beginning(["", "ab", " ", "cd", "ef"], 3) == ["ab", "cd"]
