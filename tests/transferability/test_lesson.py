"""The lesson's grids: what is halved and what is far, shared bases, likeness; sizes that fit together."""

from dataclasses import replace

import numpy as np
import pytest

from tlcourse import data
from tlcourse.transferability import Architecture, Recipe, lesson
from tlcourse.transferability.grid import read_table
from tlcourse.transferability.lesson import SIZES, Labelled, Part, Study

TINY = Study(
    target=Labelled(data="thai_intents", label="object", classes=6, rows=80),
    far=Labelled(data="spam", label="label", rows=20),
    parts=(
        Part(
            network=Architecture(kind="plain CNN", layers=3, dim=8),
            recipe=Recipe(epochs=1),
            splits=2,
            depths=(1, 3),
            far_depths=(3,),
        ),
    ),
    workers=1,
)


@pytest.fixture(scope="module")
def tasks():
    return lesson.tasks(TINY)


@pytest.fixture(scope="module")
def table(tasks, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "cache_folder", lambda: cache)
        yield lesson.run(TINY, tasks, progress=False)


def test_the_most_frequent_classes_and_so_many_rows(tasks):
    frequent = data.load("thai_intents").train["object"].value_counts().index[:6]
    assert set(tasks.target.classes) == set(frequent) and len(tasks.target.train) == 80
    assert tasks.far.classes == ("ham", "spam") and len(tasks.far.train) == 20
    assert tasks.far.vocab_size == tasks.target.vocab_size > 100
    for number in range(2):
        split = tasks.splits(2)[number]
        assert not set(split.a.classes) & set(split.b.classes) and split.far is None
    assert tasks.splits(1, far=True)[0].far is tasks.far


def test_every_cell_once_and_bases_shared(table, tasks):
    cells = [column for column in table.columns if column not in ("accuracy", "macro_f1", "train_loss", "seconds")]
    assert not table.duplicated(cells).any()
    counted = table.groupby(["treatment", "source"]).size()
    assert counted["base"].to_dict() == {"A": 2, "B": 2, "far": 2}
    assert counted["AnB"].to_dict() == counted["AnB+"].to_dict() == {"A": 4, "far": 2}
    files = len([*lesson.folder().glob("*.json")])
    assert files == len(table) - 1  # the far base is one, though two splits use it
    assert len(read_table(next(lesson.grids(TINY, tasks)), lesson.folder())) == 24
    assert lesson.run(TINY, tasks, progress=False).equals(table)


def test_bases_and_their_likeness(table, tasks):
    grid = next(lesson.grids(TINY, tasks))
    split = grid.splits[1]
    a, b = lesson.bases(grid, split)
    assert [net.head.linear.out_features for net in (a, b)] == [len(split.a.classes), len(split.b.classes)]
    alike = lesson.likeness_of_bases(TINY, tasks, texts=20)
    assert alike.shape == (3, 3) and (alike > 0).all() and (alike < 1).all()


def test_only_what_can_be_had(monkeypatch):
    monkeypatch.setattr(lesson, "at_hand", lambda name: None if name == "truevoice" else name)
    assert [*lesson.at_home(SIZES["laptop"])] == ["thai_intents"]
    monkeypatch.setattr(lesson, "at_hand", lambda name: None if name == "wisesight" else name)
    assert [*lesson.at_home(SIZES["laptop"])] == ["thai_intents"]
    monkeypatch.setattr(lesson, "at_hand", lambda name: name)
    assert [*lesson.at_home(SIZES["laptop"])] == ["truevoice", "thai_intents"]


@pytest.mark.parametrize("name", SIZES)
def test_sizes_fit_together(name, tasks):
    for study in SIZES[name]:
        first, *others = study.parts
        assert first.network.kind == "plain CNN"
        assert len({part.network.kind for part in study.parts}) == len(study.parts)
        assert first.splits >= (2 if name == "smoke" else 4) and len(first.far_depths) >= 2
        assert all(part.splits >= 2 for part in others)
        for grid in lesson.grids(replace(study, parts=study.parts), tasks):  # refuses depths that a network has not
            assert np.unique([cell.n for cell in grid.cells()]).size > 2
