"""Losses and metrics, each over the whole validation set.

A metric is a plain function ``metric(targets, predicted) -> float`` of two integer arrays of shape ``(N,)``,
in the order of scikit-learn, whose own metrics therefore work too. Means of batch values would be wrong
twice: batches differ in size, and F1 is not a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from fastai.learner import Learner, Metric
from sklearn.metrics import f1_score

ClassMetric = Callable[[np.ndarray, np.ndarray], float]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in nats, over documents or over every token of a language model.

    Args:
        logits: shape ``(..., classes)``.
        targets: class numbers, shape ``(...)``.
    """
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())  # (N, C) and (N,)


def accuracy(targets: np.ndarray, predicted: np.ndarray) -> float:
    """The fraction that is right; for single-label classes also the micro-averaged F1."""
    return float(np.mean(targets == predicted))


def macro_f1(targets: np.ndarray, predicted: np.ndarray) -> float:
    """F1 of each class that occurs, averaged with equal weights: a rare class counts as much as any."""
    return float(f1_score(targets, predicted, average="macro", zero_division=0))


def entity_f1(tags: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, strict: bool = True) -> float:
    """F1 of whole entities: right if type, first and last word are right (Tjong Kim Sang and De Meulder 2003).

    Args:
        tags, predicted: of each sentence, O, B-x or I-x a word.
        strict: an entity begins with B-x and nothing else; otherwise an I-x begins one where none of its type goes
            on, as the script ``conlleval`` has it.

    Returns:
        F1; 0 where no entity is right, also where there is none at all.
    """
    from seqeval.metrics import f1_score as seqeval_f1
    from seqeval.scheme import IOB2

    tags, predicted = [list(sentence) for sentence in tags], [list(sentence) for sentence in predicted]
    if all(tag == "O" for sentence in (*tags, *predicted) for tag in sentence):
        return 0.0
    kind = dict(mode="strict", scheme=IOB2) if strict else {}
    return float(seqeval_f1(tags, predicted, zero_division=0, **kind))


def perplexity(mean_loss: float) -> float:
    """``exp`` of a mean cross entropy in nats; infinite where that overflows."""
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf


class MeanLoss(Metric):
    """The mean loss over targets. fastai weighs a batch by its rows, though rows differ in length."""

    name = "loss"

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def accumulate(self, learn: Learner) -> None:
        targets = learn.yb[0].numel()
        self.total += learn.loss.item() * targets
        self.count += targets

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else math.nan


class Perplexity(MeanLoss):
    """Perplexity of the validation tokens, as a metric for ``make_learner``."""

    name = "perplexity"

    @property
    def value(self) -> float:
        return perplexity(super().value)


class WholeSetMetric(Metric):
    """Keeps the predicted class of every target; computes ``metric(targets, predicted)`` once, at the end."""

    def __init__(self, metric: ClassMetric) -> None:
        self.metric = metric

    @property
    def name(self) -> str:
        return self.metric.__name__

    def reset(self) -> None:
        self.targets: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []

    def accumulate(self, learn: Learner) -> None:
        self.targets.append(learn.yb[0].flatten().cpu().numpy())
        self.predicted.append(learn.pred.argmax(-1).flatten().cpu().numpy())

    @property
    def value(self) -> float:
        if not self.targets:
            return math.nan
        return self.metric(np.concatenate(self.targets), np.concatenate(self.predicted))
