"""What the ULMFiT lesson does with the model: sizes, recipes, fine-tuning, and the measurements."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from tlcourse import data, profile
from tlcourse.data import labelled_subset
from tlcourse.text import BOS, ClassificationBatches, LMBatches, Vocab, tokenise
from tlcourse.training import (
    ActivationRegularisation,
    Perplexity,
    Stage,
    accuracy,
    all_at_once,
    fit,
    gradual_unfreezing,
    head_only,
    macro_f1,
    make_learner,
    perplexity,
    predict,
    schedules,
)
from tlcourse.training.schedules import Schedule
from tlcourse.training.softmax import FullSoftmax
from tlcourse.ulmfit.model import (
    AWDLSTM,
    CLASSIFIER_DROPOUTS,
    AWDLSTMConfig,
    Dropouts,
    LanguageModel,
    TextClassifier,
)
from tlcourse.ulmfit.pretrain import LanguageModelWithLoss

Docs = Sequence[np.ndarray]  # token ids of each text


# ------------------------------------------------------------------------------------------------------- sizes
ALL = 10**9  # more labels than any set has


@dataclass(frozen=True)
class Sizes:
    """How large the lesson is: the same cells, from a test of seconds to a GPU's hour."""

    data: str  # the data set to ask for; without a network the embedded one stands in
    emb_dim: int
    hidden_dim: int
    n_layers: int
    lm_epochs: int
    lm_batch_size: int
    bptt: int
    epochs: int  # of the classifier on all labels
    few_epochs: int  # of the classifier on few labels, which makes few steps an epoch
    batch_size: int
    label_counts: Mapping[int, int]  # of the low-label curve: how many seeds for how many labels
    seeds: int  # of the other comparisons
    ablation_labels: int
    dropout: float  # multiplies every dropout of the paper
    lm_lr: float  # peak rates
    lr: float


SIZES = {
    "smoke": Sizes(
        data="thai_intents", emb_dim=64, hidden_dim=96, n_layers=2,
        lm_epochs=3, lm_lr=2e-2, lm_batch_size=16, bptt=30,
        epochs=5, few_epochs=6, lr=2e-2, batch_size=16, dropout=0.2,
        label_counts={20: 1, 200: 1}, seeds=1, ablation_labels=200,
    ),
    "laptop": Sizes(
        data="truevoice", emb_dim=128, hidden_dim=320, n_layers=3,
        lm_epochs=5, lm_lr=8e-3, lm_batch_size=32, bptt=35,
        epochs=6, few_epochs=8, lr=1e-2, batch_size=64, dropout=0.5,
        label_counts={50: 5, 100: 5, 200: 3, 500: 3, ALL: 1}, seeds=3, ablation_labels=300,
    ),
    "gpu": Sizes(
        data="truevoice", emb_dim=400, hidden_dim=1150, n_layers=3,
        lm_epochs=12, lm_lr=5e-3, lm_batch_size=32, bptt=35,
        epochs=12, few_epochs=15, lr=1e-2, batch_size=64, dropout=0.5,
        label_counts={50: 5, 100: 5, 200: 5, 500: 5, 1000: 5, ALL: 3}, seeds=5, ablation_labels=500,
    ),
}  # fmt: skip


SCHEDULES = {"slanted": schedules.slanted_triangular, "constant": schedules.constant}
UNFREEZINGS = {"gradual": gradual_unfreezing, "all": all_at_once, "head": head_only}


@dataclass(frozen=True)
class Recipe:
    """How a classifier is fine-tuned: the paper's recipe, each remedy of which can be left out.

    Attributes:
        epochs: over the labelled texts.
        lr: peak learning rate of the head.
        schedule: ``slanted`` triangular or ``constant``.
        factor: how many times slower each lower layer learns; 1 for one rate everywhere.
        direction: ``lower-slower`` as the paper has it, ``lower-faster`` as one lecture slide has it.
        unfreezing: ``gradual``, ``all`` at once, or ``head`` alone (feature extraction).
        pooling: ``concat`` or ``last``.
        balanced: weigh the loss so that every class counts the same.
        dropouts: the paper's for classifiers, halved.
    """

    epochs: int = 8
    lr: float = 5e-3
    batch_size: int = 32
    schedule: str = "slanted"
    factor: float = 2.6
    direction: str = "lower-slower"
    unfreezing: str = "gradual"
    pooling: str = "concat"
    balanced: bool = False
    dropouts: Dropouts = field(default_factory=lambda: CLASSIFIER_DROPOUTS * 0.5)

    def __post_init__(self):
        for name, choices in (("schedule", SCHEDULES), ("unfreezing", UNFREEZINGS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")

    def stages(self, n_groups: int) -> list[Stage]:
        """The plan of unfreezing, for a model of ``n_groups`` layer groups."""
        return UNFREEZINGS[self.unfreezing](n_groups, self.epochs)

    def learning_rate(self) -> Schedule:
        """The schedule, a function of the step."""
        return SCHEDULES[self.schedule]()


def task_words(name: str) -> list[str]:
    """The words of a task's training text that its vocabulary holds (seen twice or more); no labels, no test texts."""
    task = data.load(name, fallback="thai_intents")
    texts = task.train["text"].tolist()
    if "unlabelled" in task.splits:
        texts += task.unlabelled["text"].tolist()
    return Vocab.build(tokenise(texts, progress=False), min_count=2).words[len(Vocab.SPECIALS) :]


# ------------------------------------------------------------------------------------- stage 2: language model
def fine_tune_language_model(
    model: LanguageModel,
    docs: Docs,
    valid_docs: Docs,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    bptt: int,
    factor: float = 1.0,
    schedule: Schedule | None = None,
    softmax: FullSoftmax | None = None,
    seed: int = 42,
    backwards: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a language model on the task's text, in place (Howard and Ruder 2018, section 3.2).

    One-cycle for a fresh model (``factor=1``); slanted triangular rates, slower for lower layers, for a pretrained
    one.

    Args:
        model: fresh, or from :func:`load_backbone`.
        docs: token ids of the texts to learn from.
        valid_docs: token ids of the texts to follow the training on.
        lr: peak rate of the fastest layer.
        factor: how many times slower each lower layer learns.
        schedule: another one in place of those two.
        softmax: how to train the softmax, such as ``SampledSoftmax`` for a large vocabulary; in full by default.
        backwards: read each text from its end.
        progress: False shows nothing while training.

    Returns:
        The history: a row an epoch with ``train_loss``, ``valid_loss`` (nats a token) and ``perplexity``.

    Raises:
        ValueError: the texts are too short for a single batch.
    """
    profile.seed_everything(seed)
    reading = {"bptt": bptt, "backwards": backwards}
    train = LMBatches(docs, batch_size=batch_size, shuffle=True, seed=seed, **reading)
    valid = LMBatches(valid_docs, batch_size=min(batch_size, 16), **reading)
    with_loss = LanguageModelWithLoss(model, softmax or FullSoftmax())
    learner = make_learner(
        with_loss,
        train,
        valid,
        loss=with_loss.loss,
        metrics=[Perplexity()],
        grad_clip=0.4,
        cbs=[ActivationRegularisation(alpha=2, beta=1)],
    )
    if schedule is None:
        schedule = schedules.one_cycle() if factor == 1 else schedules.slanted_triangular()
    return fit(learner, epochs, lr=lr, schedule=schedule, factor=factor, progress=progress)


# ------------------------------------------------------------------------------------------ stage 3: classifier
def build_classifier(
    source: LanguageModel | AWDLSTMConfig, n_classes: int, recipe: Recipe | None = None, *, seed: int = 42
) -> TextClassifier:
    """A classifier with a fresh head, on a copy of a language model's encoder or on a fresh one of given sizes."""
    recipe = recipe or Recipe()
    profile.seed_everything(seed)
    config = source if isinstance(source, AWDLSTMConfig) else source.config
    encoder = AWDLSTM(replace(config, dropouts=recipe.dropouts))
    if isinstance(source, LanguageModel):
        encoder.load_state_dict(source.encoder.state_dict())
    return TextClassifier(encoder, n_classes, output_dropout=recipe.dropouts.output, pooling=recipe.pooling)


def fine_tune_classifier(
    model: TextClassifier,
    docs: Docs,
    labels: np.ndarray,
    valid: tuple[Docs, np.ndarray] | None = None,
    *,
    recipe: Recipe | None = None,
    seed: int = 42,
    backwards: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Fine-tune a classifier in place, as the recipe says.

    Args:
        model: from :func:`build_classifier`.
        docs: token ids of the training texts.
        labels: (texts,) class numbers.
        valid: texts and labels to follow the training on.
        backwards: read each text from its end, for a backward language model's encoder.
        progress: False shows nothing while training.

    Returns:
        The history: a row an epoch with the stage, the losses, ``accuracy`` and ``macro_f1``.

    Raises:
        ValueError: there are fewer than two texts, or a label is no class of the model.
    """
    recipe = recipe or Recipe()
    profile.seed_everything(seed)
    if len(docs) == 1:
        raise ValueError("batch normalisation needs at least two texts to train on, and there is one")
    n_classes = model.head[-1].out_features
    reading = {"n_classes": n_classes, "backwards": backwards}
    # few texts still make four steps an epoch; three fit in a batch, or the last might hold one, too few for batch norm
    batch_size = min(recipe.batch_size, max(3, len(docs) // 4))
    train = ClassificationBatches(docs, labels, batch_size=batch_size, shuffle=True, seed=seed, **reading)
    valid_batches = () if valid is None else ClassificationBatches(*valid, batch_size=128, **reading)
    weight = class_weights(labels, n_classes) if recipe.balanced else None

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, weight=None if weight is None else weight.to(logits))

    learner = make_learner(model, train, valid_batches, loss=loss, metrics=[accuracy, macro_f1])
    return fit(
        learner,
        recipe.stages(len(model.layer_groups())),
        lr=recipe.lr,
        schedule=recipe.learning_rate(),
        factor=recipe.factor,
        direction=recipe.direction,
        progress=progress,
    )


def class_weights(labels: np.ndarray, n_classes: int) -> Tensor:
    """n / (classes * n_c): a weight with which every class has the same say; a class without texts weighs nothing."""
    counts = np.bincount(labels, minlength=n_classes)
    weights = len(labels) / (np.maximum(counts, 1) * (counts > 0).sum()) * (counts > 0)
    return torch.tensor(weights, dtype=torch.float32)


def probabilities(model: TextClassifier, docs: Docs, *, backwards: bool = False) -> np.ndarray:
    """Class probabilities of each text, (texts, classes), in the order of the texts."""
    batches = ClassificationBatches(docs, np.zeros(len(docs), dtype=int), batch_size=128, backwards=backwards)
    return predict(model, batches)


# ------------------------------------------------------------------------------------------------- measurements
def forgetting(classifier: TextClassifier, language_model: LanguageModel, docs: Docs) -> float:
    """Perplexity on ``docs`` of the language model when its encoder is replaced by the fine-tuned classifier's.

    The decoder stays the language model's own (embedding and bias from before), so that only what fine-tuning did
    to the encoder is measured. Before fine-tuning this is the language model's perplexity; how far it rises is how
    much was forgotten.
    """
    language_model.reset()  # what its last call left has a graph, which cannot be copied
    after = copy.deepcopy(language_model)
    decoder = language_model.encoder.embedding.weight.detach().clone()
    after.encoder.load_state_dict(classifier.encoder.state_dict())
    return lm_perplexity(after, docs, decoder=decoder)


def lm_perplexity(model: LanguageModel, docs: Docs, *, decoder: Tensor | None = None) -> float:
    """exp of the mean cross entropy (nats a token) over ``docs``; ``decoder`` (V, D) in place of the tied one."""
    _, losses = token_losses(model, docs, decoder=decoder)
    return perplexity(losses.mean(dtype=np.float64))


@torch.no_grad()
def token_losses(
    model: LanguageModel, docs: Docs | np.ndarray, *, decoder: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each token that was to be predicted, and its cross entropy in nats: two arrays (tokens,).

    Args:
        decoder: (V, D), in place of the tied one.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval().reset()
    targets, losses = [], []
    for x, y in LMBatches(docs, batch_size=16, bptt=70):
        logits = model(x.to(device))
        if decoder is not None:
            logits = F.linear(model.dropped_output, decoder.to(device), model.decoder_bias)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), y.to(device).flatten(), reduction="none")
        losses.append(loss.cpu().numpy())
        targets.append(y.flatten().numpy())
    model.reset()
    model.train(was_training)
    return np.concatenate(targets), np.concatenate(losses)


def layer_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """How far each layer of an encoder moved: ||after - before|| / ||before||, without unit, lowest first.

    Args:
        before, after: state dicts of two :class:`AWDLSTM` of the same sizes.
    """
    layers: dict[str, list[str]] = {}
    for name in before:
        layer = "embedding" if name.startswith("embedding") else f"LSTM {int(name.split('.')[1]) + 1}"
        layers.setdefault(layer, []).append(name)
    moved = {}
    for layer, names in layers.items():
        old = torch.cat([before[n].float().cpu().flatten() for n in names])
        new = torch.cat([after[n].float().cpu().flatten() for n in names])
        moved[layer] = float((new - old).norm() / old.norm())
    return moved


@torch.no_grad()
def word_importance(model: TextClassifier, token_ids: Sequence[int], *, target: int | None = None) -> np.ndarray:
    """What each token does for the decision: the drop in the class's probability when the token is left out.

    Args:
        model: a trained classifier.
        token_ids: the text, (T,).
        target: the class; the predicted one when left out.

    Returns:
        (T,) differences of probability in [-1, 1]; positive means that the token speaks for the class.

    Raises:
        ValueError: the text is longer than 1,000 tokens.
    """
    ids = np.asarray(token_ids)
    if len(ids) > 1000:  # the text is classified anew without each of its tokens
        raise ValueError(f"a text of {len(ids):,} tokens would be read {len(ids):,} times; give at most 1,000")
    shortened = [np.delete(ids, i) for i in range(len(ids))] if len(ids) > 1 else []
    whole, *without = probabilities(model, [ids, *shortened])
    target = int(whole.argmax()) if target is None else target
    return np.array([whole[target] - p[target] for p in without]) if without else np.zeros(1)


def few_label_run(
    start: LanguageModel | AWDLSTMConfig,
    docs: Docs,
    frame: pd.DataFrame,
    *,
    label: str,
    valid: tuple[Docs, np.ndarray],
    n: int,
    seed: int,
    recipe: Recipe,
) -> tuple[TextClassifier, dict[str, float]]:
    """Fine-tune on ``n`` labels and score: the classifier, and its ``accuracy`` and ``macro_f1`` on ``valid``.

    The seed draws the labelled rows, the fresh weights and the order. The arguments are those of
    :func:`label_curve`.
    """
    codes = frame[label].cat.codes.to_numpy().astype(int)
    rows = frame.reset_index(drop=True)  # by position, as the documents are
    chosen = labelled_subset(rows, by=label, n=n, seed=seed).index
    model = build_classifier(start, len(frame[label].cat.categories), recipe, seed=seed)
    fine_tune_classifier(
        model, [docs[i] for i in chosen], codes[chosen], recipe=recipe, seed=seed, progress=False
    )  # one of many runs: their caller shows how many are done
    return model, score(model, valid)


def score(model: TextClassifier, valid: tuple[Docs, np.ndarray]) -> dict[str, float]:
    """``accuracy`` and ``macro_f1`` of a classifier on texts and their labels."""
    predicted = probabilities(model, valid[0]).argmax(1)
    return {"accuracy": accuracy(valid[1], predicted), "macro_f1": macro_f1(valid[1], predicted)}


def label_curve(
    sources: Mapping[str, LanguageModel],
    docs: Docs,
    frame: pd.DataFrame,
    *,
    label: str,
    valid: tuple[Docs, np.ndarray],
    counts: Mapping[int, int],
    recipe: Recipe,
    full_recipe: Recipe | None = None,
    trained: Mapping[str, TextClassifier] | None = None,
    progress: Callable[[list], Iterable] = iter,
) -> pd.DataFrame:
    """Scratch against transferred classifiers, by the number of labels.

    Args:
        sources: the language models to transfer from, by method, all of one size; ``scratch`` has that size and fresh
            weights.
        docs: token ids of the rows of ``frame``, in their order.
        frame: the labelled training rows; column ``label`` is categorical.
        valid: texts and labels to score on.
        counts: how many seeds to run for each number of labels; more labels than there are means all.
        recipe: for the transferred runs; scratch runs train all layers at one rate from the start.
        full_recipe: for all labels, which make many steps an epoch.
        trained: classifiers of the first seed on all labels, by method, where there are such already.
        progress: wraps the list of runs; ``tqdm`` shows a bar.

    Returns:
        A row a run: ``method``, ``labels``, ``seed``, ``accuracy``, ``macro_f1``.
    """
    rows, trained = [], trained or {}
    config = next(iter(sources.values())).config
    for n, seed in progress([(n, seed) for n, seeds in counts.items() for seed in range(seeds)]):
        how = recipe if n < len(frame) else full_recipe or recipe
        n = min(n, len(frame))
        for method, start in {"scratch": config, **sources}.items():
            if method in trained and n == len(frame) and seed == 0:
                scores = score(trained[method], valid)
            else:
                chosen = replace(how, factor=1.0, unfreezing="all") if method == "scratch" else how
                run = few_label_run(start, docs, frame, label=label, valid=valid, n=n, seed=seed, recipe=chosen)
                scores = run[1]
            rows.append({"method": method, "labels": n, "seed": seed, **scores})
    return pd.DataFrame(rows)


def compare_recipes(
    source: LanguageModel,
    docs: Docs,
    frame: pd.DataFrame,
    *,
    label: str,
    valid: tuple[Docs, np.ndarray],
    n: int,
    recipes: Mapping[str, Recipe],
    seeds: int,
    progress: Callable[[list], Iterable] = iter,
) -> pd.DataFrame:
    """Fine-tune by several recipes on the same draws of ``n`` labels; the arguments are those of :func:`label_curve`.

    Returns:
        A row a run: ``recipe``, ``seed``, ``accuracy``, ``macro_f1``; the perplexity of the language model before
        fine-tuning and with the fine-tuned encoder (:func:`forgetting`); and ``change: LAYER`` for each layer of
        the encoder (:func:`layer_change`).
    """
    before = lm_perplexity(source, valid[0])
    rows = []
    for name, seed in progress([(name, seed) for seed in range(seeds) for name in recipes]):
        model, scores = few_label_run(
            source, docs, frame, label=label, valid=valid, n=n, seed=seed, recipe=recipes[name]
        )
        row = {"recipe": name, "seed": seed, **scores, "perplexity_before": before}
        row["perplexity_after"] = forgetting(model, source, valid[0])
        moved = layer_change(source.encoder.state_dict(), model.encoder.state_dict())
        rows.append(row | {f"change: {layer}": change for layer, change in moved.items()})
    return pd.DataFrame(rows)


def mean_change(comparison: pd.DataFrame, recipe: str) -> dict[str, float]:
    """The mean change of each layer under one recipe of :func:`compare_recipes`, lowest layer first.

    Raises:
        KeyError: the recipe was not compared.
    """
    runs = comparison[comparison["recipe"] == recipe].filter(like="change: ")
    if runs.empty:
        raise KeyError(f"no recipe {recipe!r}; there are {', '.join(comparison['recipe'].unique())}")
    return {name.removeprefix("change: "): value for name, value in runs.mean().items()}


def without_dropconnect(dropouts: Dropouts) -> Dropouts:
    """Dropout on the activations between the layers in place of DropConnect, whose probability is added to theirs."""
    return replace(dropouts, weight=0.0, hidden=min(dropouts.hidden + dropouts.weight, 0.9))


def short_language_model(
    config: AWDLSTMConfig,
    docs: Docs,
    valid_docs: Docs,
    schedule: Schedule,
    sizes: Sizes,
    *,
    seed: int,
    scale: float = 1.0,
) -> float:
    """Validation perplexity of a fresh language model after two epochs under a learning-rate schedule.

    Args:
        schedule: over the two epochs.
        scale: multiplies the peak rate of ``sizes``.
    """
    profile.seed_everything(seed)
    model = LanguageModel(config)
    fine_tune_language_model(
        model, docs, valid_docs, epochs=2, lr=scale * sizes.lm_lr, batch_size=sizes.lm_batch_size,
        bptt=sizes.bptt, schedule=schedule, seed=seed, progress=False,
    )  # fmt: skip
    return lm_perplexity(model, valid_docs)


@torch.no_grad()
def finish(
    model: LanguageModel,
    vocab: Vocab,
    tokens: Sequence[str],
    *,
    length: int,
    temperature: float = 0.7,
    seed: int = 42,
) -> str:
    """Let a language model go on from ``tokens``, drawing each next word; special tokens are never drawn.

    Args:
        length: how many words to draw.
        temperature: divides the logits before the softmax; near 0 the likeliest word always wins.

    Returns:
        The text, its words parted by thin bars.

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is positive, not {temperature}")
    was_training = model.training
    model.eval().reset()
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    ids = [BOS, *vocab.encode(tokens)]
    new = torch.tensor([ids], device=device)
    for _ in range(length):
        logits = model(new)[0, -1].float().cpu()  # (V,); the state holds what was read before
        logits[: len(Vocab.SPECIALS)] = float("-inf")
        ids.append(int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)))
        new = torch.tensor([ids[-1:]], device=device)
    model.reset()
    model.train(was_training)
    return "|".join(vocab.decode(ids[1:]))
