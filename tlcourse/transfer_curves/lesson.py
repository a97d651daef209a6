"""Sizes and measurements of the opening lesson: which tasks, how many labels, which sources."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

import pandas as pd
from pythainlp.transliterate import romanize

from tlcourse import data
from tlcourse.data.general import at_hand, fingerprint
from tlcourse.text import thai_words
from tlcourse.transfer_curves.curves import (
    FEATURES,
    WORDS,
    Recipe,
    label_curves,
    source_scores,
    step_curves,
)

ENCODER = "minilm"
THAI = re.compile("[ก-๛]+")
ROWS = 3000  # of a set that has more are enough to draw from
ITSELF = "the task's own other half"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A data set to classify.

    Attributes:
        data: its name.
        label: the column of the class.
        romanised: Thai is written in Latin letters. MiniLM's vocabulary has a few Thai letters and no word, so of Thai
            as it is written it would see nothing; like this it can spell what it does not understand.
    """

    data: str
    label: str
    romanised: bool = False

    @property
    def name(self) -> str:
        return f"{self.data}, romanised" if self.romanised else self.data


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the measurements are; the encoder is MiniLM.

    Attributes:
        targets: the tasks; labels are counted and sources compared on the first.
        labels: drawn for the curves over steps.
        held_out: texts that everything is measured on, at most.
        recipe: of the curves over steps.
        start, rise: steps at which the start is read, and at which the line of the slope ends.
        counts: labels of the curves over labels.
        count_layers: of the encoder, for these.
        sources: beside the half of the target's own training rows that is set aside as the nearest one.
        source_labels: of the target after a source.
        source_recipe, target_recipe: of a source, and of the target after it.
        seeds: of the curves over steps, of those over labels, of each source.
    """

    targets: tuple[Labelled, ...]
    labels: int
    held_out: int
    recipe: Recipe
    start: int
    rise: int
    counts: tuple[int, ...]
    count_layers: int | None
    sources: tuple[Labelled, ...]
    source_labels: int
    source_recipe: Recipe
    target_recipe: Recipe
    seeds: tuple[int, int, int]


_SST2, _SPAM = Labelled(data="sst2", label="sentiment"), Labelled(data="spam", label="label")
_WISESIGHT = Labelled(data="wisesight", label="sentiment", romanised=True)
_TRUEVOICE, _INTENTS = (
    Labelled(data=name, label="destination", romanised=True) for name in ("truevoice", "thai_intents")
)

SIZES = {
    "smoke": Sizes(
        targets=(_SPAM, _INTENTS), labels=40, held_out=60,
        recipe=Recipe(measured=(0, 2, 4, 6, 8, 10), batch_size=8, layers=1), start=2, rise=6,
        counts=(4, 40), count_layers=1, sources=(_INTENTS,), source_labels=20,
        source_recipe=Recipe(measured=(6,), batch_size=8, layers=1),
        target_recipe=Recipe(measured=(4,), batch_size=8, layers=1), seeds=(2, 2, 2),
    ),
    "laptop": Sizes(
        targets=(_SST2, _TRUEVOICE), labels=500, held_out=400,
        recipe=Recipe(measured=(0, 5, 10, 15, 20, 30, 40, 50), layers=3), start=5, rise=20,
        counts=(10, 30, 100, 300, 1000), count_layers=4, sources=(_SPAM, _WISESIGHT, _TRUEVOICE), source_labels=50,
        source_recipe=Recipe(measured=(50,), layers=3, max_length=40),
        target_recipe=Recipe(measured=(30,), layers=3), seeds=(5, 5, 3),
    ),
    "gpu": Sizes(
        targets=(_SST2, _TRUEVOICE), labels=2000, held_out=1500,
        recipe=Recipe(measured=(0, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 400)), start=5, rise=20,
        counts=(10, 30, 100, 300, 1000, 3000), count_layers=4, sources=(_SPAM, _WISESIGHT, _TRUEVOICE),
        source_labels=50, source_recipe=Recipe(measured=(300,)), target_recipe=Recipe(measured=(60,)),
        seeds=(10, 10, 5),
    ),
}  # fmt: skip


def at_home(sizes: Sizes) -> Sizes:
    """The same with those targets that can be had; the smallest sizes where none can."""
    targets = tuple(target for target in sizes.targets if at_hand(target.data))
    return sizes if targets == sizes.targets else SIZES["smoke"]


def texts(sizes: Sizes, target: Labelled) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Text and class of a target: to learn from, and held out."""
    loaded = data.load(target.data)
    parts = []
    for split, rows in ((loaded.train, ROWS), (loaded.valid, sizes.held_out)):
        part = split[["text", target.label]].sample(min(rows, len(split)), random_state=0)
        parts.append(part.assign(text=part["text"].map(romanised)) if target.romanised else part)
    return tuple(parts)


@cache  # the same texts are asked for again and again, and segmentation takes seconds
def romanised(text: str) -> str:
    """A Thai text in Latin letters, as the Royal Institute writes them; tones and lengths are lost."""
    return " ".join(filter(None, map(romanised_word, thai_words(text))))


@cache
def romanised_word(word: str) -> str:
    if not THAI.search(word):
        return word
    return THAI.sub("", romanize(word, engine="royin"))  # of words spelt wrongly it leaves a mark or two


# ---------------------------------------------------------------------------------------------------- measurements
def kept(what: str, compute: Callable[[], pd.DataFrame], *settings: object) -> pd.DataFrame:
    """A table from the cache, or computed now and kept there under a name made of its settings."""
    path = data.cache_folder() / "transfer_curves" / f"{what}-{fingerprint(ENCODER, *settings)}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        compute().to_csv(part, index=False)
        part.replace(path)
    return pd.read_csv(path, keep_default_na=False)  # a source is called "none"


def over_steps(sizes: Sizes, target: Labelled) -> pd.DataFrame:
    """Scores over steps of training, see :func:`tlcourse.transfer_curves.step_curves`."""
    seeds = range(sizes.seeds[0])

    def compute() -> pd.DataFrame:
        train, held_out = texts(sizes, target)
        return step_curves(
            train, held_out, label=target.label, labels=sizes.labels, encoder=ENCODER, recipe=sizes.recipe, seeds=seeds
        )

    return kept("steps", compute, asdict(target), sizes.labels, sizes.held_out, asdict(sizes.recipe), len(seeds))


def over_labels(sizes: Sizes, target: Labelled) -> pd.DataFrame:
    """Scores over numbers of labels, on words and on frozen states (:func:`tlcourse.transfer_curves.label_curves`)."""
    seeds = range(sizes.seeds[1])

    def compute() -> pd.DataFrame:
        train, held_out = texts(sizes, target)
        recipe = Recipe(layers=sizes.count_layers)
        return label_curves(
            train, held_out, label=target.label, counts=sizes.counts, encoder=ENCODER, recipe=recipe,
            treatments=(WORDS, FEATURES), seeds=seeds, words=thai_words,
        )  # fmt: skip

    return kept("labels", compute, asdict(target), sizes.counts, sizes.held_out, sizes.count_layers, len(seeds))


def over_sources(sizes: Sizes, target: Labelled) -> pd.DataFrame:
    """The target after sources near and far, see :func:`tlcourse.transfer_curves.source_scores`.

    The nearest source is the other half of the target's own rows: what a perfect source would give.
    """
    seeds = range(sizes.seeds[2])
    found = [source for source in sizes.sources if source != target and at_hand(source.data)]

    def compute() -> pd.DataFrame:
        train, held_out = texts(sizes, target)
        own = train.sample(frac=0.5, random_state=0)
        sources = {ITSELF: own} | {source.name: texts(sizes, source)[0] for source in found}
        return source_scores(
            train.drop(own.index), held_out, sources, label=target.label, labels=sizes.source_labels, encoder=ENCODER,
            recipe=sizes.target_recipe, source_recipe=sizes.source_recipe, seeds=seeds,
        )  # fmt: skip

    names = [asdict(source) for source in found]
    recipes = asdict(sizes.source_recipe), asdict(sizes.target_recipe)
    return kept("sources", compute, asdict(target), names, sizes.source_labels, sizes.held_out, recipes, len(seeds))


def chance(sizes: Sizes, target: Labelled) -> float:
    """The score of who always says the most frequent class of the held-out texts."""
    return float(texts(sizes, target)[1][target.label].value_counts(normalize=True).iloc[0])
