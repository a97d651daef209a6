"""Thai words inside a tokeniser of `transformers`, so that no word piece crosses the boundary of a word.

A tokeniser for BERT cuts a text at blanks and punctuation, then each word into pieces. Thai writes no blanks
between words, and whole phrases would count as words. `attach` adds what is missing, within the tokeniser: ids,
offsets into the original text and `word_ids` are those of words, whoever calls it.

What runs Python cannot be written to `tokenizer.json`. A tokeniser is saved without it (`detached`), and a field of
`tokenizer_config.json` tells `restore` to attach it again.
"""

import contextlib
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import NormalizedString, PreTokenizedString, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tlcourse.text.tokens import THAI, _words_of_run

MARKER = "thai_words"
"""The field of `tokenizer_config.json` that says: cut Thai into words first. Its value names the algorithm."""

_RUN = re.compile(rf"[{THAI}]+")


_LONG = 200  # letters of a run that is not remembered


def _cuts(run: str) -> list[int]:
    """Where each word of a run of Thai letters ends."""
    return list(itertools.accumulate(map(len, _words_of_run(run))))


_remembered_cuts = functools.lru_cache(1 << 16)(_cuts)  # half of the runs of a Thai text come again


def _pieces(text: NormalizedString, cuts: list[int], begin: int = 0) -> list[NormalizedString]:
    """The text between the cuts, the last of which is its end. A slice costs the length of what it is taken from:
    a long text is halved first."""
    if len(cuts) <= 32:
        return [text[a - begin : b - begin] for a, b in itertools.pairwise([begin, *cuts])]
    half = len(cuts) // 2
    middle, end = cuts[half - 1], cuts[-1]
    first, second = text[: middle - begin], text[middle - begin : end - begin]
    return _pieces(first, cuts[:half], begin) + _pieces(second, cuts[half:], middle)


class _ThaiWords:
    """A pre-tokeniser: cuts runs of Thai letters into words, and from what is not Thai."""

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.split(self._split)

    def _split(self, _: int, part: NormalizedString) -> list[NormalizedString]:
        text, cuts, end = part.normalized, [], 0
        for run in _RUN.finditer(text):
            if end < run.start():
                cuts.append(run.start())
            cuts_of = _remembered_cuts if len(run[0]) < _LONG else _cuts
            cuts += [run.start() + cut for cut in cuts_of(run[0])]
            end = run.end()
        if end < len(text):
            cuts.append(len(text))
        return _pieces(part, cuts) if len(cuts) > 1 else [part]


def attach(tokeniser: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Make a tokeniser cut Thai into words, those of `thai_words`; returns it. A second time changes nothing.

    The text is cut as it is written: `normalise` it beforehand where spelling varies, and take offsets into that.
    The tokeniser can from now on not be copied, pickled or sent to another process, and is saved `detached`.
    """
    if not _is_attached(tokeniser):
        backend = tokeniser.backend_tokenizer
        before = tokeniser._without_thai_words = backend.pre_tokenizer
        words = pre_tokenizers.PreTokenizer.custom(_ThaiWords())
        steps = [before, words] if before else [words]
        if before and b'"ByteLevel"' in before.__getstate__():  # no letters are left behind it
            steps.reverse()
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokeniser.init_kwargs[MARKER] = "newmm"
    return tokeniser


def restore(tokeniser: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Attach Thai words to a tokeniser that was saved with them, and leave any other as it is; returns it."""
    return attach(tokeniser) if tokeniser.init_kwargs.get(MARKER) else tokeniser


@contextlib.contextmanager
def detached(tokeniser: PreTrainedTokenizerFast) -> Iterator[PreTrainedTokenizerFast]:
    """The tokeniser without Thai words, for as long as it takes to save it: `with detached(tokeniser): …`."""
    if not _is_attached(tokeniser):
        yield tokeniser
        return
    tokeniser.backend_tokenizer.pre_tokenizer = vars(tokeniser).pop("_without_thai_words")
    try:
        yield tokeniser
    finally:
        attach(tokeniser)


def _is_attached(tokeniser: PreTrainedTokenizerFast) -> bool:
    return "_without_thai_words" in vars(tokeniser)


def save_tokeniser(tokeniser: PreTrainedTokenizerFast, folder: str | Path) -> None:
    """Write a tokeniser into a folder, where `load_tokeniser` finds it.

    `AutoTokenizer` opens the folder too, but does not cut Thai into words: use `load_tokeniser`.
    """
    with detached(tokeniser):
        tokeniser.save_pretrained(str(folder))


def load_tokeniser(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokeniser of a folder: one of ours with its Thai words, anybody's as it is.

    Raises OSError when there is no such folder or no tokeniser in it.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to load a tokeniser from")
    try:
        return restore(AutoTokenizer.from_pretrained(str(folder), local_files_only=True))
    except (OSError, ValueError, KeyError) as error:
        raise OSError(f"{folder} holds no tokeniser that transformers can read: {error}") from error
