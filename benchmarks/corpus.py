"""How fast texts become a corpus: ratios to pythainlp's `word_tokenize`, measured in this run.

    python benchmarks/corpus.py

On ORCHID, and on Thai government news where TLCOURSE_DATA has them. Each figure is the better of two turns taken
in rotation, so that a busy machine slows all alike; "cpu" is the processor time of all processes together, which
others on the machine hardly change. To start a process takes a second or two, which tells in a corpus as small as
these: the time for the 1.1 GB of Thai Wikipedia is computed from the processor time of one.
"""

import os
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from pythainlp import word_tokenize
from tqdm import tqdm

from tlcourse.text import shards, tokens
from tlcourse.text.corpus import Corpus, build_corpus

CHARACTERS = 2_000_000  # of each corpus: some seconds a turn
WIKIPEDIA = 1.1e9  # bytes of UTF-8
TURNS = 2
ENGINES = {"newmm": tokens.newmm} | ({"nlpo3": tokens._nlpo3_words} if find_spec("nlpo3") else {})


def use(engine: str) -> None:
    """Let `thai_words` cut with an engine, here and in the processes started from here, which import this file."""
    os.environ["BENCHMARK_ENGINE"] = engine
    tokens._words_of_run = ENGINES[engine]


use(os.environ.get("BENCHMARK_ENGINE") or [*ENGINES][-1])


def seconds(turn: Callable[[list[str], Path], object], texts: list[str]) -> np.ndarray:
    """What a turn takes that has an empty folder for its files: by the clock, and of all processors together."""
    with tempfile.TemporaryDirectory() as folder:
        clock, processors = time.perf_counter(), sum(os.times()[:4])
        turn(texts, Path(folder))
        return np.array([time.perf_counter() - clock, sum(os.times()[:4]) - processors])


def cut(engine: str, workers: int) -> Callable[[list[str], Path], object]:
    """A turn of step 1, texts to words on disk."""

    def turn(texts: list[str], folder: Path) -> None:
        use(engine)
        shards.segment(iter(texts), folder, tokens.thai_words, workers=workers, bar=tqdm(disable=True))

    return turn


def measure(name: str, texts: list[str], cores: int) -> None:
    """A table for one corpus."""
    characters = sum(map(len, texts))
    size = sum(len(text.encode()) for text in texts)
    print(f"\n{name}: {len(texts):,} texts, {characters:,} characters, {size / 1e6:.1f} MB")
    print(f"  {'':<44} {'M char/s':>8} {'MB/s':>6} {'ratio':>6} {'cpu s':>6} {'ratio':>6}")
    turns = {("pythainlp.word_tokenize, newmm", 1): lambda texts, _: [*map(word_tokenize, texts)]}
    for workers in sorted({1, 2, cores}):
        for engine in ENGINES:
            turns[f"words on disk, {engine}", workers] = cut(engine, workers)
    for workers in sorted({1, 2, cores}):
        turns[f"build_corpus, {[*ENGINES][-1]}", workers] = lambda texts, folder, workers=workers: build_corpus(
            texts, folder, workers=workers, progress=False
        )
    best = dict.fromkeys(turns, np.inf)
    for _ in range(TURNS):
        for key, turn in turns.items():
            best[key] = np.minimum(best[key], seconds(turn, texts))
    peer, peer_cpu = next(iter(best.values()))
    for (label, workers), (took, cpu) in best.items():
        print(
            f"  {f'{label}, processes: {workers}':<44} {characters / took / 1e6:8.3f} {size / took / 1e6:6.2f} "
            f"{peer / took:6.2f} {cpu:6.1f} {peer_cpu / cpu:6.2f}"
        )
    for (label, workers), (_, cpu) in best.items():
        if workers == 1:
            minutes = WIKIPEDIA / size * cpu / 60
            print(f"  Thai Wikipedia, {label}: {minutes:.1f} minutes on one free core, {minutes / 2:.1f} on two")

    with tempfile.TemporaryDirectory() as folder:
        build_corpus(texts, folder, workers=1, progress=False)
        for label, turn in {
            "built again, nothing to do": lambda: build_corpus(texts, folder, workers=1, progress=False),
            "another vocabulary, no cutting": lambda: build_corpus(
                texts, folder, max_vocab=8_000, workers=1, progress=False
            ),
            "opened": lambda: Corpus.open(folder),
            "verified": lambda: Corpus.open(folder).verify(),
        }.items():
            start = time.perf_counter()
            turn()
            took = time.perf_counter() - start
            print(f"  {label:<44} {characters / took / 1e6:8.1f} {size / took / 1e6:6.1f} {peer / took:6.1f}")
        corpus = Corpus.open(folder)
    rows = ", ".join(f"{row['words']:,}: {row['share']:.1%}" for row in corpus.coverage)
    print(f"  most frequent words, share of the tokens: {rows}; seen once: {corpus.info['once']:,}")


def take(texts: list[str]) -> list[str]:
    """The first texts, `CHARACTERS` in all; over again where they are fewer."""
    taken, size = [], 0
    while size < CHARACTERS:
        for text in texts:
            taken.append(text)
            size += len(text)
            if size >= CHARACTERS:
                break
    return taken


def main() -> None:
    from tlcourse import data  # not at the top, where the processes would import it

    shards._SIZE = CHARACTERS // 8  # so that the processes of this small corpus have equal work
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else f"{cores} cores")
    frame = data.load("orchid").train
    measure("ORCHID", take([*frame.groupby(frame.index // 20)["text"].agg(" ".join)]), cores)
    if os.environ.get("TLCOURSE_DATA"):
        try:
            measure("thaigov", take([*data.load("thaigov").train["text"]]), cores)
        except data.DataError as error:
            print(f"\nthaigov: {error}")


if __name__ == "__main__":
    main()
