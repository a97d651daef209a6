"""Sizes and measurements of the lesson: which text, which models, which tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from tlcourse import data
from tlcourse.bert.finetune import FineTuning, finetune_answers, finetune_pairs, finetune_sentences, finetune_tags
from tlcourse.bert.masking import Masking
from tlcourse.bert.pairs import Documents, split_sentences
from tlcourse.bert.pretrain import BertRecipe, TrainedBert, load_bert, pretrain_bert
from tlcourse.bert.wordpiece import load_tokeniser, save_tokeniser, train_wordpiece
from tlcourse.data.general import Text, as_tokens, at_hand, fingerprint, thai_and_english
from tlcourse.data.splits import labelled_subset
from tlcourse.encoders import load_encoder
from tlcourse.training.pretraining import LOSSES

# What the comparisons change in their recipe.
PAPER = "80 % [MASK], 10 % random, 10 % kept"
VARIANTS = {
    PAPER: {},
    "100 % [MASK]": {"masking": Masking(mask=1.0, random=0.0)},
    "100 % random": {"masking": Masking(mask=0.0, random=1.0)},
    "no next sentence": {"nsp": False},
    "left to right": {"nsp": False, "causal": True},
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Classification of texts with few labels.

    Attributes:
        label: the column.
        encoder: a name, or "bert" for the lesson's own.
        epochs: by the number of labelled texts, None for all of them.
        lr: the peak rate when the whole encoder learns.
    """

    label: str
    encoder: str
    epochs: Mapping[int | None, int]
    lr: float


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the lesson is.

    Attributes:
        thai, english: data sets to learn the languages from; those that cannot be had are left out.
        characters: of each set, at most.
        vocab_size: pieces of the vocabulary.
        recipe: of the lesson's own BERT.
        small: of the models that are compared with each other.
        pretrainings: how often each of those is pretrained, from another seed.
        tasks: classification of texts, by the name of the set.
        seeds: how often each of those is trained.
        held_out: texts that scores are measured on, at most.
        words: sentences with tags to learn from.
        pairs: of sentences, that follow each other and that do not, of each kind.
        shapes: the set and the column of labels for each way to fine-tune, and how many rows and epochs.
    """

    thai: tuple[str, ...]
    english: tuple[str, ...]
    characters: int
    vocab_size: int
    recipe: BertRecipe
    small: BertRecipe
    pretrainings: int
    tasks: Mapping[str, Task]
    seeds: int
    held_out: int
    words: int
    pairs: int
    shapes: Mapping[str, tuple[str, str | None, int, int]]


SIZES = {
    "smoke": Sizes(
        thai=("orchid",), english=("lee",), characters=60_000, vocab_size=1500,
        recipe=BertRecipe(size=(2, 64), steps=60, batch_size=8, lr=3e-3, warmup=0.1),
        small=BertRecipe(size=(2, 64), max_length=64, steps=20, batch_size=16, lr=3e-3, warmup=0.1), pretrainings=1,
        tasks={"thai_intents": Task(label="destination", encoder="bert", epochs={50: 4}, lr=5e-4)},
        seeds=2, held_out=100, words=100, pairs=40,
        shapes={
            "sentences": ("spam", "label", 100, 2), "pairs": ("next sentences", "follows", 60, 2),
            "answers": ("small_qa", None, 60, 2), "tags": ("orchid", "tags", 100, 2),
        },
    ),
    "laptop": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "gensim_wikipedia"),
        characters=12_000_000, vocab_size=8000,
        recipe=BertRecipe(size=(4, 128), epochs=3, batch_size=32, lr=1e-3, warmup=0.1),
        small=BertRecipe(size=(2, 128), max_length=64, steps=700, batch_size=64, lr=2e-3, warmup=0.1), pretrainings=1,
        tasks={
            "truevoice": Task(label="destination", encoder="bert", epochs={100: 20, 1000: 5}, lr=5e-4),
            "wisesight": Task(label="sentiment", encoder="bert", epochs={100: 20, 1000: 5}, lr=5e-4),
            "sst2": Task(label="sentiment", encoder="minilm", epochs={100: 10}, lr=1e-4),
        },
        seeds=3, held_out=1000, words=1000, pairs=300,
        shapes={
            "sentences": ("spam", "label", 160, 20), "pairs": ("thai_qa_pairs", "label", 2000, 4),
            "answers": ("thai_qa", None, 1000, 4), "tags": ("thainer", "entities", 1000, 5),
        },
    ),
    "gpu": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "text8"), characters=10**10,
        vocab_size=30_000,
        recipe=BertRecipe(size="small", epochs=20, batch_size=256, lr=5e-4),
        small=BertRecipe(size="mini", epochs=4, batch_size=256, lr=1e-3, warmup=0.1), pretrainings=3,
        tasks={
            "truevoice": Task(label="destination", encoder="bert", epochs={100: 30, 1000: 10, None: 5}, lr=1e-4),
            "wisesight": Task(label="sentiment", encoder="bert", epochs={100: 30, 1000: 10, None: 5}, lr=1e-4),
            "sst2": Task(label="sentiment", encoder="bert-base-uncased", epochs={100: 10, 1000: 5, None: 3}, lr=5e-5),
        },
        seeds=3, held_out=5000, words=10_000, pairs=2000,
        shapes={
            "sentences": ("sms_spam", "label", 4000, 3), "pairs": ("thai_qa_pairs", "label", 12_000, 4),
            "answers": ("thai_qa", None, 6000, 4), "tags": ("thainer", "entities", 6000, 5),
        },
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the text
def text(sizes: Sizes) -> Text:
    """The text at hand, a vocabulary trained on it, and its pieces; what takes time is kept in the cache."""
    texts = thai_and_english(sizes.thai, sizes.english, characters=sizes.characters)
    return as_tokens(
        texts,
        data.cache_folder() / "bert" / fingerprint("text", sizes.vocab_size, texts),
        train=lambda read: train_wordpiece(read, vocab_size=sizes.vocab_size),
        save=save_tokeniser,
        load=load_tokeniser,
        documents=Documents,
    )


# ------------------------------------------------------------------------------------------------------ the models
def bert(sizes: Sizes, of: Text, *, progress: bool = True) -> tuple[TrainedBert, Path]:
    """The lesson's own BERT, from the cache or trained now, and the folder that it is in."""
    return _pretrained(of, sizes.recipe, progress=progress)


def _pretrained(of: Text, recipe: BertRecipe, *, every: int | None = None, progress: bool) -> tuple[TrainedBert, Path]:
    folder = data.cache_folder() / "bert" / fingerprint(asdict(recipe), of.documents.digest, of.held_out.digest)
    if (folder / LOSSES).exists():
        return load_bert(folder), folder
    trained = pretrain_bert(
        of.documents, of.tokeniser, recipe, folder, valid=of.held_out, every=every, progress=progress
    )
    return trained, folder


def variants(sizes: Sizes, of: Text, *, progress: bool = True) -> dict[tuple[str, int], tuple[TrainedBert, Path]]:
    """The models to compare, which differ in one thing each, by name and seed: from the cache or trained now."""
    recipes = {
        (name, seed): replace(sizes.small, seed=seed, **changes)
        for (name, changes), seed in product(VARIANTS.items(), range(sizes.pretrainings))
    }
    every = sizes.small.steps and -(-sizes.small.steps // 5)  # measured less often than the lesson's own
    return {key: _pretrained(of, recipe, every=every, progress=progress) for key, recipe in recipes.items()}


def accuracy_by_kind(trained: TrainedBert, documents: Documents) -> pd.Series:
    """How often a chosen piece is named where it was replaced by [MASK], by a random piece, and where it was kept."""
    kinds = {"[MASK]": (1.0, 0.0), "random": (0.0, 1.0), "kept": (0.0, 0.0)}
    named = {}
    for kind, (mask, random) in kinds.items():
        recipe = replace(trained.recipe, masking=replace(trained.recipe.masking, mask=mask, random=random))
        named[kind] = replace(trained, recipe=recipe).measure(documents)["mlm_accuracy"]
    return pd.Series(named, name="accuracy")


# ----------------------------------------------------------------------------------------------- topic or coherence?
KINDS = ("another document", "the same document", "swapped")
LONGEST_SENTENCE = 80  # characters: of a longer first one the end, of a longer second one the beginning


def kinds_of_pairs(texts: Sequence[str], *, n: int, kinds: Sequence[str] = KINDS, seed: int = 0) -> pd.DataFrame:
    """Pairs of sentences, of each of some kinds n that follow each other and n that do not.

    What does not follow is a sentence of another document, as in the paper; one from elsewhere in the same document;
    or the sentence before, the two swapped (ALBERT's question, Lan et al. 2020).

    Returns:
        Columns kind, first, second and follows.

    Raises:
        ValueError: fewer than two texts have four sentences.
    """
    documents = [sentences for sentences in map(split_sentences, texts) if len(sentences) >= 4]
    if len(documents) < 2:
        raise ValueError(f"{len(documents)} texts have four sentences; two are needed")
    rng = np.random.default_rng(seed)
    rows = []
    for kind, _ in product(kinds, range(n)):
        d, other = rng.choice(len(documents), 2, replace=False)
        own = documents[d]
        for follows in (True, False):
            i = rng.integers(len(own) - 1)
            first, second = own[i], own[i + 1]
            if not follows and kind == "another document":
                second = rng.choice(documents[other])
            elif not follows and kind == "the same document":
                second = own[rng.choice([j for j in range(len(own)) if j not in (i, i + 1)])]
            elif not follows:
                first, second = second, first
            rows.append((kind, first[-LONGEST_SENTENCE:], str(second)[:LONGEST_SENTENCE], follows))
    return pd.DataFrame(rows, columns=["kind", "first", "second", "follows"])


def shared_words(pairs: pd.DataFrame, words: Callable[[str], list[str]]) -> np.ndarray:
    """How much the two sentences of each pair have in common: the cosine of their words' tf-idf vectors, (N,)."""
    vectoriser = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit([*pairs["first"], *pairs["second"]])
    one, other = (vectoriser.transform(pairs[column]) for column in ("first", "second"))
    return np.asarray(one.multiply(other).sum(axis=1)).ravel()


def told_apart(pairs: pd.DataFrame, scores: Sequence[float]) -> pd.Series:
    """By kind, how often a pair that follows has a higher score than one that does not: the area under the ROC curve.

    One half is chance.
    """
    pairs = pairs.assign(score=np.asarray(scores))
    areas = {kind: roc_auc_score(some.follows, some.score) for kind, some in pairs.groupby("kind", sort=False)}
    return pd.Series(areas, name="area")


# --------------------------------------------------------------------------------------------------- what it is worth
def tagged(sizes: Sizes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ORCHID's sentences with parts of speech, to learn from and to be held out."""
    orchid = data.load("orchid")
    return orchid.train.sample(sizes.words, random_state=0), orchid.valid.head(sizes.held_out)


def compare_variants(
    sizes: Sizes, models: Mapping[tuple[str, int], tuple[TrainedBert, Path]], *, progress: bool = False
) -> pd.DataFrame:
    """What frozen layers of each model know of the words' parts of speech, beside that of one not pretrained.

    Returns:
        Columns variant, seed (of the pretraining) and accuracy.
    """
    train, valid = tagged(sizes)
    rows = []
    for (name, seed), (_, folder) in models.items():
        encoders = {name: load_encoder(folder)}
        if name == PAPER:
            encoders["not pretrained"] = load_encoder(folder, fresh=True, seed=seed)
        for variant, one in encoders.items():
            model = finetune_tags(
                one, train, recipe=FineTuning(frozen=True, seed=seed), label="tags", progress=progress
            )
            rows.append((variant, seed, model.score(valid)["accuracy"]))
    return pd.DataFrame(rows, columns=["variant", "seed", "accuracy"])


TREATMENTS = {"fresh": FineTuning(lr=5e-4), "frozen": FineTuning(lr=1e-2, frozen=True), "fine-tuned": FineTuning()}


def label_curves(sizes: Sizes, own: str | Path, *, progress: bool = False) -> pd.DataFrame:
    """Fresh weights, frozen features and fine-tuning, by task and number of labels.

    All read the mean of a text's pieces, which needs fewer labels than [CLS].

    Args:
        own: the folder of the lesson's own BERT.

    Returns:
        Columns task, labels, method, seed, accuracy and macro_f1.
    """
    rows = []
    for name, task in sizes.tasks.items():
        if not (loaded := at_hand(name)):
            continue
        test = loaded.test.sample(min(sizes.held_out, len(loaded.test)), random_state=0)
        for (labels, epochs), (method, recipe), seed in product(
            task.epochs.items(), TREATMENTS.items(), range(sizes.seeds)
        ):
            train = labelled_subset(loaded.train, by=task.label, n=labels or len(loaded.train), seed=seed)
            one = load_encoder(own if task.encoder == "bert" else task.encoder, fresh=method == "fresh", seed=seed)
            recipe = replace(recipe, summary="mean", seed=seed)
            if not recipe.frozen:
                recipe = replace(recipe, epochs=epochs, lr=recipe.lr or task.lr)
            model = finetune_sentences(one, train, recipe=recipe, label=task.label, progress=progress)
            rows.append((name, len(train), method, seed, *model.score(test).values()))
    return pd.DataFrame(rows, columns=["task", "labels", "method", "seed", "accuracy", "macro_f1"])


# ------------------------------------------------------------------------------------------------------- four shapes
FINETUNE = {
    "sentences": finetune_sentences,
    "pairs": finetune_pairs,
    "answers": finetune_answers,
    "tags": finetune_tags,
}
AROUND = 150  # characters of a passage that are kept on either side of its answer


def shape_data(sizes: Sizes, of: Text) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows to learn from and rows held out, for each way to fine-tune whose data can be had."""
    found = {}
    for shape, (name, _, rows, _) in sizes.shapes.items():
        if name == "next sentences":
            pairs = (kinds_of_pairs(of.texts["th"], n=rows, kinds=KINDS[:1], seed=seed) for seed in (0, 1))
            found[shape] = tuple(some.drop(columns="kind") for some in pairs)
            continue
        if not (loaded := at_hand(name)):
            continue
        train = loaded.train.sample(min(rows, len(loaded.train)), random_state=0)
        parts = train, loaded.valid.head(sizes.held_out)
        found[shape] = tuple(map(near_answers, parts)) if shape == "answers" else parts
    return found


def near_answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Passages cut down to what stands around their answers: a small model finds nothing in a whole article."""
    cut = []
    for row in frame.itertuples():
        begin = max(row.start - AROUND, 0)
        context = row.context[begin : row.start + len(row.answer) + AROUND]
        cut.append((context, row.question, row.answer, row.start - begin, row.answers))
    return pd.DataFrame(cut, columns=["context", "question", "answer", "start", "answers"])


def four_shapes(
    sizes: Sizes, parts: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], folder: str | Path, *, progress: bool = False
) -> pd.DataFrame:
    """Each way to fine-tune, pretrained and fresh.

    Returns:
        Columns shape, on (the set), weights ("fresh" or "pretrained"), score (its name) and value; answers and tags
        have several scores.
    """
    rows = []
    for (shape, (train, valid)), weights in product(parts.items(), ("fresh", "pretrained")):
        name, label, _, epochs = sizes.shapes[shape]
        one = load_encoder(folder, fresh=weights == "fresh")
        more = {} if label is None else {"label": label}
        recipe = FineTuning(epochs=epochs, lr=5e-4)
        model = FINETUNE[shape](one, train, recipe=recipe, progress=progress, **more)
        rows += [(shape, name, weights, score, value) for score, value in model.score(valid).items()]
    return pd.DataFrame(rows, columns=["shape", "on", "weights", "score", "value"])
