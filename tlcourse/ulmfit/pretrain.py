"""Stage 1 of ULMFiT: pretrain a language model on general text.

::

    model, metrics = pretrain(Corpus.open("thwiki/tokens"), "runs/thwiki", RECIPES["small"])

The run's folder then holds ``recipe.json``, ``metrics.csv``, ``checkpoint.pt`` and ``backbone.safetensors``. Several
processes, one a GPU, share a batch's rows when they are started by ``accelerate launch`` or ``torchrun``.
"""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.distributed
from fastai.callback.core import Callback
from fastai.optimizer import OptimWrapper
from torch import Tensor, nn

from tlcourse import __version__, profile
from tlcourse.text import LMBatches
from tlcourse.text.corpus import Corpus, TokenFile
from tlcourse.training import ActivationRegularisation, Perplexity, fit, make_learner, schedules
from tlcourse.training.callbacks import KeepHistory, MixedPrecision
from tlcourse.training.checkpoint import SaveCheckpoints, read_checkpoint
from tlcourse.training.devices import join_processes, sum_over_processes
from tlcourse.training.softmax import AdaptiveSoftmax, ChunkedSoftmax, FullSoftmax, SampledSoftmax
from tlcourse.ulmfit.backbone import save_backbone
from tlcourse.ulmfit.model import AWDLSTMConfig, Dropouts, LanguageModel

FORMAT = "tlcourse-pretraining-1"
ROWS_A_CHECKPOINT = 10  # of metrics.csv
NEVER = 1e12  # a step that no training reaches


# ---------------------------------------------------------------------------------------------------- the recipe
@dataclass(frozen=True)
class Pretraining:
    """How a language model is pretrained; the default sizes are those of the AWD-LSTM paper.

    Attributes:
        emb_dim, hidden_dim, n_layers: sizes of the AWD-LSTM.
        dropout: multiplies every dropout of the paper; with much text, little is needed.
        softmax: ``full``; ``chunked``, the same in little memory; ``sampled``; or ``adaptive``.
        samples: words that ``sampled`` draws for a batch.
        cutoffs: where ``adaptive`` cuts the vocabulary.
        optimiser: ``adam``, with decoupled weight decay and a one-cycle rate; or ``asgd``: plain SGD at a constant
            rate that turns to averaging when the validation no longer improves.
        patience: ``asgd`` averages when the perplexity is above the lowest of more than so many epochs ago.
        lr: the highest learning rate, the same for all layers.
        batch_size: rows of text read side by side, by all processes together.
        bptt: tokens of each row in a batch.
        grad_clip: the largest norm of the gradient.
        alpha, beta: activation regularisation, of the size and of the change in time.
        weight_decay: each step's share of the weights, times the rate; with ``asgd`` the factor of an L2 penalty.
        seed: of first weights, dropout, sampling and the order of the documents.
        backwards: read each document from its end.
    """

    emb_dim: int = 400
    hidden_dim: int = 1150
    n_layers: int = 3
    dropout: float = 0.25
    softmax: Literal["full", "chunked", "sampled", "adaptive"] = "sampled"
    samples: int = 4000
    cutoffs: tuple[int, ...] = ()
    optimiser: Literal["adam", "asgd"] = "adam"
    patience: int = 5
    epochs: int = 10
    lr: float = 5e-3
    batch_size: int = 128
    bptt: int = 70
    grad_clip: float = 0.4
    alpha: float = 1.0
    beta: float = 0.5
    weight_decay: float = 0.01
    seed: int = 42
    backwards: bool = False

    def __post_init__(self):
        for name, choices in (("softmax", ("full", "chunked", "sampled", "adaptive")), ("optimiser", ("adam", "asgd"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("epochs", "lr", "grad_clip", "patience"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


RECIPES = {
    "tiny": Pretraining(
        emb_dim=24, hidden_dim=32, n_layers=2, samples=50, epochs=2, lr=2e-2, batch_size=8, bptt=16, dropout=0.1
    ),
    "small": Pretraining(emb_dim=128, hidden_dim=320, samples=2000, epochs=2, lr=6e-3, batch_size=40),
    "paper": Pretraining(),
    "thai2fit": Pretraining(hidden_dim=1550, n_layers=4),  # as PyThaiNLP documents the published weights
}


# ----------------------------------------------------------------------------------------------------- the model
class LanguageModelWithLoss(nn.Module):
    """A language model whose softmax is part of the loss, so that not all logits need be computed.

    :meth:`forward` gives what the decoder sees, (B, T) -> (B, T, D), and :meth:`loss` the cross entropy of the words
    that follow, through one of the four softmaxes of :mod:`tlcourse.training.softmax`.
    """

    def __init__(self, language_model: LanguageModel, softmax: FullSoftmax):
        super().__init__()
        self.language_model, self.softmax = language_model, softmax

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.language_model.read(token_ids)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats a token: ``hidden`` (B, T, D), ``targets`` (B, T)."""
        weight, bias = self.language_model.encoder.embedding.weight, self.language_model.decoder_bias
        return self.softmax(hidden.flatten(0, 1), targets.flatten(), weight, bias)

    # what callbacks ask of a language model: its state, its last activations, its layer groups
    @property
    def state(self):
        return self.language_model.state

    @state.setter
    def state(self, state):
        self.language_model.state = state

    @property
    def raw_output(self) -> Tensor:
        return self.language_model.raw_output

    @property
    def dropped_output(self) -> Tensor:
        return self.language_model.dropped_output

    def reset(self) -> None:
        self.language_model.reset()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        groups = self.language_model.layer_groups()
        return [*groups[:-1], [*groups[-1], *self.softmax.parameters()]]


def build_model(recipe: Pretraining, vocab_size: int, counts: np.ndarray) -> LanguageModelWithLoss:
    """A fresh model; ``counts`` (V,) says how often each word occurs in the training text, where it begins."""
    dropouts = Dropouts() * recipe.dropout
    config = AWDLSTMConfig(vocab_size, recipe.emb_dim, recipe.hidden_dim, recipe.n_layers, dropouts)
    match recipe.softmax:
        case "full":
            softmax = FullSoftmax()
        case "chunked":
            softmax = ChunkedSoftmax()
        case "sampled":
            softmax = SampledSoftmax(counts, samples=recipe.samples)
        case "adaptive":
            softmax = AdaptiveSoftmax(recipe.emb_dim, recipe.cutoffs, vocab_size)
    return LanguageModelWithLoss(LanguageModel(config).start_from_counts(counts), softmax)


def count_words(tokens: TokenFile, vocab_size: int, *, block: int = 1 << 20) -> np.ndarray:
    """How often each word occurs, (V,), in bounded memory."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(tokens), block):
        counts += np.bincount(tokens.ids[start : start + block], minlength=vocab_size)
    return counts


# ------------------------------------------------------------------------------------------------------ training
def pretrain(
    corpus: Corpus,
    folder: str | Path,
    recipe: Pretraining,
    *,
    every: int = 500,
    resume: bool = True,
    tensorboard: bool = False,
    progress: bool = True,
) -> tuple[LanguageModel, pd.DataFrame]:
    """Pretrain a language model, or go on with a pretraining that was cut off.

    On one machine, with one number of processes, a run that was killed and started again ends with the weights of
    one that was not, bit for bit. The device and its dtype are the profile's.

    Args:
        corpus: the token ids to train and to validate on.
        folder: gets ``recipe.json``, ``metrics.csv``, ``checkpoint.pt``, and ``backbone.safetensors`` at the end.
        recipe: sizes and settings, such as ``RECIPES["small"]``.
        every: write a checkpoint after so many steps, and ten times as often a row of metrics.
        resume: False starts over and replaces what is in the folder.
        tensorboard: write the metrics for TensorBoard, too, into ``folder/tensorboard``.
        progress: False shows nothing while training.

    Returns:
        The model, and the rows of ``metrics.csv``: step and epoch (from 1), tokens and seconds of training so far,
        tokens_per_second, train_loss (nats a token since the row before; of the sampled softmax, if that is used)
        and lr. The row that ends an epoch has valid_loss and perplexity over the full vocabulary.

    Raises:
        ValueError: the folder's checkpoint belongs to another corpus, recipe or number of processes, or is
            damaged; the corpus is too short for the batches; or ``asgd`` has no validation to go by.
        OSError: the disk is full; the last whole checkpoint is kept.
        ImportError: TensorBoard is asked for and not installed.
    """
    folder, process, processes = Path(folder), *join_processes()
    if recipe.batch_size % processes:
        raise ValueError(f"{recipe.batch_size} rows of a batch do not divide among {processes} processes")
    if recipe.optimiser == "asgd" and corpus.valid is None:
        raise ValueError("asgd averages when the validation stops improving: build the corpus with valid documents")
    events = import_tensorboard() if tensorboard and process == 0 else None
    checkpoint = folder / ("checkpoint.pt" if process == 0 else f"checkpoint-{process}.pt")
    prepare_folder(folder, checkpoint, recipe, corpus, processes, resume=resume)

    profile.seed_everything(recipe.seed)
    model = build_model(recipe, len(corpus.vocab), count_words(corpus.train, len(corpus.vocab)))
    reading = {"bptt": recipe.bptt, "backwards": recipe.backwards}
    rows = ShareOfRows(
        corpus.train.ids,
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        process=process,
        processes=processes,
        **reading,
    )
    valid = corpus.valid and LMBatches(corpus.valid.ids, batch_size=min(recipe.batch_size, 16), **reading)
    callbacks = [
        ActivationRegularisation(alpha=recipe.alpha, beta=recipe.beta),
        WriteMetrics(folder / "metrics.csv", every=every, process=process, events=events),
    ]
    if processes > 1:
        profile.seed_everything(recipe.seed + process)  # each draws its own dropout
        callbacks += [AverageGradients(processes), StayTogether(checkpoint)]
    if recipe.optimiser == "asgd":
        callbacks.append(averaging := AverageWhenStuck(recipe.patience))
    learner = make_learner(
        model,
        rows,
        valid or (),
        loss=model.loss,
        metrics=[Perplexity()],
        grad_clip=recipe.grad_clip,
        weight_decay=recipe.weight_decay,
        cbs=callbacks,
        opt=OPTIMISERS[recipe.optimiser],
    )
    fit(
        learner,
        recipe.epochs,
        lr=recipe.lr,
        schedule=schedules.one_cycle() if recipe.optimiser == "adam" else schedules.constant(),
        factor=1,
        checkpoint=checkpoint,
        every=every,
        progress=progress and process == 0,
    )
    if recipe.optimiser == "asgd" and averaging.started:
        averaging.swap()
    language_model = model.language_model.eval()
    if process == 0:
        about = {"recipe": asdict(recipe), "language": corpus.language, "sources": corpus.info["sources"]}
        save_backbone(language_model, corpus.vocab, folder / "backbone.safetensors", about=about)
    return language_model, pd.read_csv(folder / "metrics.csv")


# Adam's betas are those of fastai's one-cycle training at its peak; a step of torch's own, fused, takes a seventh of
# the time of fastai's. With lambd=0 torch's ASGD takes the steps of plain SGD, and keeps the average from step t0 on.
OPTIMISERS = {
    "adam": partial(OptimWrapper, opt=partial(torch.optim.AdamW, fused=True, betas=(0.8, 0.99))),
    "asgd": partial(OptimWrapper, opt=partial(torch.optim.ASGD, lambd=0.0, t0=NEVER)),
}


class AverageWhenStuck(Callback):
    """NT-ASGD: SGD, and from when the validation stops improving the average of its weights is the model.

    Merity et al. (2017), section 3, with one check an epoch, and the criterion of the authors' code: averaging starts
    when the perplexity is above the lowest that was reached more than ``patience`` checks ago, so that one unlucky
    check is not enough. Validation then looks at the average; SGD goes on beside it.
    """

    order = KeepHistory.order + 1

    def __init__(self, patience: int) -> None:
        self.patience = patience

    @property
    def started(self) -> bool:
        return self.opt.hypers[0]["t0"] < NEVER

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average."""
        for parameter, state in self.opt.opt.state.items():
            parameter.data, state["ax"] = state["ax"], parameter.data

    def before_validate(self) -> None:
        if self.started:
            self.swap()

    after_validate = before_validate

    def after_epoch(self) -> None:
        if self.passed_over or self.started:
            return
        *before, last = [row["valid_loss"] for row in self.learn.keep_history.rows]
        if len(before) > self.patience and last > min(before[: -self.patience]):
            self.opt.set_hyper("t0", self.train_iter - 1)  # torch is a step late


# ----------------------------------------------------------------------------------------------------- the folder
def prepare_folder(
    folder: Path, checkpoint: Path, recipe: Pretraining, corpus: Corpus, processes: int, *, resume: bool
) -> None:
    """Write ``recipe.json``; where there is a checkpoint to resume, hold it against the file first.

    Raises:
        ValueError: the checkpoint belongs to something else.
    """
    path = folder / "recipe.json"
    about = {
        "format": FORMAT,
        "version": __version__,
        "recipe": asdict(recipe) | {"cutoffs": list(recipe.cutoffs)},
        "corpus": {
            "language": corpus.language,
            "vocabulary": corpus.vocab.digest,
            "train": corpus.train.header["sha256"],
            "valid": corpus.valid and corpus.valid.header["sha256"],
        },
        "run": {"processes": processes},
    }
    if resume and checkpoint.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            differences = [
                f"{part}'s {name} was {there[part].get(name)} and is {value} now"
                for part in ("recipe", "corpus", "run")
                for name, value in about[part].items()
                if there[part].get(name) != value
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} should say what {checkpoint.name} belongs to and cannot be read ({error!r}). "
                "Choose another folder, or start over (resume=False)."
            ) from error
        if differences:
            raise ValueError(
                f"{checkpoint} belongs to another pretraining: the {'; the '.join(differences)}. "
                "Choose another folder, or start over (resume=False)."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint, spare(checkpoint)):
        name.unlink(missing_ok=True)
    if checkpoint.name == "checkpoint.pt":
        for name in ("metrics.csv", "backbone.safetensors"):
            (folder / name).unlink(missing_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(about, indent=1), encoding="utf-8")
        part.replace(path)


def import_tensorboard() -> type:
    """The class that writes TensorBoard's events.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard is not installed: pip install tensorboard, or leave it out") from error
    return SummaryWriter


class WriteMetrics(Callback):
    """Write a row of figures to a CSV file ten times a checkpoint, with each checkpoint, and after each epoch.

    A row is on disk before the checkpoint of its step. So a resumed training finds the rows up to its checkpoint,
    cuts off those behind it and writes them anew: no row is lost or there twice.
    """

    order = SaveCheckpoints.order - 1
    COLUMNS = (
        "step", "epoch", "tokens", "seconds", "tokens_per_second", "train_loss", "lr", "valid_loss", "perplexity",
    )  # fmt: skip

    def __init__(self, path: Path, *, every: int, process: int = 0, events: type | None = None) -> None:
        self.path, self.every, self.process, self.events = path, every, process, events

    def before_fit(self) -> None:
        rows = self.read_rows()
        kept = [row for row in rows if int(row["step"]) <= self.train_iter]
        self.tokens, self.seconds = (int(kept[-1]["tokens"]), float(kept[-1]["seconds"])) if kept else (0, 0.0)
        if self.process == 0:
            part = self.path.with_name(self.path.name + ".part")
            with part.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, self.COLUMNS)
                table.writeheader()
                table.writerows(kept)
            part.replace(self.path)
        if self.events:  # hides what was written behind the checkpoint
            self.writer = self.events(self.path.with_name("tensorboard"), purge_step=self.train_iter + 1)
        self.start_row()

    def read_rows(self) -> list[dict[str, str]]:
        """The rows in the file, but for one that was cut off while it was written."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(line for line in file if line.endswith("\n")))

    def start_row(self) -> None:
        self.loss_sum, self.targets, self.row_seconds = 0.0, 0, 0.0

    def before_train(self) -> None:
        self.since = time.perf_counter()

    def after_batch(self) -> None:
        if not self.training:
            return
        targets = self.yb[0].numel()
        self.loss_sum += self.learn.loss.item() * targets
        self.targets += targets
        now = time.perf_counter()
        self.row_seconds += now - self.since
        self.since = now
        step, between = self.train_iter, max(self.every // ROWS_A_CHECKPOINT, 1)
        ends_epoch = step % len(self.dls.train) == 0  # its row waits for the validation, as its checkpoint does
        if not ends_epoch and (step % between == 0 or step % self.every == 0):
            self.write_row()

    def after_epoch(self) -> None:
        if self.passed_over:
            return
        row = self.learn.keep_history.rows[-1]
        self.write_row(**{name: row[name] for name in ("valid_loss", "perplexity") if len(self.dls.valid)})

    def write_row(self, **validation: float) -> None:
        loss_sum, targets = sum_over_processes([self.loss_sum, self.targets])
        self.tokens += int(targets)
        self.seconds += self.row_seconds
        row = {
            "step": self.train_iter,
            "epoch": self.epoch + 1,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(targets / self.row_seconds, 1),
            "train_loss": loss_sum / targets,
            "lr": self.opt.hypers[-1]["lr"],
            **validation,
        }
        self.start_row()
        if self.process > 0:
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.COLUMNS).writerow(row)
        if self.events:
            for name in row.keys() - {"step", "epoch", "tokens", "seconds"}:
                self.writer.add_scalar(name, row[name], self.train_iter)
            self.writer.flush()


# --------------------------------------------------------------------------------------------- several processes
class ShareOfRows(LMBatches):
    """The rows of each batch that fall to one process: their streams of text, and hidden states, stay with it."""

    def __init__(self, docs, *, process: int, processes: int, **settings: Any):
        super().__init__(docs, **settings)
        share = self.batch_size // processes
        self.rows = slice(process * share, (process + 1) * share)

    def __iter__(self):
        for x, y in super().__iter__():
            yield x[self.rows], y[self.rows]


class AverageGradients(Callback):
    """All processes take the step that one would with the whole batch: the mean of their gradients."""

    order, run_valid = MixedPrecision.order - 1, False  # before gradients are scaled back, and clipped

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def before_step(self) -> None:
        for parameter in self.model.parameters():
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= self.processes


def spare(checkpoint: Path) -> Path:
    """Where the checkpoint before is kept."""
    return checkpoint.with_name(checkpoint.name + ".before")


class StayTogether(Callback):
    """Keep the checkpoints of several processes at one step, whenever they are killed.

    Each process writes a checkpoint of its own: hidden states and random numbers differ. The one before stays until
    all have written the next, which is certain when they have exchanged gradients since. The newest that all have
    is resumed.
    """

    order = SaveCheckpoints.order - 1

    def __init__(self, checkpoint: Path) -> None:
        self.path, self.spare = checkpoint, spare(checkpoint)
        self.agree()

    def agree(self) -> None:
        """Put the newest checkpoint that all processes have in place.

        Raises:
            ValueError: there is none, and they have gone too far to start over.
        """
        files = {
            read_checkpoint(file, torch.device("cpu"))["done"]: file
            for file in (self.spare, self.path)
            if file.exists()
        }
        if not self.spare.exists():
            files[0] = None  # at most one was written: the others may not have come so far
        steps: list = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(steps, sorted(files))
        common = set.intersection(*map(set, steps))
        if not common:
            raise ValueError(
                f"the processes' checkpoints beside {self.path} are of different steps: {steps}. Put back what is "
                "missing, or start over (resume=False)."
            )
        newest = files[max(common)]
        if newest is None:
            self.path.unlink(missing_ok=True)
        elif newest == self.spare:
            self.spare.replace(self.path)

    def after_batch(self) -> None:
        if self.path.exists() and not (self.spare.exists() and self.spare.samefile(self.path)):
            self.spare.unlink(missing_ok=True)
            os.link(self.path, self.spare)
