"""One input for every task: a text that GPT reads from left to right (Radford et al. 2018, section 3.3 and figure 1).

>>> rows = transform([("A man sleeps.", "He is awake.")], "entailment", tokeniser, max_length=64)
>>> show(rows, tokeniser).text[0]
'<start>|A| man| sleeps|.|<delimiter>|He| is| awake|.|<extract>'

==============  =======================  ==========================================================================
shape           columns of a frame       rows of tokens
==============  =======================  ==========================================================================
classification  ``text``                 <start> text <extract>
entailment      ``first``, ``second``    <start> premise <delimiter> hypothesis <extract>
similarity      ``first``, ``second``    <start> a <delimiter> b <extract>, and b before a: neither is the first
choice          ``context``,             <start> context <delimiter> choice <extract>, for each of the ``choices``
                ``choices``
==============  =======================  ==========================================================================

An example is the list of its rows; nothing else of the model has to know the task. What is too long is cut, and the
special tokens never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from tlcourse.data.frames import need, texts_of
from tlcourse.gpt.bpe import DELIMITER, EXTRACT, START

Shape = Literal["classification", "entailment", "similarity", "choice"]
Example = list[np.ndarray]  # its rows of token ids, each (T,) int64


class Marks(NamedTuple):
    """The ids of the tasks' special tokens."""

    start: int
    delimiter: int
    extract: int

    @classmethod
    def of(cls, tokeniser: PreTrainedTokenizerFast) -> Marks:
        """Those of a tokeniser; a ValueError if it has none."""
        known = tokeniser.get_vocab()
        if missing := [token for token in (START, DELIMITER, EXTRACT) if token not in known]:
            raise ValueError(
                f"the tokeniser has no {', '.join(missing)}: take one of train_bpe, or add_marks to that of another"
            )
        return cls(known[START], known[DELIMITER], known[EXTRACT])


# ---------------------------------------------------------------------------------------------------- of token ids
def classification(text: np.ndarray, *, marks: Marks, max_length: int) -> Example:
    """One row; of a text that is too long the end is cut off."""
    return [_row(marks.start, text[: max_length - 2], marks.extract)]


def entailment(first: np.ndarray, second: np.ndarray, *, marks: Marks, max_length: int) -> Example:
    """One row; if it is too long, the longer text loses its end first."""
    a, b = share(max_length - 3, len(first), len(second))
    return [_row(marks.start, first[:a], marks.delimiter, second[:b], marks.extract)]


def similarity(first: np.ndarray, second: np.ndarray, *, marks: Marks, max_length: int) -> Example:
    """Two rows, the texts in both orders; what is cut off is the same in both."""
    a, b = share(max_length - 3, len(first), len(second))
    first, second = first[:a], second[:b]
    return [
        _row(marks.start, one, marks.delimiter, other, marks.extract)
        for one, other in ((first, second), (second, first))
    ]


def multiple_choice(context: np.ndarray, choices: Sequence[np.ndarray], *, marks: Marks, max_length: int) -> Example:
    """A row a choice, all with the same context, which loses its beginning: a question stands at its end."""
    a, b = share(max_length - 3, len(context), max(map(len, choices)))
    context = context[len(context) - a :]
    return [_row(marks.start, context, marks.delimiter, choice[:b], marks.extract) for choice in choices]


def share(room: int, first: int, second: int) -> tuple[int, int]:
    """How many tokens are left of two texts that are cut to fit: the longer loses first, until they are alike."""
    a = min(first, max(room - second, (room + 1) // 2))
    return a, min(second, room - a)


def _row(*parts: int | np.ndarray) -> np.ndarray:
    return np.concatenate([np.atleast_1d(part) for part in parts]).astype(np.int64)


# ------------------------------------------------------------------------------------------------------- of texts
@dataclass(frozen=True)
class Transformation:
    """How a shape's examples become rows."""

    columns: tuple[str, ...]
    special: int  # tokens of a row
    rows: Callable[..., Example]


TRANSFORMATIONS: dict[str, Transformation] = {
    "classification": Transformation(("text",), 2, classification),
    "entailment": Transformation(("first", "second"), 3, entailment),
    "similarity": Transformation(("first", "second"), 3, similarity),
    "choice": Transformation(("context", "choices"), 3, multiple_choice),
}


def transform(
    examples: pd.DataFrame | Sequence, shape: Shape, tokeniser: PreTrainedTokenizerFast, *, max_length: int
) -> list[Example]:
    """The rows of each example.

    What looks like a special token in a text is read as the characters that it is written with.

    Args:
        examples: a frame with the columns of the shape, or a list of texts, of pairs, or of (context, choices).
        shape: "classification", "entailment", "similarity" or "choice".
        tokeniser: with the three special tokens: of :func:`tlcourse.gpt.bpe.train_bpe`, or after :func:`add_marks`.
        max_length: the most tokens of a row, special ones among them.

    Returns:
        Of each example its rows: one, of similarity two, of choice one a choice.

    Raises:
        ValueError: a text is empty or none, an example has fewer than two choices (the message names its row), no such
            shape, no room for text beside the special tokens, or the tokeniser is without these.
    """
    how, marks = transformation(shape), Marks.of(tokeniser)
    check_room(shape, max_length)
    if shape == "choice":
        names, columns = _choices(examples)
    else:
        columns = texts_of(examples, how.columns)
        names = examples.index if isinstance(examples, pd.DataFrame) else range(len(columns[how.columns[0]]))
    encoded = [_encode(columns[name], names, name, tokeniser) for name in how.columns]
    return [how.rows(*parts, marks=marks, max_length=max_length) for parts in zip(*encoded, strict=True)]


def transformation(shape: str) -> Transformation:
    """That of a shape; a ValueError if there is none."""
    if shape not in TRANSFORMATIONS:
        raise ValueError(f"shape is one of {', '.join(TRANSFORMATIONS)}, not {shape!r}")
    return TRANSFORMATIONS[shape]


def check_room(shape: Shape, max_length: int) -> None:
    """Refuse rows without room for a token of each text."""
    how = transformation(shape)
    if max_length < (least := how.special + len(how.columns)):
        raise ValueError(
            f"max_length={max_length} has no room for text beside the {how.special} special tokens of {shape}: it is "
            f"at least {least}"
        )


def _choices(examples: pd.DataFrame | Sequence) -> tuple[Iterable, dict[str, list]]:
    """Contexts and choices, checked, and what the rows are called."""
    if not isinstance(examples, pd.DataFrame):
        examples = pd.DataFrame(list(examples), columns=["context", "choices"], dtype=object)
    need(examples, "choices")
    contexts, choices = texts_of(examples, ("context",))["context"], []
    for i, some in zip(examples.index, examples["choices"], strict=True):
        if not isinstance(some, list | tuple | np.ndarray) or not all(isinstance(text, str) for text in some):
            raise ValueError(f"row {i}: choices must be a list of texts, not {some!r}")
        if len(some) < 2:
            raise ValueError(f"row {i} has {len(some)} choice: there is nothing to choose between")
        choices.append(list(some))
    return examples.index, {"context": contexts, "choices": choices}


def _encode(texts: list, names: Iterable, column: str, tokeniser: PreTrainedTokenizerFast) -> list:
    """The ids of each text, or of each list of texts."""
    flat = [text for some in texts for text in ([some] if isinstance(some, str) else some)]
    ids = iter(encode(flat, tokeniser))
    encoded = [next(ids) if isinstance(some, str) else [next(ids) for _ in some] for some in texts]
    for name, text, some in zip(names, texts, encoded, strict=True):
        if not all(map(len, [some] if isinstance(text, str) else some)):
            raise ValueError(f"row {name}: {column} is empty: {text!r}")
    return encoded


def encode(texts: list[str], tokeniser: PreTrainedTokenizerFast) -> list[np.ndarray]:
    """The ids (T,) of each text, without special tokens; none of a text that is blank."""
    if not texts:
        return []
    found = tokeniser(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return [np.array(ids if text.strip() else [], np.int64) for text, ids in zip(texts, found, strict=True)]


def show(examples: Iterable[Example], tokeniser: PreTrainedTokenizerFast) -> pd.DataFrame:
    """The rows, to be read: ``example``, ``row``, ``tokens`` (how many) and ``text``, with a | between tokens.

    Tokens that are only together a letter, as bytes of a Thai one, stand together.
    """
    rows = [
        (i, r, len(ids), "|".join(readable(ids, tokeniser)))
        for i, example in enumerate(examples)
        for r, ids in enumerate(example)
    ]
    return pd.DataFrame(rows, columns=["example", "row", "tokens", "text"])


def readable(ids: np.ndarray, tokeniser: PreTrainedTokenizerFast) -> list[str]:
    """The tokens as text, as many of them in one as it takes to make a letter, as the bytes of a Thai one."""
    pieces, held = [], []
    for place, token in enumerate(ids.tolist(), start=1):
        held.append(token)
        text = tokeniser.decode(held)
        if not text.endswith("\ufffd") or place == len(ids):  # else the letter has more bytes
            pieces.append(text)
            held = []
    return pieces
