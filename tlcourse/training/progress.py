"""A display of a running training: a line for each stage that is done, and one that moves.

In Jupyter and Colab the lines are one output that is rewritten in place, and in the end only the lines of the
stages are left. In a terminal the moving line is overwritten. Elsewhere, as in a log file, only the lines of
the stages are printed. ``TLCOURSE_PROGRESS=0`` shows nothing, and neither does a test: notebooks under test
compare their output.
"""

from __future__ import annotations

import os
import sys
import time

from fastai.callback.core import Callback

from tlcourse.training.callbacks import KeepHistory
from tlcourse.training.groups import Plan

SECONDS_BETWEEN_UPDATES = 0.25


class Lines:
    """Lines that stay, printed; a line that moves has no place in a log, so it is left out."""

    def keep(self, text: str) -> None:
        print(text, flush=True)

    def move(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Silence(Lines):
    """Shows nothing."""

    def keep(self, text: str) -> None:
        pass


class Terminal(Lines):
    """The moving line is the last one, overwritten from its start."""

    ERASE_LINE = "\r\x1b[K"

    def keep(self, text: str) -> None:
        print(self.ERASE_LINE + text, flush=True)

    def move(self, text: str) -> None:
        print(self.ERASE_LINE + text, end="", flush=True)

    def close(self) -> None:
        print(self.ERASE_LINE, end="", flush=True)


class Notebook(Lines):
    """All lines are one output of the cell, replaced as a whole."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.handle = None

    def keep(self, text: str) -> None:
        self.kept.append(text)
        self.show(self.kept)

    def move(self, text: str) -> None:
        self.show([*self.kept, text])

    def close(self) -> None:
        if self.handle is not None:
            self.show(self.kept)

    def show(self, lines: list[str]) -> None:
        from IPython.display import display

        output = {"text/plain": "\n".join(lines)}
        if self.handle is None:
            self.handle = display(output, raw=True, display_id=True)
        else:
            self.handle.update(output, raw=True)


def find_display() -> Lines:
    """The display that suits where this process runs."""
    if os.environ.get("TLCOURSE_PROGRESS") == "0" or "PYTEST_CURRENT_TEST" in os.environ:
        return Silence()
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        return Notebook()
    return Terminal() if sys.stdout.isatty() else Lines()


class ShowProgress(Callback):
    """Keep a reader informed while a plan is trained."""

    order = KeepHistory.order + 1

    def __init__(self, plan: Plan, history: KeepHistory, display: Lines, *, done: int = 0) -> None:
        self.plan, self.kept, self.display, self.done = plan, history, display, done

    def before_fit(self) -> None:
        self.started = self.shown = time.monotonic()

    def after_batch(self) -> None:
        now = time.monotonic()
        if now - self.shown < SECONDS_BETWEEN_UPDATES:
            return
        self.shown = now
        steps, done = len(self.plan.rates), self.train_iter
        left = (now - self.started) / max(done - self.done, 1) * (steps - done)
        doing = f"loss {self.learn.loss.item():.3f}" if self.training else "validation"
        self.display.move(
            f"epoch {self.epoch + 1}/{self.plan.epochs} · step {done:,}/{steps:,} · {doing} · "
            f"{int(left) // 60}:{int(left) % 60:02} left"
        )

    def after_epoch(self) -> None:
        stage = self.plan.stage_number(self.epoch)
        ends_stage = self.plan.stage_number(self.epoch + 1) != stage
        if ends_stage and not self.passed_over:
            self.display.keep(describe_stage(self.plan, stage, self.kept.rows[-1]))


def describe_stage(plan: Plan, stage: int, row: dict[str, float]) -> str:
    """One line on a finished stage: what learned, for how long, and the figures after its last epoch."""
    trainable, epochs = plan.stages[stage].trainable, plan.stages[stage].epochs
    which = "all" if trainable == plan.n_groups else f"top {trainable} of {plan.n_groups}"
    figures = [f"{name} {row[name]:.3f}" for name in row if name not in ("epoch", "stage", "trainable", "lr")]
    length = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    return " · ".join([f"stage {stage + 1}/{len(plan.stages)}: {which}", length, *figures])
