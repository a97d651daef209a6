"""The opening lesson's measurements: from the cache or made now, on what can be had."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tlcourse import data
from tlcourse.transfer_curves import FEATURES, NONE, TREATMENTS, WORDS, Recipe, lesson
from tlcourse.transfer_curves.lesson import SIZES, Labelled

small = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "small_encoders.py")))
SHORT = Recipe(measured=(0, 1), batch_size=4, layers=1, max_length=8)
SPAM = Labelled(data="spam", label="label")
TINY = replace(
    SIZES["smoke"], targets=(SPAM,), labels=8, held_out=10, recipe=SHORT, start=0, rise=1, counts=(4, 8),
    source_labels=4, source_recipe=replace(SHORT, measured=(1,)), target_recipe=replace(SHORT, measured=(1,)),
    seeds=(1, 2, 1),
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path)
    return tmp_path


def test_kept(cache):
    made = []

    def compute():
        made.append(pd.DataFrame({"source": [NONE, "far"], "score": [0.1 + 0.2, 1e-17]}))
        return made[-1]

    first = lesson.kept("sources", compute, {"a": (1, 2)})
    again = lesson.kept("sources", compute, {"a": (1, 2)})
    assert len(made) == 1 and first.equals(again) and first.equals(made[0])
    lesson.kept("sources", compute, {"a": (1, 3)})
    assert len(made) == 2
    with pytest.raises(RuntimeError):
        lesson.kept("steps", lambda: (_ for _ in ()).throw(RuntimeError("interrupted")))
    assert len([*(cache / "transfer_curves").iterdir()]) == 2  # no half a file


def test_what_can_be_had(monkeypatch):
    monkeypatch.setattr(lesson, "at_hand", lambda name: None)
    assert lesson.at_home(SIZES["laptop"]) is SIZES["smoke"]
    monkeypatch.setattr(lesson, "at_hand", lambda name: name)
    assert lesson.at_home(SIZES["laptop"]) is SIZES["laptop"]


def test_texts_and_chance():
    train, held_out = lesson.texts(TINY, SPAM)
    assert list(train) == list(held_out) == ["text", "label"] and len(held_out) == 10
    assert lesson.chance(TINY, SPAM) == (held_out.label == held_out.label.mode()[0]).mean()


def test_thai_in_latin_letters():
    assert lesson.romanised("ผมไปจ่ายเงินที่ Counter 7") == "phom pai chai ngoen thi counter 7"
    train, held_out = lesson.texts(TINY, Labelled(data="thai_intents", label="destination", romanised=True))
    assert not any(lesson.THAI.search(text) for text in (*train.text, *held_out.text))
    assert train.text.str.len().median() > 20


def test_measurements(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "ENCODER", str(small.save(tmp_path, "Bert")))
    steps = lesson.over_steps(TINY, SPAM)
    assert set(steps.treatment) == set(TREATMENTS) and set(steps.steps) == {0, 1}
    labels = lesson.over_labels(TINY, SPAM)
    assert set(labels.treatment) == {WORDS, FEATURES} and set(labels.labels) == {4, 8} and set(labels.seed) == {0, 1}
    sources = lesson.over_sources(TINY, SPAM)
    assert {lesson.ITSELF, "thai_intents, romanised", NONE} < set(sources.source)
    assert all(table.score.between(0, 1).all() for table in (steps, labels, sources))
