"""How fast texts become batches: ratios against pythainlp and fastai, measured in this run on ORCHID.

    python benchmarks/text.py

Each figure is the best of three turns taken in rotation, so that a busy machine slows all alike.
"""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from pythainlp import word_tokenize
from pythainlp.util import normalize

from tlcourse import data
from tlcourse.text import ClassificationBatches, LMBatches, Vocab, normalise, numericalise, thai_words, tokenise
from tlcourse.text import tokens as tokens_module


def rates(turns: dict[str, Callable[[], object]], amount: int, *, repeat: int = 3) -> dict[str, float]:
    """Units a second of each function, in its best turn."""
    seconds = dict.fromkeys(turns, float("inf"))
    for _ in range(repeat):
        for name, turn in turns.items():
            start = time.perf_counter()
            turn()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {name: amount / s for name, s in seconds.items()}


def report(title: str, unit: str, figures: dict[str, float]) -> None:
    """A table of rates; the ratios are to its first row, the peer."""
    peer = next(iter(figures.values()))
    print(f"\n{title} (million {unit}/s, ratio to the first)")
    for name, rate in figures.items():
        print(f"  {name:<44} {rate / 1e6:8.3f} {rate / peer:8.2f}")


def with_engine(engine: Callable[[str], list[str]], texts: list[str]) -> Callable[[], None]:
    """A turn of `thai_words` over the texts, its Thai runs cut by the engine."""

    def turn() -> None:
        tokens_module._words_of_run = engine
        for text in texts:
            thai_words(text)

    return turn


def main() -> None:
    frame = data.load("orchid").train
    paragraphs = frame.groupby(frame.index // 20)["text"].agg(" ".join)
    texts = [*paragraphs] * 4
    size = sum(map(len, texts))
    print(f"{len(texts):,} texts of ORCHID, {size / 1e6:.1f} million characters; {os.cpu_count()} cores")

    report("Normalisation", "characters", rates({
        "pythainlp.util.normalize": lambda: [normalize(text) for text in texts],
        "normalise": lambda: [normalise(text) for text in texts],
    }, size))  # fmt: skip

    turns = {
        "pythainlp.word_tokenize(engine='newmm')": lambda: [word_tokenize(text) for text in texts],
        "thai_words, newmm": with_engine(tokens_module.newmm, texts),
    }
    if find_spec("nlpo3"):
        turns["thai_words, nlpo3"] = with_engine(tokens_module._nlpo3_words, texts)
    for workers in sorted({2, os.cpu_count()}):
        turns[f"tokenise, {workers} processes"] = lambda workers=workers: tokenise(
            texts, progress=False, workers=workers
        )
    report("Thai words (ours with normalisation)", "characters", rates(turns, size))

    token_lists = tokenise(texts, progress=False)
    n_tokens = sum(map(len, token_lists))
    vocab = Vocab.build(token_lists)
    index = {word: i for i, word in enumerate(vocab.words)}
    report("Numericalisation", "tokens", rates({
        "torch.tensor([index.get(word, 0) ...])": lambda: [
            torch.tensor([index.get(word, 0) for word in tokens]) for tokens in token_lists
        ],
        "numericalise": lambda: numericalise(token_lists, vocab),
    }, n_tokens))  # fmt: skip

    from fastai.text.data import LMDataLoader  # not at the top, where the processes of tokenise would import it

    docs = numericalise(token_lists, vocab)
    tensors = [torch.from_numpy(doc) for doc in docs]
    options = {"batch_size": 64, "shuffle": True}
    report("An epoch of batches, 64 at a time", "tokens", rates({
        "fastai LMDataLoader, bptt 70": lambda: list(LMDataLoader(tensors, bs=64, seq_len=70, shuffle=True)),
        "LMBatches, bptt 70": lambda: list(LMBatches(docs, bptt=70, **options)),
        "ClassificationBatches": lambda: list(ClassificationBatches(docs, [0] * len(docs), **options)),
    }, n_tokens))  # fmt: skip


if __name__ == "__main__":
    main()
