"""Training speed of our softmaxes beside fastai's ``AWD_LSTM``, and what their speed costs in perplexity, in one run.

    python benchmarks/pretrain.py [--vocab 8000 60000] [--softmax full sampled adaptive] [--tokens 300000]
    python benchmarks/pretrain.py --device cuda --dtype bfloat16 --emb 400 --hidden 1150 --batch 128

All start from fastai's weights and the words' frequencies, and take the same batches and the same steps: AR and TAR,
clipping, fused AdamW. Rounds alternate, and the median of each counts, so that a busy machine slows all. Then each
trains anew on the same tokens, and its perplexity is over the full vocabulary. On a GPU the ceiling is cuDNN's LSTM of
that size, forward and backward alone.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlcourse import data, profile
from tlcourse.text import LMBatches, Vocab, numericalise, tokenise
from tlcourse.text.corpus import Corpus
from tlcourse.training import perplexity, schedules
from tlcourse.ulmfit import AWDLSTMConfig, Dropouts, from_fastai
from tlcourse.ulmfit.pretrain import LanguageModelWithLoss, Pretraining, build_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastai.text.models.awdlstm import AWD_LSTM
    from fastai.text.models.core import get_language_model

Batch = tuple[Tensor, Tensor]


# ----------------------------------------------------------------------------------------------------- the texts
def token_ids(folder: str | None) -> tuple[np.ndarray, np.ndarray, int]:
    """Token ids to train and to validate on, ids following frequency, and how many words they have."""
    if folder:
        corpus = Corpus.open(folder)
        return corpus.train.ids, corpus.valid.ids, len(corpus.vocab)
    orchid = data.load("orchid")
    train, valid = (tokenise(part.text, progress=False) for part in (orchid.train, orchid.valid))
    vocab = Vocab.build(train, min_count=1)
    return *(np.concatenate(numericalise(part, vocab)) for part in (train, valid)), len(vocab)


def within(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """The ids with the words beyond the vocabulary as unknown, id 0."""
    return np.where(ids < vocab_size, ids, 0).astype(np.int64)


# ------------------------------------------------------------------------------------------------ the contestants
class Fastai(nn.Module):
    """fastai's language model; its loss is over all logits."""

    def __init__(self, config: AWDLSTMConfig, counts: np.ndarray):
        super().__init__()
        drop = config.dropouts
        names = {
            "embed_p": drop.embedding,
            "input_p": drop.input,
            "weight_p": drop.weight,
            "hidden_p": drop.hidden,
            "output_p": drop.output,
        }
        sizes = {"emb_sz": config.emb_dim, "n_hid": config.hidden_dim, "n_layers": config.n_layers, "pad_token": 1}
        settings = sizes | names | {"bidir": False, "tie_weights": True, "out_bias": True}
        self.model = get_language_model(AWD_LSTM, config.vocab_size, settings)
        share = torch.from_numpy((counts + 1) / (counts + 1).sum())
        self.model[1].decoder.bias.data.copy_(share.log())

    def reset(self) -> None:
        self.model.reset()

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, raw, dropped = self.model(x)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten()), raw, dropped


class Ours(nn.Module):
    """Our language model with one of its softmaxes."""

    def __init__(self, model: LanguageModelWithLoss):
        super().__init__()
        self.model = model

    def reset(self) -> None:
        self.model.reset()

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss = self.model.loss(self.model(x), y)
        return loss, self.model.raw_output, self.model.dropped_output


def make_contestants(o: argparse.Namespace, vocab_size: int, counts: np.ndarray) -> dict[str, Callable[[], nn.Module]]:
    """A function for each that makes it, all with the same weights."""
    recipe = Pretraining(emb_dim=o.emb, hidden_dim=o.hidden, n_layers=o.layers, dropout=o.dropout, samples=o.samples)
    config = AWDLSTMConfig(vocab_size, o.emb, o.hidden, o.layers, Dropouts() * o.dropout)

    def fastai() -> nn.Module:
        profile.seed_everything(o.seed)
        return Fastai(config, counts)

    def ours(softmax: str) -> nn.Module:
        theirs = fastai()
        cutoffs = (vocab_size // 15, vocab_size // 3) if softmax == "adaptive" else ()
        model = build_model(Pretraining(**vars(recipe) | {"softmax": softmax, "cutoffs": cutoffs}), vocab_size, counts)
        model.language_model.load_state_dict(from_fastai(theirs.model.state_dict()))
        return Ours(model)

    return {"fastai": fastai} | {f"ours, {name}": lambda name=name: ours(name) for name in o.softmax}


# ------------------------------------------------------------------------------------------------------ training
class Training:
    """A model and its optimiser, to take steps with."""

    def __init__(self, model: nn.Module, o: argparse.Namespace):
        self.model, self.device = model.to(o.device).train(), torch.device(o.device)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=o.lr, betas=(0.8, 0.99), fused=True)
        self.autocast = torch.autocast(self.device.type, getattr(torch, o.dtype), enabled=o.dtype != "float32")

    def step(self, x: Tensor, y: Tensor) -> None:
        with self.autocast:
            loss, raw, dropped = self.model.losses(x.to(self.device), y.to(self.device))
        raw, dropped = raw.float(), dropped.float()  # (B, T, D)
        loss = loss + dropped.pow(2).mean() + 0.5 * (raw[:, 1:] - raw[:, :-1]).pow(2).mean()  # AR and TAR
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.4)
        self.optimiser.step()

    def speed(self, batches: list[Batch]) -> float:
        """Tokens a second."""
        return measure(lambda: [self.step(x, y) for x, y in batches], batches, self.device)

    @torch.no_grad()
    def perplexity(self, batches: LMBatches) -> float:
        self.model.eval().reset()
        total = count = 0
        for x, y in batches:
            loss, *_ = self.model.losses(x.to(self.device), y.to(self.device))
            total, count = total + loss.item() * y.numel(), count + y.numel()
        return perplexity(total / count)


def measure(work: Callable, batches: list[Batch], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return sum(y.numel() for _, y in batches) / (time.perf_counter() - started)


def ceiling(o: argparse.Namespace, batches: list[Batch]) -> Callable[[], float]:
    """Tokens a second of cuDNN's LSTM of that size, forward and backward, and nothing else."""
    dims = AWDLSTMConfig(1, o.emb, o.hidden, o.layers).layer_dims()
    layers = nn.ModuleList(nn.LSTM(i, h, batch_first=True) for i, h in dims).to(o.device)
    embedded = torch.randn(o.batch, o.bptt, o.emb, device=o.device)

    def work() -> None:
        for _ in batches:
            with torch.autocast("cuda", getattr(torch, o.dtype), enabled=o.dtype != "float32"):
                hidden = embedded
                for layer in layers:
                    hidden, _ = layer(hidden)
            hidden.float().sum().backward()

    return lambda: measure(work, batches, torch.device(o.device))


# ------------------------------------------------------------------------------------------------------ the report
def endless(batches: LMBatches, training: Training) -> Iterator[Batch]:
    while True:
        training.model.reset()
        yield from batches


def compare(o: argparse.Namespace, vocab_size: int, train: np.ndarray, valid: np.ndarray) -> None:
    counts = np.bincount(train, minlength=vocab_size)
    print(
        f"\n{vocab_size:,} words, of which {int((counts > 0).sum()):,} occur; {o.emb}/{o.hidden} x {o.layers}, "
        f"batches of {o.batch} x {o.bptt}, {o.dtype}, {o.samples:,} samples"
    )
    makers = make_contestants(o, vocab_size, counts)
    batches = LMBatches(train, batch_size=o.batch, bptt=o.bptt)
    few = list(itertools.islice((b for b in batches if b[0].shape[1] == o.bptt), o.steps))
    runners = {name: Training(make(), o) for name, make in makers.items()}
    speeds: dict[str, Callable[[], float]] = {
        name: lambda runner=runner: runner.speed(few) for name, runner in runners.items()
    }
    if torch.device(o.device).type == "cuda":
        speeds["cuDNN's LSTM alone"] = ceiling(o, few)
    for speed in speeds.values():
        speed()  # warm up
    rounds = [{name: speed() for name, speed in speeds.items()} for _ in range(o.rounds)]
    median = {name: statistics.median(row[name] for row in rounds) for name in speeds}
    del runners, speeds

    found = dict.fromkeys(makers, float("nan"))
    steps = o.tokens // (o.batch * o.bptt)
    for name, make in makers.items() if steps else ():
        training, schedule = Training(make(), o), schedules.one_cycle()
        profile.seed_everything(o.seed)
        for step, batch in enumerate(itertools.islice(endless(batches, training), steps)):
            training.optimiser.param_groups[0]["lr"] = o.lr * schedule(step, steps)
            training.step(*batch)
        found[name] = training.perplexity(LMBatches(valid, batch_size=16, bptt=o.bptt))

    top = median.get("cuDNN's LSTM alone")
    for name, speed in median.items():
        line = f"{name:20} {speed:10,.0f} tokens/s   {speed / median['fastai']:5.2f} x fastai"
        if top:
            line += f"   {speed / top:4.0%} of the ceiling"
        if steps and name in found:
            line += f"   perplexity {found[name]:8.1f} ({found[name] / found['fastai'] - 1:+.1%})"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[8000, 60_000])
    parser.add_argument("--softmax", nargs="+", default=["full", "sampled", "adaptive"], help="chunked is a GPU's")
    parser.add_argument("--corpus", help="folder of a corpus (default: ORCHID)")
    parser.add_argument("--device", default=str(profile.find_device()))
    parser.add_argument("--dtype", help="float32 or bfloat16 (default: what the device is best at)")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--tokens", type=int, default=0, help="train each on so many and give the perplexity")
    for option, default in {
        "emb": 128,
        "hidden": 320,
        "layers": 3,
        "samples": 2000,
        "batch": 40,
        "bptt": 70,
        "steps": 3,
        "rounds": 5,
        "seed": 42,
    }.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--dropout", type=float, default=0.25, help="times the paper's (default: 0.25)")
    parser.add_argument("--lr", type=float, default=6e-3, help="highest rate (default: 0.006)")
    o = parser.parse_args()
    o.dtype = o.dtype or str(profile.autocast_dtype(torch.device(o.device))).removeprefix("torch.")
    if o.threads:
        torch.set_num_threads(o.threads)

    train, valid, words = token_ids(o.corpus)
    print(
        f"{profile.device_name(torch.device(o.device))}, torch {torch.__version__}; {o.corpus or 'ORCHID'}: "
        f"{len(train):,} tokens of {words:,} words"
    )
    for vocab_size in o.vocab:
        if vocab_size > words:
            print(f"\nOnly {words:,} words occur: the softmax is {vocab_size:,} wide all the same.")
        compare(o, vocab_size, within(train, vocab_size), within(valid, vocab_size))


if __name__ == "__main__":
    main()
