"""Layer groups: which layers learn, how fast each, and when they join in.

A model's layer groups are its layers in order, the group nearest the input first and the head last. Three
remedies against forgetting work on them (Howard & Ruder 2018, sections 3.2 and 3.3): discriminative learning
rates give each group its own rate, gradual unfreezing lets the groups join from the top down, and a schedule
(:mod:`tlcourse.training.schedules`) moves all rates together. A :class:`Plan` combines the three into one
table of rates, a row a step and a column a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from tlcourse.training.schedules import Schedule

Direction = Literal["lower-slower", "lower-faster"]


def discriminative_rates(
    lr: float, n_groups: int, *, factor: float = 2.6, direction: Direction = "lower-slower"
) -> np.ndarray:
    """One peak learning rate a layer group (Howard & Ruder 2018, section 3.2).

    The paper gives the last layer ``lr`` and each layer below it ``factor`` times less:
    ``rate[l - 1] = rate[l] / factor``. General features, near the input, then change least.

    Args:
        lr: the largest rate.
        n_groups: how many layer groups there are.
        factor: the step between neighbours; 1 gives all groups the same rate.
        direction: ``"lower-slower"`` is the paper's. ``"lower-faster"`` deals the same rates out in the
            opposite order, to see what that does.

    Returns:
        The rates, the group nearest the input first, shape ``(n_groups,)``.

    Raises:
        ValueError: an argument is out of its range.
    """
    if lr <= 0 or factor <= 0 or n_groups < 1:
        raise ValueError(f"lr, factor and n_groups are positive, not {lr}, {factor} and {n_groups}")
    if direction not in ("lower-slower", "lower-faster"):
        raise ValueError(f'direction is "lower-slower" or "lower-faster", not {direction!r}')
    rates = lr / float(factor) ** np.arange(n_groups)[::-1]
    return rates if direction == "lower-slower" else rates[::-1].copy()


@dataclass(frozen=True)
class Stage:
    """Some epochs during which the same layer groups learn.

    Attributes:
        trainable: how many groups learn, counted from the top (the head is the first); the rest are frozen.
        epochs: for how many epochs.
        scale: multiplies every rate during this stage.
    """

    trainable: int
    epochs: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.trainable < 1 or self.epochs < 1 or self.scale <= 0:
            raise ValueError(f"a stage trains at least one group for at least one epoch: {self}")


def all_at_once(n_groups: int, epochs: int) -> list[Stage]:
    """Every group learns from the first step."""
    return [Stage(n_groups, epochs)]


def head_only(n_groups: int, epochs: int) -> list[Stage]:
    """Only the last group learns: feature extraction, whatever ``n_groups``."""
    return [Stage(1, epochs)]


def gradual_unfreezing(n_groups: int, epochs: int) -> list[Stage]:
    """One more group each epoch, from the top down, then all for the rest (Howard & Ruder 2018, section 3.3).

    With fewer epochs than groups the lowest groups stay frozen to the end.

    >>> gradual_unfreezing(3, 5)
    [Stage(trainable=1, epochs=1, scale=1.0), Stage(trainable=2, epochs=1, scale=1.0), Stage(trainable=3, epochs=3, scale=1.0)]
    """  # noqa: E501
    steps = min(n_groups, epochs)
    return [Stage(trainable, 1) for trainable in range(1, steps)] + [Stage(steps, epochs - steps + 1)]


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole training: the stages and the learning rate of every group at every step.

    Attributes:
        stages: the stages, in order.
        rates: shape ``(steps, groups)``, the group nearest the input first; 0 where a group is frozen.
        steps_per_epoch: batches an epoch.
    """

    stages: tuple[Stage, ...]
    rates: np.ndarray
    steps_per_epoch: int

    @classmethod
    def build(
        cls,
        stages: Sequence[Stage] | int,
        *,
        n_groups: int,
        steps_per_epoch: int,
        lr: float,
        schedule: Schedule,
        factor: float = 2.6,
        direction: Direction = "lower-slower",
        schedule_per: Literal["stage", "plan"] = "stage",
    ) -> Plan:
        """Lay out a training.

        Args:
            stages: the stages, or a number of epochs for which all groups learn.
            n_groups: how many layer groups the model has.
            steps_per_epoch: batches an epoch.
            lr: the peak rate of the fastest group.
            schedule: moves all rates together.
            factor: see :func:`discriminative_rates`; ``direction`` too.
            direction: which end of the model learns slower.
            schedule_per: one cycle of the schedule for each ``"stage"``, as the paper's scripts do, or one
                over the whole ``"plan"``.

        Raises:
            ValueError: a stage trains more groups than there are, or an argument is out of its range.
        """
        stages = tuple(all_at_once(n_groups, stages) if isinstance(stages, int) else stages)
        if not stages:
            raise ValueError("a plan has at least one stage")
        if max(stage.trainable for stage in stages) > n_groups:
            raise ValueError(f"a stage trains more than the model's {n_groups} layer groups: {list(stages)}")
        if schedule_per not in ("stage", "plan"):
            raise ValueError(f'schedule_per is "stage" or "plan", not {schedule_per!r}')
        if steps_per_epoch < 1:
            raise ValueError("there is no training batch: are there fewer documents than one batch takes?")

        lengths = [stage.epochs * steps_per_epoch for stage in stages]
        if schedule_per == "stage":
            multiplier = [schedule(t, length) for length in lengths for t in range(length)]
        else:
            multiplier = [schedule(t, sum(lengths)) for t in range(sum(lengths))]
        peaks = discriminative_rates(lr, n_groups, factor=factor, direction=direction)
        group = np.arange(n_groups)
        stage_peaks = [
            np.where(group >= n_groups - stage.trainable, peaks * stage.scale, 0.0) for stage in stages
        ]  # each (groups,)
        rates = np.array(multiplier)[:, None] * np.repeat(stage_peaks, lengths, axis=0)  # (steps, groups)
        return cls(stages, rates, steps_per_epoch)

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def n_groups(self) -> int:
        return self.rates.shape[1]

    def stage_number(self, epoch: int) -> int:
        """The index of the stage that ``epoch`` belongs to, both counted from 0."""
        return int(np.searchsorted(np.cumsum([stage.epochs for stage in self.stages]), epoch, side="right"))

    def epoch_rates(self, epoch: int) -> np.ndarray:
        """The rows of ``rates`` of one epoch, shape ``(steps_per_epoch, groups)``."""
        return self.rates[epoch * self.steps_per_epoch : (epoch + 1) * self.steps_per_epoch]


def parameter_groups(
    model: nn.Module, layer_groups: Iterable[nn.Module | Iterable[nn.Parameter]]
) -> list[list[nn.Parameter]]:
    """The parameters of each layer group.

    Args:
        model: the model the groups belong to.
        layer_groups: modules or collections of parameters, the group nearest the input first.

    Raises:
        ValueError: a trainable parameter is in no group, so it would never learn, or in two, as a tied weight
            easily is.
    """
    groups = [list(group.parameters() if isinstance(group, nn.Module) else group) for group in layer_groups]
    group_of: dict[nn.Parameter, int] = {}
    names = {parameter: name for name, parameter in model.named_parameters()}
    for number, group in enumerate(groups):
        if not group:
            raise ValueError(f"layer group {number} has no parameters")
        for parameter in group:
            if parameter in group_of:
                raise ValueError(
                    f"{names.get(parameter, 'a parameter')} is in groups {group_of[parameter]} and {number}: "
                    "list it in one only (a tied weight belongs to a single group)"
                )
            group_of[parameter] = number
    trainable = {parameter: name for parameter, name in names.items() if parameter.requires_grad}
    forgotten = [name for parameter, name in trainable.items() if parameter not in group_of]
    if forgotten:
        raise ValueError(f"in no layer group, so never trained: {', '.join(forgotten)}")
    return groups
