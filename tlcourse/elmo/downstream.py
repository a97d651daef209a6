"""What a task makes of frozen layers: a tagger of words and a classifier of texts on top of a learned mix.

>>> train = Tagged(embedder(train_words), train_tags, train_words)
>>> valid = Tagged(embedder(valid_words), valid_tags, valid_words)
>>> train_tagger(train, valid, mix="learned", seed=0).weights
array([0.21, 0.63, 0.16])

The layers are plain arrays, (layers, words, dim) a sentence, so they may come from anywhere: three layers of ELMo, or
the one layer of static word vectors (:func:`static_features`). They are computed once and never change.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.linalg import solve
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse.elmo.mix import DROPPED, ScalarMix
from tlcourse.training import accuracy, entity_f1, macro_f1

Features = Sequence[np.ndarray]  # of each sentence (layers, words, dim)
Mix = Literal["learned", "mean"] | int | Sequence[float]


# ------------------------------------------------------------------------------------------------- sentences, packed
@dataclass(frozen=True)
class Packed:
    """Sentences end to end, so that no word has to be padded.

    Attributes:
        words: (L, N, D): of each layer all words, float16 to be half as large; training runs on their device.
        lengths: (S,): how many words each sentence has.
    """

    words: Tensor
    lengths: Tensor

    def rows(self, sentences: Tensor) -> Tensor:
        """Where the words of some sentences are, sentence after sentence."""
        lengths = self.lengths[sentences]
        first = self.lengths.cumsum(0)[sentences] - lengths
        offset = first - (lengths.cumsum(0) - lengths)  # from the place in the result to that in `words`
        return offset.repeat_interleave(lengths) + torch.arange(int(lengths.sum()), device=lengths.device)

    def take(self, sentences: Tensor, rows: Tensor) -> Packed:
        """Some sentences, whose words are in `rows`."""
        return Packed(self.words.index_select(1, rows), self.lengths[sentences])

    def means(self) -> Packed:
        """Each sentence's mean in the place of its words: what a classifier needs of it, since it mixes linearly."""
        means = torch.stack([sentence_means(layer.float(), self.lengths) for layer in self.words])
        return Packed(means, torch.ones_like(self.lengths))


def sentence_means(words: Tensor, lengths: Tensor) -> Tensor:
    """(N, D) words of sentences of (S,) lengths -> (S, D); zeros for a sentence without words."""
    sentence = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # of each word
    sums = words.new_zeros(len(lengths), words.shape[1]).index_add(0, sentence, words)
    return sums / lengths.clamp(min=1)[:, None]


def pack(features: Features | Packed, *, device: str | torch.device = "cpu") -> Packed:
    """Put sentences end to end, in float16.

    Raises:
        ValueError: there is no word, or a sentence is not (layers, words, dim), is unlike the first in layers or dim,
            or has a number that is not finite or beyond float16's 65,504.
    """
    if isinstance(features, Packed):
        return features
    shapes = [np.shape(sentence) for sentence in features]
    if not sum(shape[1] for shape in shapes if len(shape) == 3):
        raise ValueError("no sentence has a word: there is nothing to learn from")
    for i, shape in enumerate(shapes):
        if len(shape) != 3 or (shape[0], shape[2]) != (shapes[0][0], shapes[0][-1]):
            raise ValueError(f"sentence {i} has features {shape}, the first {shapes[0]}: wanted (layers, words, dim)")
    with np.errstate(over="ignore"):
        words = np.concatenate([np.asarray(sentence, dtype=np.float16) for sentence in features], axis=1)
    ends = np.cumsum([shape[1] for shape in shapes])
    if not (finite := np.isfinite(words).all(axis=(0, 2))).all():
        sentence = int(np.searchsorted(ends, np.flatnonzero(~finite)[0], side="right"))
        raise ValueError(f"sentence {sentence} has a number that is not finite, or larger than float16's 65,504")
    lengths = torch.tensor([shape[1] for shape in shapes], device=device)
    return Packed(torch.from_numpy(words).to(device), lengths)


def static_features(sentences: Sequence[Sequence[str]], vectors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """One layer a sentence, (1, words, dim + 1): each word's vector, and last of all whether it is unknown.

    An unknown word has zeros and then a 1. `vectors` needs no more than ``in`` and ``[]``.

    Raises:
        ValueError: no word of any sentence is known.
    """
    known = {word: np.append(vectors[word], 0) for word in set(chain.from_iterable(sentences)) if word in vectors}
    if not known:
        raise ValueError("no word of the sentences has a vector: are they words of the same language, cut alike?")
    unknown = np.zeros(len(next(iter(known.values()))))
    unknown[-1] = 1
    return [
        np.array([[known.get(word, unknown) for word in sentence]], dtype=np.float32).reshape(1, -1, len(unknown))
        for sentence in sentences
    ]


# ----------------------------------------------------------------------------------------------------------- models
def make_mix(mix: Mix, n_layers: int) -> ScalarMix:
    """The mix by name: ``learned``; ``mean``, all alike; one layer, by its number; or shares, brought to the sum 1.

    All but ``learned`` keep their shares; gamma is learned in any case.

    Raises:
        ValueError: there is no such mix of so many layers.
    """
    if mix == "learned":
        return ScalarMix(n_layers)
    if mix == "mean":
        shares = [1.0] * n_layers
    elif isinstance(mix, str):
        raise ValueError(f"mix={mix!r} is none of learned, mean, the number of a layer, and a share for each layer")
    elif isinstance(mix, int):
        if not 0 <= mix < n_layers:
            raise ValueError(f"mix={mix}: the layers are 0 to {n_layers - 1}")
        shares = [float(layer == mix) for layer in range(n_layers)]
    else:
        shares = [float(share) for share in mix]
        if len(shares) != n_layers or not all(0 <= share < math.inf for share in shares) or not sum(shares):
            raise ValueError(f"mix={shares} must be {n_layers} shares, none negative and not all 0")
    fixed = ScalarMix(n_layers, initial=[math.log(share) if share else DROPPED for share in shares])
    fixed.scalars.requires_grad_(False)
    return fixed


class Tagger(nn.Module):
    """Layers -> mix -> dropout -> a linear layer, or first an LSTM in both directions -> a score for each tag.

    Dropout takes the same numbers from all words of a sentence (Gal and Ghahramani 2016), which is also far quicker.

    Args:
        n_layers, dim: of the features.
        n_tags: how many tags.
        mix: see :func:`make_mix`.
        head: ``linear``, which sees one word alone, or ``lstm``.
        hidden: of the LSTM, in each direction.
    """

    def __init__(
        self,
        n_layers: int,
        dim: int,
        n_tags: int,
        *,
        mix: Mix = "learned",
        head: Literal["linear", "lstm"] = "linear",
        hidden: int = 64,
        dropout: float = 0.0,
    ):
        super().__init__()
        if head not in ("linear", "lstm"):
            raise ValueError(f"head={head!r} is neither linear nor lstm")
        self.register_buffer("shift", torch.zeros(n_layers, dim))
        self.register_buffer("scale", torch.ones(n_layers))
        self.mix = make_mix(mix, n_layers)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(dim, hidden, bidirectional=True, batch_first=True) if head == "lstm" else None
        self.linear = nn.Linear(2 * hidden if self.lstm else dim, n_tags)

    def standardise(self, words: Tensor, *, each_layer: bool) -> None:
        """Centre the words of training, (L, N, D), and bring their numbers to the variance 1.

        A linear head with a bias can do neither more nor less after that, but learns far sooner, and at one rate from
        features of any source. With `each_layer` every layer gets variance 1 by itself; else all together, and the
        layers keep their sizes to each other.
        """
        words = words[:, :: math.ceil(words.shape[1] / 20_000)].float()  # enough to know their size
        self.shift.copy_(words.mean(1))
        variances = (words - self.shift[:, None]).square().mean((1, 2))  # (L,)
        if not each_layer:
            variances = variances.mean().expand_as(variances)
        self.scale.copy_(variances.clamp(min=1e-12).rsqrt())

    def mixed(self, words: Tensor) -> Tensor:
        """The mix of the standardised layers, (L, N, D) -> (N, D), as :class:`ScalarMix` has it but in one product."""
        shares = self.mix.gamma * self.mix.weights() * self.scale
        return torch.tensordot(shares, words.to(shares.dtype), 1) - shares @ self.shift  # (N, D) - (D,)

    def forward(self, packed: Packed) -> Tensor:
        """(L, N, D) words -> (N, tags)."""
        x = self.mixed(packed.words)
        if self.training and self.dropout.p:
            kept = self.dropout(x.new_ones(len(packed.lengths), x.shape[1]))  # (S, D)
            x = x * kept.repeat_interleave(packed.lengths, dim=0, output_size=len(x))
        if self.lstm:
            x = self._read(x, packed.lengths[packed.lengths > 0].cpu())
        return self.linear(x)

    def _read(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, D) -> (N, 2 * hidden), each sentence by itself."""
        padded = nn.utils.rnn.pad_sequence(x.split(lengths.tolist()), batch_first=True)
        sentences = nn.utils.rnn.pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
        read, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(sentences)[0], batch_first=True)
        there = torch.arange(read.shape[1]) < lengths[:, None]
        return read[there.to(read.device)]


class Classifier(Tagger):
    """Layers -> mix -> mean over the words -> dropout -> a linear layer -> a score for each class."""

    def forward(self, packed: Packed) -> Tensor:
        """(L, N, D) words -> (S, classes)."""
        means = sentence_means(self.mixed(packed.words), packed.lengths)  # (S, D)
        return self.linear(self.dropout(means))


# --------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a tagger or a classifier is trained.

    Attributes:
        epochs: passes over the sentences.
        batch_size: sentences in a batch.
        lr: Adam's rate at the first step; it falls to 0 in a straight line.
        mix_lr: the same of the mix's weights and gamma.
        mix_decay: lambda of the penalty lambda * |w|^2 on the weights before the softmax (Peters et al. 2018, section
            3.3): a large one keeps them near the mean of the layers.
        each_layer: bring each layer to variance 1 first, which is what their layer normalisation is for; else all
            layers together, so that they keep their sizes to each other.
        dropout: of the mixed numbers; a linear head on many words is better without.
        hidden: of the head ``lstm``, in each direction.
    """

    epochs: int = 3
    batch_size: int = 64
    lr: float = 3e-2
    mix_lr: float = 3e-2
    mix_decay: float = 1e-3
    each_layer: bool = False
    dropout: float = 0.0
    hidden: int = 64


class Tagged(NamedTuple):
    """Sentences with a tag for each word.

    Attributes:
        features: of each sentence (layers, words, dim), or all of them packed, which saves time if they serve often.
        tags: of each sentence, a tag a word.
        words: of each sentence, if words that training had not are to be scored by themselves.
    """

    features: Features | Packed
    tags: Sequence[Sequence[str]]
    words: Sequence[Sequence[str]] | None = None


class Labelled(NamedTuple):
    """Texts with a class each.

    Attributes:
        features: of each text (layers, words, dim), or all of them packed.
        labels: of each text.
    """

    features: Features | Packed
    labels: Sequence[str | int]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A trained model and what it is worth on the validation set.

    Attributes:
        scores: ``accuracy``; of a tagger ``unseen`` (accuracy on words that training had not) where words were
            given and ``entity_f1`` where all tags are of the kind O, B-x, I-x; of a classifier ``macro_f1``.
        per_tag: a row for each tag or class: ``tag``, ``precision``, ``recall``, ``f1`` and ``n``, how often it occurs.
        weights: (L,), the share of each layer.
        gamma: what the sum is multiplied by.
        history: a row an epoch: ``epoch``, ``loss`` (in training, nats), ``accuracy`` (in validation), ``weights``.
        predicted: the tags of each sentence, or the class of each text.
        classes: the tags or classes of training, in the order of the model's outputs.
        model: the tagger or classifier.
    """

    scores: dict[str, float]
    per_tag: pd.DataFrame
    weights: np.ndarray
    gamma: float
    history: pd.DataFrame
    predicted: list
    classes: list
    model: Tagger

    @property
    def accuracy(self) -> float:
        """The share of words, or of texts, that are right."""
        return self.scores["accuracy"]


def train_tagger(
    train: Tagged,
    valid: Tagged,
    *,
    mix: Mix = "learned",
    head: Literal["linear", "lstm"] = "linear",
    seed: int = 0,
    recipe: Recipe | None = None,
) -> Result:
    """Train a tagger on frozen features; its first weights, dropout and the order of sentences are drawn by the seed.

    A tag that training had not cannot be given, so each of its words counts as wrong. The scores are those after the
    last epoch: nothing is chosen on the validation set.

    Args:
        train, valid: sentences, as :class:`Tagged` or a tuple of its fields.
        mix: see :func:`make_mix`.
        head: ``linear``, which sees one word alone, or ``lstm``.
        recipe: how to train.

    Raises:
        ValueError: features and tags differ in number, both sets in layers or dim, there is no word, there are not two
            tags to tell apart, a number is not finite, or there is no such mix.
    """
    train, valid = Tagged(*train), Tagged(*valid)
    parts = _targets(train), _targets(valid)
    model, tags, history, predicted = _train(Tagger, *parts, mix=mix, head=head, seed=seed, recipe=recipe or Recipe())
    words = iter(predicted)
    sentences = [[next(words) for _ in tags_of] for tags_of in valid.tags]
    seen = None if train.words is None else set(chain.from_iterable(train.words))
    scores = tag_scores(valid.tags, sentences, words=valid.words, seen=seen)
    return _result(model, tags, history, scores, parts[1][1], predicted, sentences)


def train_classifier(
    train: Labelled, valid: Labelled, *, mix: Mix = "learned", seed: int = 0, recipe: Recipe | None = None
) -> Result:
    """Train a classifier on frozen features; as :func:`train_tagger`, with a class for each text.

    The words' mean is taken once and not in every epoch: the mix is linear, so the mean of the mix is the same. That
    makes epochs cheap, and there are 20 of them where no recipe is given.
    """
    train, valid = Labelled(*train), Labelled(*valid)
    parts = _targets(train), _targets(valid)
    model, labels, history, predicted = _train(
        Classifier, *parts, mix=mix, head="linear", seed=seed, recipe=recipe or Recipe(epochs=20)
    )
    scores = text_scores(parts[1][1], predicted)
    return _result(model, labels, history, scores, parts[1][1], predicted, predicted)


def _targets(part: Tagged | Labelled) -> tuple[Packed, list]:
    """What is learned from what, checked: of words their tags, of the means of texts their classes."""
    packed = pack(part.features)
    if len(packed.lengths) != len(part[1]):
        raise ValueError(f"there are features of {len(packed.lengths)} sentences and targets of {len(part[1])}")
    if isinstance(part, Labelled):
        return packed.means(), list(part.labels)
    for i, (n, tags) in enumerate(zip(packed.lengths.tolist(), part.tags, strict=True)):
        if len(tags) != n:
            raise ValueError(f"sentence {i} has {len(tags)} tags for features of {n} words")
    return packed, list(chain.from_iterable(part.tags))


def _train(
    kind: type[Tagger],
    train: tuple[Packed, list],
    valid: tuple[Packed, list],
    *,
    mix: Mix,
    head: Literal["linear", "lstm"],
    seed: int,
    recipe: Recipe,
) -> tuple[Tagger, list, pd.DataFrame, list]:
    """Train on words and their targets -> the model, the classes, the history, and what is predicted of `valid`."""
    packed, targets = train
    shapes = [tuple(part.words.shape[::2]) for part, _ in (train, valid)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"features of training have {shapes[0]} (layers, dim), those of validation {shapes[1]}")
    classes = sorted(set(targets), key=str)
    if len(classes) < 2:
        raise ValueError(f"all targets of training are {classes[0]!r}: there is nothing to tell apart")
    number = {name: i for i, name in enumerate(classes)}
    device = packed.words.device
    y = torch.tensor([number[target] for target in targets], device=device)
    right = np.array([number.get(target, -1) for target in valid[1]])
    nonempty = packed.lengths.nonzero()[:, 0]

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        n_layers, _, dim = packed.words.shape
        model = kind(n_layers, dim, len(classes), mix=mix, head=head, hidden=recipe.hidden, dropout=recipe.dropout)
        model.to(device).standardise(packed.words, each_layer=recipe.each_layer)
        of_head = [parameter for name, parameter in model.named_parameters() if not name.startswith("mix.")]
        groups = [{"params": of_head, "lr": recipe.lr}, {"params": model.mix.parameters(), "lr": recipe.mix_lr}]
        adam = torch.optim.Adam(groups, fused=True)
        steps = recipe.epochs * math.ceil(len(nonempty) / recipe.batch_size)
        schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, total_iters=steps)
        history = []
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            total = 0.0
            for sentences in nonempty[torch.randperm(len(nonempty)).to(device)].split(recipe.batch_size):
                rows = packed.rows(sentences)
                loss = F.cross_entropy(model(packed.take(sentences, rows)), y[rows])
                total += loss.detach() * len(rows)
                if model.mix.scalars.requires_grad:
                    loss = loss + recipe.mix_decay * model.mix.scalars.square().sum()
                adam.zero_grad()
                loss.backward()
                adam.step()
                schedule.step()
            chosen = predict(model, valid[0])
            history.append(
                {
                    "epoch": epoch,
                    "loss": float(total) / len(y),
                    "accuracy": accuracy(right, chosen),
                    "weights": model.mix.weights().tolist(),
                }
            )
    return model, classes, pd.DataFrame(history), [classes[i] for i in chosen]


@torch.no_grad()
def predict(model: Tagger, features: Features | Packed, *, batch_size: int = 512) -> np.ndarray:
    """The number of the best tag of each word, (N,), or of the best class of each text, (S,)."""
    model.eval()
    packed = pack(features)
    batches = torch.arange(len(packed.lengths), device=packed.lengths.device).split(batch_size)
    takes = (packed.take(sentences, packed.rows(sentences)) for sentences in batches)
    return torch.cat([model(taken).argmax(1) for taken in takes]).cpu().numpy()


def _result(
    model: Tagger, classes: list, history: pd.DataFrame, scores: dict, targets: list, flat: list, predicted: list
) -> Result:
    return Result(
        scores=scores,
        per_tag=per_tag(targets, flat),
        weights=model.mix.weights().detach().cpu().numpy(),
        gamma=model.mix.gamma.item(),
        history=history,
        predicted=predicted,
        classes=classes,
        model=model,
    )


# ----------------------------------------------------------------------------------------------------------- scores
def tag_scores(
    tags: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    *,
    words: Sequence[Sequence[str]] | None = None,
    seen: Collection[str] | None = None,
) -> dict[str, float]:
    """Accuracy over all words; ``unseen`` and ``entity_f1`` where they can be had.

    Args:
        words, seen: the sentences' words, and those of training: ``unseen`` is the accuracy on all others, nan where
            there are none.
    """
    right = np.array([a == b for a, b in zip(chain(*tags), chain(*predicted), strict=True)])
    scores = {"accuracy": float(right.mean())}
    if words is not None and seen is not None:
        new = np.array([word not in seen for word in chain.from_iterable(words)])
        if len(new) != len(right):
            raise ValueError(f"there are {len(new)} words and {len(right)} tags")
        scores["unseen"] = float(right[new].mean()) if new.any() else math.nan
    if all(tag == "O" or tag[:2] in ("B-", "I-") for tag in set(chain.from_iterable(tags))):
        scores["entity_f1"] = entity_f1(tags, predicted)
    return scores


def text_scores(labels: Sequence, predicted: Sequence) -> dict[str, float]:
    """Accuracy, and F1 averaged over the classes that occur."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return {"accuracy": accuracy(labels, predicted), "macro_f1": macro_f1(labels, predicted)}


def per_tag(targets: Sequence, predicted: Sequence) -> pd.DataFrame:
    """A row for each tag there or predicted: ``tag``, ``precision``, ``recall``, ``f1``, ``n``; the frequent first."""
    names = sorted({*targets, *predicted}, key=str)
    figures = precision_recall_fscore_support(targets, predicted, labels=names, zero_division=0)
    table = pd.DataFrame(dict(zip(("tag", "precision", "recall", "f1", "n"), (names, *figures), strict=True)))
    return table.sort_values("n", ascending=False, kind="stable", ignore_index=True)


# ------------------------------------------------------------------------------------------------------ comparisons
def compare_layers(
    sources: Mapping[str, tuple[Features | Packed, Features | Packed]],
    train: Sequence,
    valid: Sequence,
    *,
    mixes: Sequence[Mix] = (0, 1, 2, "mean", "learned"),
    seeds: int = 5,
    score: str = "accuracy",
    words: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]] | None = None,
    head: Literal["linear", "lstm"] = "linear",
    recipe: Recipe | None = None,
) -> pd.DataFrame:
    """Train from every source, with every mix, with every seed, on the same sentences.

    Args:
        sources: by name, the features of the sentences of training and of validation.
        train, valid: their targets: of each sentence a sequence of tags, or of each text a class.
        mixes: see :func:`make_mix`. A source of one layer has mix 0 and no other.
        score: which of the scores is the column ``score``.
        words: of training and validation, for the score ``unseen``.
        head: of the tagger.

    Returns:
        A row a run: ``source``, ``mix``, ``seed``, ``score``, ``weights`` (one share a layer), ``gamma``.

    Raises:
        ValueError: see :func:`train_tagger`; or there is no such score.
    """
    tagging = not isinstance(train[0], str) and isinstance(train[0], Sequence) if len(train) else True
    runs = []
    for source, pair in sources.items():
        packed = [pack(part) if tagging else pack(part).means() for part in pair]
        for mix in mixes if len(packed[0].words) > 1 else (0,):
            for seed in range(seeds):
                if tagging:
                    parts = zip(packed, (train, valid), words or (None, None), strict=True)
                    result = train_tagger(*parts, mix=mix, head=head, seed=seed, recipe=recipe)
                else:
                    parts = zip(packed, (train, valid), strict=True)
                    result = train_classifier(*parts, mix=mix, seed=seed, recipe=recipe)
                runs.append(
                    {
                        "source": source,
                        "mix": str(mix),
                        "seed": seed,
                        "score": _score(result, score),
                        "weights": tuple(result.weights.tolist()),
                        "gamma": result.gamma,
                    }
                )
    return pd.DataFrame(runs)


def _score(result: Result, name: str) -> float:
    if name not in result.scores:
        raise ValueError(f"score={name!r} is none of {', '.join(result.scores)}")
    return result.scores[name]


def learned_weights(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What each task's learned mix made of the layers, over seeds.

    Args:
        runs: by task, the table of :func:`compare_layers`.

    Returns:
        A row for each task, source and layer: ``task``, ``source``, ``layer``, ``mean``, ``std`` (nan of one seed) and
        ``n``, the number of seeds.
    """
    learned = pd.concat({task: table[table.mix == "learned"] for task, table in runs.items()}, names=["task", None])
    shares = learned.reset_index("task").explode("weights").astype({"weights": float})
    shares["layer"] = shares.groupby(["task", "source", "seed"]).cumcount()
    by_layer = shares.groupby(["task", "source", "layer"], sort=False).weights
    return by_layer.agg(mean="mean", std="std", n="size").reset_index()


# ----------------------------------------------------------------------------------------------- a slider's accuracy
class RidgeSweep:
    """How well a linear classifier does on any mix of frozen layers, anew in milliseconds for any shares.

    Least squares on ±1 for each class with a penalty (ridge regression): the solution needs only products of the
    layers with each other and with the classes, and those of a mix are sums of those of its layers, computed once.
    It stays some points below a head trained by cross entropy on thousands of sentences (:func:`train_tagger`), and
    above one of a few hundred and few steps. So it ranks mixes, roughly where they are close, and does not measure
    them.

    Args:
        layers: of the words to train on, (L, N, D).
        tags: of these N words.
        held_out: layers of the words to test on, (L, M, D).
        held_out_tags: of these M words.
        penalty: on the squared weights, as a share of the mean variance of a feature.

    Raises:
        ValueError: the shapes do not fit together.
    """

    def __init__(
        self,
        layers: np.ndarray,
        tags: Sequence,
        held_out: np.ndarray,
        held_out_tags: Sequence,
        *,
        penalty: float = 1e-3,
    ):
        for name, of_words, n in (("train", layers, len(tags)), ("test", held_out, len(held_out_tags))):
            if np.ndim(of_words) != 3 or of_words.shape[1] != n or not n:
                raise ValueError(f"words to {name} on: layers (L, {n}, D) go with {n} tags, not {np.shape(of_words)}")
        self.classes, numbers = np.unique(np.asarray(tags), return_inverse=True)
        self.held_out, self.held_out_tags = np.asarray(held_out, np.float32), np.asarray(held_out_tags)
        self.penalty = penalty
        targets = np.where(numbers[:, None] == np.arange(len(self.classes)), 1.0, -1.0)  # (N, C)
        self._bias = targets.mean(axis=0)
        self._middle = np.mean(layers, axis=1, dtype=np.float64)  # (L, D)
        centred = layers - self._middle[:, None]
        self._with_each_other = np.einsum("ind,jne->ijde", centred, centred, optimize=True) / len(tags)  # (L, L, D, D)
        self._with_targets = np.einsum("lnd,nc->ldc", centred, targets, optimize=True) / len(tags)  # (L, D, C)

    def __call__(self, weights: np.ndarray, gamma: float = 1.0) -> float:
        """The accuracy on the held-out words: trained for shares (L,) at gamma 1, tested with this gamma."""
        weights = np.asarray(weights, dtype=float)
        products = np.einsum("i,j,ijde->de", weights, weights, self._with_each_other)
        ridge = self.penalty * np.trace(products) / len(products) + 1e-12
        matrix = solve(  # (D, C)
            products + ridge * np.eye(len(products)), np.tensordot(weights, self._with_targets, 1), assume_a="pos"
        )
        bias = self._bias - weights @ self._middle @ matrix  # (C,)
        mixed = np.tensordot(weights, self.held_out, 1)  # (M, D)
        guessed = self.classes[(gamma * mixed @ matrix + bias).argmax(axis=1)]
        return float((guessed == self.held_out_tags).mean())
