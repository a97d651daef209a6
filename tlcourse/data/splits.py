"""Cutting a frame in two, and drawing a few labelled rows: the same rows on every machine.

Rows are put in order by the SHA-256 of the seed and their text, not by a random generator: a split does not
change with the order of the rows, the platform or a library's version.
"""

import hashlib

import numpy as np
import pandas as pd

from tlcourse.data.catalogue import DataError


def _hashed(values: list[str], *, seed: int) -> np.ndarray:
    """A number for each value, as good as random and fixed by the seed: (len(values),) uint64."""
    digests = (hashlib.sha256(f"{seed}\x1f{value}".encode()).digest()[:8] for value in values)
    return np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64)


def _need(frame: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        if column not in frame:
            found = ", ".join(map(str, frame.columns))
            raise DataError(f"The frame has no column {column!r}; it has {found}.")


def _classes(frame: pd.DataFrame, by: str) -> np.ndarray:
    """The class of each row as an integer: (rows,)."""
    codes, values = pd.factorize(frame[by], sort=True)
    if (codes < 0).any():
        raise DataError(f"{int((codes < 0).sum())} of {len(frame)} rows have no {by!r}.")
    if len(values) < 2:
        held = f"only the class {values[0]!r}" if len(values) else "no row"
        raise DataError(f"Stratifying by {by!r} needs two classes or more; the frame has {held}.")
    return codes


def holdout(
    frame: pd.DataFrame, *, by: str | None, fraction: float, seed: int, group: str = "text"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut off about `fraction` of the rows, the same share of each class.

    Rows with the same `group` (by default: the same text) stay together, so that no text is on both sides; a
    group counts for the class of its first row. Every class with two groups or more is on both sides.

    Args:
        frame: rows with a `text` column.
        by: the column to stratify by; None to take all rows as one class.
        fraction: the share to hold out, between 0 and 1.
        seed: another seed holds out other rows.
        group: the column whose equal values stay together.

    Returns:
        `(rest, held)`, each in the frame's order with the frame's index.

    Raises:
        DataError: a missing column, a missing label, a single class, or a fraction outside 0..1.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction must lie between 0 and 1, not {fraction}.")
    _need(frame, group, *([by] if by else []))
    classes = np.zeros(len(frame), dtype=int) if by is None else _classes(frame, by)
    group_of_row, groups = pd.factorize(frame[group])
    _, first_row = np.unique(group_of_row, return_index=True)
    group_class = classes[first_row]
    group_size = np.bincount(group_of_row)
    order = np.argsort(_hashed([str(value) for value in groups], seed=seed), kind="stable")

    held = np.zeros(len(groups), dtype=bool)
    for value in np.unique(group_class):
        members = order[group_class[order] == value]
        sizes = group_size[members]
        before = np.cumsum(sizes) - sizes  # rows held when a group's turn comes
        taken = before < round(fraction * sizes.sum())
        taken[0], taken[-1] = len(members) > 1, False
        held[members[taken]] = True
    mask = held[group_of_row]
    return frame[~mask], frame[mask]


def labelled_subset(frame: pd.DataFrame, *, by: str, n: int, seed: int) -> pd.DataFrame:
    """Draw `n` rows for a few-label experiment: each class at least once, else in proportion.

    The draws of one seed are nested: the rows for n=50 are among those for n=100. All rows are put in one
    order whose every beginning is stratified (the k-th of a class's m rows stands at (k + 1/2) / m, after one
    row of each class), and a draw is the first n of it.

    Args:
        frame: rows with a `text` column.
        by: the label column.
        n: how many rows, from the number of classes up to the number of rows.
        seed: another seed draws other rows.

    Returns:
        `n` rows in the frame's order, with the frame's index.

    Raises:
        DataError: a missing column, a missing label, a single class, or an `n` that cannot be had.
    """
    _need(frame, "text", by)
    classes = _classes(frame, by)
    n_classes = classes.max() + 1
    if not n_classes <= n <= len(frame):
        raise DataError(f"n must lie between {n_classes} (one a class) and {len(frame)} (all rows), not {n}.")
    copy = frame.groupby("text", observed=True).cumcount()  # rows of equal text are drawn apart, like any two
    chance = _hashed([f"{text}\x1f{k}" for text, k in zip(frame["text"], copy, strict=True)], seed=seed)
    shuffled = np.argsort(chance, kind="stable")
    rank = np.empty(len(frame))  # 0, 1, ... within each class
    rank[shuffled] = pd.Series(classes[shuffled]).groupby(classes[shuffled]).cumcount()
    size = np.bincount(classes)[classes]
    order = np.lexsort((chance, (rank + 0.5) / size, rank > 0))
    return frame.iloc[np.sort(order[:n])]
