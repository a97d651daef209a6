"""The A3B / B3B experiment: a grid of trainings, each cell of it run once and kept.

>>> splits = [Split(str(k), *halves(task, seed=k), far=other_task) for k in range(4)]
>>> table = run_grid(Grid({"transformer": Architecture(kind="transformer")}, splits), folder)

A *split* deals a task's classes to A and B; far is another data set altogether. For each, a base is trained on A, on B
and on far, and kept; then every treatment (see :mod:`tlcourse.transferability.surgery`) is trained on B at every depth.
Frozen layers run over B's texts once, and the layers above learn from what they gave.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy import stats
from tqdm.auto import tqdm

from tlcourse import profile
from tlcourse.text import ClassificationBatches, Vocab, numericalise
from tlcourse.text.tokens import cores
from tlcourse.training import FusedAdamW, accuracy, fit, macro_f1, make_learner, predict, schedules
from tlcourse.training.checkpoint import read_checkpoint, write_checkpoint
from tlcourse.transferability.networks import Architecture, Network, build, remember
from tlcourse.transferability.surgery import random_frozen, transplant

TREATMENTS = ("BnB", "BnB+", "AnB", "AnB+", "random")
COLUMNS = ("network", "split", "source", "treatment", "n", "seed", "accuracy", "macro_f1", "train_loss", "seconds")


# ------------------------------------------------------------------------------------------------------------- tasks
@dataclass(frozen=True, eq=False)
class Task:
    """Texts as ids, with a class each, to train on and to measure on.

    Attributes:
        train, test: ids of each text.
        train_labels, test_labels: class numbers, (N,).
        classes: what the numbers stand for.
        vocab_size: of the ids.
    """

    train: Sequence[np.ndarray] = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test: Sequence[np.ndarray] = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    classes: tuple
    vocab_size: int

    @classmethod
    def encode(
        cls,
        train: tuple[Sequence[Sequence[str]], Sequence],
        test: tuple[Sequence[Sequence[str]], Sequence],
        vocab: Vocab,
        *,
        longest: int = 64,
    ) -> Task:
        """The task of texts, cut into tokens, and their labels.

        Args:
            train, test: texts and labels; labels that training has not are left out of the test.
            vocab: of every task of a grid.
            longest: tokens that are read of a text.

        Raises:
            ValueError: texts and labels are not of one number, or all have one label.
        """
        classes = sorted(set(train[1]), key=str)
        if len(classes) < 2:
            raise ValueError(f"all labels of training are {classes}: there is nothing to tell apart")
        number = {name: i for i, name in enumerate(classes)}
        parts = []
        for tokens, labels in (train, test):
            pairs = [
                (some[:longest], number[label]) for some, label in zip(tokens, labels, strict=True) if label in number
            ]
            parts += [numericalise([some for some, _ in pairs], vocab), np.array([y for _, y in pairs], np.int64)]
        return cls(*parts, classes=tuple(classes), vocab_size=len(vocab))

    def only(self, classes: Sequence[int]) -> Task:
        """The texts of some classes, given by their numbers."""
        parts = []
        for docs, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            rows = np.flatnonzero(np.isin(labels, classes))
            parts += [[docs[row] for row in rows], np.searchsorted(sorted(classes), labels[rows])]
        return Task(*parts, classes=tuple(self.classes[i] for i in sorted(classes)), vocab_size=self.vocab_size)

    @cached_property
    def digest(self) -> str:
        """Tells tasks apart by all their texts and labels."""
        sha = hashlib.sha256(str(self.vocab_size).encode())
        for docs, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            for part in (np.array([len(doc) for doc in docs]), *docs, labels):
                sha.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        return sha.hexdigest()


def split_classes(labels: Sequence[int] | np.ndarray, seed: int) -> tuple[list, list]:
    """Deal classes to A and B at random, so that both have about as many rows.

    Classes that are neighbours in frequency go to different sides; which goes where is drawn.

    Raises:
        ValueError: fewer than four classes, so that A or B would have one.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 4:
        raise ValueError(f"{len(classes)} classes: four at least are needed, two for A and two for B")
    order = classes[np.argsort(-counts, kind="stable")]
    first = np.random.default_rng(seed).integers(2, size=-(-len(order) // 2))
    side = np.stack([first, 1 - first], axis=1).ravel()[: len(order)]  # (C,)
    return tuple(sorted(order[side == which].tolist()) for which in (0, 1))


def halves(task: Task, *, seed: int) -> tuple[Task, Task]:
    """The task's A and B: half of its classes each."""
    a, b = split_classes(task.train_labels, seed)
    return task.only(a), task.only(b)


@dataclass(frozen=True)
class Split:
    """The tasks of one split: B is learned, with layers from A or from far."""

    name: str
    a: Task
    b: Task
    far: Task | None = None


# -------------------------------------------------------------------------------------------------------------- grid
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every network is trained, with AdamW; the rate rises for `warmup` of the steps, then falls to 0."""

    epochs: int = 6
    batch_size: int = 64
    lr: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    grad_clip: float = 1.0


@dataclass(frozen=True, order=True)
class Cell:
    """One training.

    Attributes:
        network: its name in the grid.
        split: its name.
        source: the task whose base gave the copied layers, ``A``, ``B`` or ``far``; of a base, the task it is trained
            on; of random layers ``none``.
        treatment: ``base`` or one of :data:`TREATMENTS`.
        n: layers that are copied, or random and frozen; 0 of a base.
        seed: of everything random.
    """

    network: str
    split: str
    source: str
    treatment: str
    n: int
    seed: int

    def __str__(self) -> str:
        return (
            f"{self.network}, split {self.split}, {self.treatment}, source {self.source}, n={self.n}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Grid:
    """What is to be trained.

    Attributes:
        networks: architectures by name.
        splits: the tasks; a split that has a far task gets AnB and AnB+ from there, too.
        treatments: of :data:`TREATMENTS`.
        depths: the n of the cells; all, 1 to N, by default.
        seeds: each cell is trained from each, with bases of its own.
        recipe: of the training.

    Raises:
        ValueError: an unknown treatment, a depth that a network has not, two splits of one name, or tasks of
            different vocabularies.
    """

    networks: Mapping[str, Architecture]
    splits: Sequence[Split]
    treatments: Sequence[str] = TREATMENTS
    depths: Sequence[int] | None = None
    seeds: Sequence[int] = (0,)
    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        if unknown := set(self.treatments) - set(TREATMENTS):
            raise ValueError(f"{', '.join(map(repr, sorted(unknown)))}: treatments are {', '.join(TREATMENTS)}")
        for name, architecture in self.networks.items():
            if wrong := [n for n in self.depths or () if not 1 <= n <= architecture.layers]:
                raise ValueError(f"n={wrong[0]}: the {name} has layers 1 to {architecture.layers}")
        if len(self.by_name) < len(self.splits):
            raise ValueError(f"two splits have one name: {', '.join(split.name for split in self.splits)}")
        sizes = {task.vocab_size for split in self.splits for task in (split.a, split.b, split.far) if task}
        if len(sizes) > 1:
            raise ValueError(f"the tasks have vocabularies of {sizes} words: encode all with one")

    @property
    def by_name(self) -> dict[str, Split]:
        return {split.name: split for split in self.splits}

    def cells(self) -> list[Cell]:
        """All cells, bases first."""
        bases, cells = [], []
        for (network, architecture), split, seed in product(self.networks.items(), self.splits, self.seeds):
            near = ["A", "far"] if split.far else ["A"]
            bases += [Cell(network, split.name, source, "base", 0, seed) for source in ("B", *near)]
            for treatment, n in product(self.treatments, self.depths or range(1, architecture.layers + 1)):
                sources = {"A": near, "B": ["B"]}.get(treatment[0], ["none"])
                cells += [Cell(network, split.name, source, treatment, n, seed) for source in sources]
        return bases + cells

    def task(self, cell: Cell) -> Task:
        """What the cell's source is trained on."""
        split = self.by_name[cell.split]
        return {"A": split.a, "far": split.far}.get(cell.source, split.b)

    def base(self, cell: Cell) -> Cell:
        """The base that gives a cell its layers."""
        return Cell(cell.network, cell.split, cell.source, "base", 0, cell.seed)

    def key(self, cell: Cell) -> str:
        """A name for all that a cell's result hangs on. A base of one task that several splits share has one."""
        settings = [asdict(self.networks[cell.network]), asdict(self.recipe), cell.seed, self.task(cell).digest]
        if cell.treatment != "base":
            settings += [cell.treatment, cell.n, self.by_name[cell.split].b.digest]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:20]


def train(network: Network, task: Task, recipe: Recipe, *, seed: int, once: bool = True) -> dict[str, float]:
    """Train what is not frozen.

    Args:
        network: is trained in place.
        task: to train on and to measure on.
        recipe: how.
        seed: of the order of texts and of dropout.
        once: run frozen layers over each text once; False runs them in every epoch anew.

    Returns:
        ``accuracy`` and ``macro_f1`` on the test texts, ``train_loss`` of the last epoch, ``seconds``.
    """
    began = time.perf_counter()
    parts = [list(task.train), list(task.test)]
    model, (docs, test) = remember(network, *parts) if network.frozen and once else (network, parts)
    device = network.device
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = make_learner(
            model,
            ClassificationBatches(docs, task.train_labels, batch_size=recipe.batch_size, shuffle=True, seed=seed),
            grad_clip=recipe.grad_clip,
            weight_decay=recipe.weight_decay,
            opt=FusedAdamW,
            device=device,
        )
        schedule = schedules.warmup_linear(warmup=recipe.warmup)
        history = fit(learner, recipe.epochs, lr=recipe.lr, schedule=schedule, progress=False)
    batches = ClassificationBatches(test, task.test_labels, batch_size=256)
    predicted = predict(model, batches).argmax(1)
    return {
        "accuracy": accuracy(task.test_labels, predicted),
        "macro_f1": macro_f1(task.test_labels, predicted),
        "train_loss": float(history["train_loss"].iloc[-1]),
        "seconds": time.perf_counter() - began,
    }


def run_cell(grid: Grid, cell: Cell, folder: Path, *, once: bool = True) -> None:
    """Train one cell, see :func:`train`, and write down its row, and a base's weights."""
    split, key = grid.by_name[cell.split], grid.key(cell)
    task = grid.task(cell) if cell.treatment == "base" else split.b
    drawn = [cell.seed, int(task.digest[:8], 16), cell.n]  # other weights for each task and depth
    n_classes = len(task.classes)
    if cell.treatment in ("base", "random"):
        architecture = grid.networks[cell.network]
        network = build(architecture, vocab_size=task.vocab_size, n_classes=n_classes, seed=drawn)
        network.to(profile.current().device)
        if cell.treatment == "random":
            network = random_frozen(network, n=cell.n, seed=drawn, n_classes=n_classes)
    else:
        base, freeze = load_base(grid, cell, folder), not cell.treatment.endswith("+")
        network = transplant(base, n=cell.n, freeze=freeze, seed=drawn, n_classes=n_classes)
    order = int(np.random.SeedSequence(drawn).generate_state(1)[0])
    row = train(network, task, grid.recipe, seed=order, once=once)
    if cell.treatment == "base":
        write_checkpoint(folder / f"{key}.pt", {"training": str(cell), "model": network.state_dict()})
    partial = folder / f"{key}.{os.getpid()}.part"
    partial.write_text(json.dumps(row), encoding="utf-8")
    partial.replace(folder / f"{key}.json")  # last: with it the cell is finished


def load_base(grid: Grid, cell: Cell, folder: str | Path) -> Network:
    """The trained base that gives a cell its layers, or that the cell is.

    Raises:
        OSError: it is not trained yet.
    """
    base = grid.base(cell)
    task = grid.task(base)
    network = build(grid.networks[cell.network], vocab_size=task.vocab_size, n_classes=len(task.classes), seed=0)
    device = profile.current().device
    state = read_checkpoint(Path(folder) / f"{grid.key(base)}.pt", device)
    network.load_state_dict(state["model"])
    return network.to(device).eval()


# ----------------------------------------------------------------------------------------------- processes, the table
_grid: tuple[Grid, Path]  # of a worker


def start_worker(grid: Grid, folder: Path) -> None:
    global _grid
    torch.set_num_threads(1)  # the other cores have workers of their own
    _grid = grid, folder


def work(cell: Cell) -> None:
    grid, folder = _grid
    run_cell(grid, cell, folder)


def run_grid(grid: Grid, folder: str | Path, *, workers: int | None = None, progress: bool = True) -> pd.DataFrame:
    """Train every cell that the folder has not yet, and read the table.

    Args:
        grid: what to train.
        folder: keeps a row for each finished cell and the bases' weights, under names made of all that they hang on:
            a grid that shares cells with another finds them, one of another recipe does not.
        workers: processes, each with one thread; one a core by default. With 1 everything runs in this process. A
            script calls this under ``if __name__ == "__main__":``.
        progress: False shows nothing.

    Returns:
        A row a cell: the fields of :class:`Cell`, ``accuracy``, ``macro_f1``, ``train_loss`` and ``seconds``.

    Raises:
        RuntimeError: a cell failed; the message names it. What is finished is kept.
        ValueError: fewer than one worker.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    cells = {grid.key(cell): cell for cell in reversed(grid.cells())}  # a base that splits share is trained once
    missing = [cell for key, cell in reversed(cells.items()) if not (folder / f"{key}.json").exists()]
    with tqdm(total=len(missing), unit="cell", delay=1, disable=not progress) as bar:
        for some in ([c for c in missing if c.treatment == "base"], [c for c in missing if c.treatment != "base"]):
            for _ in run_cells(grid, some, folder, workers=min(workers or cores(), max(len(some), 1))):
                bar.update()
    return read_table(grid, folder)


def run_cells(grid: Grid, cells: list[Cell], folder: Path, *, workers: int) -> Iterator[Cell]:
    """Train cells, and say of each when it is finished."""
    if workers == 1:
        for cell in cells:
            try:
                run_cell(grid, cell, folder)
            except Exception as error:
                raise failed(cell, error) from error
            yield cell
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    with ProcessPoolExecutor(workers, spawn, start_worker, (grid, folder)) as pool:
        running = {pool.submit(work, cell): cell for cell in cells}
        for done in as_completed(running):
            if error := done.exception():
                pool.shutdown(cancel_futures=True)  # those that run are finished and kept
                raise failed(running[done], error) from error
            yield running[done]


def failed(cell: Cell, error: BaseException) -> RuntimeError:
    return RuntimeError(f"the cell «{cell}» failed: {type(error).__name__}: {error}")


def read_table(grid: Grid, folder: str | Path) -> pd.DataFrame:
    """The finished cells of a grid, see :func:`run_grid`."""
    rows = []
    for cell in grid.cells():
        path = Path(folder) / f"{grid.key(cell)}.json"
        if path.exists():
            rows.append(asdict(cell) | json.loads(path.read_text(encoding="utf-8")))
    return pd.DataFrame(rows, columns=COLUMNS)


# -------------------------------------------------------------------------------------------- the paper's observations
@dataclass(frozen=True, eq=False)
class Contrast:
    """A difference that is expected to be above 0, measured in every split.

    Attributes:
        what: it is.
        by_split: a difference each, the mean over seeds.
    """

    what: str
    by_split: pd.Series = field(repr=False)

    @property
    def mean(self) -> float:
        return float(self.by_split.mean())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Where the mean over all possible splits lies, with 95 % confidence (Student's t); anywhere after one."""
        n = len(self.by_split)
        if n < 2:
            return -np.inf, np.inf
        half = stats.t.ppf(0.975, n - 1) * self.by_split.std(ddof=1) / np.sqrt(n)
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Of so large a mean, were there no difference (Student's t, two-sided); nan after one split."""
        return float(stats.ttest_1samp(self.by_split, 0).pvalue) if len(self.by_split) > 1 else np.nan

    @property
    def verdict(self) -> Literal["holds", "fails", "undecided"]:
        """Whether it is above 0, below, or too near to say with so many splits."""
        low, high = self.interval
        return "holds" if low > 0 else "fails" if high < 0 else "undecided"


@dataclass(frozen=True, eq=False)
class Observation:
    """One of the paper's, as it shows in a table.

    Attributes:
        name: in a word.
        contrasts: what it says, piece by piece.
        curves: means over splits and seeds, a column a treatment, a row a depth n; a base is the same in every row.
    """

    name: str
    contrasts: tuple[Contrast, ...]
    curves: pd.DataFrame = field(repr=False)

    @property
    def verdict(self) -> Literal["holds", "fails", "undecided"]:
        """It holds if every contrast does, and fails if one fails."""
        verdicts = {contrast.verdict for contrast in self.contrasts}
        return "holds" if verdicts == {"holds"} else "fails" if "fails" in verdicts else "undecided"


def curve_names(table: pd.DataFrame) -> pd.Series:
    """Which curve each row of a table belongs to: ``base B``, ``AnB``, ``AnB from far`` …"""
    names = table["treatment"] + table["source"].map({"far": " from far"}).fillna("")
    return names.where(table["treatment"] != "base", "base " + table["source"])


class Curves:
    """A table of one network by treatment: curve by split (rows) and depth (columns), the mean over seeds.

    Raises:
        ValueError: the table has more networks than one.
    """

    def __init__(self, table: pd.DataFrame, metric: str = "accuracy"):
        if len(networks := table["network"].unique()) != 1:
            raise ValueError(f"give the rows of one network, not of {len(networks)}: {', '.join(networks)}")
        self.values = table.assign(name=curve_names(table)).groupby(["name", "split", "n"])[metric].mean()
        self.depths = np.sort(table.loc[table["n"] > 0, "n"].unique())

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Such as that of ``AnB``, ``AnB from far`` or ``base B``.

        Raises:
            ValueError: it was not run.
        """
        if name not in self.values.index.get_level_values("name"):
            raise ValueError(f"the table has no {name}: run the grid with it")
        curve = self.values[name].unstack("n")
        if name.startswith("base"):
            return pd.DataFrame(dict.fromkeys(self.depths, curve[0]))
        return curve

    def slope(self, name: str) -> pd.Series:
        """The change a layer in each split, of the straight line through the curve (least squares)."""
        curve = self[name]
        return curve.apply(lambda row: np.polyfit(curve.columns.astype(float), row, 1)[0], axis=1)

    def over(self, one: str, other: str, depths: Sequence[int]) -> pd.Series:
        """How much one curve lies above another in each split, the mean over some depths."""
        return (self[one] - self[other])[list(depths)].mean(axis=1).dropna()

    def observation(self, name: str, contrasts: Mapping[str, pd.Series], curves: Sequence[str]) -> Observation:
        means = pd.DataFrame({curve: self[curve].mean() for curve in curves})
        return Observation(name, tuple(Contrast(what, by_split) for what, by_split in contrasts.items()), means)

    @property
    def middle(self) -> np.ndarray:
        """Depths but the first and the last."""
        return self.depths[1:-1]

    @property
    def upper(self) -> np.ndarray:
        """The deeper half."""
        return self.depths[len(self.depths) // 2 :]


def co_adaptation(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """Layers that learned together do not find each other again: BnB dips between its ends, and BnB+ does not."""
    c = Curves(table, metric)
    contrasts = {
        "base B over BnB between the ends": c.over("base B", "BnB", c.middle),
        "BnB+ over BnB between the ends": c.over("BnB+", "BnB", c.middle),
    }
    return c.observation("co-adaptation", contrasts, ("base B", "BnB", "BnB+"))


def specificity(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """Upper layers are of their task: AnB falls with n, and below BnB, which loses co-adaptation alone."""
    c = Curves(table, metric)
    contrasts = {
        "fall of AnB a layer": -c.slope("AnB"),
        "BnB over AnB in the deeper half": c.over("BnB", "AnB", c.upper),
    }
    return c.observation("specificity", contrasts, ("base B", "BnB", "AnB"))


def better_start(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """Fine-tuned layers of another task are better than none: AnB+ is above base B, and above BnB+, trained as long."""
    c = Curves(table, metric)
    contrasts = {
        "AnB+ over base B": c.over("AnB+", "base B", c.depths),
        "AnB+ over BnB+": c.over("AnB+", "BnB+", c.depths),
    }
    return c.observation("better start", contrasts, ("base B", "BnB+", "AnB+"))


def distance(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """The further the task, the less its layers are worth: AnB from far is lower, and falls more a layer."""
    c = Curves(table, metric)
    contrasts = {
        "AnB over AnB from far": c.over("AnB", "AnB from far", c.depths),
        "fall a layer of AnB from far over that of AnB": (c.slope("AnB") - c.slope("AnB from far")).dropna(),
    }
    return c.observation("distance", contrasts, ("base B", "AnB", "AnB from far"))


def random_floor(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """Layers of another task are better than random ones, which are worth less the more there are."""
    c = Curves(table, metric)
    contrasts = {
        "AnB over random in the deeper half": c.over("AnB", "random", c.upper),
        "fall of random a layer": -c.slope("random"),
    }
    return c.observation("random floor", contrasts, ("base B", "AnB", "random"))


def distant_floor(table: pd.DataFrame, metric: str = "accuracy") -> Observation:
    """Even a distant task is better than none: AnB from far is above random layers, AnB+ from far above base B."""
    c = Curves(table, metric)
    contrasts = {
        "AnB from far over random": c.over("AnB from far", "random", c.depths),
        "AnB+ from far over base B": c.over("AnB+ from far", "base B", c.depths),
    }
    return c.observation("distant floor", contrasts, ("base B", "AnB from far", "AnB+ from far", "random"))


OBSERVATIONS = (co_adaptation, specificity, better_start, distance, random_floor, distant_floor)


def verdicts(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """All observations that a table can speak of, for each network.

    Returns:
        A row a contrast: ``network``, ``observation``, ``contrast``, ``mean``, ``low``, ``high`` (95 %), ``splits``,
        ``verdict`` (of the contrast) and ``observed`` (the observation's verdict). What needs far is left out without.
    """
    rows = []
    for network, some in table.groupby("network", sort=False):
        for observe in OBSERVATIONS:
            if observe in (distance, distant_floor) and "far" not in set(some["source"]):
                continue
            seen = observe(some, metric)
            for c in seen.contrasts:
                rows.append((network, seen.name, c.what, c.mean, *c.interval, len(c.by_split), c.verdict, seen.verdict))
    columns = ["network", "observation", "contrast", "mean", "low", "high", "splits", "verdict", "observed"]
    return pd.DataFrame(rows, columns=columns)
