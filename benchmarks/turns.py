"""What the benchmarks of pretraining share: ``transformers``' Trainer taking turns with ours, and their options."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from tlcourse import profile
from tlcourse.training.pretraining import Recipe


class InOrder(Trainer):
    """The Trainer, with rows in the order given."""

    def _get_train_sampler(self, dataset=None) -> SequentialSampler:
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)


class TakeTurns(TrainerCallback):
    """Stop the Trainer after each turn until the others have taken theirs.

    The first turn of each warms it up and does not count.
    """

    def __init__(self, turns: dict[str, Callable[[int], None]], steps: int):
        self.turns, self.steps = turns, steps
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("Trainer", *turns)}

    def start(self) -> None:
        self.since = time.perf_counter(), time.process_time()

    def stop(self, name: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name].append((time.perf_counter() - self.since[0], time.process_time() - self.since[1]))

    def on_train_begin(self, args, state, control, **others) -> None:
        self.start()

    def on_step_end(self, args, state, control, **others) -> None:
        if state.global_step % self.steps:
            return
        self.stop("Trainer")
        for name, turn in self.turns.items():
            self.start()
            for step in range(state.global_step - self.steps, state.global_step):
                turn(step)
            self.stop(name)
        self.start()


def training_arguments(folder: str, recipe: Recipe, *, steps: int, device: torch.device, **more) -> TrainingArguments:
    """The recipe as the Trainer is told it."""
    dtype = profile.autocast_dtype(device)
    return TrainingArguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.lr,
        warmup_steps=int(steps * recipe.warmup),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip,
        seed=recipe.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        **more,
    )


def options(doc: str | None, *, batch: int, lr: float) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="lee", help="a set of the catalogue whose texts are documents")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dim", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--steps", type=int, default=2, help="of a turn")
    parser.add_argument("--turns", type=int, default=5, help="that count")
    parser.add_argument("--all", action="store_true", help="also the steps between the Trainer and ours")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()
