"""Speed of our AWD-LSTM beside fastai's, in one run: tokens a second of training, and the ratio.

    python benchmarks/ulmfit.py [--vocab 8000] [--emb 200] [--hidden 500] [--steps 5] [--device cuda]

Both models have the same sizes, dropouts and batches; both run forward, backward, and an Adam step. Rounds alternate,
and the median of each counts, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from tlcourse import profile
from tlcourse.ulmfit import (
    AWDLSTM,
    CLASSIFIER_DROPOUTS,
    AWDLSTMConfig,
    Dropouts,
    LanguageModel,
    TextClassifier,
    from_fastai,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastai.text.models.awdlstm import AWD_LSTM
    from fastai.text.models.core import get_language_model, get_text_classifier


def seconds(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """Seconds for one training step, the mean of ``steps``."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for _ in range(steps):
        output = model(x)
        logits = output[0] if isinstance(output, tuple) else output
        F.cross_entropy(logits.flatten(0, -2), y.flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()
    if x.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def compare(name: str, ours: nn.Module, theirs: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    for model in (ours, theirs):
        model.to(x.device).train()
        seconds(model, x, y, 1)  # warm up
    rounds = [(seconds(ours, x, y, steps), seconds(theirs, x, y, steps)) for _ in range(5)]
    our_time, their_time = (sorted(times)[2] for times in zip(*rounds, strict=True))
    speed = x.numel() / our_time, x.numel() / their_time
    print(f"{name:16} ours {speed[0]:9,.0f} tokens/s   fastai {speed[1]:9,.0f}   ratio {speed[0] / speed[1]:.2f}")


def fastai_names(drop: Dropouts) -> dict[str, float]:
    """Our dropouts under fastai's names."""
    return {
        "embed_p": drop.embedding,
        "input_p": drop.input,
        "weight_p": drop.weight,
        "hidden_p": drop.hidden,
        "output_p": drop.output,
    }


def largest_difference(ours: LanguageModel, theirs: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """With their weights copied into ours: the largest difference of the logits, and of the gradients."""
    ours.load_state_dict(from_fastai(theirs.state_dict()))
    logits = []
    for model in (ours, theirs):
        model.to(x.device).eval()
        output = model(x)
        logits.append(output[0] if isinstance(output, tuple) else output)
        F.cross_entropy(logits[-1].flatten(0, -2), y.flatten()).backward()
    expected = from_fastai({name: parameter.grad for name, parameter in theirs.named_parameters()})
    gradients = max(float((p.grad - expected[name]).abs().max()) for name, p in ours.named_parameters())
    ours.reset()
    theirs.reset()
    for model in (ours, theirs):
        model.zero_grad()
    return float((logits[0] - logits[1]).abs().max()), gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in {
        "vocab": 8000,
        "emb": 200,
        "hidden": 500,
        "layers": 3,
        "batch": 32,
        "time": 35,
        "steps": 2,
    }.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--device", default=str(profile.find_device()))
    o = parser.parse_args()
    profile.seed_everything(0)
    device = torch.device(o.device)
    print(
        f"{profile.device_name(device)}, torch {torch.__version__}: {o.vocab:,} words, {o.emb}/{o.hidden} x {o.layers}"
    )

    x = torch.randint(4, o.vocab, (o.batch, o.time), device=device)
    sizes = {"emb_sz": o.emb, "n_hid": o.hidden, "n_layers": o.layers, "pad_token": 1, "bidir": False}
    config = AWDLSTMConfig(o.vocab, o.emb, o.hidden, o.layers)
    ours = LanguageModel(config)
    tied = {"tie_weights": True, "out_bias": True}
    theirs = get_language_model(AWD_LSTM, o.vocab, sizes | fastai_names(config.dropouts) | tied)
    y = torch.randint(4, o.vocab, (o.batch, o.time), device=device)
    logits, gradients = largest_difference(ours, theirs, x, y)
    print(f"largest difference with fastai's weights: logits {logits:.1e}, gradients {gradients:.1e}")
    compare("language model", ours, theirs, x, y, o.steps)

    ours = TextClassifier(AWDLSTM(AWDLSTMConfig(o.vocab, o.emb, o.hidden, o.layers, CLASSIFIER_DROPOUTS)), 7)
    theirs = get_text_classifier(AWD_LSTM, o.vocab, 7, config=sizes | fastai_names(CLASSIFIER_DROPOUTS))
    compare("classifier", ours, theirs, x, torch.randint(7, (o.batch,), device=device), o.steps)


if __name__ == "__main__":
    main()
