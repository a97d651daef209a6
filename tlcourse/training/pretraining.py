"""Pretraining step by step, the same for every model: cut off, it goes on as if it had not been.

Whatever is random in a step follows from the seed and the number of the step. Several processes, one a GPU, share
the rows of a batch when ``accelerate launch`` or ``torchrun`` started them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tlcourse import profile
from tlcourse.training.checkpoint import read_checkpoint, write_checkpoint
from tlcourse.training.devices import sum_gradients, sum_over_processes
from tlcourse.training.progress import SECONDS_BETWEEN_UPDATES, Silence, find_display
from tlcourse.training.schedules import Schedule

LOSSES = "losses.csv"  # written last: with it the folder is whole
CHECKPOINT = "checkpoint.pt"


class Recipe(Protocol):
    """The settings of a step, a dataclass."""

    batch_size: int
    accumulate: int
    lr: float
    weight_decay: float
    clip: float
    seed: int


class Batch(Protocol):
    """Rows of tokens."""

    tokens: int

    def split(self, parts: int) -> Iterator[Batch]:
        """Parts of nearly one size, no more than there are rows."""


class Passes(ABC):
    """An endless stream of batches; each pass over the data deals out rows anew.

    Attributes:
        position: the pass, and the number of the step it began with: all there is to remember besides the step.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.go_to((0, 0))

    @abstractmethod
    def deal(self, epoch: int) -> int:
        """Make the rows of a pass ready; how many there are."""

    @abstractmethod
    def make(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        """The batch of some rows of this pass."""

    @property
    def per_epoch(self) -> int:
        """Batches of this pass; the next may have a few more or less."""
        return math.ceil(self.rows / self.recipe.batch_size)

    def go_to(self, position: Iterable[int]) -> None:
        self.position = tuple(position)
        self.rows = self.deal(self.position[0])

    def batch(self, step: int) -> Batch:
        """The batch of a step, no earlier than those asked for before."""
        epoch, begun = self.position
        while step >= begun + self.per_epoch:
            epoch, begun = epoch + 1, begun + self.per_epoch
            self.go_to((epoch, begun))
        first = (step - begun) * self.recipe.batch_size
        rows = np.arange(first, min(first + self.recipe.batch_size, self.rows))
        return self.make(rows, np.random.default_rng([self.recipe.seed, epoch, step]))


class Training:
    """A model, its optimiser, and how a step is taken.

    Args:
        model: on its device.
        loss: of a part of a batch and the whole batch: what the part adds to the batch's mean.
        recipe: the settings.
        schedule: of the rate.
        steps: how many there will be.
        process, processes: which of them this is.
        parameters: those that learn; all by default. Biases and norms are not decayed.
        optimiser: settings of AdamW.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Batch, Batch], Tensor],
        recipe: Recipe,
        schedule: Schedule,
        *,
        steps: int,
        process: int = 0,
        processes: int = 1,
        parameters: Iterable[nn.Parameter] | None = None,
        **optimiser: Any,
    ):
        self.model, self.loss, self.recipe, self.schedule, self.steps = model, loss, recipe, schedule, steps
        self.process, self.processes = process, processes
        self.parameters = list(model.parameters() if parameters is None else parameters)
        decayed = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim == 1]  # biases and norms
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.lr,
            fused=True,
            **optimiser,
        )
        self.device = self.parameters[0].device
        dtype = profile.autocast_dtype(self.device)
        self.autocast = torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)

    def step(self, batch: Batch, number: int) -> Tensor:
        """Update the weights; the loss of this process's rows, as its part of the batch's."""
        seed = np.random.SeedSequence([self.recipe.seed, number, self.process]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> 1))  # of dropout: each step its own, so that none need be remembered
        self.model.train()
        total = torch.zeros((), device=self.device)
        parts = list(batch.split(self.processes * self.recipe.accumulate))
        for part in parts[self.process :: self.processes]:
            with self.autocast:
                loss = self.loss(part, batch)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.processes > 1:
            sum_gradients(self.parameters)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr * self.schedule(number, self.steps)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        return total

    def state_dict(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimiser": self.optimiser, "scaler": self.scaler}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])


def train(
    training: Training,
    batches: Passes,
    folder: Path,
    about: dict[str, Any],
    *,
    measure: Callable[[], dict[str, float]] | None = None,
    every: int | None = None,
    resume: bool = True,
    progress: bool = True,
) -> pd.DataFrame:
    """Take all steps, or those that are left.

    Args:
        training: as it begins.
        batches: what a step learns from.
        folder: gets the checkpoint.
        about: see :func:`describe`.
        measure: figures to note with each checkpoint.
        every: write a checkpoint and a row of losses after so many steps; 20 times in all by default.
        resume: False starts over and replaces what is in the folder.
        progress: False shows nothing.

    Returns:
        ``step``, ``tokens`` (read so far), ``train_loss`` (the mean since the row before), and the figures.

    Raises:
        ValueError: the checkpoint is damaged or belongs to another training.
        OSError: the disk is full; the last whole checkpoint is kept.
    """
    steps, process, processes, device = training.steps, training.process, training.processes, training.device
    every = every or math.ceil(steps / 20)
    done, tokens, rows = 0, 0, []
    checkpoint = folder / CHECKPOINT
    if resume and checkpoint.exists():
        state = read_state(checkpoint, about, device)
        done, tokens, rows = state["done"], state["tokens"], state["rows"]
        training.load_state_dict(state["state"])
        batches.go_to(state["position"])
    elif process == 0:
        for name in (CHECKPOINT, LOSSES):
            (folder / name).unlink(missing_ok=True)

    display = find_display() if progress and process == 0 else Silence()
    since, total = done, torch.zeros((), device=device)  # of the losses since the last row
    started = shown = time.monotonic()
    try:
        for step in range(done, steps):
            batch = batches.batch(step)
            total += training.step(batch, step)
            tokens += batch.tokens
            ends = step + 1
            now = time.monotonic()
            if now - shown > SECONDS_BETWEEN_UPDATES:
                left = int((now - started) / (ends - done) * (steps - ends))
                mean = total.item() / (ends - since)
                display.move(f"step {ends:,}/{steps:,} · loss {mean:.3f} · {left // 60}:{left % 60:02} left")
                shown = now
            if ends % every and ends < steps:
                continue
            row = {"step": ends, "tokens": tokens, "train_loss": sum_losses(total, processes) / (ends - since)}
            if measure:
                row |= measure()
            rows.append(row)
            display.keep(" · ".join(f"{name} {value:,.5g}" for name, value in row.items()))
            if process == 0:
                state = {"training": about, "done": ends, "tokens": tokens, "rows": rows}
                state |= {"position": list(batches.position), "state": training.state_dict()}
                write_checkpoint(checkpoint, state)
            since, total = ends, torch.zeros((), device=device)
    finally:
        display.close()
    return pd.DataFrame(rows)


def sum_losses(total: Tensor, processes: int) -> float:
    return sum_over_processes([total.item()])[0] if processes > 1 else total.item()


def describe(
    recipe: Any, documents: Any, valid: Any, tokeniser: PreTrainedTokenizerBase, *, steps: int, processes: int
) -> dict[str, Any]:
    """What must agree between a checkpoint and the training that continues it; documents have a ``digest``."""
    vocabulary = json.dumps(tokeniser.get_vocab(), sort_keys=True)
    return {
        **json.loads(json.dumps(asdict(recipe))),
        "steps": steps,
        "documents": documents.digest,
        "valid": valid and valid.digest,
        "vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "processes": processes,
    }


def read_state(checkpoint: Path, about: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: it is damaged, or belongs to something else.
    """
    state = read_checkpoint(checkpoint, device)
    there = state["training"]
    differences = [
        f"{name} was {there.get(name)} and is {about[name]} now" for name in about if there.get(name) != about[name]
    ]
    if differences:
        raise ValueError(
            f"{checkpoint} belongs to another pretraining: {'; '.join(differences)}. Choose another folder, or start "
            "over (resume=False)."
        )
    return state
