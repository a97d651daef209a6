"""Learning curves: an encoder from scratch, as features and fine-tuned, over steps, over labels, after sources.

One encoder, treated in three ways (:data:`TREATMENTS`). They share everything else: the rows of a seed, their order in
batches, the head and its rate. So a difference between two curves of one seed is the treatment's, and seeds pair.

A text is the mean of its pieces' states in the last layer that is kept. The head, one linear layer, reads it with each
dimension standardised as it was before training, so that states of every encoder are of one size. It begins at zero:
before the first step, whatever was transferred, every text gets the first class.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from tlcourse import profile
from tlcourse.baselines import linear_svm
from tlcourse.data.frames import classes_of, label_column, labels_of, texts_of
from tlcourse.data.splits import labelled_subset
from tlcourse.encoders import Checkpoint, evaluated, load_encoder
from tlcourse.text import SortedBatches
from tlcourse.training import FusedAdamW, accuracy, fit, make_learner

SCRATCH, FEATURES, FINE_TUNING = TREATMENTS = ("scratch", "feature extraction", "fine-tuning")
WORDS = "words"  # a linear SVM on tf-idf: no encoder at all
NONE, FRESH = "none", "fresh weights"  # in place of a source
STANDARD = 128  # texts whose states say what is standard


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every treatment learns; AdamW, whose rates rise in `warmup` steps and then stay.

    They stay, because a rate that falls flattens the end of any curve, and the asymptote would be the schedule's.

    Attributes:
        measured: the steps at which scores are measured, ascending; the last one is the end.
        batch_size: rows in a step.
        lr: the rate of pretrained weights.
        fresh_lr: that of fresh ones, which stand far from any good place.
        head_lr: the head's, in all treatments.
        warmup: in steps.
        layers: how many of the encoder's layers are kept, from the bottom; all unless given. Fewer are faster, and a
            middle layer often serves better than the last, whose states suit the task of pretraining.
        max_length: pieces of a text that are read.
    """

    measured: tuple[int, ...] = (0, 5, 10, 20, 30, 40, 60, 80)
    batch_size: int = 16
    lr: float = 1e-4
    fresh_lr: float = 5e-4
    head_lr: float = 2e-3
    warmup: int = 5
    layers: int | None = None
    max_length: int = 64

    def __post_init__(self) -> None:
        steps = self.measured
        if not steps or steps[0] < 0 or steps[-1] < 1 or list(steps) != sorted(set(steps)):
            raise ValueError(f"the steps to measure at ascend from 0 or more, and training takes one step: {steps}")

    @property
    def steps(self) -> int:
        """The length of the training."""
        return self.measured[-1]


# ---------------------------------------------------------------------------------------------------- learning curves
def step_curves(
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    *,
    label: str,
    labels: int,
    encoder: str | Path = "minilm",
    recipe: Recipe | None = None,
    treatments: Sequence[str] = TREATMENTS,
    seeds: Iterable[int] = range(5),
) -> pd.DataFrame:
    """Scores on held-out texts over the steps of training.

    Args:
        train: rows with a ``text`` and a class, to draw from.
        held_out: more of the same, to measure on; nothing is chosen by them.
        label: the column of the class.
        labels: how many rows a seed draws.
        encoder: a name or a folder, as :func:`tlcourse.encoders.load_encoder` takes it.
        recipe: how to train; as in :class:`Recipe` unless given.
        treatments: some of :data:`TREATMENTS`.
        seeds: of the rows drawn, their order, dropout and fresh weights.

    Returns:
        A row a measurement: ``treatment``, ``seed``, ``steps`` and ``score``, the accuracy.

    Raises:
        ValueError: a treatment is none; or a column, a text or a class is missing.
        DataError: there are not as many rows as labels; or as ``load_encoder``.
    """
    experiment = Experiment(train, held_out, label=label, encoder=encoder, recipe=recipe or Recipe())
    _check_treatments(treatments, TREATMENTS)
    draws = {seed: experiment.draw(labels, seed) for seed in seeds}
    experiment.remember(draws.values(), treatments)
    rows = [
        (treatment, seed, steps, score)
        for seed, places in draws.items()
        for treatment in treatments
        for steps, score in experiment.learn(treatment, places, seed=seed).items()
    ]
    return pd.DataFrame(rows, columns=["treatment", "seed", "steps", "score"])


def label_curves(
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    *,
    label: str,
    counts: Sequence[int],
    encoder: str | Path = "minilm",
    recipe: Recipe | None = None,
    treatments: Sequence[str] = (WORDS, FEATURES),
    seeds: Iterable[int] = range(5),
    words: Callable[[str], list[str]] = str.split,
) -> pd.DataFrame:
    """Scores on held-out texts over the number of labelled texts.

    Feature extraction is here the classifier of old: a linear SVM, as on words, on the encoder's states, which are
    computed once for all. The other two take the recipe's steps, however few the labels.

    Args:
        train, held_out, label, encoder, recipe, seeds: as :func:`step_curves`. The rows of one seed are nested.
        counts: how many rows to draw.
        treatments: some of :data:`TREATMENTS` and :data:`WORDS`.
        words: cuts a text into words, for ``WORDS``.

    Returns:
        A row a run: ``treatment``, ``seed``, ``labels`` and ``score``, the accuracy.

    Raises:
        ValueError, DataError: as :func:`step_curves`.
    """
    experiment = Experiment(train, held_out, label=label, encoder=encoder, recipe=recipe or Recipe())
    _check_treatments(treatments, (WORDS, *TREATMENTS))
    draws = {(seed, n): experiment.draw(n, seed) for seed in seeds for n in counts}
    experiment.remember(draws.values(), treatments)
    rows = []
    for (seed, n), places in draws.items():
        for treatment in treatments:
            if treatment == WORDS:
                score = experiment.words_svm(places, words)
            elif treatment == FEATURES:
                score = experiment.features_svm(places)
            else:
                score = experiment.learn(treatment, places, seed=seed)[experiment.recipe.steps]
            rows.append((treatment, seed, n, score))
    return pd.DataFrame(rows, columns=["treatment", "seed", "labels", "score"])


def source_scores(
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    sources: Mapping[str, pd.DataFrame],
    *,
    label: str,
    labels: int,
    encoder: str | Path = "minilm",
    fresh: bool = False,
    recipe: Recipe | None = None,
    source_recipe: Recipe | None = None,
    treatments: Sequence[str] = (FEATURES, FINE_TUNING),
    seeds: Iterable[int] = range(3),
) -> pd.DataFrame:
    """The same target from different sources: the encoder learns a source task first, then the target with few labels.

    Between the two only the encoder is kept; the source's head is thrown away (intermediate tasks: Phang et al. 2018).
    Beside the sources stand :data:`NONE`, the encoder as it is, and :data:`FRESH`, nothing learned at all.

    Args:
        train, held_out, label, labels, encoder, seeds: of the target, as in :func:`step_curves`.
        sources: by name, rows with a ``text`` and one more column, the class.
        fresh: the source is learned from fresh weights, so that it is all there is to transfer.
        recipe: of the target.
        source_recipe: of the sources, the target's unless given; it keeps as many layers.
        treatments: feature extraction, fine-tuning or both.

    Returns:
        A row a run: ``source``, ``treatment``, ``seed``, ``labels`` and ``score``, the accuracy at the last step.

    Raises:
        ValueError: as :func:`step_curves`; a source has one of the two other names, or keeps other layers.
        DataError: as :func:`step_curves`.
    """
    recipe = recipe or Recipe()
    source_recipe = source_recipe or recipe
    _check_treatments(treatments, (FEATURES, FINE_TUNING))
    if taken := {NONE, FRESH} & set(sources):
        raise ValueError(f"a source cannot be called {min(taken)!r}: that is the encoder without one")
    if source_recipe.layers != recipe.layers:
        raise ValueError(f"the source keeps {source_recipe.layers} layers, the target {recipe.layers}")
    target = Experiment(train, held_out, label=label, encoder=encoder, recipe=recipe)
    rows = []
    for seed in seeds:
        places = target.draw(labels, seed)
        origin = partial(cut_encoder, encoder, layers=recipe.layers, seed=seed)
        starts = {FRESH: lambda origin=origin: origin(fresh=True)}
        if not fresh:
            starts[NONE] = origin
        for name, frame in sources.items():
            starts[name] = partial(_learned, frame, origin(fresh=fresh), source_recipe, seed)
        for name, start in starts.items():
            checkpoint = start()
            for treatment in treatments:
                score = target.learn(treatment, places, seed=seed, start=checkpoint)[recipe.steps]
                rows.append((name, treatment, seed, labels, score))
    return pd.DataFrame(rows, columns=["source", "treatment", "seed", "labels", "score"])


def _learned(frame: pd.DataFrame, start: Checkpoint, recipe: Recipe, seed: int) -> Checkpoint:
    """The encoder after it has learned a task."""
    targets = labels_of(frame, label_column(frame, ("text",), None))
    classes = classes_of(targets)
    pieces = Pieces.of(start, texts_of(frame, ("text",))["text"], recipe.max_length)
    numbers = pd.Categorical(targets, categories=classes).codes.astype(np.int64)
    network = Classifier(start.model, Head(features(start, pieces.take(range(STANDARD))), len(classes)))
    _train(network, pieces.batch, pieces.lengths, numbers, recipe, lr=recipe.lr, seed=seed)
    return start


def _check_treatments(treatments: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in treatments if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no treatment here; they are {', '.join(known)}")


# ------------------------------------------------------------------------------------------------------ the encoder
def cut_encoder(name: str | Path, *, layers: int | None = None, fresh: bool = False, seed: int = 0) -> Checkpoint:
    """An encoder of which the first layers are kept.

    Raises:
        ValueError: it has not so many layers.
        DataError: as :func:`tlcourse.encoders.load_encoder`.
    """
    loaded = load_encoder(name, fresh=fresh, seed=seed)
    lists = [module for module in loaded.model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=len)
    if layers is not None and not 1 <= layers <= len(blocks):
        raise ValueError(f"layers={layers}: {name} has 1 to {len(blocks)} to keep")
    del blocks[layers or len(blocks) :]
    return loaded


@dataclass(frozen=True)
class Pieces:
    """Texts as an encoder reads them: of each its ids; and the id of padding."""

    ids: list[list[int]]
    pad: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, texts: Sequence[str], max_length: int) -> Pieces:
        longest = min(max_length, checkpoint.longest)
        read = checkpoint.tokeniser(list(texts), truncation=True, max_length=longest, verbose=False)
        return cls(read["input_ids"], checkpoint.tokeniser.pad_token_id)

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]

    def batch(self, places: Sequence[int]) -> Tensor:
        """(2, B, T): ids and mask of the texts at these places."""
        x = np.zeros((2, len(places), max(len(self.ids[i]) for i in places)), dtype=np.int64)
        x[0] = self.pad
        for b, i in enumerate(places):
            x[:, b, : len(self.ids[i])] = [self.ids[i], [1] * len(self.ids[i])]
        return torch.from_numpy(x)

    def take(self, places: Sequence[int]) -> Pieces:
        """Those at some places, as far as there are any."""
        return Pieces([self.ids[i] for i in places if i < len(self.ids)], self.pad)


class Classifier(nn.Module):
    """An encoder and a head on the mean of a text's states: (2, B, T) -> (B, C)."""

    def __init__(self, encoder: nn.Module, head: Head):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(mean_states(self.encoder, x))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The encoder, and the head."""
        return [list(self.encoder.parameters()), list(self.head.parameters())]


class Head(nn.Module):
    """States (B, D) -> a score a class (B, C), from zero weights.

    Args:
        states: (N, D) of texts to learn from, before training: they are standardised, and all others with them.
    """

    def __init__(self, states: np.ndarray, n_classes: int):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(states.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(states.std(axis=0)) + 1e-6)
        self.linear = nn.Linear(states.shape[1], n_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        return self.linear((states - self.mean) / self.std)


def mean_states(encoder: nn.Module, x: Tensor) -> Tensor:
    """Ids and mask (2, B, T) -> the mean of each text's states in the last layer, (B, D)."""
    ids, mask = x
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, T, D)
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def features(checkpoint: Checkpoint, pieces: Pieces) -> np.ndarray:
    """What a frozen encoder makes of texts: (N, D) float32."""
    found = np.empty((len(pieces.ids), checkpoint.model.config.hidden_size), dtype=np.float32)
    device = checkpoint.model.device
    with evaluated(checkpoint.model):
        for places in _by_length(pieces.lengths):
            found[places] = mean_states(checkpoint.model, pieces.batch(places).to(device)).float().cpu().numpy()
    return found


def text_features(
    texts: Sequence[str], *, encoder: str | Path = "minilm", layers: int | None = None, max_length: int = 64
) -> np.ndarray:
    """Off the shelf: each text as the mean of its states in a frozen encoder, (N, D) float32.

    Args:
        texts: to read.
        encoder, layers: as :func:`cut_encoder`.
        max_length: pieces of a text that are read.
    """
    checkpoint = cut_encoder(encoder, layers=layers)
    return features(checkpoint, Pieces.of(checkpoint, texts, max_length))


def _by_length(lengths: Sequence[int], size: int = 64) -> list[np.ndarray]:
    """Places of items in batches of like length."""
    order = np.argsort(lengths, kind="stable")
    return [order[first : first + size] for first in range(0, len(order), size)]


# ---------------------------------------------------------------------------------------------------------- training
class Experiment:
    """A task and an encoder: rows to draw from, and texts held out.

    Everything that several runs need, pieces and frozen states, is computed once.
    """

    def __init__(self, train: pd.DataFrame, held_out: pd.DataFrame, *, label: str, encoder: str | Path, recipe: Recipe):
        self.encoder, self.recipe, self.label = encoder, recipe, label
        self.train = train.reset_index(drop=True)
        self.texts, self.held_texts = (texts_of(frame, ("text",))["text"] for frame in (train, held_out))
        self.classes = classes_of(labels_of(train, label))
        number = {name: i for i, name in enumerate(self.classes)}
        self.targets = np.array([number[name] for name in labels_of(train, label)])
        # A class that training has not can never be right.
        self.held_targets = np.array([number.get(name, -1) for name in labels_of(held_out, label)])
        if not len(self.held_targets):
            raise ValueError("no text is held out: there is nothing to measure on")
        self.checkpoint = cut_encoder(encoder, layers=recipe.layers)
        self.pieces = Pieces.of(self.checkpoint, self.texts, recipe.max_length)
        self.held_pieces = Pieces.of(self.checkpoint, self.held_texts, recipe.max_length)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Places of n rows, every class among them."""
        return labelled_subset(self.train, by=self.label, n=n, seed=seed).index.to_numpy()

    def remember(self, draws: Iterable[np.ndarray], treatments: Sequence[str]) -> None:
        """Compute the frozen states of all rows that are drawn, where a treatment needs them."""
        if FEATURES in treatments:
            drawn = np.unique(np.concatenate([*draws]))
            self.states = np.full((len(self.texts), self.checkpoint.model.config.hidden_size), np.nan, np.float32)
            self.states[drawn] = features(self.checkpoint, self.pieces.take(drawn))
            self.held_states = features(self.checkpoint, self.held_pieces)

    def learn(
        self, treatment: str, places: np.ndarray, *, seed: int, start: Checkpoint | None = None
    ) -> dict[int, float]:
        """Train on the rows at these places: the score at each step that is measured.

        Args:
            start: the encoder to begin with, which is not changed; the treatment's own unless given.
        """
        recipe, device = self.recipe, profile.current().device
        lengths = np.array(self.pieces.lengths)[places]
        learn = partial(_train, lengths=lengths, targets=self.targets[places], recipe=recipe, seed=seed)
        if treatment == FEATURES:
            if start is None:
                states, held = self.states[places], self.held_states
            else:
                states, held = features(start, self.pieces.take(places)), features(start, self.held_pieces)
            states, held = torch.from_numpy(states), torch.from_numpy(held)
            head = Head(states[:STANDARD].numpy(), len(self.classes))
            return learn(head, lambda some: states[some], lr=None, measure=lambda: self._score(head(held.to(device))))
        if treatment == SCRATCH:
            start = cut_encoder(self.encoder, layers=recipe.layers, fresh=True, seed=seed)
        start = copy.deepcopy(start or self.checkpoint)
        pieces = self.pieces.take(places)
        network = Classifier(start.model, Head(features(start, pieces.take(range(STANDARD))), len(self.classes)))

        def measure() -> float:
            logits = torch.empty(len(self.held_targets), len(self.classes))
            for some in _by_length(self.held_pieces.lengths):
                logits[some] = network(self.held_pieces.batch(some).to(device)).float().cpu()
            return self._score(logits)

        lr = recipe.fresh_lr if treatment == SCRATCH else recipe.lr
        return learn(network, pieces.batch, lr=lr, measure=measure)

    def _score(self, logits: Tensor) -> float:
        return accuracy(self.held_targets, logits.argmax(1).cpu().numpy())

    def words_svm(self, places: np.ndarray, words: Callable[[str], list[str]]) -> float:
        """The score of a linear SVM on words and pairs of words."""
        predict = linear_svm([words(self.texts[i]) for i in places], self.targets[places])
        return accuracy(self.held_targets, predict([words(text) for text in self.held_texts]))

    def features_svm(self, places: np.ndarray) -> float:
        """The score of a linear SVM on frozen states."""
        model = make_pipeline(StandardScaler(), LinearSVC(C=1e-3, class_weight="balanced", random_state=0))
        model.fit(self.states[places], self.targets[places])
        return accuracy(self.held_targets, model.predict(self.held_states))


class Rows(SortedBatches):
    """One pass of so many steps, over the rows again and again: x as `batch` makes it of places, and y (B,)."""

    def __init__(self, batch: Callable[[np.ndarray], Tensor], targets: np.ndarray, lengths, *, steps: int, **order):
        super().__init__(lengths, shuffle=True, **order)
        self.batch, self.targets, self.steps = batch, torch.from_numpy(targets), steps

    def __len__(self) -> int:
        return self.steps

    def _epoch_batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        for places in islice(chain.from_iterable(map(self.indices, count())), self.steps):
            yield self.batch(places), self.targets[places]


class Measure(Callback):
    """Scores at given steps of a training; 0 is before the first."""

    run_valid = False

    def __init__(self, measure: Callable[[], float], at: Sequence[int]):
        self.measure, self.at, self.scores = measure, set(at), {}

    def before_train(self) -> None:
        if self.train_iter in self.at:
            with evaluated(self.model):
                self.scores[int(self.train_iter)] = self.measure()

    after_batch = before_train  # steps are counted before this


def _train(
    network: nn.Module,
    batch: Callable[[np.ndarray], Tensor],
    lengths: Sequence[int],
    targets: np.ndarray,
    recipe: Recipe,
    *,
    lr: float | None,
    seed: int,
    measure: Callable[[], float] | None = None,
) -> dict[int, float]:
    """Train a head, or with `lr` an encoder and a head; the scores, by step."""
    rows = Rows(batch, targets, lengths, steps=recipe.steps, batch_size=recipe.batch_size, seed=seed)
    measuring = Measure(measure, recipe.measured) if measure else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = make_learner(network, rows, grad_clip=1.0, opt=FusedAdamW, cbs=[measuring] if measuring else [])
        fit(
            learner,
            1,
            lr=recipe.head_lr,
            factor=recipe.head_lr / lr if lr else 1.0,
            schedule=lambda step, _: min((step + 1) / recipe.warmup, 1.0),
            progress=False,
        )
    return measuring.scores if measuring else {}
