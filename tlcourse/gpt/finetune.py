"""Fine-tuning of GPT with the language model's loss beside the task's (Radford et al. 2018, section 3.2).

>>> gpt = load_language_model("gpt2")
>>> lm_loss(gpt, held_out)  # nats a token of general text
>>> model = finetune_gpt(gpt, sst2.train, sst2.valid, FineTuningGPT(lam=0.5))
>>> model.score(sst2.test), model.lm_loss(held_out)  # the task learned, and what was forgotten for it

With a task's rows as :mod:`tlcourse.gpt.inputs` writes them, of tokens u_1 … u_m, and its label y::

    L1 = mean of -log P(u_i | u_1 … u_{i-1})     equation 1, the language model on the task's own text
    L2 = mean of -log P(y | u_1 … u_m)           equation 4, from the last layer's state at <extract>
    L3 = L2 + lam * L1                           equation 5, with losses for log-likelihoods

L1 is the mean over all tokens of a batch that have one before them in their row, and none of the padding. The
special tokens count, as in the paper's code, whose mask covers them: the model learns where a text ends. So do the
rows of wrong choices. The code takes the mean of each row first, and ``transformers`` that of all tokens, as here;
as rows of like length are together in a batch, both are nearly the same.

A model that reads from left to right does not see the padding behind a row: it needs no attention mask.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tlcourse import profile
from tlcourse.data.frames import classes_of, label_column, labels_of, numbered
from tlcourse.encoders import Checkpoint, evaluated, positions
from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START
from tlcourse.gpt.inputs import Example, Marks, Shape, check_room, encode, transform, transformation
from tlcourse.text import SortedBatches, thai_pieces
from tlcourse.training import FusedAdamW, accuracy, fit, macro_f1, make_learner, schedules
from tlcourse.training.callbacks import Callback, KeepHistory
from tlcourse.training.dropout import draw_less
from tlcourse.training.softmax import linear_cross_entropy

LONGEST = 128  # tokens of a row, unless the recipe says otherwise
PADDING = -1  # in batches: no token has this number


class LanguageModel(Protocol):
    """A GPT with its tokeniser: a :class:`tlcourse.encoders.Checkpoint`, or one that the course trained."""

    model: PreTrainedModel
    tokeniser: PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class FineTuningGPT:
    """How GPT is fine-tuned; by default as in Radford et al. 2018, section 4.1.

    Attributes:
        lam: λ, the weight of the language model's loss: a number, or a function of how much of the training is done,
            from 0 at the first step to 1 at the last, such as ``lambda done: 0.5 * (1 - done)``. At 0 that loss is
            not computed.
        epochs: passes over the examples.
        lr: the peak rate of AdamW.
        batch_size: examples in a batch.
        max_length: tokens in a row, special ones among them: 128, and never more than the model can take.
        warmup: share of the steps in which the rate rises; then it falls to 0, both in straight lines.
        weight_decay: decoupled; none on biases and gains.
        grad_clip: the largest norm of the gradient.
        dropout: before the head; the model's own stays as it is.
        seed: of the head's first weights, dropout and the order of examples.

    Raises:
        ValueError: `lam` is negative or no number.
    """

    lam: float | Callable[[float], float] = 0.5
    epochs: int = 3
    lr: float = 6.25e-5
    batch_size: int = 32
    max_length: int | None = None
    warmup: float = 0.002
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not callable(self.lam):
            self.lambdas(1)

    def lambdas(self, steps: int) -> np.ndarray:
        """λ at each step, (steps,).

        Raises:
            ValueError: it is negative, infinite or no number somewhere.
        """
        done = np.linspace(0, 1, steps)
        values = np.array([self.lam(share) if callable(self.lam) else self.lam for share in done], dtype=float)
        if len(wrong := np.flatnonzero(~((values >= 0) & np.isfinite(values)))):
            value, share = values[wrong[0]], done[wrong[0]]
            raise ValueError(f"lam is {value:g} with {share:.0%} of the training done: a loss weighs 0 or more")
        return values


# ---------------------------------------------------------------------------------------------------------- batches
class ExampleBatches(SortedBatches):
    """Examples of like length together: x (B, K, T), their rows padded with -1, and y (B,), what is wanted.

    K is the most rows of an example; one that has fewer ends with rows of padding.
    """

    def __init__(self, examples: Sequence[Example], targets: Sequence[int] | None = None, **order):
        super().__init__([len(rows) * max(map(len, rows)) for rows in examples], **order)
        self.examples, self.targets = examples, np.zeros(len(examples), np.int64) if targets is None else targets

    def _batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        examples = [self.examples[i] for i in places]
        most, longest = max(map(len, examples)), max(len(row) for rows in examples for row in rows)
        x = np.full((len(examples), most, longest), PADDING)
        for b, rows in enumerate(examples):
            for k, row in enumerate(rows):
                x[b, k, : len(row)] = row
        return torch.from_numpy(x), torch.from_numpy(np.asarray(self.targets)[places])


# ---------------------------------------------------------------------------------------------------- model and heads
class ClassHead(nn.Module):
    """States of <extract>, (R, D) of R rows -> a score a class, (B, C). The states of an example's rows are added."""

    def __init__(self, dim: int, n_classes: int, *, dropout: float):
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(dim, n_classes)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        spread = states.new_zeros((*there.shape, states.shape[1]))  # (B, K, D)
        spread[there] = states
        return self.linear(self.dropout(spread.sum(1)))


class ChoiceHead(nn.Module):
    """States of <extract>, (R, D) of R rows -> a score a choice, (B, K), -inf where an example has fewer."""

    def __init__(self, dim: int, *, dropout: float):
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(dim, 1)

    def forward(self, states: Tensor, there: Tensor) -> Tensor:
        scores = self.linear(self.dropout(states)).squeeze(1)
        spread = scores.new_full(there.shape, -torch.inf)
        spread[there] = scores
        return spread


class Network(nn.Module):
    """A language model and a head on top: x (B, K, T) of :class:`ExampleBatches` -> the head's scores.

    Attributes:
        auxiliary: whether a call also computes L1.
        lm_loss: L1 of the last call, if it did.
        lm_tokens: over how many tokens.
    """

    def __init__(self, lm: PreTrainedModel, head: nn.Module):
        super().__init__()
        self.lm, self.head = lm, head
        self.auxiliary, self.lm_loss, self.lm_tokens = False, None, 0

    def forward(self, x: Tensor) -> Tensor:
        there = x[..., 0] != PADDING  # (B, K)
        ids = x[there]  # (R, T)
        hidden = states(self.lm, ids)
        self.lm_loss, self.lm_tokens = real_token_loss(self.lm, hidden, ids) if self.auxiliary else (None, 0)
        last = (ids != PADDING).sum(1) - 1  # where <extract> is
        return self.head(hidden[torch.arange(len(ids), device=ids.device), last], there)


def states(lm: PreTrainedModel, ids: Tensor) -> Tensor:
    """The last layer's states of rows, (R, T) -> (R, T, D).

    Padding is behind all real tokens, which do not see it: any token will do, here the last real one again.
    """
    last = ids.gather(1, (ids != PADDING).sum(1, keepdim=True) - 1)
    more = {"use_cache": False} if hasattr(lm.config, "use_cache") else {}
    return lm.base_model(input_ids=torch.where(ids == PADDING, last, ids), **more).last_hidden_state


def real_token_loss(lm: PreTrainedModel, hidden: Tensor, ids: Tensor) -> tuple[Tensor, int]:
    """L1, and over how many tokens: all real ones but the first of each row. Only their logits are computed."""
    follows = ids[:, 1:] != PADDING
    targets, output = ids[:, 1:][follows], lm.get_output_embeddings()  # (N,)
    bias = output.weight.new_zeros(len(output.weight)) if output.bias is None else output.bias
    return linear_cross_entropy(hidden[:, :-1][follows], targets, output.weight, bias), len(targets)


class AuxiliaryLoss(Callback):
    """Adds λ L1 to the loss that is minimised, and leaves the one that is reported, L2, alone.

    The history gets ``lm_loss``, L1 over the epoch's tokens (none where λ was 0), and ``lam``, its mean λ.
    """

    order, run_valid = KeepHistory.order + 1, False

    def __init__(self, lambdas: np.ndarray) -> None:
        self.lambdas = lambdas
        self.settings = {"lam": hashlib.sha256(lambdas.tobytes()).hexdigest()[:16]}  # a checkpoint is of one λ

    def before_train(self) -> None:
        self.total, self.tokens, self.used = 0.0, 0, []

    def before_batch(self) -> None:
        self.lam = float(self.lambdas[self.train_iter])
        self.model.auxiliary = self.lam > 0

    def after_loss(self) -> None:
        self.used.append(self.lam)
        if self.lam > 0:
            self.learn.loss_grad = self.loss_grad + self.lam * self.model.lm_loss
            self.total += self.model.lm_loss.item() * self.model.lm_tokens
            self.tokens += self.model.lm_tokens

    def after_train(self) -> None:
        self.model.auxiliary = False

    after_fit = after_train

    def after_epoch(self) -> None:
        if not self.passed_over:
            mean = self.total / self.tokens if self.tokens else np.nan
            self.keep_history.rows[-1] |= {"lm_loss": mean, "lam": float(np.mean(self.used))}


# -------------------------------------------------------------------------------------------------------- fine-tuning
class FineTunedGPT:
    """A fine-tuned GPT.

    Attributes:
        network: the model's copy and the head.
        tokeniser: the model's, with the three special tokens.
        shape: of the task.
        recipe: how it was trained.
        max_length: the most tokens of a row.
        classes: those of training, in the order of the scores; of choices none.
        history: a row an epoch, as :func:`tlcourse.training.fit` gives it; ``train_loss`` and ``valid_loss`` are L2,
            ``lm_loss`` is L1 of training and ``lam`` the epoch's mean λ, so that L3 = train_loss + lam * lm_loss
            where λ is a number. Labels of `valid` that training had not are left out of its figures.
    """

    def __init__(self, gpt: LanguageModel, shape: Shape, recipe: FineTuningGPT, classes: list, *, label: str):
        self.shape, self.recipe, self.classes, self.label = shape, recipe, classes, label
        self.name = getattr(gpt, "name", "GPT")
        longest = positions(gpt.model)
        self.max_length = recipe.max_length or min(LONGEST, longest)
        if self.max_length > longest:
            raise ValueError(f"max_length={self.max_length}: {self.name} takes at most {longest} tokens")
        check_room(shape, self.max_length)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            marked = add_marks(gpt)
            dim = marked.model.config.hidden_size
            if shape == "choice":
                head: nn.Module = ChoiceHead(dim, dropout=recipe.dropout)
            else:
                head = ClassHead(dim, len(classes), dropout=recipe.dropout)
            nn.init.normal_(head.linear.weight, std=0.02)  # as in the paper's code
            nn.init.zeros_(head.linear.bias)
        self.tokeniser, self.network = marked.tokeniser, Network(draw_less(marked.model), head.to(marked.model.device))

    @property
    def language_model(self) -> Checkpoint:
        """The language model as fine-tuning left it: to go on writing, or to look into."""
        return Checkpoint(self.network.lm, self.tokeniser, self.name)

    @property
    def metrics(self) -> tuple[Callable, ...]:
        return (accuracy,) if self.shape == "choice" else (accuracy, macro_f1)

    def examples(self, rows: pd.DataFrame | Sequence) -> list[Example]:
        """The rows of tokens of each example."""
        return transform(rows, self.shape, self.tokeniser, max_length=self.max_length)

    def _targets(self, frame: pd.DataFrame, examples: list[Example]) -> np.ndarray:
        """The number of each right class or choice, -1 for a class that training had not."""
        labels = labels_of(frame, self.label)
        if self.shape != "choice":
            number = {name: i for i, name in enumerate(self.classes)}
            return np.array([number.get(label, -1) for label in labels], np.int64)
        for i, label, rows in zip(frame.index, labels, examples, strict=True):
            if isinstance(label, bool) or label not in range(len(rows)):
                raise ValueError(
                    f"row {i}: {self.label} is {label!r}, which numbers none of its {len(rows)} choices, from 0"
                )
        return np.array(labels, np.int64)

    def _known(self, frame: pd.DataFrame) -> tuple[list[Example], np.ndarray]:
        """Examples and targets, without those of unknown classes."""
        targets = self._targets(frame, examples := self.examples(frame))
        return [rows for rows, target in zip(examples, targets, strict=True) if target >= 0], targets[targets >= 0]

    def train(
        self, train: pd.DataFrame, valid: pd.DataFrame | None, *, checkpoint: str | Path | None, progress: bool
    ) -> None:
        recipe, device = self.recipe, self.network.lm.device
        batches = partial(ExampleBatches, batch_size=recipe.batch_size, seed=recipe.seed)
        train_batches, valid_batches = batches(*self._known(train), shuffle=True), ()
        if valid is not None:
            known = self._known(valid)
            if not known[0]:
                raise ValueError("none of valid has a label that training had")
            valid_batches = batches(*known)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            learner = make_learner(
                self.network,
                train_batches,
                valid_batches,
                metrics=self.metrics,
                grad_clip=recipe.grad_clip,
                weight_decay=recipe.weight_decay,
                opt=partial(FusedAdamW, eps=1e-8),
                cbs=[AuxiliaryLoss(recipe.lambdas(recipe.epochs * len(train_batches)))],
                device=device,
                dtype=profile.autocast_dtype(device),
            )
            self.history = fit(
                learner,
                recipe.epochs,
                lr=recipe.lr,
                schedule=schedules.warmup_linear(warmup=recipe.warmup),
                factor=1.0,
                checkpoint=checkpoint,
                progress=progress,
            )
        self.network.eval()

    @torch.no_grad()
    def scores(self, examples: list[Example]) -> list[np.ndarray]:
        """The head's scores of each example, (C,), or one for each of its choices."""
        if not examples:
            return []
        self.network.eval()
        batches = ExampleBatches(examples, batch_size=64, max_tokens=16_384)
        results: list[np.ndarray] = [np.empty(0)] * len(examples)
        for places, (x, _) in zip(batches.indices(), batches, strict=True):
            for i, scores in zip(places, self.network(x.to(self.network.lm.device)).float().cpu(), strict=True):
                results[i] = scores[: len(examples[i])].numpy() if self.shape == "choice" else scores.numpy()
        return results

    def probabilities(self, rows: pd.DataFrame | Sequence) -> pd.DataFrame:
        """Of each example the probability of each class, or of each choice by its number, a column each.

        An example that has fewer choices than another has nothing (NaN) in the last columns.
        """
        found = [softmax(scores) for scores in self.scores(self.examples(rows))]
        classes = range(max(map(len, found), default=0)) if self.shape == "choice" else self.classes
        return pd.DataFrame([dict(zip(classes, some, strict=False)) for some in found], columns=classes)

    def predict(self, rows: pd.DataFrame | Sequence) -> list:
        """The class of each example, or the number of the best of its choices.

        Args:
            rows: a frame, or a list of texts, of pairs (first, second), or of (context, choices).

        Raises:
            ValueError: a text is empty or none, or there is one choice only; the message names the row.
        """
        best = [int(scores.argmax()) for scores in self.scores(self.examples(rows))]
        return best if self.shape == "choice" else [self.classes[i] for i in best]

    def score(self, frame: pd.DataFrame) -> dict[str, float]:
        """``accuracy`` and, of classes, ``macro_f1``. A class that training had not cannot be given: it is wrong."""
        predicted = self.predict(frame)
        if self.shape == "choice":
            numbers = [self._targets(frame, self.examples(frame)), np.array(predicted)]
        else:
            numbers = numbered(labels_of(frame, self.label), predicted)
        return {metric.__name__: metric(*numbers) for metric in self.metrics}

    def lm_loss(self, texts: Sequence[str]) -> float:
        """As :func:`lm_loss`, after fine-tuning."""
        return lm_loss(self.language_model, texts)


def finetune_gpt(
    gpt: LanguageModel,
    train: pd.DataFrame,
    valid: pd.DataFrame | None = None,
    recipe: FineTuningGPT | None = None,
    *,
    shape: Shape = "classification",
    label: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> FineTunedGPT:
    """Fine-tune a GPT for a task, with the language model's loss beside the task's.

    Args:
        gpt: of :func:`tlcourse.encoders.load_language_model`, or one that the course trained; it is not changed.
        train: rows with the columns of the shape (see :mod:`tlcourse.gpt.inputs`) and a label: a class, or the number
            of the right choice, from 0.
        valid: more of the same, for the history; nothing is chosen by it.
        recipe: how to train; as in the paper unless given.
        shape: "classification", "entailment", "similarity" or "choice".
        label: the column of the label; need not be said where there are no others.
        checkpoint: a file in which the training's state is kept, see :func:`tlcourse.training.fit`.

    Raises:
        ValueError: a column is missing, a text is empty, an example has one choice only or its label is no choice's
            number, there are not two classes, no row of `valid` has one of theirs, a row of the model has no room for
            the special tokens and text, or the tokeniser is another model's.
    """
    columns = transformation(shape).columns
    label = label_column(train, columns, label)
    labels = labels_of(train, label)
    classes = [] if shape == "choice" else classes_of(labels)
    model = FineTunedGPT(gpt, shape, recipe or FineTuningGPT(), classes, label=label)
    model.train(train, valid, checkpoint=checkpoint, progress=progress)
    return model


def add_marks(gpt: LanguageModel) -> Checkpoint:
    """A copy of a GPT that has the tasks' special tokens, new ones if need be.

    The vectors of new tokens are drawn around the mean of the others, with their covariance. A short vector, as the
    paper's code draws, would have a logit near 0, and GPT-2's logits are far below: it would be thought the most
    probable of all (Hewitt 2021, Initializing New Word Embeddings for Pretrained Language Models).

    Raises:
        ValueError: the tokeniser is another model's.
    """
    model, tokeniser = copy.deepcopy(gpt.model), gpt.tokeniser
    rows, last = model.get_input_embeddings().num_embeddings, max(tokeniser.get_vocab().values())
    if last >= rows:
        raise ValueError(f"the tokeniser is another model's: it has a token {last:,}, the model {rows:,} rows")
    if new := [token for token in (START, DELIMITER, EXTRACT) if token not in tokeniser.get_vocab()]:
        with thai_pieces.detached(tokeniser):
            tokeniser = thai_pieces.restore(copy.deepcopy(tokeniser))
        tokeniser.add_tokens(new, special_tokens=True)
        if (needed := max(Marks.of(tokeniser)) + 1) > rows:
            model.resize_token_embeddings(needed)
    return Checkpoint(model, tokeniser, getattr(gpt, "name", "GPT"))


def lm_loss(gpt: LanguageModel, texts: Sequence[str]) -> float:
    """What a language model loses on texts, in nats a token; the perplexity is ``exp`` of it.

    Every token counts once. A text begins behind <|endoftext|>, or what the model has for it; without any its first
    token is not predicted. One that is too long is read in parts, each beginning with the last token of the one before.

    Raises:
        ValueError: a text is empty, or no token has one before it.
    """
    if isinstance(texts, str):
        raise ValueError("give a list of texts, not one text")
    size, begin = positions(gpt.model), gpt.tokeniser.bos_token_id
    rows = []
    for i, ids in enumerate(encode(list(texts), gpt.tokeniser)):
        if not len(ids):
            raise ValueError(f"text {i} is empty")
        ids = ids if begin is None else np.concatenate([[begin], ids])
        rows += [[ids[start : start + size]] for start in range(0, len(ids) - 1, size - 1)]
    if not rows:
        raise ValueError("the texts have no token that another comes before")
    total, count = 0.0, 0
    with evaluated(gpt.model):
        for x, _ in ExampleBatches(rows, batch_size=64, max_tokens=8_192):
            ids = x[:, 0].to(gpt.model.device)
            loss, n = real_token_loss(gpt.model, states(gpt.model, ids), ids)
            total, count = total + loss.item() * n, count + n
    return total / count
