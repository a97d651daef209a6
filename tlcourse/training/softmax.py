"""Four ways to train the softmax of a language model, which at 60,000 words is most of the work.

Each takes what the decoder sees and the words that came next, and gives the mean cross entropy in nats a token. In
evaluation all are exact over the whole vocabulary, so that their perplexities compare. N is the number of tokens in
a batch, V the number of words, D the size of an embedding; the decoder's matrix is the embedding's (weight tying).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 1024  # tokens whose logits are in memory at once, where not all need to be


class FullSoftmax(nn.Module):
    """The softmax itself: every word's logit for every token, 4 N V bytes of them at once.

    Called with ``hidden`` (N, D), ``targets`` (N,), ``weight`` (V, D) and ``bias`` (V,).
    """

    def forward(self, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.training:
            return F.cross_entropy(F.linear(hidden, weight, bias), targets)
        return linear_cross_entropy(hidden, targets, weight, bias)


class ChunkedSoftmax(FullSoftmax):
    """The same loss and gradients with the logits of ``CHUNK`` tokens in memory at a time; for GPUs."""

    def forward(self, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, targets, weight, bias)


class SampledSoftmax(FullSoftmax):
    """In training the softmax over the batch's own words and a sample of the others (Jean et al. 2015).

    The sum over the vocabulary is estimated from the words C of the batch, whose terms are exact, and a sample S of
    the rest: Z = sum_{w in C} exp(z_w) + sum_{w in S \\ C} exp(z_w) / p_w, where p_w is the probability that w is in
    the sample. That is a plain cross entropy over |C or S| columns, with log p_w taken from the logits of the sampled
    ones. Sampling is systematic (Madow 1949), without replacement, with p_w growing with the word's frequency: the
    most frequent words are always in and the estimate varies little.

    Args:
        counts: (V,) how often each word occurs in the training text.
        samples: how many words to sample; from V on this is the full softmax.
        power: p_w is proportional to the count to this power, and at most 1.
    """

    def __init__(self, counts: Sequence[int] | Tensor, *, samples: int = 2000, power: float = 0.5):
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples={samples} must be at least 1")
        counts = torch.as_tensor(counts, dtype=torch.float64).clamp(min=1)  # an unseen word can still be drawn
        self.samples = min(samples, len(counts))
        inclusion = inclusion_probabilities(counts**power, self.samples)
        self.cumulative = inclusion.cumsum(0)  # (V,); stays on the CPU, which has float64 and draws alike everywhere
        self.register_buffer("log_inclusion", inclusion.log().float(), persistent=False)

    def draw(self) -> Tensor:
        """Ascending ids of a fresh sample, each word in it with its inclusion probability."""
        ticks = torch.rand((), dtype=torch.float64) + torch.arange(self.samples)  # one every 1.0
        drawn = torch.searchsorted(self.cumulative, ticks, right=True)
        return drawn.clamp(max=len(self.cumulative) - 1).unique().to(self.log_inclusion.device)

    def forward(self, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not self.training or self.samples == len(weight):
            return super().forward(hidden, targets, weight, bias)
        drawn, own = self.draw(), targets.unique()
        columns = torch.cat([drawn, own]).unique()  # (C,) ascending
        log_p = self.log_inclusion[columns].index_fill(0, torch.searchsorted(columns, own), 0.0)
        logits = F.linear(hidden, weight[columns], bias[columns] - log_p)  # (N, C)
        return F.cross_entropy(logits, torch.searchsorted(columns, targets))


class AdaptiveSoftmax(FullSoftmax):
    """Frequent words and a few clusters of rare ones first, then the words of a cluster (Grave et al. 2017).

    log p(w) = log p(w) among the first words, or log p(cluster) + log p(w within the cluster); a cluster's words cost
    only the tokens that end in it. Unlike torch's, the words' vectors are the tied embedding's, so only a vector for
    each cluster is new. This is another model than the softmax over all words: its own loss is exact, but a decoder
    that later does without the clusters has to be tuned for that.

    Args:
        dim: size of an embedding.
        cutoffs: where the ids, which follow frequency, are cut: ``[4000, 20000]`` gives the first 4,000 words, a
            cluster of 16,000, and one of the rest.
        vocab_size: V.
    """

    def __init__(self, dim: int, cutoffs: Sequence[int], vocab_size: int):
        super().__init__()
        self.bounds = [0, *cutoffs, vocab_size]
        if len(cutoffs) < 1 or any(low >= high for low, high in pairwise(self.bounds)):
            raise ValueError(f"cutoffs {list(cutoffs)} must ascend between 1 and the vocabulary's {vocab_size} words")
        self.cluster_weight = nn.Parameter(torch.empty(len(cutoffs), dim).uniform_(-0.1, 0.1))
        self.cluster_bias = nn.Parameter(torch.zeros(len(cutoffs)))

    def forward(self, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        first = self.bounds[1]
        cluster = torch.bucketize(targets, torch.tensor(self.bounds[1:-1], device=targets.device), right=True)  # (N,)
        head_weight = torch.cat([weight[:first], self.cluster_weight])
        head_bias = torch.cat([bias[:first], self.cluster_bias])
        head_target = torch.where(cluster == 0, targets, first + cluster - 1)
        total = sum_in_chunks(hidden, head_target, head_weight, head_bias, whole=self.training)
        for i, (low, high) in enumerate(pairwise(self.bounds[1:]), start=1):
            here = (cluster == i).nonzero().squeeze(1)
            if len(here):
                part = hidden[here], targets[here] - low, weight[low:high], bias[low:high]
                total = total + sum_in_chunks(*part, whole=self.training)
        return total / len(targets)

    @torch.no_grad()
    def log_probabilities(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """log p of every word, (N, D) -> (N, V)."""
        first = self.bounds[1]
        head = F.linear(
            hidden, torch.cat([weight[:first], self.cluster_weight]), torch.cat([bias[:first], self.cluster_bias])
        ).log_softmax(1)
        parts = [head[:, :first]]
        for i, (low, high) in enumerate(pairwise(self.bounds[1:])):
            inside = F.linear(hidden, weight[low:high], bias[low:high]).log_softmax(1)
            parts.append(head[:, first + i, None] + inside)
        return torch.cat(parts, dim=1)


def inclusion_probabilities(sizes: Tensor, samples: int) -> Tensor:
    """Probabilities proportional to ``sizes`` (V,), none above 1, that add up to ``samples``."""
    certain = torch.zeros(len(sizes), dtype=torch.bool)
    while True:
        left = samples - int(certain.sum())
        probabilities = torch.where(certain, 1.0, sizes * left / sizes[~certain].sum().clamp(min=1e-300))
        above = (probabilities > 1) & ~certain
        if not above.any():
            return probabilities
        certain |= above


def sum_in_chunks(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, *, whole: bool) -> Tensor:
    """The summed cross entropy, from all logits at once or chunk by chunk."""
    if whole:
        return F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum")
    return linear_cross_entropy(hidden, targets, weight, bias) * len(targets)


# ------------------------------------------------------------------------------- cross entropy without all logits
class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients with the loss, chunk by chunk, and keeps them instead of the logits."""

    @staticmethod
    def forward(ctx, hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, wanted: bool) -> Tensor:
        grads = [torch.zeros_like(t, dtype=torch.float32) for t in (hidden, weight, bias)] if wanted else []
        loss = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            rows = slice(start, start + CHUNK)
            log_p = F.linear(hidden[rows], weight, bias).float().log_softmax(1)  # (n, V)
            loss += F.nll_loss(log_p, targets[rows], reduction="sum")
            if wanted:
                error = log_p.exp_()  # d loss / d logits = p - y
                error[torch.arange(len(error), device=error.device), targets[rows]] -= 1
                grads[0][rows] = error @ weight.float()
                grads[1] += error.T @ hidden[rows].float()  # in half precision under autocast
                grads[2] += error.sum(0)
        ctx.save_for_backward(*(grad / len(hidden) for grad in grads))
        ctx.dtypes = hidden.dtype, weight.dtype, bias.dtype
        return loss / len(hidden)

    @staticmethod
    def backward(ctx, grad_loss: Tensor):
        hidden, weight, bias = (
            (grad * grad_loss).to(dtype) for grad, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return hidden, None, weight, bias, None


def linear_cross_entropy(hidden: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean cross entropy of ``hidden @ weight.T + bias`` against ``targets``, never holding all logits.

    Args:
        hidden: (N, D).
        targets: (N,) class numbers.
        weight: (V, D).
        bias: (V,).

    Returns:
        A scalar in nats; its gradients are those of ``F.cross_entropy(F.linear(...))``.
    """
    return _LinearCrossEntropy.apply(hidden, targets, weight, bias, torch.is_grad_enabled())
