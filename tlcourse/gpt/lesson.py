"""Sizes and measurements of the lesson: which text, which models, which tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import pandas as pd

from tlcourse import data
from tlcourse.data.general import Text, as_tokens, at_hand, fingerprint, thai_and_english, up_to
from tlcourse.data.splits import labelled_subset
from tlcourse.encoders import Checkpoint, load_language_model
from tlcourse.gpt.bpe import load_tokeniser, save_tokeniser, train_bpe
from tlcourse.gpt.finetune import FineTuningGPT, finetune_gpt
from tlcourse.gpt.pretrain import GPTRecipe, TokenDocuments, TrainedGPT, load_gpt, pretrain_gpt
from tlcourse.gpt.shots import accuracy_by_shots, form_tasks, task_documents
from tlcourse.training.pretraining import LOSSES

PAPER = 0.5  # λ of Radford et al. 2018


@dataclass(frozen=True, kw_only=True)
class Task:
    """Classification of texts, to fine-tune for.

    Attributes:
        label: the column.
        epochs: by the number of labelled texts, None for all of them: a small set, and a larger one.
    """

    label: str
    epochs: Mapping[int | None, int]


@dataclass(frozen=True, kw_only=True)
class Shots:
    """In-context learning, in small.

    Attributes:
        sizes: of the models, (layers, hidden size); the last is used for the comparisons.
        documents: how many documents of tasks each reads.
        recipe: how it is pretrained on them.
        seeds: how often each is pretrained, on documents of its own.
        rounds: prompts of each number of examples.
    """

    sizes: tuple[tuple[int, int], ...]
    documents: int
    recipe: GPTRecipe
    seeds: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the lesson is.

    Attributes:
        thai, english: data sets to learn the languages from; those that cannot be had are left out.
        characters: of each set, at most.
        vocab_size: tokens of the vocabulary.
        recipe: of the lesson's own GPT.
        tasks: by the name of the set.
        lams: λ of the runs, 0 and 0.5 among them.
        lr: the peak rate of fine-tuning.
        seeds: how often each is fine-tuned.
        held_out: texts that scores are measured on, at most.
        probed: characters of each language, and of each task, that the language model is measured on.
        shots: of in-context learning.
    """

    thai: tuple[str, ...]
    english: tuple[str, ...]
    characters: int
    vocab_size: int
    recipe: GPTRecipe
    tasks: Mapping[str, Task]
    lams: tuple[float, ...]
    lr: float
    seeds: int
    held_out: int
    probed: int
    shots: Shots


# A long warm-up and no dropout: there are as many documents as one likes.
_TASKS = GPTRecipe(max_length=64, batch_size=32, lr=3e-3, warmup=0.1, dropout=0)

SIZES = {
    "smoke": Sizes(
        thai=("orchid",), english=("lee",), characters=60_000, vocab_size=1500,
        recipe=GPTRecipe(size=(2, 64), steps=60, batch_size=8, lr=3e-3, warmup=0.1),
        tasks={"thai_intents": Task(label="destination", epochs={50: 3})},
        lams=(0.0, 0.5), lr=1e-3, seeds=2, held_out=100, probed=2_000,
        shots=Shots(sizes=((1, 64),), documents=300, recipe=_TASKS, seeds=2, rounds=10),
    ),
    "laptop": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "gensim_wikipedia"),
        characters=12_000_000, vocab_size=8000,
        recipe=GPTRecipe(size=(4, 128), epochs=1, batch_size=32, lr=1e-3, warmup=0.1),
        tasks={
            "truevoice": Task(label="destination", epochs={200: 8, 1000: 3}),
            "wisesight": Task(label="sentiment", epochs={200: 8, 1000: 3}),
            "sst2": Task(label="sentiment", epochs={200: 8, 1000: 3}),
        },
        lams=(0.0, 0.25, 0.5, 1.0, 2.0), lr=5e-4, seeds=3, held_out=1000, probed=20_000,
        shots=Shots(sizes=((1, 64), (1, 128), (2, 128)), documents=16_000, recipe=_TASKS, seeds=3, rounds=100),
    ),
    "gpu": Sizes(
        thai=("thaigov", "thai_wikipedia_qa", "orchid"), english=("wikitext2", "text8"), characters=10**10,
        vocab_size=30_000,
        recipe=GPTRecipe(size="small", epochs=20, batch_size=256, lr=5e-4),
        tasks={
            "truevoice": Task(label="destination", epochs={1000: 10, None: 4}),
            "wisesight": Task(label="sentiment", epochs={1000: 10, None: 4}),
            "sst2": Task(label="sentiment", epochs={1000: 10, None: 3}),
        },
        lams=(0.0, 0.125, 0.25, 0.5, 1.0, 2.0), lr=1e-4, seeds=5, held_out=5000, probed=100_000,
        shots=Shots(
            sizes=((1, 128), (2, 128), (4, 256)), documents=100_000, recipe=replace(_TASKS, lr=1e-3), seeds=5,
            rounds=500,
        ),
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the text
def text(sizes: Sizes) -> Text:
    """The text at hand, a vocabulary trained on it, and its tokens; what takes time is kept in the cache.

    The text is that of the lesson on BERT.
    """
    texts = thai_and_english(sizes.thai, sizes.english, characters=sizes.characters)
    return as_tokens(
        texts,
        data.cache_folder() / "gpt" / fingerprint("text", sizes.vocab_size, texts),
        train=lambda read: train_bpe(read, vocab_size=sizes.vocab_size),
        save=save_tokeniser,
        load=load_tokeniser,
        documents=TokenDocuments,
    )


# ------------------------------------------------------------------------------------------------------ the models
def gpt(sizes: Sizes, of: Text, *, progress: bool = True) -> tuple[TrainedGPT, Path]:
    """The lesson's own GPT, from the cache or trained now, and the folder that it is in."""
    folder = data.cache_folder() / "gpt" / fingerprint(asdict(sizes.recipe), of.documents.digest, of.held_out.digest)
    if (folder / LOSSES).exists():
        return load_gpt(folder), folder
    trained = pretrain_gpt(of.documents, of.tokeniser, sizes.recipe, folder, valid=of.held_out, progress=progress)
    return trained, folder


# ------------------------------------------------------------------------------------------- the auxiliary objective
def tasks(sizes: Sizes) -> dict[str, data.Dataset]:
    """The sets to fine-tune for that can be had, each with the test texts that are scored."""
    found = {name: loaded for name in sizes.tasks if (loaded := at_hand(name))}
    for loaded in found.values():
        loaded.splits["test"] = loaded.test.sample(min(sizes.held_out, len(loaded.test)), random_state=0)
    return found


def few(loaded: data.Dataset, task: Task, labels: int | None, *, seed: int) -> pd.DataFrame:
    """So many labelled training texts of a task, None for all of them."""
    return labelled_subset(loaded.train, by=task.label, n=labels or len(loaded.train), seed=seed)


def lambda_runs(sizes: Sizes, own: str | Path, of: Text, *, progress: bool = False) -> pd.DataFrame:
    """Fine-tuning with L3 = L2 + λ L1, by task, number of labels and λ; what was learned, and what forgotten.

    Beside the pretrained weights stand fresh ones, with the paper's λ = 0.5. A run that is done is kept in the cache.

    Args:
        own: the folder of the lesson's own GPT.

    Returns:
        Columns task, labels, weights ("pretrained" or "fresh"), lam, seed, accuracy, macro_f1, general_loss and
        task_loss: what the language model loses after fine-tuning, in nats a token, on general text that was held out
        and on the task's test texts.
    """
    general = general_texts(sizes, of)
    treatments = [("fresh", PAPER), *(("pretrained", lam) for lam in sizes.lams)]
    rows = []
    for name, loaded in tasks(sizes).items():
        task, own_texts = sizes.tasks[name], beginning(loaded.test.text, sizes.probed)
        for (labels, epochs), seed, (weights, lam) in product(task.epochs.items(), range(sizes.seeds), treatments):
            recipe = FineTuningGPT(lam=lam, epochs=epochs, lr=sizes.lr, seed=seed)
            key = fingerprint(Path(own).name, asdict(recipe), name, labels, weights, sizes.held_out, sizes.probed)
            kept = data.cache_folder() / "gpt" / "runs" / f"{key}.json"
            if not kept.exists():
                start = load_language_model(own, fresh=weights == "fresh", seed=seed)
                train = few(loaded, task, labels, seed=seed)
                model = finetune_gpt(start, train, recipe=recipe, label=task.label, progress=progress)
                losses = {"general_loss": model.lm_loss(general), "task_loss": model.lm_loss(own_texts)}
                kept.parent.mkdir(parents=True, exist_ok=True)
                part = kept.with_suffix(".part")
                part.write_text(json.dumps({"labels": len(train)} | model.score(loaded.test) | losses))
                part.replace(kept)
            rows.append({"task": name, "weights": weights, "lam": lam, "seed": seed} | json.loads(kept.read_text()))
    return pd.DataFrame(rows)


def general_texts(sizes: Sizes, of: Text) -> list[str]:
    """What the language model is measured on: held-out text of both languages."""
    return [text for language in of.texts for text in beginning(of.aside(language), sizes.probed)]


def beginning(texts: Iterable[str], characters: int) -> list[str]:
    """The first texts that are not blank, as many as begin within so many characters."""
    return up_to([text for text in texts if text.strip()], characters)


# ------------------------------------------------------------------------------------------------ in-context learning
KINDS = {
    "a task a document": {"further": (0,), "mixed": False},
    "a task a line": {"further": (0,), "mixed": True},
    "a task a document, half of them counting on": {"further": (0, 1), "mixed": False},
}


def reader_of_tasks(sizes: Sizes, kind: str, size: tuple[int, int], *, seed: int = 0) -> Checkpoint:
    """A model pretrained on documents of tasks, see :mod:`tlcourse.gpt.shots`: from the cache or trained now."""
    possible, mixed = form_tasks(KINDS[kind]["further"]), KINDS[kind]["mixed"]
    documents = task_documents(possible, sizes.shots.documents, mixed=mixed, seed=seed)
    recipe = replace(sizes.shots.recipe, size=size, seed=seed)
    folder = data.cache_folder() / "gpt" / fingerprint("tasks", asdict(recipe), documents)
    if not (folder / LOSSES).exists():
        tokeniser = train_bpe(documents, vocab_size=1000)  # or fewer: as many as it takes to write each word in one
        pretrain_gpt(TokenDocuments.from_texts(documents, tokeniser), tokeniser, recipe, folder, progress=False)
    return load_language_model(folder)


def shot_runs(sizes: Sizes) -> pd.DataFrame:
    """Accuracy by the number of examples in the prompt: by size of the model, and by what its documents were like.

    Returns:
        Columns documents (one of `KINDS`), size (such as "2 × 128"), seed, shots, task and form (accuracies) and
        chance.
    """
    largest = sizes.shots.sizes[-1]
    runs = [(next(iter(KINDS)), size) for size in sizes.shots.sizes]
    runs += [(kind, largest) for kind in list(KINDS)[1:]]
    found = []
    for (kind, size), seed in product(runs, range(sizes.shots.seeds)):
        possible = form_tasks(KINDS[kind]["further"])
        model = reader_of_tasks(sizes, kind, size, seed=seed)
        right = accuracy_by_shots(model, possible, rounds=sizes.shots.rounds, seed=seed)
        means = right.groupby("shots")[["task", "form"]].mean().reset_index()
        name = f"{size[0]} × {size[1]}"
        found.append(means.assign(documents=kind, size=name, seed=seed, chance=1 / len(possible)))
    return pd.concat(found, ignore_index=True)
