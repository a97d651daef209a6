"""torch's fused AdamW for fastai's ``Learner``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from fastai.optimizer import OptimWrapper
from torch import nn


class FusedAdamW(OptimWrapper):
    """torch's AdamW in one pass over all weights, for :func:`make_learner`; vectors (biases, norms) do not decay."""

    def __init__(self, groups: Iterable[list[nn.Parameter]], *, lr: float, eps: float = 1e-6):
        halves = [[p for p in group if (p.ndim > 1) == decays] for group in groups for decays in (True, False)]
        super().__init__(opt=torch.optim.AdamW([{"params": half} for half in halves], lr=lr, eps=eps, fused=True))

    @property
    def param_lists(self) -> list[list[nn.Parameter]]:
        """The layer groups: torch has each in two halves, which `zip` puts together."""
        halves = iter(group["params"] for group in self.opt.param_groups)
        return [[*decays, *rest] for decays, rest in zip(halves, halves, strict=True)]

    @property
    def hypers(self) -> list[dict]:
        return super().hypers[::2]

    def _set_hyper(self, name: str, values: Sequence[float]) -> None:
        both = [v for value in values for v in (value, 0.0 if name == "wd" else value)]
        super()._set_hyper(name, both)
