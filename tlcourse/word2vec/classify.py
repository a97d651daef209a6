"""What pretrained word vectors buy a classifier: one small network, started from them or from random numbers.

>>> starts = {"random": None, "pretrained, frozen": vectors, "pretrained, tuned": vectors}
>>> runs = compare(tokens, labels, test_tokens, test_labels, starts, seeds=5, frozen=["pretrained, frozen"])
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.metrics import precision_score
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse.data import labelled_subset
from tlcourse.training import accuracy, macro_f1
from tlcourse.word2vec.vectors import WordVectors

Tokens = Sequence[Sequence[str]]
PAD = 0  # the row of the embedding that stands for no word


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the classifier is trained: the same for every start and every number of labels.

    Attributes:
        steps: how many batches it learns from.
        batch_size: texts in a batch.
        lr: Adam's rate at the first step; it falls to 0 in a straight line.
        dropout: of the mean vector's numbers.
        scale: the standard deviation that the vectors' numbers are brought to first; 1 is that of ``nn.Embedding``.
        dim: of the vectors where no start has any.
    """

    steps: int = 600
    batch_size: int = 64
    lr: float = 3e-2
    dropout: float = 0.3
    scale: float = 1.0
    dim: int = 100


class Classifier(nn.Module):
    """The mean of a text's word vectors, dropout, and a linear layer: no order, no context.

    Args:
        matrix: the vectors to start from, (V, D); row ``PAD`` is left out of the mean.
        n_classes: how many classes.
        frozen: whether the vectors stay as they are.
    """

    def __init__(self, matrix: np.ndarray, n_classes: int, *, frozen: bool = False, dropout: float = 0.3):
        super().__init__()
        weight = torch.tensor(matrix, dtype=torch.float32)
        self.embedding = nn.EmbeddingBag.from_pretrained(weight, freeze=frozen, mode="mean", padding_idx=PAD)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(weight.shape[1], n_classes)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits (B, classes) of texts (B, T), padded with ``PAD``; a text of nothing else has a mean of zeros."""
        return self.head(self.dropout(self.embedding(token_ids)))  # (B, T) -> (B, D) -> (B, classes)


def train(model: Classifier, token_ids: Tensor, labels: Tensor, *, recipe: Recipe, seed: int) -> None:
    """Train a classifier in place with Adam on texts (N, T) and class numbers (N,), in an order drawn by the seed."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(learning, lr=recipe.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=recipe.steps)
    generator = torch.Generator().manual_seed(seed)
    lengths = (token_ids != PAD).sum(dim=1)
    model.train()
    order = torch.empty(0, dtype=torch.long)
    for _ in range(recipe.steps):
        if len(order) < min(recipe.batch_size, len(labels)):
            order = torch.randperm(len(labels), generator=generator)  # the next epoch
        batch, order = order[: recipe.batch_size], order[recipe.batch_size :]
        adam.zero_grad()
        x = token_ids[batch, : lengths[batch].max() + 1]  # padded no further than need be
        F.cross_entropy(model(x), labels[batch]).backward()
        adam.step()
        schedule.step()
    model.eval()


def compare(
    train_tokens: Tokens,
    train_labels: np.ndarray,
    test_tokens: Tokens,
    test_labels: np.ndarray,
    starts: Mapping[str, WordVectors | None],
    *,
    frozen: Collection[str] = (),
    labels: Sequence[int | None] = (None,),
    seeds: int = 5,
    recipe: Recipe | None = None,
) -> pd.DataFrame:
    """Train one classifier from several starts, on the same labelled texts, with the same head and the same schedule.

    A classifier knows the words of its labelled texts, and those of the test texts that its start has vectors for;
    other words are left out.

    Args:
        train_tokens: tokenised texts to draw the labelled ones from.
        train_labels: their class numbers, from 0.
        test_tokens, test_labels: the texts to score on.
        starts: the vectors to start from, by the name of the start; None for random ones.
        frozen: the names of the starts whose vectors are not trained.
        labels: how many labelled texts; None for all.
        seeds: how many times; the seed draws the labelled texts, the head, the dropout, the order and random vectors.
        recipe: how to train.

    Returns:
        A row a run: ``start``, ``labels``, ``seed``, ``accuracy``, ``precision`` (the mean of the classes') and
        ``macro_f1``.

    Raises:
        DataError: there are not as many labelled texts, or fewer than one a class.
        ValueError: a frozen start is none of the starts, the starts differ in dimension, or the vectors know no word.
    """
    recipe = recipe or Recipe()
    if unknown := set(frozen) - set(starts):
        raise ValueError(f"{', '.join(sorted(unknown))} cannot be frozen: the starts are {', '.join(starts)}")
    dims = {vectors.dim for vectors in starts.values() if vectors is not None} or {recipe.dim}
    if len(dims) > 1:
        raise ValueError(f"the starts have vectors of {sorted(dims)} numbers: the models would differ in size")
    (dim,) = dims
    train_labels, test_labels = np.asarray(train_labels), np.asarray(test_labels)
    n_classes = int(max(train_labels.max(), test_labels.max())) + 1
    texts = pd.DataFrame({"text": [" ".join(tokens) for tokens in train_tokens], "label": train_labels})

    runs = []
    for n in labels:
        for seed in range(seeds):
            chosen = labelled_subset(texts, by="label", n=len(texts) if n is None else n, seed=seed).index
            labelled = [train_tokens[i] for i in chosen]
            for start, vectors in starts.items():
                words = set(chain.from_iterable(labelled))
                if vectors is not None:
                    words.update(word for word in chain.from_iterable(test_tokens) if word in vectors)
                words = sorted(words)
                torch.manual_seed(seed)  # the head and the dropout
                matrix = start_matrix(words, vectors, dim=dim, scale=recipe.scale, seed=seed)
                model = Classifier(matrix, n_classes, frozen=start in frozen, dropout=recipe.dropout)
                number = {word: i for i, word in enumerate(words, start=PAD + 1)}
                y = torch.from_numpy(train_labels[chosen].astype(np.int64))
                train(model, pad(labelled, number), y, recipe=recipe, seed=seed)
                with torch.no_grad():
                    predicted = model(pad(test_tokens, number)).argmax(dim=1).numpy()
                runs.append({"start": start, "labels": len(chosen), "seed": seed, **score(test_labels, predicted)})
    return pd.DataFrame(runs)


def start_matrix(words: Sequence[str], vectors: WordVectors | None, *, dim: int, scale: float, seed: int) -> np.ndarray:
    """The embedding to start with, (1 + words, D): zeros for padding, then each word's vector, random where unknown.

    All numbers are brought to the standard deviation ``scale``, so that one learning rate suits every start.
    """
    if vectors is None:
        matrix = np.random.default_rng(seed).standard_normal((len(words), dim))
    else:
        matrix, _ = vectors.embedding(words, seed=seed)
    return np.concatenate([np.zeros((1, dim)), matrix * (scale / matrix.std())])


def pad(tokens: Tokens, number: Mapping[str, int]) -> Tensor:
    """The known words of each text by number, (N, T); each ends in ``PAD``, for a text without any."""
    known = [torch.tensor([*(number[word] for word in text if word in number), PAD]) for text in tokens]
    return nn.utils.rnn.pad_sequence(known, batch_first=True, padding_value=PAD)


def score(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, precision and F1, the last two averaged over classes with equal weights."""
    return {
        "accuracy": accuracy(labels, predicted),
        "precision": float(precision_score(labels, predicted, average="macro", zero_division=0)),
        "macro_f1": macro_f1(labels, predicted),
    }


def binomial_interval(right: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Where the true share lies when ``right`` of ``n`` were right: Wilson's interval (1927).

    Raises:
        ValueError: right is no number from 0 to n, or n is not positive.
    """
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share: right lies between 0 and n, and n is 1 or more")
    interval = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
