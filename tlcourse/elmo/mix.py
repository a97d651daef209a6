"""The weighted sum of a model's layers that a task learns for itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

DROPPED = -1e20  # a layer with this weight before the softmax has none after it


class ScalarMix(nn.Module):
    """gamma · sum_j softmax(w)_j · h_j (Peters et al. 2018, equation 1): layers of one shape -> one of that shape.

    Args:
        n_layers: how many are mixed, the characters among them.
        layer_norm: normalise each layer first, as AllenNLP does: over all words of the batch, padding left out.
        dropout: probability to leave a layer out, in training; all weights are alike where all are left out.
        initial: weights to start from, before the softmax; by default all alike.
    """

    def __init__(
        self,
        n_layers: int,
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
        initial: Sequence[float] | None = None,
    ):
        super().__init__()
        if n_layers < 1:
            raise ValueError(f"n_layers={n_layers} must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} is not a probability in [0, 1)")
        if initial is not None and len(initial) != n_layers:
            raise ValueError(f"initial has {len(initial)} weights for {n_layers} layers")
        self.layer_norm, self.dropout = layer_norm, dropout
        self.scalars = nn.Parameter(torch.zeros(n_layers) if initial is None else torch.tensor(initial).float())
        self.gamma = nn.Parameter(torch.ones(()))

    def weights(self) -> Tensor:
        """The share of each layer, (n_layers,), summing to 1."""
        return self.scalars.softmax(0)

    def forward(self, layers: Sequence[Tensor] | Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix layers of shape (…, D), a sequence or stacked in front; `mask` (…) says where words are.

        Raises:
            ValueError: there are more layers, or fewer, than there are weights.
        """
        if len(layers) != len(self.scalars):
            raise ValueError(f"{len(layers)} layers were given to a mix of {len(self.scalars)}")
        scalars = self.scalars
        if self.training and self.dropout:
            scalars = scalars.masked_fill(torch.rand_like(scalars) < self.dropout, DROPPED)
        if self.layer_norm:
            layers = [normalised(layer, mask) for layer in layers]
        return self.gamma * sum(share * layer for share, layer in zip(scalars.softmax(0), layers, strict=True))


def normalised(layer: Tensor, mask: Tensor | None) -> Tensor:
    """A layer (…, D) with mean 0 and variance 1 over all its numbers where `mask` (…) is true, one mean for all."""
    words = layer if mask is None else layer[mask.bool()]
    return (layer - words.mean()) / torch.sqrt(words.var(correction=0) + 1e-12)
