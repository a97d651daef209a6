"""Sizes and measurements of the lesson: which text, which model, which tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count

import numpy as np
import pandas as pd

from tlcourse import data
from tlcourse.data.general import at_hand, fingerprint, lines_of_words, texts_at_hand, thai_texts
from tlcourse.elmo.allennlp import Embedder
from tlcourse.elmo.downstream import Packed, Recipe, compare_layers, pack, static_features
from tlcourse.elmo.model import ELMoConfig
from tlcourse.elmo.pretrain import BiLMRecipe, Text, TrainedBiLM, encode, load_bilm, train_bilm
from tlcourse.text import english_words, thai_words, tokenise

Sentences = Sequence[Sequence[str]]
HELD_OUT = 50  # one line in so many is not trained on


@dataclass(frozen=True)
class Sizes:
    """How large the lesson is.

    Attributes:
        thai, english: data sets to learn the languages from; those that cannot be had are left out.
        characters: of each set, at most.
        recipe: of the bidirectional language model.
        tagged: sets with a tag a word, by the name of the task: the set, and its column of tags.
        labelled: sets with a label a text, by the name of the task: the set, and its label.
        train, valid: sentences or texts of each task, at most.
        seeds: how often each head is trained.
        leak_tokens: how much the networks of the first experiment read.
    """

    thai: tuple[str, ...]
    english: tuple[str, ...]
    characters: int
    recipe: BiLMRecipe
    tagged: Mapping[str, tuple[str, str]]
    labelled: Mapping[str, tuple[str, str]]
    train: int
    valid: int
    seeds: int
    leak_tokens: int


POS = {"parts of speech": ("orchid", "tags")}
TAGGED = POS | {"universal tags": ("ud_thai_pud", "tags"), "named entities": ("thainer", "entities")}
LABELLED = {"topic": ("truevoice", "destination"), "sentiment": ("wisesight", "sentiment")}
SIZES = {
    "smoke": Sizes(
        thai=("orchid",), english=("lee",), characters=100_000,
        recipe=BiLMRecipe(
            config=ELMoConfig(
                filters=((1, 8), (2, 16), (3, 32)), char_dim=8, projection_dim=32, lstm_dim=64,
                cell_clip=None, proj_clip=None,
            ),
            epochs=1, batch_size=16, lr=1e-2, samples=300,
        ),
        tagged=POS, labelled={"topic": ("thai_intents", "destination")},
        train=400, valid=200, seeds=2, leak_tokens=8_000,
    ),
    "laptop": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "gensim_wikipedia"),
        characters=2_000_000,
        recipe=BiLMRecipe(
            config=ELMoConfig(filters=((1, 16), (2, 32), (3, 48), (4, 64)), projection_dim=96, lstm_dim=192),
            epochs=2, lr=8e-3,
        ),
        tagged=TAGGED, labelled=LABELLED, train=2000, valid=1000, seeds=5, leak_tokens=200_000,
    ),
    "gpu": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "text8"), characters=10**10,
        recipe=BiLMRecipe(
            config=ELMoConfig(
                filters=((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512)), projection_dim=256, lstm_dim=2048
            ),
            epochs=5, batch_size=256, samples=8192,
        ),
        tagged=TAGGED, labelled=LABELLED, train=20_000, valid=2000, seeds=5, leak_tokens=1_000_000,
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the model
def sentences(sizes: Sizes) -> dict[str, list[list[str]]]:
    """What there is to learn the languages from, by language: lines of words and signs."""
    thai = thai_texts(sizes.thai, characters=sizes.characters)
    english = texts_at_hand(sizes.english, characters=sizes.characters)
    return {
        "th": lines_of_words(thai, thai_words, signs=True),
        "en": lines_of_words(english, english_words, signs=True),
    }


def held_out(some: Mapping[str, Sentences]) -> dict[str, list[Sequence[str]]]:
    """One line in ``HELD_OUT``, by language: what :func:`bilm` does not read."""
    numbers = count()
    return {language: [line for line in of_one if next(numbers) % HELD_OUT == 0] for language, of_one in some.items()}


def bilm(sizes: Sizes, some: Mapping[str, Sentences], *, progress: bool = True) -> tuple[TrainedBiLM, Text]:
    """One bidirectional language model of all languages: from the cache, or else trained now, and what it read.

    The lines of :func:`held_out` are left out. An interrupted training goes on where it stopped.
    """
    lines = [line for of_one in some.values() for line in of_one]
    read = [line for number, line in enumerate(lines) if number % HELD_OUT]
    text = encode(read, min_count=sizes.recipe.min_count, max_vocab=sizes.recipe.max_vocab)
    folder = data.cache_folder() / "elmo" / fingerprint(asdict(sizes.recipe), text.digest)
    if (folder / "bilm.safetensors").exists():
        return load_bilm(folder), text
    valid = [line for of_one in held_out(some).values() for line in of_one]
    return train_bilm(text, sizes.recipe, folder, valid=valid, progress=progress), text


def first_words(text: Text, tokens: int) -> Text:
    """As many whole sentences as begin within so many tokens, their vocabulary counted anew."""
    ends = text.starts[1 : int(np.searchsorted(text.starts, tokens)) + 1]
    words = np.array(text.words, dtype=object)
    return encode([words[text.ids[a + 1 : b - 1]].tolist() for a, b in zip(text.starts, ends, strict=False)])


# ---------------------------------------------------------------------------------------------------- the tasks
@dataclass(frozen=True, eq=False)
class Task:
    """A task on frozen features.

    Attributes:
        on: the data set.
        words: of the sentences to train on and to validate on.
        targets: the same of tags, a list a sentence, or of labels, one a text.
        score: what to report.
    """

    on: str
    words: tuple[Sentences, Sentences] = field(repr=False)
    targets: tuple[list, list] = field(repr=False)
    score: str


def tasks(sizes: Sizes) -> dict[str, Task]:
    """The tasks of the lesson whose data can be had; of each the first sentences."""
    found = {}
    for name, (source, column) in {**sizes.tagged, **sizes.labelled}.items():
        if not (loaded := at_hand(source)):
            continue
        frames = [loaded.train.sample(frac=1, random_state=0).head(sizes.train), loaded.valid.head(sizes.valid)]
        if name in sizes.tagged:
            pairs = [_without_blanks(frame.words, frame[column]) for frame in frames]
            words, targets = zip(*pairs, strict=True)
            score = "entity_f1" if column == "entities" else "accuracy"
        else:
            words = tuple(tokenise(frame.text, thai_words, progress=False) for frame in frames)
            targets = tuple(frame[column].astype(str).tolist() for frame in frames)
            score = "accuracy"
        found[name] = Task(source, words, targets, score)
    return found


def _without_blanks(words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> tuple[list, list]:
    """Sentences and their tags without words that are white space, as our own segmentation has none."""
    pairs = [
        [(word, tag) for word, tag in zip(some, of_them, strict=True) if word.strip()]
        for some, of_them in zip(words, tags, strict=True)
    ]
    pairs = [pair for pair in pairs if pair]
    return [[word for word, _ in pair] for pair in pairs], [[tag for _, tag in pair] for pair in pairs]


def features(trained: TrainedBiLM, some: Sentences) -> Packed:
    """All layers of each word, computed once, every sentence by itself."""
    return pack(Embedder(trained.model, stateful=False)(some))


def layers_and_targets(task: Task, trained: TrainedBiLM, part: int, *, most: int = 8000) -> tuple[np.ndarray, list]:
    """The layers of the first words of a task, or of the means of its texts, (L, N, D), and their N targets.

    Args:
        part: 0 for what to train on, 1 for what to validate on.
        most: so many words, or texts, at most.
    """
    layers = Embedder(trained.model, stateful=False)(task.words[part])
    targets = task.targets[part]
    if isinstance(targets[0], str):
        layers = [some.mean(axis=1, keepdims=True) for some in layers if some.shape[1]]
        targets = [target for target, words in zip(targets, task.words[part], strict=True) if words]
    else:
        targets = [tag for tags in targets for tag in tags]
    return np.concatenate(layers, axis=1)[:, :most], targets[:most]


def run_task(
    task: Task, trained: TrainedBiLM, static: Mapping[str, Mapping[str, np.ndarray]], *, seeds: int
) -> pd.DataFrame:
    """Every layer alone, their mean and a learned mix, and static vectors beside them: see :func:`compare_layers`."""
    sources = {"ELMo": tuple(features(trained, some) for some in task.words)}
    for name, vectors in static.items():
        sources[name] = tuple(pack(static_features(some, vectors)) for some in task.words)
    recipe = Recipe(epochs=20) if isinstance(task.targets[0][0], str) else Recipe(epochs=5)
    return compare_layers(sources, *task.targets, seeds=seeds, score=task.score, recipe=recipe)
