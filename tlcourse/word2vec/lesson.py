"""Sizes and measurements of the lesson: which text, which models, and tables of how good they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from tlcourse import data
from tlcourse.data import general
from tlcourse.data.general import lines_of_words
from tlcourse.text import thai_words, tokenise
from tlcourse.word2vec.classify import Recipe, compare
from tlcourse.word2vec.corpus import EncodedText, encode, encode_like
from tlcourse.word2vec.evaluate import analogies, held_out_rank, word_similarity
from tlcourse.word2vec.glove import GloVe, train_glove
from tlcourse.word2vec.train import Word2Vec, train
from tlcourse.word2vec.vectors import WordVectors

Sentences = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Sizes:
    """How large the lesson is.

    Attributes:
        english, thai: data sets to learn from; those that cannot be had are left out. For Thai, Wikipedia (the small
            one of the course where the large was not extracted) is always read.
        characters: of each set, at most.
        min_count: rarer words get no vector.
        recipe: of skip-gram; CBOW and fastText differ in what their names say.
        glove_epochs: how often GloVe sees each cell.
        task, task_label, fallback: the set of the homework, its label, and what to take where it cannot be had.
        labels: how many labelled texts the homework's classifier gets.
        seeds: how often.
        classifier: how it is trained.
        published: vectors of others to set beside ours, where they can be had.
    """

    english: tuple[str, ...]
    thai: tuple[str, ...]
    characters: int
    min_count: int
    recipe: Word2Vec
    glove_epochs: int
    task: str
    task_label: str
    fallback: str
    labels: tuple[int | None, ...]
    seeds: int
    classifier: Recipe
    published: tuple[str, ...] = ()


SIZES = {
    "smoke": Sizes(
        english=("gensim_wikipedia",), thai=("orchid",), characters=400_000, min_count=4,
        recipe=Word2Vec(dim=32, epochs=3, buckets=20_000, lr=0.05), glove_epochs=5,
        task="thai_intents", task_label="destination", fallback="thai_intents",
        labels=(100, None), seeds=2, classifier=Recipe(steps=150),
    ),
    "laptop": Sizes(
        english=("wikitext2", "gensim_wikipedia", "lee"), thai=("thaigov", "thai_wikipedia_qa", "orchid"),
        characters=12_000_000, min_count=5,
        recipe=Word2Vec(dim=100, epochs=5), glove_epochs=15,
        task="truevoice", task_label="destination", fallback="thai_intents",
        labels=(100, 500, None), seeds=5, classifier=Recipe(),
    ),
    "gpu": Sizes(
        english=("text8", "wikitext2"), thai=("thaigov", "thai_wikipedia_qa", "orchid"),
        characters=10**10, min_count=5,
        recipe=Word2Vec(dim=300, epochs=5, batch=16_384, buckets=2_000_000), glove_epochs=15,
        task="truevoice", task_label="destination", fallback="thai_intents",
        labels=(100, 500, None), seeds=5, classifier=Recipe(dim=300),
        published=("glove-6b-300", "thai2fit"),
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the text
def english_texts(sizes: Sizes) -> dict[str, list[str]]:
    """English to learn from, by its source."""
    return general.texts_at_hand(sizes.english, characters=sizes.characters)


def thai_texts(sizes: Sizes) -> dict[str, list[str]]:
    """Thai to learn from, by its source."""
    return general.thai_texts(sizes.thai, characters=sizes.characters)


# -------------------------------------------------------------------------------------------------- the models
@dataclass(frozen=True, eq=False)
class Model:
    """Word vectors, the other matrix where the objective has one, and how long the training took, in seconds."""

    vectors: WordVectors
    outputs: np.ndarray | None
    seconds: float


def train_models(text: EncodedText, sizes: Sizes, *, progress: bool = True) -> dict[str, Model]:
    """Skip-gram, CBOW, fastText and GloVe of one text, at one dimension and with one window."""
    recipes = {
        "skip-gram": sizes.recipe,
        "CBOW": replace(sizes.recipe, model="cbow"),
        "fastText": replace(sizes.recipe, ngrams=(3, 6)),
    }
    models = {}
    for name, recipe in recipes.items():
        began = time.perf_counter()
        trained = train(text, recipe, progress=progress)
        models[name] = Model(trained.vectors, trained.outputs, time.perf_counter() - began)
    began = time.perf_counter()
    recipe = GloVe(dim=sizes.recipe.dim, window=sizes.recipe.window, epochs=sizes.glove_epochs)
    vectors = train_glove(text, recipe, progress=progress)
    models["GloVe"] = Model(vectors, None, time.perf_counter() - began)
    return models


def judge(models: Mapping[str, Model], text: EncodedText, held_out: Sentences, *, language: str) -> pd.DataFrame:
    """How good the models of a language are: a row a model.

    Returns:
        ``seconds`` of training; ``held-out MRR``, the mean reciprocal rank of a neighbour in text that was not read;
        ``similarity`` (English: Spearman's rho on SimLex-999); ``3CosAdd`` and ``3CosMul``, the share of analogies
        answered; ``odd one out``, the share found. NaN where a model or a language lacks what is measured.
    """
    heard = encode_like(text, held_out)
    if language == "en":
        questions = data.load("word_analogies").test
        questions = questions.assign(**{column: questions[column].str.lower() for column in "abcd"})
    else:
        questions = data.load("word_sets").splits["thai_analogies"]
    rows = {}
    for name, model in models.items():
        row = {"seconds": model.seconds, "held-out MRR": np.nan, "similarity": np.nan}
        if model.outputs is not None:
            row["held-out MRR"] = held_out_rank(model.vectors, model.outputs, heard).reciprocal
        if language == "en":
            row["similarity"] = word_similarity(model.vectors, data.load("simlex999").test).rho
        for title, method in (("3CosAdd", "add"), ("3CosMul", "mul")):
            row[title] = analogies(model.vectors, questions, method=method).accuracy.iloc[-1]
        row["odd one out"] = odd_ones_out(model.vectors, language=language).found.mean()
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def odd_ones_out(vectors: WordVectors, *, language: str) -> pd.DataFrame:
    """The word sets of the course, of which one word does not belong: ``words``, ``odd``, ``answer``, ``found``.

    Sets with an unknown word are left out.
    """
    table = data.load("word_sets").splits["odd_one_out"]
    known = np.array([all(word in vectors for word in words) for words in table.words])
    table = table.loc[(table.language == language) & known, ["words", "odd"]]
    answers = [vectors.odd_one_out(words) for words in table.words]
    return table.assign(answer=answers, found=np.array(answers, dtype=object) == table.odd.to_numpy(dtype=object))


def agreement(
    first: WordVectors, second: WordVectors, *, edges: Sequence[int] = (20, 100, 1000), k: int = 10, sample: int = 200
) -> pd.Series:
    """Of two trainings on one text, the share of a word's k nearest words that both find, by the word's frequency.

    Args:
        first, second: with the same words, from two seeds.
        edges: counts at which bands end.
        sample: words of each band to ask, at most.
    """
    limits = [int(first.counts.min()), *edges, int(first.counts.max()) + 1]
    rng = np.random.default_rng(0)
    shares = {}
    for low, high in pairwise(limits):
        rows = np.flatnonzero((first.counts >= low) & (first.counts < high))
        words = [first.words[row] for row in rng.permutation(rows)[:sample]]
        if words:
            both = [len(set(first.nearest(w, k=k).word) & set(second.nearest(w, k=k).word)) / k for w in words]
            shares[f"{low:,} to {high - 1:,} times"] = float(np.mean(both))
    return pd.Series(shares)


def relatives(models: Mapping[str, WordVectors], *, language: str, k: int = 10) -> pd.DataFrame:
    """Words that were never seen, beside a word that shares letters with them: is it among their k nearest?

    Args:
        models: of the same text, so that they know the same words.

    Returns:
        ``relation``, ``seen`` and ``unseen`` words, and a column a model: whether ``seen`` is found. A model that has
        no vector for the unseen word has not found it.
    """
    table = data.load("word_sets").splits["word_forms"]
    table = table[table.language == language]
    words = next(iter(models.values()))
    pairs = [(a, b) if a in words else (b, a) for a, b in zip(table.word1, table.word2, strict=True)]
    rows = []
    for relation, (seen, unseen) in zip(table.relation, pairs, strict=True):
        if seen not in words or unseen in words:
            continue
        row = {"relation": relation, "seen": seen, "unseen": unseen}
        for name, vectors in models.items():
            try:
                row[name] = seen in set(vectors.nearest(unseen, k=k).word)
            except KeyError:
                row[name] = False
        rows.append(row)
    return pd.DataFrame(rows, columns=["relation", "seen", "unseen", *models])


# ------------------------------------------------------------------------------------------------- the homework
def homework(sizes: Sizes, general: WordVectors, *, progress: bool = False) -> tuple[pd.DataFrame, str]:
    """The course's fifth homework: a classifier that starts from random or from pretrained vectors.

    Args:
        general: vectors of general text; others are trained here on the task's own texts, without their labels.

    Returns:
        A row a run, as :func:`compare` gives it, and the name of the data set it was on.
    """
    task = data.load(sizes.task, fallback=sizes.fallback)
    own_text = lines_of_words({task.name: task.texts()}, thai_words)
    own = train(encode(own_text, min_count=2), replace(sizes.recipe, epochs=20), progress=progress).vectors
    tokens = {split: tokenise(task.splits[split].text, thai_words, progress=progress) for split in ("train", "test")}
    labels = {split: task.splits[split][sizes.task_label].cat.codes.to_numpy() for split in tokens}
    starts = {
        "random": None,
        "general text, frozen": general,
        "general text, tuned": general,
        "the task's text, frozen": own,
        "the task's text, tuned": own,
    }
    runs = compare(
        tokens["train"],
        labels["train"],
        tokens["test"],
        labels["test"],
        starts,
        frozen=[name for name in starts if "frozen" in name],
        labels=sizes.labels,
        seeds=sizes.seeds,
        recipe=sizes.classifier,
    )
    return runs, task.name


# --------------------------------------------------------------------------------------------------- the senses
def places_of_words(senses: pd.DataFrame, tokeniser: Callable[[str], list[str]]) -> tuple[list[list[str]], list[int]]:
    """The words of each text of ``word_senses`` and which of them is the ambiguous one.

    Returns:
        N lists of words, and N places: ``words[i][places[i]]`` is the word that stands at ``start`` in the text.
    """
    words, places = [], []
    for text, start in zip(senses.text, senses.start, strict=True):
        words.append(tokeniser(text))
        places.append(len(tokeniser(text[:start])))
    return words, places
