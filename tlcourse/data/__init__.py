"""Data sets: one door to all of them.

>>> from tlcourse import data
>>> truevoice = data.load("truevoice")
>>> truevoice.train.text, truevoice.train.destination

A set is taken from the folder named by `TLCOURSE_DATA`, else from the cache, else from its publisher.
Those that come with the course, or in a package, need no network.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tlcourse.data import parsers
from tlcourse.data.catalogue import DataError, Entry, UnknownDataset, info, names, read_catalogue, shipped
from tlcourse.data.download import (
    ChecksumError,
    DownloadError,
    cache_folder,
    data_folder,
    fetch,
    in_folder,
)
from tlcourse.data.files import installed_file, read_files
from tlcourse.data.splits import holdout, labelled_subset

__all__ = [
    "ChecksumError",
    "DataError",
    "Dataset",
    "DownloadError",
    "Entry",
    "UnknownDataset",
    "cache_folder",
    "holdout",
    "info",
    "labelled_subset",
    "load",
    "names",
    "read_catalogue",
    "shipped",
]

CUT = 0.1  # share of the training rows that become a split the publisher does not have
SEED = 0  # of those cuts: one and the same everywhere, so that results compare


@dataclass(frozen=True)
class Dataset:
    """A loaded data set: a frame a split, with a `text` column and label columns.

    Label columns are categorical, with the same sorted categories in each split. Sets without labels have other
    columns instead: `orchid` the lists `words` and `tags`, `squad` a `context`, a `question` and the place of its
    `answer`. Pairs have `first` and `second` in place of `text`, and sets of words have no text at all. What only
    measures (`simlex999`, `word_analogies`, `word_senses`) has one split, `test`; `word_sets` has a frame a list
    in place of splits, such as `splits["weat"]`.

    Attributes:
        name: its name in the catalogue (the fallback's, where that was loaded).
        source: "folder" (`TLCOURSE_DATA`), "cache", "download", "package" or "embedded".
        label: the default label column; None where a text has none.
        splits: the frames, by name.
        cut: the splits that were cut from the published training rows, in the order of cutting.
    """

    name: str
    source: str
    label: str | None
    splits: dict[str, pd.DataFrame] = field(repr=False)
    cut: tuple[str, ...] = ()

    def _split(self, split: str) -> pd.DataFrame:
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}.")
        return self.splits[split]

    @property
    def train(self) -> pd.DataFrame:
        """Rows to train on."""
        return self._split("train")

    @property
    def valid(self) -> pd.DataFrame:
        """Rows to choose by; none of their texts is in `train`, unless the publisher made this split."""
        return self._split("valid")

    @property
    def test(self) -> pd.DataFrame:
        """Rows to report on, once.

        Raises:
            DataError: the set has none.
        """
        return self._split("test")

    @property
    def unlabelled(self) -> pd.DataFrame:
        """Rows with a `text` only.

        Raises:
            DataError: the set has none.
        """
        return self._split("unlabelled")

    def texts(self, split: str = "train") -> list[str]:
        """The distinct texts of a split in their order, for a language model.

        Those to train on (of `train` or `unlabelled`) are in neither `valid` nor `test`. Texts that differ only in
        white space are one text; the space around them is stripped.

        Raises:
            DataError: the set has no such split, or its rows are words, not texts.
        """
        if "text" not in (frame := self._split(split)):
            raise DataError(f"{self.name} has no texts; its columns are {', '.join(frame.columns)}.")
        held_out = () if split in ("valid", "test") else ("valid", "test")
        frames = [self.splits[name] for name in held_out if name in self.splits]
        seen = {"".join(text.split()) for frame in frames for text in frame["text"]}
        texts = []
        for text in frame["text"]:
            if (letters := "".join(text.split())) not in seen:
                seen.add(letters)
                texts.append(text.strip())
        return texts

    @property
    def classes(self) -> list:
        """The values of the default label, sorted."""
        return [] if self.label is None else self.train[self.label].cat.categories.tolist()


def load(name: str, *, fallback: str | None = None, catalogue: dict[str, Entry] | None = None) -> Dataset:
    """Load a data set by its name in the catalogue.

    It is taken from the folder named by `TLCOURSE_DATA` if that holds it, else from the cache, else it is
    downloaded: with a progress bar, from where an interrupted download stopped, and its sha256 is checked.

    Args:
        name: one of `names()`.
        fallback: a data set to load instead, with a warning, when this one cannot be downloaded.
        catalogue: entries to use in place of those that ship with the course.

    Raises:
        UnknownDataset: no such set.
        DownloadError: it cannot be had; the message says how to get it by hand.
        ChecksumError: a file is not the published one.
        DataError: a file is corrupt or is not in its format.
    """
    entry = info(name, catalogue=catalogue)
    if fallback is not None:
        info(fallback, catalogue=catalogue)
    try:
        path, source = _locate(entry)
    except DownloadError as error:
        if fallback is None or isinstance(error, ChecksumError):
            raise
        warnings.warn(f"Using {fallback} in place of {name}. {error}", stacklevel=2)
        entry = info(fallback, catalogue=catalogue)
        path, source = _locate(entry)
    splits = parsers.PARSERS[entry.parser](read_files(path, entry))
    return _finish(entry, source, splits)


def _locate(entry: Entry) -> tuple[Path, str]:
    """Path of the set's files and the kind of place it is in."""
    folder = data_folder()
    if folder is not None and (path := in_folder(entry, folder)):
        return path, "folder"
    if entry.embedded:
        return shipped() / entry.embedded, "embedded"
    if entry.package:
        return installed_file(entry), "package"
    path, downloaded = fetch(entry, cache_folder())
    return path, "download" if downloaded else "cache"


def _finish(entry: Entry, source: str, splits: dict[str, pd.DataFrame]) -> Dataset:
    """Cut the splits that are missing and make the labels categorical."""
    cut = tuple(split for split in entry.cut if split not in splits)
    for split in entry.needs:
        if split not in splits and split not in cut:
            raise DataError(
                f"{entry.name} ({source}) has no {split} rows, only {', '.join(splits)}: "
                f"a file is missing, one of {', '.join(entry.members)}."
            )
    for split in cut:
        splits["train"], splits[split] = holdout(
            splits["train"], by=entry.label, fraction=CUT, seed=SEED, group=entry.group
        )
    for label in entry.labels:
        values = {v for frame in splits.values() if label in frame for v in frame[label].unique()}
        dtype = pd.CategoricalDtype(sorted(values))
        for frame_name, frame in splits.items():
            if label in frame:
                splits[frame_name] = frame.assign(**{label: frame[label].astype(dtype)})
    order = dict.fromkeys(("train", "valid", "test", "unlabelled", *splits))
    frames = {split: splits[split].reset_index(drop=True) for split in order if split in splits}
    return Dataset(entry.name, source, entry.label, frames, cut)
