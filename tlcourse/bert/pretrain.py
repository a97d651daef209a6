"""Pretraining BERT on documents of one's own (Devlin et al. 2019, section 3.1 and appendix A.2).

::

    documents = Documents.from_texts(texts, tokeniser)
    trained = pretrain_bert(documents, tokeniser, BertRecipe(size="mini"), "runs/bert", valid=others)
    trained.losses  # how masked pieces and next sentences were learned

Each pass over the documents deals out other sentence pairs, and each step masks anew. Whatever is random in a step
follows from the seed and the number of the step, so a training that was cut off goes on as if it had not been.
Several processes, one a GPU, share the rows of a batch when ``accelerate launch`` or ``torchrun`` started them. B is
the rows of a batch, T the pieces of a row.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from tlcourse import profile
from tlcourse.bert.masking import KEPT, Masked, Masking, Pieces, mask_tokens
from tlcourse.bert.model import Batch, PretrainingModel, bert_config
from tlcourse.bert.pairs import Documents, Pairs, sentence_pairs
from tlcourse.bert.wordpiece import load_tokeniser
from tlcourse.training.checkpoint import read_checkpoint, write_checkpoint
from tlcourse.training.devices import join_processes, sum_gradients, sum_over_processes
from tlcourse.training.progress import SECONDS_BETWEEN_UPDATES, Silence, find_display
from tlcourse.training.schedules import warmup_linear

LOSSES = "losses.csv"  # written last: with it the folder is whole
CHECKPOINT = "checkpoint.pt"


# ----------------------------------------------------------------------------------------------------- the recipe
@dataclass(frozen=True, kw_only=True)
class BertRecipe:
    """How a BERT is pretrained; what is not said otherwise is the paper's.

    Attributes:
        size: a name or (layers, hidden size), see :func:`tlcourse.bert.model.bert_config`.
        max_length: the most pieces of a row.
        epochs: passes over the documents.
        steps: instead of ``epochs``: how many updates of the weights.
        batch_size: B, rows of an update, over all processes and ``accumulate``.
        accumulate: work off each process's rows in so many parts, for want of memory; the update is the same.
        lr: of AdamW, at its peak.
        warmup: share of the steps in which the rate rises; then it falls to nothing, both in straight lines.
        weight_decay: each step's share of the weights, times the rate; biases and norms are left out.
        clip: the largest norm of the gradient.
        dropout: of hidden units and of attention.
        masking: see :class:`tlcourse.bert.masking.Masking`.
        nsp: is B next, or from another document (True); are A and B in order ("order"); no question (False).
        short: share of rows that are shorter at random.
        causal: predict each next piece from left to right instead, to compare; without ``nsp``.
        seed: of first weights, pairs, masks and dropout.

    Raises:
        ValueError: a setting is out of its range.
    """

    size: str | tuple[int, int] = "mini"
    max_length: int = 128
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-4
    warmup: float = 0.01
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float = 0.1
    masking: Masking = field(default_factory=Masking)
    nsp: Literal["order"] | bool = True
    short: float = 0.1
    causal: bool = False
    seed: int = 42

    def __post_init__(self):
        for name in ("epochs", "batch_size", "accumulate", "lr", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if self.causal and self.nsp:
            raise ValueError("from left to right [CLS] sees no sentence: give nsp=False with causal=True")
        warmup_linear(warmup=self.warmup)


# ------------------------------------------------------------------------------------------------------- the data
def collate(
    pairs: Pairs, rows: np.ndarray, recipe: BertRecipe, pieces: Pieces, generator: np.random.Generator
) -> Batch:
    """Rows of pairs, masked and packed; with ``causal`` each piece's target is the next, special ones aside."""
    starts = pairs.starts[rows]
    lengths = pairs.starts[rows + 1] - starts
    place = np.arange(lengths.max())
    real = place < lengths[:, None]  # (B, T)
    ids = pairs.ids[np.where(real, starts[:, None] + place, 0)].astype(np.int64)
    maskable = pieces.maskable(ids) & real
    if recipe.causal:
        positions = np.flatnonzero(maskable) - 1
        masked = Masked(ids, positions, ids.ravel()[positions + 1], np.full(len(positions), KEPT))
    else:
        masked = mask_tokens(ids, maskable, recipe.masking, pieces=pieces, generator=generator)
    labels = (~pairs.is_next[rows]).astype(np.int64) if recipe.nsp else None
    return Batch.pack(masked, lengths, pairs.first_length[rows], labels)


class PairBatches:
    """An endless stream of batches; each pass over the documents has other pairs.

    Attributes:
        position: the pass, and the number of the step it began with: all there is to remember besides the step.
    """

    def __init__(self, documents: Documents, recipe: BertRecipe, pieces: Pieces):
        self.documents, self.recipe, self.pieces = documents, recipe, pieces
        self.position = 0, 0
        self.pairs = self.deal(0)

    def deal(self, epoch: int) -> Pairs:
        """The pairs of a pass.

        Raises:
            ValueError: there are none.
        """
        recipe = self.recipe
        pairs = sentence_pairs(
            self.documents,
            max_length=recipe.max_length,
            short=recipe.short,
            nsp=recipe.nsp,
            seed=recipe.seed,
            epoch=epoch,
        )
        if not len(pairs):
            raise ValueError("the documents are too short for a single pair of sentences")
        return pairs

    @property
    def per_epoch(self) -> int:
        """Batches of this pass; the next may have a few more or less."""
        return math.ceil(len(self.pairs) / self.recipe.batch_size)

    def go_to(self, position: Iterable[int]) -> None:
        self.position = tuple(position)
        self.pairs = self.deal(self.position[0])

    def batch(self, step: int) -> Batch:
        """The batch of a step, no earlier than those asked for before."""
        epoch, begun = self.position
        while step >= begun + self.per_epoch:
            epoch, begun = epoch + 1, begun + self.per_epoch
            self.go_to((epoch, begun))
        first = (step - begun) * self.recipe.batch_size
        rows = np.arange(first, min(first + self.recipe.batch_size, len(self.pairs)))
        generator = np.random.default_rng([self.recipe.seed, epoch, step])
        return collate(self.pairs, rows, self.recipe, self.pieces, generator)


# ------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True, eq=False)
class TrainedBert:
    """A pretrained BERT, and how it came to be.

    Attributes:
        model: with its heads; ``model.bert`` is a ``transformers.BertForPreTraining``.
        tokeniser: its tokeniser.
        recipe: how it was trained.
        losses: step, tokens (pieces read so far, special ones included) and train_loss (nats, the mean since the row
            before, of both tasks together); on the validation documents mlm_loss, mlm_accuracy, nsp_loss and
            nsp_accuracy, where there are such.
    """

    model: PretrainingModel
    tokeniser: PreTrainedTokenizerBase
    recipe: BertRecipe
    losses: pd.DataFrame

    def measure(self, documents: Documents) -> dict[str, float]:
        """Losses and accuracies of both tasks on other documents: see :func:`measure`."""
        return measure(self.model, PairBatches(documents, self.recipe, Pieces.of(self.tokeniser)))


def pretrain_bert(
    documents: Documents,
    tokeniser: PreTrainedTokenizerBase,
    recipe: BertRecipe,
    folder: str | Path,
    *,
    valid: Documents | None = None,
    every: int | None = None,
    resume: bool = True,
    progress: bool = True,
    device: torch.device | str | None = None,
) -> TrainedBert:
    """Pretrain a BERT, or go on with a pretraining that was cut off.

    On one machine, with one number of processes, a training that was killed and started again ends with the weights
    of one that was not, bit for bit on a CPU. On a GPU it computes in the profile's half precision.

    Args:
        documents: to learn from, made with this tokeniser.
        tokeniser: see :func:`tlcourse.bert.wordpiece.train_wordpiece`.
        recipe: sizes and settings.
        folder: gets ``checkpoint.pt``, and in the end the model and the tokeniser, which ``from_pretrained`` of
            ``transformers`` reads, and ``losses.csv``.
        valid: documents to measure on with each checkpoint.
        every: write a checkpoint and a row of losses after so many steps; 20 times in all by default.
        resume: False starts over and replaces what is in the folder.
        progress: False shows nothing while training.
        device: where to train; the profile's by default.

    Raises:
        ValueError: the documents are not this tokeniser's, or too few; or the checkpoint is damaged or belongs to
            another training.
        OSError: the disk is full; the last whole checkpoint is kept.
    """
    for name, pieces in (("documents", documents), ("valid", valid)):
        check_match(name, pieces, tokeniser)
    process, processes = join_processes()
    folder, here = Path(folder), profile.current()
    device = torch.device(device or here.device)
    batches = PairBatches(documents, recipe, Pieces.of(tokeniser))
    check = valid and PairBatches(valid, recipe, batches.pieces)
    steps = recipe.steps or recipe.epochs * batches.per_epoch
    every = every or math.ceil(steps / 20)

    profile.seed_everything(recipe.seed)
    model = build_model(recipe, len(tokeniser)).to(device)
    training = Training(model, recipe, steps=steps, process=process, processes=processes)
    about = describe(recipe, documents, valid, tokeniser, steps=steps, processes=processes)
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
            tokens += len(batch.ids)
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
            if check:
                row |= measure(model, check)
            rows.append(row)
            display.keep(" · ".join(f"{name} {value:,.5g}" for name, value in row.items()))
            if process == 0:
                state = {"training": about, "done": ends, "tokens": tokens, "rows": rows}
                state |= {"position": list(batches.position), "state": training.state_dict()}
                write_checkpoint(checkpoint, state)
            since, total = ends, torch.zeros((), device=device)
    finally:
        display.close()
    trained = TrainedBert(model.eval(), tokeniser, recipe, pd.DataFrame(rows))
    if process == 0:
        save_bert(trained, folder)
    return trained


class Training:
    """A model, its optimiser, and how a step is taken.

    Args:
        model: on its device.
        recipe: the settings.
        steps: how many there will be.
        process, processes: which of them this is.
    """

    def __init__(
        self, model: PretrainingModel, recipe: BertRecipe, *, steps: int, process: int = 0, processes: int = 1
    ):
        self.model, self.recipe, self.steps, self.process, self.processes = model, recipe, steps, process, processes
        self.schedule = warmup_linear(warmup=recipe.warmup)
        unused = () if recipe.nsp else ("bert.bert.pooler.", "bert.cls.seq_relationship.")
        self.parameters = [p for name, p in model.named_parameters() if not name.startswith(unused)]
        decayed = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim == 1]  # biases and norms
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.lr,
            eps=1e-6,  # as in Google's code
            fused=True,
        )
        device, dtype = model.bert.device, profile.autocast_dtype(model.bert.device)
        self.autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def step(self, batch: Batch, number: int) -> torch.Tensor:
        """Update the weights; the loss of this process's rows, as its part of the batch's."""
        seed = np.random.SeedSequence([self.recipe.seed, number, self.process]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> 1))  # of dropout: each step its own, so that none need be remembered
        self.model.train()
        total = torch.zeros((), device=self.model.bert.device)
        parts = list(batch.split(self.processes * self.recipe.accumulate))
        for part in parts[self.process :: self.processes]:
            with self.autocast:
                loss = self.model.loss(part, of=batch)
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


def build_model(recipe: BertRecipe, vocab_size: int) -> PretrainingModel:
    """A fresh model."""
    dropout = {"hidden_dropout_prob": recipe.dropout, "attention_probs_dropout_prob": recipe.dropout}
    config = bert_config(recipe.size, vocab_size=vocab_size, max_length=recipe.max_length, **dropout)
    return PretrainingModel(config, causal=recipe.causal)


def sum_losses(total: torch.Tensor, processes: int) -> float:
    return sum_over_processes([total.item()])[0] if processes > 1 else total.item()


@torch.no_grad()
def measure(model: PretrainingModel, batches: PairBatches) -> dict[str, float]:
    """Both tasks on one pass, without dropout: the same pairs and masks whenever it is asked.

    Returns:
        ``mlm_loss`` (nats a piece) and ``mlm_accuracy`` over all masked pieces; with sentence pairs ``nsp_loss`` and
        ``nsp_accuracy`` over all rows.
    """
    training = model.training
    model.eval()
    sums, counts = torch.zeros(4, dtype=torch.float64), np.zeros(2)
    for step in range(batches.per_epoch):
        batch = batches.batch(step)
        tasks = zip(model(batch), (batch.targets, batch.labels), strict=True)
        for task, (logits, targets) in enumerate(tasks):
            if targets is None:
                continue
            logits = logits.float().cpu()
            sums[2 * task] += F.cross_entropy(logits, targets, reduction="sum")
            sums[2 * task + 1] += (logits.argmax(1) == targets).sum()
            counts[task] += len(targets)
    model.train(training)
    names = ("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy")
    return {name: float(sums[i] / counts[i // 2]) for i, name in enumerate(names) if counts[i // 2]}


# ------------------------------------------------------------------------------------------------------- checking
def check_match(name: str, documents: Documents | None, tokeniser: PreTrainedTokenizerBase) -> None:
    """Raises ValueError where documents were made with another tokeniser, as far as that shows."""
    if documents is None:
        return
    special = tokeniser.cls_token_id, tokeniser.sep_token_id
    if (documents.cls, documents.sep) != special or documents.ids.max() >= len(tokeniser):
        raise ValueError(
            f"the {name} were not made with this tokeniser: it has {len(tokeniser):,} pieces with [CLS] and [SEP] at "
            f"{special}, they have pieces up to {documents.ids.max():,} and {(documents.cls, documents.sep)}"
        )


def describe(
    recipe: BertRecipe,
    documents: Documents,
    valid: Documents | None,
    tokeniser: PreTrainedTokenizerBase,
    *,
    steps: int,
    processes: int,
) -> dict[str, Any]:
    """What must agree between a checkpoint and the training that continues it."""
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


# -------------------------------------------------------------------------------------------------------- on disk
def save_bert(trained: TrainedBert, folder: str | Path) -> None:
    """Write the model and the tokeniser as ``transformers`` reads them, the recipe and, last, the losses."""
    folder = Path(folder)
    trained.model.save(folder, trained.tokeniser)
    (folder / "recipe.json").write_text(json.dumps(asdict(trained.recipe), indent=1), encoding="utf-8")
    trained.losses.to_csv(folder / LOSSES, index=False)


def load_bert(folder: str | Path) -> TrainedBert:
    """A model that :func:`pretrain_bert` left in a folder, for evaluation.

    Raises:
        FileNotFoundError: there is none, or its training has not ended.
        ValueError: the folder is damaged.
    """
    folder = Path(folder)
    if not (folder / LOSSES).is_file():
        raise FileNotFoundError(f"no pretrained BERT in {folder}: train one with pretrain_bert")
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        size = recipe["size"]
        recipe |= {"size": size if isinstance(size, str) else tuple(size), "masking": Masking(**recipe["masking"])}
        recipe = BertRecipe(**recipe)
        tokeniser = load_tokeniser(folder)
        model = PretrainingModel.load(folder)
        losses = pd.read_csv(folder / LOSSES)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the BERT in {folder} is damaged: {error!r}. Train it again") from error
    return TrainedBert(model.eval(), tokeniser, recipe, losses)
