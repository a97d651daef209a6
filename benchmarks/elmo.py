"""Training speed of our biLM beside the plain way to write one in PyTorch, in one run; and what the softmax takes.

    python benchmarks/elmo.py [--vocab 10000 60000] [--data orchid] [--threads 1]
    python benchmarks/elmo.py --device cuda --dtype bfloat16 --size original --batch 128

The plain model looks its words up in an embedding, reads them with ``nn.LSTM(proj_size=…)`` in each direction, and
takes all logits; ours reads characters and takes the softmax that is named. Sizes, batches and optimiser are the same,
rounds alternate, and the median of each counts, by the clock and in processor time. Words beyond those of the text
never occur and cost as much as any. Memory is the peak of a process of its own, less what it had before the first
step, or what CUDA allocated at most.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse import data, profile
from tlcourse.elmo import MEDIUM, ORIGINAL, SMALL, TINY, ELMoConfig
from tlcourse.elmo.pretrain import BiLMRecipe, BiLMWithLoss, Text, TwoWayBatches, encode
from tlcourse.text import tokenise
from tlcourse.training.softmax import FullSoftmax, SampledSoftmax

SIZES = {"recipe": BiLMRecipe().config, "tiny": TINY, "small": SMALL, "medium": MEDIUM, "original": ORIGINAL}
Batch = tuple[Tensor, Tensor]


# ------------------------------------------------------------------------------------------------ the contestants
class Plain(nn.Module):
    """As most would write it: an LSTM forward, an LSTM backward, and their softmax."""

    def __init__(self, config: ELMoConfig, words: int, vocab_size: int):
        super().__init__()
        self.embedding = nn.Embedding(words, config.projection_dim)
        proj_size = config.projection_dim if config.projection_dim < config.lstm_dim else 0
        self.lstms = nn.ModuleList(
            nn.LSTM(
                config.projection_dim,
                config.lstm_dim,
                config.n_layers,
                batch_first=True,
                dropout=config.dropout,
                proj_size=proj_size,
            )
            for _ in range(2)
        )
        self.output = nn.Linear(config.projection_dim, vocab_size)
        self.state: list = [None, None]

    def forward(self, x: Tensor) -> Tensor:
        vectors, hidden = self.embedding(x), []
        for direction, lstm in enumerate(self.lstms):
            output, state = lstm(vectors[:, direction], self.state[direction])
            self.state[direction] = tuple(part.detach() for part in state)
            hidden.append(output)
        return torch.stack(hidden, 1)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.output(hidden).flatten(0, 2), targets.flatten())


def counts_of(text: Text, width: int) -> np.ndarray:
    counts = text.counts()[:width]
    return np.pad(counts, (0, width - len(counts)))


def make(name: str, o: argparse.Namespace, text: Text, width: int) -> nn.Module:
    config = SIZES[o.size]
    if name == "plain":
        return Plain(config, max(width, len(text.words)), width)
    if name.startswith("no clipping"):
        config = replace(config, cell_clip=None, proj_clip=None)
    sampled = SampledSoftmax(counts_of(text, width), samples=o.samples)
    softmax = sampled if name.endswith("sampled") else FullSoftmax()
    return BiLMWithLoss(config, width, softmax, text.spellings(config.longest))


class Training:
    """A model and its optimiser, to take steps with."""

    def __init__(self, model: nn.Module, o: argparse.Namespace):
        self.model, self.device = model.to(o.device).train(), torch.device(o.device)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.autocast = torch.autocast(self.device.type, getattr(torch, o.dtype), enabled=o.dtype != "float32")

    def steps(self, batches: list[Batch]) -> None:
        for x, y in batches:
            with self.autocast:
                loss = self.model.loss(self.model(x.to(self.device)), y.to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def speed(self, batches: list[Batch]) -> tuple[float, float]:
        """Words a second, by the clock and by the processor."""
        clock, processor = time.perf_counter(), time.process_time()
        self.steps(batches)
        words = sum(y[:, 0].numel() for _, y in batches)
        return words / (time.perf_counter() - clock), words / (time.process_time() - processor)


# ------------------------------------------------------------------------------------------------------- measuring
def read(name: str) -> Text:
    return encode(tokenise(data.load(name).train["text"].tolist(), progress=False))


def some(text: Text, o: argparse.Namespace, width: int) -> list[Batch]:
    """The first batches, words that are too many for the vocabulary as unknown ones."""
    batches = TwoWayBatches(text, batch_size=o.batch, bptt=o.bptt, shuffle=True)
    return [(x, y.where(y < width, 0)) for x, y in itertools.islice(batches, o.steps)]


def peak(name: str, o: argparse.Namespace, text: Text, width: int, to) -> None:
    """Send how many MiB training takes beyond the model and the text; of a process that does nothing else."""
    torch.set_num_threads(o.threads)
    training, batches = Training(make(name, o, text, width), o), some(text, o, width)
    if training.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        training.steps(batches[:3])
        to.put((torch.cuda.max_memory_allocated() - before) / 2**20)
    else:
        before = resident("VmRSS")
        training.steps(batches[:3])
        to.put(resident("VmHWM") - before)


def resident(which: str) -> float:
    """MiB of this process now (VmRSS) or at most (VmHWM); ``resource`` would count the peak of the process before."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) / 2**10


def memory(name: str, o: argparse.Namespace, text: Text, width: int) -> float:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=peak, args=(name, o, text, width, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} at {width:,} words ended with {process.exitcode}")
    return answer.get()


def compare(o: argparse.Namespace, text: Text, width: int) -> None:
    names = ["plain", "ours, full", "ours, sampled"]
    if SIZES[o.size].cell_clip or SIZES[o.size].proj_clip:
        names.append("no clipping, sampled")
    runners: dict[str, Callable[[list[Batch]], tuple[float, float]]] = {
        name: Training(make(name, o, text, width), o).speed for name in names
    }
    batches = some(text, o, width)
    for speed in runners.values():
        speed(batches[:2])
    rounds = {name: [] for name in names}
    for _ in range(o.rounds):
        for name, speed in runners.items():
            rounds[name].append(speed(batches))
    runners.clear()
    print(f"\n{f'{width:,} words':<22} {'words/s':>9} {'ratio':>6} {'words/cpu s':>12} {'ratio':>6} {'MiB':>8}")
    medians = {name: [statistics.median(part) for part in zip(*each, strict=True)] for name, each in rounds.items()}
    for name, speeds in medians.items():
        clock, processor = (
            f"{ours:,.0f} {ours / plain:6.2f}" for ours, plain in zip(speeds, medians["plain"], strict=True)
        )
        print(f"{name:<22} {clock:>16} {processor:>19} {memory(name, o, text, width):8,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="orchid")
    parser.add_argument("--vocab", type=int, nargs="+", default=[10_000, 60_000])
    parser.add_argument("--size", choices=SIZES, default="recipe")
    parser.add_argument("--samples", type=int, default=BiLMRecipe().samples)
    parser.add_argument("--batch", type=int, default=BiLMRecipe().batch_size)
    parser.add_argument("--bptt", type=int, default=BiLMRecipe().bptt)
    parser.add_argument("--steps", type=int, default=6, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    text = read(o.data)
    print(
        f"{profile.device_name(torch.device(o.device))}, torch {torch.__version__}, {o.dtype}; {o.data}: {len(text):,}"
    )
    print(f"{SIZES[o.size]}\nbatches of {o.batch} x {o.bptt}, {o.samples:,} samples")
    for width in o.vocab:
        compare(o, text, width)


if __name__ == "__main__":
    main()
