"""GloVe's speed and loss beside the way most tutorials write it in PyTorch, in one run.

    python benchmarks/glove.py [--data thaigov] [--device cuda] [--threads 2]

The plain version gathers a vector for each cell with `nn.Embedding` and leaves the rest to autograd and torch's
AdaGrad, which gets the start and the rate of the authors' C code: dense gradients with batches as large as ours, and
sparse ones with the small batches of tutorials. All have the same counts and take turns. Of each the fastest epoch
after the first counts, by the clock and in processor time, which others on the machine change less; "all" is a whole
turn, from the counts to the last epoch.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn

from tlcourse import data, profile
from tlcourse.text import thai_words, tokenise
from tlcourse.word2vec.corpus import EncodedText, encode
from tlcourse.word2vec.glove import CELLS_PER_WORD, GloVe, cooccurrences, train_glove, weighting

Callback = Callable[[int, float, object], None]


class Plain(nn.Module):
    """Two vectors and two biases a word."""

    def __init__(self, words: int, dim: int, *, sparse: bool):
        super().__init__()
        self.words, self.contexts = nn.Embedding(words, dim, sparse=sparse), nn.Embedding(words, dim, sparse=sparse)
        self.biases, self.context_biases = nn.Embedding(words, 1, sparse=sparse), nn.Embedding(words, 1, sparse=sparse)
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.5 / dim, 0.5 / dim)

    def forward(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        products = (self.words(i) * self.contexts(j)).sum(1)
        return products + self.biases(i).squeeze(1) + self.context_biases(j).squeeze(1)


def train_plain(
    counts: csr_matrix, recipe: GloVe, device: torch.device, callback: Callback, *, batch: int, sparse: bool
) -> None:
    """As most tutorials write it."""
    torch.manual_seed(recipe.seed)
    cells = counts.tocoo()
    rows, columns = (torch.from_numpy(ids).long().to(device) for ids in (cells.row, cells.col))
    log_x = torch.from_numpy(np.log(cells.data)).float().to(device)
    weight = torch.from_numpy(weighting(cells.data, x_max=recipe.x_max, alpha=recipe.alpha)).float().to(device)
    model = Plain(counts.shape[0], recipe.dim, sparse=sparse).to(device)
    optimiser = torch.optim.Adagrad(model.parameters(), lr=1, initial_accumulator_value=1 / recipe.lr**2)
    for epoch in range(1, recipe.epochs + 1):
        total = torch.zeros((), dtype=torch.float64, device=device)
        for some in torch.randperm(cells.nnz, device=device).split(batch):
            loss = (weight[some] * (model(rows[some], columns[some]) - log_x[some]) ** 2).sum() / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        callback(epoch, total.item() / cells.nnz, None)


def read(name: str, min_count: int) -> EncodedText:
    frame = data.load(name).train
    return encode(tokenise(frame["text"].tolist(), thai_words, progress=False), min_count=min_count)


def plain_cooccurrences(text: EncodedText, window: int, words: int) -> dict[tuple[int, int], float]:
    """Two loops, over so many words of the text."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    ids, starts = text.ids.tolist(), text.starts.tolist()
    for start, end in pairwise(starts):
        for here in range(start, end):
            for before in range(max(here - window, start), here):
                counts[ids[here], ids[before]] += 1 / (here - before)
                counts[ids[before], ids[here]] += 1 / (here - before)
        if end > words:
            break
    return counts


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="orchid")
    parser.add_argument("--min-count", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3, help="2 or more")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--small-batch", type=int, default=2048, help="of tutorials")
    o = parser.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    device = torch.device(o.device)
    text = read(o.data, o.min_count)
    recipe = GloVe(dim=o.dim, epochs=o.epochs)
    counts = cooccurrences(text, window=recipe.window)
    n, large = len(text.words), CELLS_PER_WORD * len(text.words)
    print(f"{profile.device_name(device)}, torch {torch.__version__}; D = {o.dim}, {o.epochs} epochs")
    print(f"{o.data}: {len(text):,} words, {n:,} different ones, {counts.nnz:,} cells")
    few = min(len(text), 100_000)
    ours = len(text) / min(seconds(lambda: cooccurrences(text, window=recipe.window)) for _ in range(o.turns))
    loops = few / min(seconds(lambda: plain_cooccurrences(text, recipe.window, few)) for _ in range(o.turns))
    print(f"co-occurrences: {ours:,.0f} words/s; two loops of Python {loops:,.0f}; ratio {ours / loops:.1f}\n")

    plain = partial(train_plain, counts, recipe, device)
    contestants: dict[str, Callable[[Callback], object]] = {
        f"plain, dense, batches of {large:,}": partial(plain, batch=large, sparse=False),
        f"plain, sparse, batches of {o.small_batch:,}": partial(plain, batch=o.small_batch, sparse=True),
        f"ours, batches of {large:,}": lambda callback: train_glove(
            text, recipe, counts=counts, device=device, callback=callback, progress=False
        ),
    }
    epochs, whole, losses = defaultdict(list), defaultdict(list), {}
    for _ in range(o.turns):
        for name, train in contestants.items():
            clocks, losses[name] = [(time.perf_counter(), time.process_time())], []

            def note(_: int, loss: float, __: object, clocks=clocks, of=losses[name]) -> None:
                clocks.append((time.perf_counter(), time.process_time()))
                of.append(loss)

            train(note)
            taken = np.diff(clocks, axis=0)
            epochs[name].append(taken[1:].min(0))
            whole[name].append(taken.sum(0)[0])
    best = {name: np.min(rows, axis=0) for name, rows in epochs.items()}
    first = next(iter(best))
    print(f"{'':<34} {'cells/s':>11} {'ratio':>6} {'cpu ratio':>9} {'all, s':>7} {'ratio':>6}   loss after each epoch")
    for name, (clock, cpu) in best.items():
        print(
            f"{name:<34} {counts.nnz / clock:11,.0f} {best[first][0] / clock:6.2f} {best[first][1] / cpu:9.2f} "
            f"{min(whole[name]):7.2f} {min(whole[first]) / min(whole[name]):6.2f}   "
            + " ".join(f"{loss:.5f}" for loss in losses[name])
        )


if __name__ == "__main__":
    main()
