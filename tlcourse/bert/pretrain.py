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

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from tlcourse import profile
from tlcourse.bert.masking import KEPT, Masked, Masking, Pieces, mask_tokens
from tlcourse.bert.model import Batch, PretrainingModel, bert_config
from tlcourse.bert.pairs import Documents, Pairs, sentence_pairs
from tlcourse.bert.wordpiece import load_tokeniser
from tlcourse.encoders import evaluated
from tlcourse.training import pretraining
from tlcourse.training.devices import join_processes
from tlcourse.training.pretraining import LOSSES, Passes, describe, train
from tlcourse.training.schedules import warmup_linear


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


class PairBatches(Passes):
    """An endless stream of batches; each pass over the documents has other pairs."""

    def __init__(self, documents: Documents, recipe: BertRecipe, pieces: Pieces):
        self.documents, self.pieces = documents, pieces
        super().__init__(recipe)

    def deal(self, epoch: int) -> int:
        """The pairs of a pass.

        Raises:
            ValueError: there are none.
        """
        recipe = self.recipe
        self.pairs = sentence_pairs(
            self.documents,
            max_length=recipe.max_length,
            short=recipe.short,
            nsp=recipe.nsp,
            seed=recipe.seed,
            epoch=epoch,
        )
        if not len(self.pairs):
            raise ValueError("the documents are too short for a single pair of sentences")
        return len(self.pairs)

    def make(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
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

    profile.seed_everything(recipe.seed)
    model = build_model(recipe, len(tokeniser)).to(device)
    losses = train(
        Training(model, recipe, steps=steps, process=process, processes=processes),
        batches,
        folder,
        describe(recipe, documents, valid, tokeniser, steps=steps, processes=processes),
        measure=(lambda: measure(model, check)) if check else None,
        every=every,
        resume=resume,
        progress=progress,
    )
    trained = TrainedBert(model.eval(), tokeniser, recipe, losses)
    if process == 0:
        save_bert(trained, folder)
    return trained


class Training(pretraining.Training):
    """A model, its optimiser, and how a step is taken; see :class:`tlcourse.training.pretraining.Training`."""

    def __init__(self, model: PretrainingModel, recipe: BertRecipe, *, steps: int, **processes: int):
        unused = () if recipe.nsp else ("bert.bert.pooler.", "bert.cls.seq_relationship.")
        super().__init__(
            model,
            lambda part, whole: model.loss(part, of=whole),
            recipe,
            warmup_linear(warmup=recipe.warmup),
            steps=steps,
            parameters=[p for name, p in model.named_parameters() if not name.startswith(unused)],
            eps=1e-6,  # as in Google's code
            **processes,
        )


def build_model(recipe: BertRecipe, vocab_size: int) -> PretrainingModel:
    """A fresh model."""
    dropout = {"hidden_dropout_prob": recipe.dropout, "attention_probs_dropout_prob": recipe.dropout}
    config = bert_config(recipe.size, vocab_size=vocab_size, max_length=recipe.max_length, **dropout)
    return PretrainingModel(config, causal=recipe.causal)


def measure(model: PretrainingModel, batches: PairBatches) -> dict[str, float]:
    """Both tasks on one pass, without dropout: the same pairs and masks whenever it is asked.

    Returns:
        ``mlm_loss`` (nats a piece) and ``mlm_accuracy`` over all masked pieces; with sentence pairs ``nsp_loss`` and
        ``nsp_accuracy`` over all rows.
    """
    sums, counts = torch.zeros(4, dtype=torch.float64), np.zeros(2)
    with evaluated(model):
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
