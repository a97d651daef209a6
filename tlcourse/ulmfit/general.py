"""General Thai for the lessons: the text at hand, a backbone of it, and what to measure of a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tlcourse import data, profile
from tlcourse.data.general import fingerprint, thai_texts
from tlcourse.text import LMBatches, Vocab
from tlcourse.text.corpus import Corpus, build_corpus
from tlcourse.training import perplexity
from tlcourse.training.softmax import FullSoftmax
from tlcourse.ulmfit.lesson import SIZES, task_words
from tlcourse.ulmfit.model import AWDLSTMConfig, Dropouts, LanguageModel
from tlcourse.ulmfit.pretrain import LanguageModelWithLoss, Pretraining, pretrain


@dataclass(frozen=True)
class GeneralSizes:
    """How large the pretraining lesson is.

    Attributes:
        sources: data sets of general Thai; those that cannot be had are left out. ORCHID and the articles that ship
            with the course are always read.
        characters: how much of each set to read at most.
        max_vocab: words of the backbone, special tokens included.
        recipe: how the backbone is pretrained.
        wide_vocab: width of the softmaxes that are compared.
        large: ``emb_dim``, ``hidden_dim`` and ``n_layers`` of the large model whose speed is measured.
        race_tokens: how many tokens each of them reads.
    """

    sources: tuple[str, ...]
    characters: int
    max_vocab: int
    recipe: Pretraining
    wide_vocab: int
    large: tuple[int, int, int]
    race_tokens: int


GENERAL = {
    "smoke": GeneralSizes(
        sources=(), characters=150_000, max_vocab=3000, wide_vocab=6000, large=(64, 96, 2),
        race_tokens=8_000,
        recipe=Pretraining(
            emb_dim=64, hidden_dim=96, n_layers=2, dropout=0.1, samples=500,
            epochs=2, lr=2e-2, batch_size=16, bptt=35,
        ),
    ),
    "laptop": GeneralSizes(
        sources=("thaigov", "thai_wikipedia_qa"), characters=6_000_000, max_vocab=12_000, wide_vocab=60_000,
        large=(400, 1150, 3), race_tokens=60_000,
        recipe=Pretraining(
            emb_dim=128, hidden_dim=320, n_layers=3, dropout=0.2, samples=1500,
            epochs=1, lr=8e-3, batch_size=40, bptt=50,
        ),
    ),
    "gpu": GeneralSizes(
        sources=("thaigov", "thai_wikipedia_qa"), characters=10**10, max_vocab=60_000, wide_vocab=60_000,
        large=(400, 1150, 3), race_tokens=1_000_000,
        recipe=Pretraining(
            emb_dim=400, hidden_dim=1150, n_layers=3, dropout=0.5, samples=8000,
            epochs=10, lr=4e-3, batch_size=128, bptt=70,
        ),
    ),
}  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the text
def general_texts(sizes: GeneralSizes) -> dict[str, list[str]]:
    """General Thai by its source: Wikipedia, ORCHID, and those of ``sizes.sources`` that can be had."""
    return thai_texts(("orchid", *sizes.sources), characters=sizes.characters)


def general_corpus(sizes: GeneralSizes, texts: Mapping[str, Sequence[str]] | None = None) -> Corpus:
    """The general text as token ids, kept in the cache; its vocabulary has the words of the classifier's task.

    A word of the task that general text never uses stays out: nothing could be learned of it here.
    """
    texts = general_texts(sizes) if texts is None else texts
    place = fingerprint(sizes.max_vocab, sizes.characters, sorted(texts))
    return build_corpus(
        [text for some in texts.values() for text in some],
        data.cache_folder() / "general" / place,
        max_vocab=sizes.max_vocab,
        must_have=task_words(profile.choose(SIZES).data),
        valid=0.02,
    )


def general_backbone(sizes: GeneralSizes | None = None, corpus: Corpus | None = None, *, progress: bool = True) -> Path:
    """The backbone of the lessons, a file for :func:`load_backbone`: from the cache, or else pretrained now.

    Beside it stands ``metrics.csv``. An interrupted pretraining goes on where it stopped.
    """
    sizes = sizes or profile.choose(GENERAL)
    corpus = corpus or general_corpus(sizes)
    place = fingerprint(asdict(sizes.recipe), corpus.vocab.digest, corpus.train.header["sha256"])
    folder = corpus.folder / f"backbone-{place}"
    path = folder / "backbone.safetensors"
    if not path.exists():
        print(f"Pretraining on {len(corpus.train):,} tokens of general Thai, once: it is kept in the cache.")
        pretrain(corpus, folder, sizes.recipe, progress=progress)
    return path


# ------------------------------------------------------------------------------------------------- measurements
def frequency_bands(
    targets: np.ndarray, losses: np.ndarray, *, edges: Sequence[int] = (100, 1000, 5000)
) -> pd.DataFrame:
    """Perplexity by how frequent the word is: rows ``band``, ``perplexity``, ``share`` of the tokens.

    Args:
        targets, losses: from :func:`token_losses`; ids follow frequency, special tokens first.
        edges: ranks at which bands end.
    """
    specials = len(Vocab.SPECIALS)
    ranks = targets - specials  # the most frequent word has rank 0
    limits = [0, *edges, np.inf]
    names = [f"rank {low + 1:,} to {high:,.0f}" for low, high in pairwise(limits)]
    names[-1] = f"beyond rank {edges[-1]:,}"
    rows = []
    for name, (low, high) in zip(names, pairwise(limits), strict=True):
        here = (ranks >= low) & (ranks < high)
        if here.any():
            rows.append({"band": name, "perplexity": perplexity(losses[here].mean()), "share": here.mean()})
    return pd.DataFrame(rows)


def race(
    corpus: Corpus,
    softmaxes: Mapping[str, FullSoftmax],
    *,
    width: int,
    tokens: int,
    parts: int = 5,
    dim: int = 64,
    lr: float = 5e-3,
    seed: int = 42,
    progress: Callable[[Iterable], Iterable] = iter,
) -> pd.DataFrame:
    """The same small language model trained through several softmaxes, on the same tokens in the same order.

    Args:
        softmaxes: by name.
        width: of the softmax; the words beyond the corpus's own never occur, and cost as much as any.
        tokens: of the end of the corpus, to read once.
        parts: measure after each of so many.

    Returns:
        A row a part: ``method``, ``tokens`` read, ``seconds`` trained, validation ``perplexity`` over all words.
    """
    device = profile.current().device
    config = AWDLSTMConfig(width, dim, 2 * dim, 2, dropouts=Dropouts() * 0.1)
    counts = np.bincount(corpus.train.ids, minlength=width)
    train = list(LMBatches(corpus.train.ids[-tokens:], batch_size=20, bptt=35, device=device))
    valid = LMBatches(corpus.valid.ids[-max(tokens // 20, 1000) :], batch_size=10, bptt=70, device=device)
    rows = []
    for name, softmax in progress(softmaxes.items()):
        profile.seed_everything(seed)
        language_model = LanguageModel(config).start_from_counts(counts)
        model = LanguageModelWithLoss(language_model, softmax).to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=lr)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=lr, total_steps=len(train) + 1)
        read = seconds = 0.0
        for part in np.array_split(np.arange(len(train)), parts):
            model.train()
            started = time.perf_counter()
            for x, y in (train[step] for step in part):
                model.loss(model(x), y).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.4)
                optimiser.step()
                optimiser.zero_grad()
                cycle.step()
                read += x.numel()
            wait_for(device)
            seconds += time.perf_counter() - started
            reached = validation_perplexity(model, valid)
            rows.append({"method": name, "tokens": int(read), "seconds": seconds, "perplexity": reached})
    return pd.DataFrame(rows)


@torch.no_grad()
def validation_perplexity(model: LanguageModelWithLoss, batches: LMBatches) -> float:
    """Perplexity over all words; the state of the text read before is put back afterwards."""
    state, model.state = model.state, None
    model.eval()
    losses = [(float(model.loss(model(x), y)), y.numel()) for x, y in batches]
    model.state = state
    return perplexity(sum(loss * n for loss, n in losses) / sum(n for _, n in losses))


def tokens_per_second(config: AWDLSTMConfig, softmax: FullSoftmax, *, batch_size: int, bptt: int, steps: int) -> float:
    """Training speed of a language model on random tokens: forward, backward and an Adam step."""
    device = profile.current().device
    torch.manual_seed(0)
    model = LanguageModelWithLoss(LanguageModel(config), softmax).to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = torch.randint(4, config.vocab_size, (2, batch_size, bptt), device=device)
    for step in range(steps + 1):
        if step == 1:  # the first step allocates
            wait_for(device)
            started = time.perf_counter()
        model.loss(model(batch[0]), batch[1]).backward()
        optimiser.step()
        optimiser.zero_grad()
    wait_for(device)
    return steps * batch_size * bptt / (time.perf_counter() - started)


def wait_for(device: torch.device) -> None:
    """A GPU computes on while Python goes ahead: wait until it has finished."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()  # torch.cuda or torch.mps
