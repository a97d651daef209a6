"""Sizes and measurements of the lesson: which tasks, which networks, how many splits and depths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tlcourse import data
from tlcourse.data.general import at_hand
from tlcourse.text import Vocab, thai_words, tokenise
from tlcourse.transferability.grid import Cell, Grid, Recipe, Split, Task, halves, load_base, run_grid
from tlcourse.transferability.networks import Architecture, Network, likeness


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Texts of a data set and their classes.

    Attributes:
        data: the set.
        label: the column.
        classes: the most frequent ones, so many; all unless given.
        rows: to train on, at most; all unless given.
    """

    data: str
    label: str
    classes: int | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """The grid of one network.

    Attributes:
        network: its shape.
        recipe: how it is trained.
        splits: how often the classes are dealt to A and B.
        depths: the n of the cells; all, 1 to N, unless given.
        far_depths: those of AnB and AnB+ with layers from the far task.
    """

    network: Architecture
    recipe: Recipe
    splits: int
    depths: tuple[int, ...] | None = None
    far_depths: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """One task, halved again and again, a far one, and networks.

    Attributes:
        target: its classes are dealt to A and B.
        far: another task altogether.
        parts: by network, the first one with all depths.
        workers: processes; one a core unless given.
    """

    target: Labelled
    far: Labelled
    parts: tuple[Part, ...]
    workers: int | None = None


_CNN = Architecture(kind="plain CNN", layers=7, dim=64)
_RECIPE = Recipe(epochs=4, lr=1e-2, batch_size=64)
_OTHERS = (
    (Architecture(kind="residual CNN", layers=7, dim=64), _RECIPE, (2, 4, 6)),
    (Architecture(kind="LSTM", layers=4, dim=64), _RECIPE, (1, 2, 3)),
    (Architecture(kind="transformer", layers=5, dim=64), replace(_RECIPE, lr=3e-3), (1, 2, 4)),
)

_EMBEDDED = Study(
    target=Labelled(data="thai_intents", label="object", classes=20), far=Labelled(data="spam", label="label"),
    parts=(
        Part(
            network=replace(_CNN, layers=5), recipe=replace(_RECIPE, batch_size=32), splits=4, far_depths=(1, 3, 5)
        ),
    ),
)  # fmt: skip

SIZES = {
    "smoke": (
        replace(
            _EMBEDDED, workers=1,
            parts=(
                Part(
                    network=replace(_CNN, layers=4, dim=16), recipe=replace(_RECIPE, epochs=1, batch_size=32),
                    splits=2, depths=(1, 2, 4), far_depths=(1, 4),
                ),
            ),
        ),
    ),
    "laptop": (
        Study(
            target=Labelled(data="truevoice", label="object", classes=20, rows=6000),
            far=Labelled(data="wisesight", label="sentiment", rows=3000),
            parts=(
                Part(network=_CNN, recipe=_RECIPE, splits=5, far_depths=(1, 3, 5, 7)),
                *(
                    Part(network=network, recipe=recipe, splits=2, depths=depths)
                    for network, recipe, depths in _OTHERS
                ),
            ),
        ),
        _EMBEDDED,
    ),
    "gpu": (
        Study(
            target=Labelled(data="truevoice", label="object", classes=20),
            far=Labelled(data="wisesight", label="sentiment"),
            parts=(
                Part(network=_CNN, recipe=_RECIPE, splits=10, far_depths=tuple(range(1, 8))),
                *(
                    Part(network=network, recipe=recipe, splits=6, far_depths=depths)
                    for network, recipe, depths in _OTHERS
                ),
            ),
            workers=4,
        ),
        _EMBEDDED,
    ),
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the tasks
@dataclass(frozen=True, eq=False)
class Tasks:
    """What a study learns: a task to halve, and a far one, with one vocabulary."""

    target: Task
    far: Task

    def splits(self, k: int, *, far: bool = False) -> list[Split]:
        """The first k ways to halve the task."""
        return [Split(str(seed), *halves(self.target, seed=seed), far=self.far if far else None) for seed in range(k)]


def at_home(studies: tuple[Study, ...]) -> dict[str, Study]:
    """The studies whose data sets can be had, by the name of their set."""
    return {study.target.data: study for study in studies if at_hand(study.target.data) and at_hand(study.far.data)}


def tasks(study: Study) -> Tasks:
    """Read, cut into words and number the texts of a study; measured is on validation and test texts together."""
    parts = [labelled_words(one) for one in (study.target, study.far)]
    vocab = Vocab.build([words for train, _ in parts for words in train[0]], min_count=2)
    return Tasks(*(Task.encode(train, test, vocab) for train, test in parts))


def labelled_words(of: Labelled) -> list[tuple[list[list[str]], list[str]]]:
    """Words and labels, to train on and to measure on."""
    loaded = data.load(of.data)
    train, test = loaded.train, pd.concat([loaded.valid, loaded.test])
    kept = train[of.label].value_counts().index[: of.classes]
    found = []
    for frame, rows in ((train, of.rows), (test, None)):
        frame = frame[frame[of.label].isin(kept)]
        frame = frame.sample(min(rows or len(frame), len(frame)), random_state=0)
        words = tokenise(frame["text"].tolist(), thai_words, workers=1, progress=False)
        found.append((words, frame[of.label].tolist()))
    return found


# ------------------------------------------------------------------------------------------------------------ the grid
def folder() -> Path:
    """Where finished cells are kept."""
    return data.cache_folder() / "transferability"


def grids(study: Study, of: Tasks) -> Iterator[Grid]:
    """The grids of a study; that with layers from the far task finds the bases of the other trained."""
    for part in study.parts:
        networks = {part.network.kind: part.network}
        yield Grid(networks, of.splits(part.splits), depths=part.depths, recipe=part.recipe)
        if part.far_depths:
            far = of.splits(part.splits, far=True)
            yield Grid(networks, far, ("AnB", "AnB+"), part.far_depths, recipe=part.recipe)


def run(study: Study, of: Tasks, *, progress: bool = True) -> pd.DataFrame:
    """All cells of a study, see :func:`tlcourse.transferability.run_grid`."""
    tables = [run_grid(grid, folder(), workers=study.workers, progress=progress) for grid in grids(study, of)]
    return pd.concat(tables).drop_duplicates([field.name for field in fields(Cell)], ignore_index=True)


def bases(grid: Grid, split: Split) -> tuple[Network, Network]:
    """Base A and base B of a grid's first network and first seed, trained by :func:`run`."""
    cells = (Cell(next(iter(grid.networks)), split.name, source, "base", 0, grid.seeds[0]) for source in "AB")
    return tuple(load_base(grid, cell, folder()) for cell in cells)


def likeness_of_bases(study: Study, of: Tasks, *, texts: int = 300) -> np.ndarray:
    """CKA of each layer of base A with each of base B, (N, N), over the words of B's test texts; mean over splits."""
    grid = next(grids(study, of))
    return np.mean([likeness(*bases(grid, split), split.b.test[:texts]) for split in grid.splits], axis=0)
