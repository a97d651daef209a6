"""The A3B / B3B grid, and each of its cells from nothing, in one run: seconds and their ratio.

    python benchmarks/transferability.py [--data thai_intents] [--kind "plain CNN"] [--layers 7] [--epochs 4]

From nothing a cell trains the base that gives its layers, then itself, and runs its frozen layers in every epoch. The
grid trains each base once and runs frozen layers once. Both train in this process with one thread; with more workers
the grid is run once more. Cells of both begin with the same weights and read the same batches, so their scores
differ by what rounding grows to.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from tlcourse import data
from tlcourse.text import Vocab, tokenise
from tlcourse.transferability import KINDS, Architecture, Grid, Recipe, Split, Task, halves, read_table, run_grid
from tlcourse.transferability.grid import COLUMNS, run_cell


def load_task(name: str, label: str, *, classes: int) -> Task:
    """The texts of the most frequent classes."""
    loaded = data.load(name)
    kept = loaded.train[label].value_counts().index[:classes]
    frames = [frame[frame[label].isin(kept)] for frame in (loaded.train, loaded.test)]
    tokens = [tokenise(frame["text"], progress=False, workers=1) for frame in frames]
    parts = [(some, frame[label].tolist()) for some, frame in zip(tokens, frames, strict=True)]
    return Task.encode(*parts, Vocab.build(tokens[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="thai_intents")
    parser.add_argument("--label", default="object")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--kind", default="plain CNN", choices=KINDS)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--depths", type=int, nargs="+", help="all by default")
    parser.add_argument("--workers", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(1)
    task = load_task(o.data, o.label, classes=o.classes)
    architecture = Architecture(kind=o.kind, layers=o.layers, dim=o.dim)
    recipe = Recipe(epochs=o.epochs, batch_size=32, lr=1e-2)
    grid = Grid({o.kind: architecture}, [Split("0", *halves(task, seed=0))], depths=o.depths, recipe=recipe)
    print(f"{o.data}: {len(task.train):,} texts; {o.kind}, {o.layers} layers of {o.dim}; {len(grid.cells())} cells")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nothing").mkdir()
        clock, processor = time.perf_counter(), time.process_time()
        once = run_grid(grid, folder / "grid", workers=1, progress=False)
        ours = time.perf_counter() - clock, time.process_time() - processor

        clock, processor = time.perf_counter(), time.process_time()
        for cell in grid.cells():
            if cell.treatment in ("AnB", "AnB+", "BnB", "BnB+"):
                run_cell(grid, grid.base(cell), folder / "nothing")
            run_cell(grid, cell, folder / "nothing", once=False)
        nothing = time.perf_counter() - clock, time.process_time() - processor

        print(f"{'':<24} {'seconds':>8} {'cpu s':>8}")
        print(f"{'each from nothing':<24} {nothing[0]:8.1f} {nothing[1]:8.1f}")
        print(f"{'the grid':<24} {ours[0]:8.1f} {ours[1]:8.1f}")
        print(f"{'ratio':<24} {nothing[0] / ours[0]:8.2f} {nothing[1] / ours[1]:8.2f}")
        if o.workers > 1:
            clock = time.perf_counter()
            run_grid(grid, folder / "workers", workers=o.workers, progress=False)
            spent = time.perf_counter() - clock
            print(f"{f'{o.workers} workers':<24} {spent:8.1f}\n{'ratio':<24} {nothing[0] / spent:8.2f}")
        both = once.merge(read_table(grid, folder / "nothing"), on=list(COLUMNS[:6]))
        apart = (both["accuracy_x"] - both["accuracy_y"]).abs()
        print(f"accuracies differ by {apart.mean():.4f} on average, by {apart.max():.4f} at most")


if __name__ == "__main__":
    main()
