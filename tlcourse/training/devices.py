"""Several processes that train one model, started by ``accelerate launch`` or ``torchrun``, one a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed
from torch import nn

from tlcourse import profile


def join_processes() -> tuple[int, int]:
    """The number of this process, and how many ``accelerate launch`` or ``torchrun`` started; (0, 1) alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    from accelerate import PartialState

    state = PartialState(cpu=profile.current().device.type == "cpu")
    return state.process_index, state.num_processes


def sum_over_processes(values: list[float]) -> list[float]:
    """Each value summed over all processes."""
    if not torch.distributed.is_initialized():
        return values
    device = profile.current().device
    total = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.tolist()


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum each gradient over all processes; a parameter that a process did not use counts as zero."""
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    together = torch.cat([gradient.flatten() for gradient in gradients])  # one message instead of many
    torch.distributed.all_reduce(together)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, together.split(sizes), strict=True):
        gradient.copy_(part.view_as(gradient))
