"""One switch for every size: the profile says where a lesson runs, and so how large it is.

========  ============================  =================================================
profile   where                         data
========  ============================  =================================================
smoke     tests                         what the repository and its packages carry
laptop    self-study, lectures          the real sets where they can be had
gpu       Colab T4 and up               the real sets at the papers' sizes
========  ============================  =================================================

Set ``TLCOURSE_PROFILE`` to choose; otherwise a CUDA device means ``gpu`` and anything else ``laptop``.
Nothing in a lesson asks which profile it runs under: a lesson keeps one dataclass of sizes with an instance a
profile and picks it with :func:`choose`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Sizes = TypeVar("Sizes")

NAMES = ("smoke", "laptop", "gpu")


@dataclass(frozen=True)
class Profile:
    """Where a lesson runs.

    Attributes:
        name: ``smoke``, ``laptop`` or ``gpu``.
        device: where tensors live.
        dtype: what autocast computes in: bfloat16 where the GPU has it, float16 on older GPUs such as the
            T4, float32 on a CPU and on Apple's MPS.
    """

    name: str
    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.name} profile on {device_name(self.device)}, {str(self.dtype).removeprefix('torch.')}"


def current() -> Profile:
    """The profile this process runs under.

    Raises:
        ValueError: ``TLCOURSE_PROFILE`` names no profile.
    """
    device = find_device()
    name = os.environ.get("TLCOURSE_PROFILE") or ("gpu" if device.type == "cuda" else "laptop")
    if name not in NAMES:
        raise ValueError(f"TLCOURSE_PROFILE={name!r} is no profile; choose one of {', '.join(NAMES)}")
    if name == "smoke":  # tests give the same figures with and without an accelerator at hand
        device = torch.device("cpu")
    return Profile(name, device, autocast_dtype(device))


def find_device() -> torch.device:
    """The best device at hand: CUDA, then MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The dtype that mixed precision uses on ``device``.

    bfloat16 needs compute capability 8.0 (Ampere); below it torch only emulates it, slowly, so a T4 gets float16.
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def device_name(device: torch.device) -> str:
    """A name a reader knows: the GPU's model, or the number of CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU (MPS)"
    return f"CPU ({torch.get_num_threads()} threads)"


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on every device, and ask cuDNN for repeatable kernels.

    The same seed gives the same numbers twice on one machine; between machines they differ.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def choose(sizes: Mapping[str, Sizes]) -> Sizes:
    """The sizes of the current profile.

    Args:
        sizes: one value for each profile name.

    Raises:
        KeyError: a profile has no sizes.
    """
    missing = set(NAMES) - set(sizes)
    if missing:
        raise KeyError(f"no sizes for the profiles {', '.join(sorted(missing))}")
    return sizes[current().name]
