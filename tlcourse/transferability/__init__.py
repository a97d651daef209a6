"""How transferable are the layers of a network? The A3B / B3B experiment of Yosinski et al. 2014, for text.

:func:`run_grid` trains it, :func:`transplant` is its surgery, and :func:`verdicts` says which of the paper's
observations hold.
"""

from tlcourse.transferability.grid import (
    OBSERVATIONS,
    TREATMENTS,
    Cell,
    Contrast,
    Grid,
    Observation,
    Recipe,
    Split,
    Task,
    better_start,
    co_adaptation,
    distance,
    distant_floor,
    halves,
    load_base,
    random_floor,
    read_table,
    run_grid,
    specificity,
    split_classes,
    train,
    verdicts,
)
from tlcourse.transferability.networks import KINDS, Architecture, Network, build, cka, likeness, remember
from tlcourse.transferability.surgery import random_frozen, transplant

__all__ = [
    "KINDS",
    "OBSERVATIONS",
    "TREATMENTS",
    "Architecture",
    "Cell",
    "Contrast",
    "Grid",
    "Network",
    "Observation",
    "Recipe",
    "Split",
    "Task",
    "better_start",
    "build",
    "cka",
    "co_adaptation",
    "distance",
    "distant_floor",
    "halves",
    "likeness",
    "load_base",
    "random_floor",
    "random_frozen",
    "read_table",
    "remember",
    "run_grid",
    "specificity",
    "split_classes",
    "train",
    "transplant",
    "verdicts",
]
