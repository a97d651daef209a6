"""Tasks and their halves, a grid that is run once, and observations on tables whose answer is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.text import Vocab
from tlcourse.transferability import grid as module
from tlcourse.transferability.grid import (
    COLUMNS,
    Cell,
    Curves,
    Grid,
    Recipe,
    Split,
    Task,
    better_start,
    co_adaptation,
    distance,
    distant_floor,
    halves,
    load_base,
    random_floor,
    run_grid,
    specificity,
    split_classes,
    train,
    verdicts,
)
from tlcourse.transferability.networks import Architecture, build
from tlcourse.transferability.surgery import transplant


def made(seed: int, *, n_classes: int = 4, rows: int = 48) -> Task:
    """Texts whose words tell their class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % n_classes
    docs = [generator.integers(4 + 5 * label, 9 + 5 * label, generator.integers(2, 7)) for label in labels]
    return Task(docs, labels, docs[:16], labels[:16], tuple("abcdef"[:n_classes]), 40)


TASK, FAR = made(0), made(1, n_classes=3)
SPLITS = [Split(str(seed), *halves(TASK, seed=seed), far=FAR) for seed in range(2)]
TINY = Architecture(kind="plain CNN", layers=2, dim=8)
GRID = Grid({"small": TINY}, SPLITS[:1], recipe=Recipe(epochs=1, batch_size=16))


# ------------------------------------------------------------------------------------------------------------- tasks
class TestTask:
    VOCAB = Vocab.build([["red", "blue", "green", "grey"]], min_count=1)

    def test_texts_and_labels_become_numbers(self):
        train = [["red", "red"], ["blue"], ["grey", "mauve"]], ["warm", "cold", "cold"]
        task = Task.encode(train, ([["green"], ["red"]], ["hot", "warm"]), self.VOCAB, longest=1)
        assert task.classes == ("cold", "warm")
        assert task.train_labels.tolist() == [1, 0, 0]
        assert [self.VOCAB.decode(doc)[1:] for doc in task.train] == [["red"], ["blue"], ["grey"]]
        assert task.test_labels.tolist() == [1]  # "hot" was not learned
        assert task.vocab_size == len(self.VOCAB)

    def test_one_class_or_missing_labels(self):
        with pytest.raises(ValueError, match=r"all labels of training are \['warm'\]"):
            Task.encode(([["red"]], ["warm"]), ([], []), self.VOCAB)
        with pytest.raises(ValueError):
            Task.encode(([["red"], ["blue"]], ["warm", "cold"]), ([["red"]], []), self.VOCAB)

    def test_some_classes_only(self):
        some = TASK.only([3, 1])
        assert some.classes == ("b", "d")
        kept = np.flatnonzero(np.isin(TASK.train_labels, [1, 3]))
        assert [doc.tolist() for doc in some.train] == [TASK.train[i].tolist() for i in kept]
        assert [some.classes[y] for y in some.train_labels] == [TASK.classes[TASK.train_labels[i]] for i in kept]

    def test_the_digest_knows_every_text_and_label(self):
        assert made(0).digest == TASK.digest
        others = [
            replace(TASK, train=[TASK.train[1], TASK.train[0], *TASK.train[2:]]),
            replace(TASK, test_labels=TASK.test_labels[::-1]),
            replace(TASK, vocab_size=41),
        ]
        assert len({TASK.digest, *(task.digest for task in others)}) == 4


class TestSplitClasses:
    @given(st.lists(st.integers(1, 60), min_size=4, max_size=15), st.integers(0, 99))
    def test_every_class_on_one_side_and_both_of_like_size(self, counts, seed):
        labels = np.repeat(np.arange(len(counts)), counts)
        a, b = split_classes(labels, seed)
        assert sorted(a + b) == list(range(len(counts)))
        assert abs(len(a) - len(b)) <= 1
        sizes = [sum(counts[i] for i in side) for side in (a, b)]
        assert abs(sizes[0] - sizes[1]) <= max(counts)
        assert (a, b) == split_classes(labels, seed)

    def test_seeds_deal_differently(self):
        assert len({str(split_classes(np.arange(20), seed)) for seed in range(20)}) > 15

    def test_three_classes_are_too_few(self):
        with pytest.raises(ValueError, match="3 classes: four at least"):
            split_classes([0, 1, 2], 0)


# -------------------------------------------------------------------------------------------------------------- grid
class TestGrid:
    def test_cells(self):
        cells = GRID.cells()
        assert len(cells) == len(set(cells)) == 3 + 2 * 7  # bases; at both depths five treatments, two from far, too
        assert {cell.source for cell in cells if cell.treatment == "AnB+"} == {"A", "far"}
        assert {cell.source for cell in cells if cell.treatment == "BnB"} == {"B"}
        assert [cell.treatment for cell in cells[:3]] == ["base"] * 3

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"treatments": ("AnB", "A3B")}, "'A3B': treatments are BnB"),
            ({"depths": (1, 3)}, "n=3: the small has layers 1 to 2"),
            ({"splits": [SPLITS[0]] * 2}, "two splits have one name: 0, 0"),
            ({"splits": [replace(SPLITS[0], far=replace(FAR, vocab_size=99))]}, "encode all with one"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(GRID, **changes)

    def test_a_key_knows_all_that_a_cell_hangs_on(self):
        cell = Cell("small", "0", "A", "AnB", 1, 0)
        others = [
            replace(GRID, networks={"small": replace(TINY, dropout=0.2)}),
            replace(GRID, recipe=replace(GRID.recipe, lr=0.1)),
            replace(GRID, splits=[replace(SPLITS[0], a=SPLITS[0].b)]),
            replace(GRID, splits=[replace(SPLITS[0], b=SPLITS[0].a)]),
        ]
        keys = {GRID.key(cell), *(grid.key(cell) for grid in others)}
        keys |= {GRID.key(replace(cell, **change)) for change in ({"n": 2}, {"seed": 1}, {"treatment": "AnB+"})}
        assert len(keys) == 8
        base = Cell("small", "0", "A", "base", 0, 0)
        assert others[3].key(base) == GRID.key(base)  # A's base knows nothing of B

    def test_splits_share_the_base_of_one_task(self):
        both = replace(GRID, splits=SPLITS)
        assert len({both.key(Cell("small", name, "far", "base", 0, 0)) for name in "01"}) == 1
        assert len({both.key(Cell("small", name, "A", "AnB", 1, 0)) for name in "01"}) == 2


class TestTrain:
    @pytest.mark.parametrize("kind", ["residual CNN", "transformer"])
    def test_frozen_layers_run_once_or_each_time_train_alike(self, kind):
        base = build(Architecture(kind=kind, layers=3, dim=8), vocab_size=40, n_classes=4, seed=0)
        train(base, TASK, GRID.recipe, seed=0)
        networks = [transplant(base, n=2, freeze=True, seed=1, n_classes=4) for _ in range(2)]
        rows = [train(n, TASK, GRID.recipe, seed=1, once=once) for n, once in zip(networks, (True, False), strict=True)]
        assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-4)
        for name, weights in networks[0].named_parameters():
            torch.testing.assert_close(weights, networks[1].get_parameter(name), atol=1e-4, rtol=1e-3)

    def test_it_learns(self):
        network = build(replace(TINY, dim=32), vocab_size=40, n_classes=4, seed=0)
        row = train(network, TASK, Recipe(epochs=15, batch_size=8, lr=0.01), seed=0)
        assert row["accuracy"] == row["macro_f1"] == 1


@pytest.fixture(scope="class")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    return run_grid(GRID, folder, workers=1, progress=False), folder


class TestRunGrid:
    def test_a_tidy_table(self, run):
        table, _ = run
        assert tuple(table.columns) == COLUMNS
        assert len(table) == len(GRID.cells())
        assert table.accuracy.between(0, 1).all()
        assert set(table[table.n == 0].source) == {"A", "B", "far"}

    def test_what_is_finished_is_not_run_again(self, run, monkeypatch):
        table, folder = run
        monkeypatch.setattr(module, "run_cell", None)
        pd.testing.assert_frame_equal(run_grid(GRID, folder, workers=1, progress=False), table)

    def test_a_larger_grid_trains_what_is_new_alone(self, run, monkeypatch):
        _, folder = run
        ran, real = [], module.run_cell
        monkeypatch.setattr(module, "run_cell", lambda grid, cell, folder: [ran.append(cell), real(grid, cell, folder)])
        larger = replace(GRID, treatments=("AnB",), splits=SPLITS)
        after = run_grid(larger, folder, workers=1, progress=False)
        assert {cell.split for cell in ran} == {"1"}
        assert {cell.source for cell in ran if cell.treatment == "base"} == {"A", "B"}  # that of far is there
        assert len(after) == len(larger.cells())

    def test_a_failing_cell_is_named_and_the_others_stay(self, run, tmp_path, monkeypatch):
        real = module.train

        def fail(network, *args, **kwargs):
            if network.frozen:
                raise MemoryError("no room")
            return real(network, *args, **kwargs)

        monkeypatch.setattr(module, "train", fail)
        with pytest.raises(
            RuntimeError, match="«small, split 0, BnB, source B, n=1, seed 0» failed: MemoryError: no room"
        ):
            run_grid(GRID, tmp_path, workers=1, progress=False)
        assert len(module.read_table(GRID, tmp_path)) == 3

    def test_in_other_processes_a_cell_is_the_same_and_a_failing_one_is_named(self, run, tmp_path):
        unknown = replace(SPLITS[0].a, train=[np.array([999])] * 24)
        grid = replace(GRID, splits=[replace(SPLITS[0], a=unknown, far=None)])
        with pytest.raises(RuntimeError, match="«small, split 0, base, source A, n=0, seed 0» failed: IndexError"):
            run_grid(grid, tmp_path, workers=2, progress=False)
        finished = module.read_table(grid, tmp_path)
        assert finished.source.tolist() == ["B"]
        table, _ = run
        assert finished.train_loss[0] == pytest.approx(table.train_loss[0], rel=1e-5)

    def test_a_base_can_be_loaded(self, run):
        _, folder = run
        base = load_base(GRID, Cell("small", "0", "A", "AnB", 1, 0), folder)
        assert not base.training
        assert base.head.linear.out_features == len(SPLITS[0].a.classes)

    def test_bad_workers_and_a_base_not_trained(self, tmp_path):
        with pytest.raises(ValueError, match="workers must be at least 1"):
            run_grid(GRID, tmp_path, workers=0)
        with pytest.raises(OSError):
            load_base(GRID, GRID.cells()[0], tmp_path)


# ------------------------------------------------------------------------------------------------------ observations
CURVES = {  # as the paper's figure 2 has them: a value at each of seven depths
    ("B", "BnB"): [0.80, 0.79, 0.75, 0.72, 0.73, 0.78, 0.80],
    ("B", "BnB+"): [0.80] * 7,
    ("A", "AnB"): [0.80, 0.79, 0.74, 0.70, 0.67, 0.63, 0.60],
    ("A", "AnB+"): [0.82, 0.82, 0.83, 0.82, 0.83, 0.84, 0.83],
    ("far", "AnB"): [0.78, 0.74, 0.68, 0.60, 0.52, 0.45, 0.40],
    ("far", "AnB+"): [0.82, 0.81, 0.82, 0.81, 0.82, 0.81, 0.82],
    ("none", "random"): [0.70, 0.60, 0.50, 0.40, 0.35, 0.30, 0.25],
}


def table(splits: int = 4, *, noise: float = 0.004, **changed: list[float]) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for split in range(splits):
        level = generator.normal(0, 0.05)  # splits differ in how hard they are
        curves = {("B", "base"): {0: 0.8}, ("A", "base"): {0: 0.8}}
        for (source, treatment), curve in CURVES.items():
            name = treatment.replace("+", "_plus") + ("_far" if source == "far" else "")
            curves[source, treatment] = dict(enumerate(changed.get(name, curve), start=1))
        for (source, treatment), curve in curves.items():
            for n, value in curve.items():
                value += level + generator.normal(0, noise)
                rows.append(("x", str(split), source, treatment, n, 0, value, value, 0.0, 1.0))
    return pd.DataFrame(rows, columns=COLUMNS)


class TestObservations:
    def test_all_of_the_papers_figure_hold(self):
        seen = verdicts(table())
        assert (seen.verdict == "holds").all()
        assert seen.observation.unique().tolist() == [
            "co-adaptation",
            "specificity",
            "better start",
            "distance",
            "random floor",
            "distant floor",
        ]

    @pytest.mark.parametrize(
        ("observe", "changed"),
        [
            (co_adaptation, {"BnB": [0.85] * 7}),
            (specificity, {"AnB": [0.70, 0.71, 0.72, 0.74, 0.76, 0.78, 0.80]}),
            (better_start, {"AnB_plus": [0.75] * 7}),
            (distance, {"AnB_far": [0.85] * 7}),
            (random_floor, {"random": [0.75] * 7}),
            (distant_floor, {"AnB_far": [0.20] * 7}),
        ],
    )
    def test_the_contrary_fails(self, observe, changed):
        assert observe(table()).verdict == "holds"
        assert observe(table(**changed)).verdict == "fails"

    def test_better_than_base_b_but_not_than_training_on_is_not_enough(self):
        seen = better_start(table(BnB_plus=[0.85] * 7))
        assert [contrast.verdict for contrast in seen.contrasts] == ["holds", "fails"]
        assert seen.verdict == "fails"

    def test_one_split_decides_nothing(self):
        seen = specificity(table(1))
        assert seen.verdict == "undecided"
        assert seen.contrasts[0].interval == (-np.inf, np.inf) and np.isnan(seen.contrasts[0].p)

    def test_noise_leaves_it_open(self):
        assert better_start(table(noise=0.3)).verdict == "undecided"

    def test_figures(self):
        few = table(3, noise=0.0)
        fall, beyond = specificity(few).contrasts
        assert fall.mean == pytest.approx(-np.polyfit(range(1, 8), CURVES["A", "AnB"], 1)[0])
        assert beyond.mean == pytest.approx(np.mean([0.02, 0.06, 0.15, 0.20]))
        assert co_adaptation(few).contrasts[0].mean == pytest.approx(0.8 - np.mean([0.79, 0.75, 0.72, 0.73, 0.78]))
        assert specificity(few).curves.columns.tolist() == ["base B", "BnB", "AnB"]
        assert specificity(few).curves["base B"].nunique() == 1

    def test_the_interval_is_students_over_splits_not_over_points(self):
        one = table(4, noise=0.02)
        doubled = pd.concat([one, one.assign(seed=1)])
        for few, many in zip(specificity(one).contrasts, specificity(doubled).contrasts, strict=True):
            assert many.interval == pytest.approx(few.interval)
        contrast = specificity(one).contrasts[0]
        half = 3.182446 * contrast.by_split.std() / 2  # Student's t, three degrees of freedom
        assert contrast.interval == pytest.approx((contrast.mean - half, contrast.mean + half))
        assert (contrast.p < 0.05) == (contrast.verdict != "undecided") and 0 < contrast.p < 1

    def test_without_far_there_is_no_distance(self):
        near = table().query("source != 'far'")
        assert not {"distance", "distant floor"} & set(verdicts(near).observation)
        with pytest.raises(ValueError, match="the table has no AnB from far"):
            distance(near)

    def test_two_networks_in_one_curve_are_refused(self):
        both = pd.concat([table(), table().assign(network="y")])
        with pytest.raises(ValueError, match="not of 2: x, y"):
            Curves(both)
        assert verdicts(both).network.unique().tolist() == ["x", "y"]
