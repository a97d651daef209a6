"""Texts and labels of a frame, checked: whoever learns from one says which row is wrong and why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd


def need(frame: pd.DataFrame, column: str) -> None:
    if column not in frame:
        raise ValueError(f"there is no column {column!r} among {', '.join(map(str, frame.columns))}")


def texts_of(rows: pd.DataFrame | Sequence, columns: tuple[str, ...]) -> dict[str, list[str]]:
    """The columns of texts of a frame, or of a list of texts or tuples, checked."""
    if isinstance(rows, str):
        raise ValueError("give a list of texts, not one text")
    if not isinstance(rows, pd.DataFrame):
        rows = pd.DataFrame({"text": list(rows)} if len(columns) == 1 else list(rows), columns=columns, dtype=object)
    texts = {}
    for column in columns:
        need(rows, column)
        texts[column] = rows[column].tolist()
        for i, text in zip(rows.index, texts[column], strict=True):
            if not isinstance(text, str):
                raise ValueError(f"row {i}: {column} is {text!r}, not a text")
    return texts


def label_column(frame: pd.DataFrame, inputs: tuple[str, ...], label: str | None, *, lists: bool = False) -> str:
    """The column of labels: as it is said, or the only one that it can be."""
    if not len(frame):
        raise ValueError("there are no rows to train on")
    if label is None:
        left = [name for name in frame.columns if name not in inputs]
        if lists:
            left = [name for name in left if isinstance(frame[name].iloc[0], list | tuple | np.ndarray)]
        if len(left) != 1:
            raise ValueError(f"say which column has the labels, label=…; it could be any of {left}")
        label = left[0]
    need(frame, label)
    return label


def labels_of(frame: pd.DataFrame, label: str) -> list:
    """A column of labels without gaps."""
    need(frame, label)
    if (missing := frame.index[frame[label].isna()]).size:
        raise ValueError(f"row {missing[0]} has no {label}")
    return frame[label].tolist()


def classes_of(labels: list) -> list:
    """The distinct labels in order, at least two."""
    if any(isinstance(label, float) for label in labels):
        raise ValueError("the labels are numbers with a fraction, not classes")
    classes = sorted(set(labels), key=str)
    if len(classes) < 2:
        raise ValueError(f"all labels of training are {classes}: there is nothing to tell apart")
    return classes


def numbered(*lists: list) -> list[np.ndarray]:
    """Labels of any kind as whole numbers, the same everywhere, for metrics."""
    number = {name: i for i, name in enumerate(dict.fromkeys(chain(*lists)))}
    return [np.array([number[name] for name in some]) for some in lists]
