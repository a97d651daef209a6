"""The three benefits of transfer as numbers, and differences between treatments with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from tlcourse.data.frames import need
from tlcourse.transfer_curves.curves import SCRATCH

START, SLOPE, ASYMPTOTE = BENEFITS = ("start", "slope", "asymptote")


def summarise(
    curves: pd.DataFrame, *, start: int | None = None, rise: int | None = None, last: int = 3
) -> pd.DataFrame:
    """The start, the slope and the asymptote of each curve (Torrey and Shavlik 2010, figure 2).

    ==========  ================  =========================================================================
    start       score             at step `start`
    slope       score / 100 steps of the straight line through the measurements from step 0 to `rise` (least
                                  squares)
    asymptote   score             the mean of the last measurements
    ==========  ================  =========================================================================

    All three are linear in the scores: a curve that lies higher by c starts and ends higher by c and is as steep, and
    noise moves them without pushing them one way, as it would a steepest gain or the first step above some score.
    The weakness of the slope: a score has a ceiling. A curve that starts high has less left to gain, so its slope may
    be lower although its learner is faster; and the slope hangs on `rise`. The asymptote is what the budget of
    steps gives, and no limit where the curve still climbs.

    Args:
        curves: of :func:`step_curves`: ``treatment``, ``seed``, ``steps`` and ``score``.
        start: the step to read the start at; the first one measured unless given.
        rise: the last step of the slope's line; a quarter of the last step unless given.
        last: how many measurements are averaged at the end.

    Returns:
        A row a curve: ``treatment``, ``seed`` and the three.

    Raises:
        ValueError: curves were not measured at the same steps or twice at one, there are too few measurements, or none
            at `start`.
    """
    for column in ("treatment", "seed", "steps", "score"):
        need(curves, column)
    if curves.duplicated(["treatment", "seed", "steps"]).any():
        raise ValueError("a treatment, a seed and a step occur twice: one curve each, please")
    wide = curves.pivot(index=["treatment", "seed"], columns="steps", values="score")  # a row a curve
    if wide.isna().any(axis=None):
        treatment, seed = wide.index[wide.isna().any(axis=1)][0]
        raise ValueError(f"the curve of {treatment}, seed {seed}, lacks a step at which another was measured")
    steps, scores = wide.columns.to_numpy(float), wide.to_numpy()  # (S,), (curves, S)
    start = int(steps[0]) if start is None else start
    early = steps <= (steps[-1] / 4 if rise is None else rise)
    if start not in steps:
        raise ValueError(f"nothing was measured at step {start}, only at {', '.join(f'{s:.0f}' for s in steps)}")
    if early.sum() < 2 or not 1 <= last <= len(steps):
        raise ValueError(f"{early.sum()} measurements for the slope and {len(steps)} in all: two and {last} are needed")
    x = steps[early] - steps[early].mean()
    table = {
        START: scores[:, steps == start][:, 0],
        SLOPE: 100 * scores[:, early] @ x / (x @ x),
        ASYMPTOTE: scores[:, -last:].mean(axis=1),
    }
    return pd.DataFrame(table, index=wide.index).reset_index()


def benefits(
    curves: pd.DataFrame,
    *,
    baseline: str = SCRATCH,
    start: int | None = None,
    rise: int | None = None,
    last: int = 3,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The lecture's three benefits: by how much each treatment's start, slope and asymptote are above a baseline's.

    Args:
        curves, start, rise, last: as :func:`summarise`.
        baseline: the treatment to compare with.
        confidence: of the intervals.

    Returns:
        A row a treatment and benefit: ``treatment``, ``benefit``, its mean ``value``, that of the ``baseline``, their
        ``difference``, and its interval ``low`` to ``high`` over seeds (:func:`bootstrap_interval`, paired).

    Raises:
        ValueError: as :func:`summarise`; the baseline is not among the treatments; or there are not two seeds, or not
            the same ones in both.
    """
    table = summarise(curves, start=start, rise=rise, last=last)
    return paired(
        table.melt(["treatment", "seed"], var_name="benefit"), by="benefit", baseline=baseline, confidence=confidence
    )


def paired(
    frame: pd.DataFrame, *, by: str, baseline: str, value: str = "value", confidence: float = 0.95
) -> pd.DataFrame:
    """How far each treatment is above a baseline, seed by seed, at each value of another column.

    >>> paired(label_curves(...), by="labels", baseline=WORDS, value="score")

    Returns:
        Columns ``treatment``, the one of `by`, ``value``, ``baseline``, ``difference``, ``low`` and ``high``.

    Raises:
        ValueError: as :func:`benefits`.
    """
    for column in ("treatment", "seed", by, value):
        need(frame, column)
    names = list(dict.fromkeys(frame["treatment"]))
    if baseline not in names:
        raise ValueError(f"the baseline {baseline!r} is not among the treatments {', '.join(names)}")
    rows = []
    for place, some in frame.groupby(by, sort=False):
        wide = some.pivot(index="seed", columns="treatment", values=value)
        for name in names:
            if name != baseline:
                if wide[[name, baseline]].isna().any(axis=None):
                    raise ValueError(f"{name} and {baseline} were not run with the same seeds")
                difference = (wide[name] - wide[baseline]).to_numpy()
                interval = bootstrap_interval(difference, confidence=confidence)
                rows.append((name, place, wide[name].mean(), wide[baseline].mean(), difference.mean(), *interval))
    columns = ["treatment", by, "value", "baseline", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean of some values, which are drawn anew (bootstrap, expanded percentiles).

    Plain percentiles are too narrow for few values. Theirs are moved outwards, from z to t sqrt(n / (n - 1))
    (Hesterberg 2015, section 4.1.2). Five values then give about their range, which covers the mean of a symmetric
    distribution 15 times in 16; three cannot give more than 3 times in 4, whatever the confidence asked.

    Raises:
        ValueError: there are not two values, one is not finite, or the confidence is not between 0 and 1.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        raise ValueError(f"an interval needs two finite values or more, not {values.tolist()}")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is between 0 and 1, not {confidence}")
    tail = norm.cdf(t.ppf((1 - confidence) / 2, n - 1) * np.sqrt(n / (n - 1)))
    means = values[np.random.default_rng(seed).integers(n, size=(resamples, n))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
