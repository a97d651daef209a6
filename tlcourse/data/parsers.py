"""From the files of a data set, as published, to frames.

A parser takes `{path: bytes}` pairs, one at a time and in the archive's order, and returns a frame a split. Splits that
the publisher does not have are cut off later, by `tlcourse.data.load`.
"""

import io
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pandas as pd

from tlcourse.data.catalogue import DataError

Files = Iterable[tuple[str, bytes]]
Splits = dict[str, pd.DataFrame]


def decode(raw: bytes, name: str) -> str:
    """Text of a UTF-8 file, with or without a byte-order mark.

    Raises:
        DataError: the file is empty or in another encoding; the message names the one it looks like.
    """
    if not raw.strip():
        raise DataError(f"{name} is empty.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        looks_like = _guess_encoding(raw)
        advice = f"It looks like {looks_like}: save it again as UTF-8." if looks_like else "Save it again as UTF-8."
        raise DataError(f"{name} is not UTF-8 (byte {error.start:,}). {advice}") from None


def _guess_encoding(raw: bytes) -> str | None:
    """The encoding that a file which is not UTF-8 is probably in."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    try:
        beyond_ascii = [c for c in raw.decode("cp874") if c > "\x7f"]
    except UnicodeDecodeError:
        return None
    thai = sum("\u0e01" <= c <= "\u0e5b" for c in beyond_ascii)
    return "TIS-620 (Windows cp874)" if thai > 0.9 * len(beyond_ascii) else None


def read_table(raw: bytes, name: str, *, columns: dict[str, str], **csv) -> pd.DataFrame:
    """Read a table of text columns, rename them, strip the spaces around each value.

    Args:
        raw: the file.
        name: what to call it in an error.
        columns: the columns to keep, `{theirs: ours}`.
        csv: options for `pandas.read_csv`.

    Raises:
        DataError: empty, not UTF-8, not a table, a column missing, or a value missing.
    """
    try:
        frame = pd.read_csv(io.StringIO(decode(raw, name)), dtype=str, keep_default_na=False, **csv)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{name} is not a table: {error}") from error
    if missing := [column for column in columns if column not in frame]:
        found = ", ".join(map(str, frame.columns))
        raise DataError(f"{name} has no column {', '.join(missing)}; its columns are: {found}.")
    frame = frame[list(columns)].rename(columns=columns)
    for column in frame:
        frame[column] = frame[column].str.strip()
        if (empty := frame[column] == "").any():
            raise DataError(f"{name}: row {int(empty.argmax()) + 1} has no {column}.")
    if frame.empty:
        raise DataError(f"{name} has no rows.")
    return frame


def read_lines(raw: bytes, name: str) -> list[str]:
    """The lines of a text file, stripped, without empty ones."""
    return [line for line in (line.strip() for line in decode(raw, name).split("\n")) if line]


def intents(files: Files) -> Splits:
    """TrueVoice's format: `*train.csv`, `*test.csv` and, where there is one, `*valid.csv`, with the columns `texts`,
    `action`, `object` and `destination`; `unlabelled.txt`, one utterance a line."""
    columns = {"texts": "text", "action": "action", "object": "object", "destination": "destination"}
    splits = {}
    for path, raw in files:
        split = re.split(r"[_.]", PurePosixPath(path).name)[-2]
        splits[split] = (
            read_table(raw, path, columns=columns)
            if path.endswith(".csv")
            else pd.DataFrame({"text": read_lines(raw, path)})
        )
    return splits


PARSERS = {"intents": intents}
