"""Learning-rate schedules: how the rate moves while a model trains.

A schedule is a plain function ``f(t, T)`` of the step ``t`` (0, 1, ..., T - 1) and the number of steps ``T``.
It returns a multiplier in (0, 1], and 1 is the peak: the rate of a layer group at step ``t`` is its own peak
rate times ``f(t, T)``. The functions below make schedules:

>>> stlr = slanted_triangular(cut_frac=0.1, ratio=32)
>>> [round(stlr(t, 100), 3) for t in (0, 5, 10, 55, 99)]
[0.031, 0.516, 1.0, 0.516, 0.042]
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float, int], float]


def constant() -> Schedule:
    """The same rate at every step: ``f(t, T) = 1``."""
    return lambda t, T: 1.0


def slanted_triangular(*, cut_frac: float = 0.1, ratio: float = 32) -> Schedule:
    """A short linear rise, then a long linear fall (Howard & Ruder 2018, equation 3).

    ::

        cut = floor(T * cut_frac)
        p   = t / cut                                        if t < cut
              1 - (t - cut) / (cut * (1 / cut_frac - 1))     otherwise
        f   = (1 + p * (ratio - 1)) / ratio

    The equation says nothing of two cases that short runs meet. ``T * cut_frac < 1`` makes ``cut`` zero:
    there is no rise, and the rate falls from its peak as ``p = 1 - t / T``. And because ``cut`` is rounded
    down, the fall can reach its end before step ``T`` (``T = 19, cut_frac = 0.1`` has a fall of 9 steps): as
    printed, ``p`` then becomes negative and so does the learning rate; here ``p`` stays at 0, the lowest
    rate.

    Args:
        cut_frac: the fraction of the steps that rise, between 0 and 1.
        ratio: how many times smaller the lowest rate is than the peak.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(0 < cut_frac < 1, f"cut_frac is a fraction between 0 and 1, not {cut_frac}")
    _check(ratio >= 1, f"ratio is peak rate over lowest rate, so at least 1, not {ratio}")

    def schedule(t: float, T: int) -> float:
        cut = math.floor(T * cut_frac)
        if cut == 0:
            p = 1 - t / T
        elif t < cut:
            p = t / cut
        else:
            p = 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        return (1 + max(p, 0) * (ratio - 1)) / ratio

    return schedule


def warmup_linear(*, warmup: float = 0.01) -> Schedule:
    """A linear rise and a linear fall to almost nothing (Devlin et al. 2019, appendix A.2).

    ::

        W = floor(T * warmup)
        f = (t + 1) / (W + 1)      if t < W
            (T - t) / (T - W)      otherwise

    No step is wasted on a rate of 0.

    Args:
        warmup: the fraction of the steps that rise, at least 0 and below 1; the paper has 10,000 of 1,000,000.

    Raises:
        ValueError: ``warmup`` is out of its range.
    """
    _check(0 <= warmup < 1, f"warmup is a fraction from 0 to below 1, not {warmup}")

    def schedule(t: float, T: int) -> float:
        rise = math.floor(T * warmup)
        return (t + 1) / (rise + 1) if t < rise else (T - t) / (T - rise)

    return schedule


def warmup_cosine(*, warmup: float = 0.01) -> Schedule:
    """A linear rise, then half a cosine down to almost nothing (Radford et al. 2018, section 4.1).

    ::

        W = floor(T * warmup)
        f = (t + 1) / (W + 1)                            if t < W
            (1 + cos(pi * (t - W) / (T - W))) / 2        otherwise

    Args:
        warmup: the fraction of the steps that rise, at least 0 and below 1.

    Raises:
        ValueError: ``warmup`` is out of its range.
    """
    _check(0 <= warmup < 1, f"warmup is a fraction from 0 to below 1, not {warmup}")

    def schedule(t: float, T: int) -> float:
        rise = math.floor(T * warmup)
        return (t + 1) / (rise + 1) if t < rise else _half_cosine(1, 0, (t - rise) / (T - rise))

    return schedule


def triangular_cyclical(*, step_size: int, ratio: float = 4) -> Schedule:
    """Up and down in straight lines, again and again (Smith 2017, section 3.2; ``triangular`` policy).

    ::

        cycle = floor(1 + t / (2 * step_size))
        x     = |t / step_size - 2 * cycle + 1|
        f     = 1 / ratio + (1 - 1 / ratio) * max(0, 1 - x)

    Args:
        step_size: the steps of half a cycle; Smith advises 2 to 10 epochs' worth.
        ratio: peak rate over lowest rate; Smith advises 3 to 4.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(step_size >= 1, f"step_size is a number of steps, at least 1, not {step_size}")
    _check(ratio >= 1, f"ratio is peak rate over lowest rate, so at least 1, not {ratio}")

    def schedule(t: float, T: int) -> float:
        cycle = math.floor(1 + t / (2 * step_size))
        x = abs(t / step_size - 2 * cycle + 1)
        return 1 / ratio + (1 - 1 / ratio) * max(0.0, 1 - x)

    return schedule


def cosine_restarts(*, first_cycle: int | None = None, growth: int = 1, floor: float = 0.0) -> Schedule:
    """Half a cosine from the peak down, then a jump back up: SGDR (Loshchilov & Hutter 2017, equation 5).

    ::

        f = floor + (1 - floor) * (1 + cos(pi * t_cur / T_i)) / 2

    where ``t_cur`` counts steps since the last restart and ``T_i`` is the length of the ``i``-th cycle:
    ``first_cycle``, then ``growth`` times longer after each restart (the paper's ``T_0`` and ``T_mult``).

    Args:
        first_cycle: the steps of the first cycle; None means all ``T`` steps, that is no restart.
        growth: how many times longer a cycle is than the one before.
        floor: the lowest multiplier, which a cycle approaches and its restart replaces.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(first_cycle is None or first_cycle >= 1, f"first_cycle is a number of steps, not {first_cycle}")
    _check(growth >= 1, f"growth is at least 1, not {growth}")
    _check(0 <= floor <= 1, f"floor is a multiplier between 0 and 1, not {floor}")

    def schedule(t: float, T: int) -> float:
        t_cur, length = t, first_cycle or T
        while t_cur >= length:
            t_cur -= length
            length *= growth
        return floor + (1 - floor) * (1 + math.cos(math.pi * t_cur / length)) / 2

    return schedule


def one_cycle(*, peak_at: float = 0.25, div: float = 25, div_final: float = 1e5) -> Schedule:
    """One rise and one fall to almost nothing, both half cosines (Smith 2018, in fastai's form).

    ::

        f = rise from 1 / div to 1        over the first peak_at * T steps
            fall from 1 to 1 / div_final  over the rest

    where both go from ``a`` to ``b`` as ``a + (b - a) * (1 - cos(pi * x)) / 2``, ``x`` in [0, 1]. Smith draws
    straight lines and moves the momentum against the rate; here only the rate moves.

    Args:
        peak_at: where the peak lies, as a fraction of the steps.
        div: peak rate over first rate.
        div_final: peak rate over last rate.

    Raises:
        ValueError: an argument is out of its range.
    """
    _check(0 < peak_at < 1, f"peak_at is a fraction between 0 and 1, not {peak_at}")
    _check(div >= 1 and div_final >= 1, f"div and div_final are at least 1, not {div} and {div_final}")

    def schedule(t: float, T: int) -> float:
        done = t / T
        if done < peak_at:
            return _half_cosine(1 / div, 1, done / peak_at)
        return _half_cosine(1, 1 / div_final, (done - peak_at) / (1 - peak_at))

    return schedule


def _half_cosine(start: float, end: float, x: float) -> float:
    return start + (end - start) * (1 - math.cos(math.pi * x)) / 2


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
