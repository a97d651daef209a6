"""From a text to its words: normalisation, and one function for each way to cut a text into tokens.

A tokeniser is any function from a text to a list of strings: `thai_words`, `english_words`, `characters`, or
your own. `tokenise` runs one over many texts.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import pickle
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

from pythainlp.corpus import thai_words as dictionary
from pythainlp.tokenize.newmm import segment as newmm
from pythainlp.tokenize.nlpo3 import segment as nlpo3
from pythainlp.util import normalize
from tqdm.auto import tqdm

THAI = "ก-ฺเ-๎"  # letters, vowels, tone marks and signs: the Thai block without the baht sign and the digits

# --- Normalisation ------------------------------------------------------------------------------------------

# Characters that nobody sees and that make equal words differ. A zero-width joiner goes only beside Thai:
# between emoji it is what makes a family out of three people.
_INVISIBLE = re.compile(
    f"[\u00ad\u200b\u200c\u200e\u200f\u202a-\u202e\u2060\ufeff]|\u200d(?=[{THAI}\\s]|$)|(?<=[{THAI}\\s])\u200d|^\u200d"
)
_MAY_BE_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")  # one quick search for most texts
_ABOVE_BELOW, _TONES, _FOLLOW = "ัิีึืฺุู็์ํ๎", "่-๋", "ะาำๅ"
# No letter bears one mark twice. To put a flood of marks in order would take quadratic time: thin it first.
_FLOOD = re.compile(rf"[{_ABOVE_BELOW}{_TONES}{_FOLLOW}\u0300-\u036f]{{4,}}")
# Anything for pythainlp to repair? One quick search spares most texts its thirty substitutions.
_IRREGULAR = re.compile(
    rf"เเ|[{_TONES}์][{_ABOVE_BELOW}{_TONES}]|ํ[{_TONES}]*า|[{_FOLLOW}][{_TONES}]|ๅ"
    rf"|([ะาำๅเแโใไั-ฺ็์ํ๎]) *\1|(?:^| )[{_ABOVE_BELOW}{_TONES}]"
)
_REPEATED = re.compile(r"([^\d\s])\1{3,}")


def normalise(text: str) -> str:
    """The text with one spelling for what looks the same.

    Unicode NFC; invisible characters dropped; each run of white space (line ends too) made one space; Thai
    marks put in their order, doubled vowels and tone marks and marks without a letter dropped
    (`pythainlp.util.normalize`); a character said more than three times said three times ("มากกกกกก" becomes
    "มากกก", "!!!!!" becomes "!!!"), so that emphasis stays and has one spelling. Digits, Thai and Arabic, are
    never changed. Normalising again changes nothing.

    Raises TypeError when `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text must be a str, not {type(text).__name__}: {text!r:.80}")
    text, before = " ".join(text.split()), None
    while text != before:  # one repair may bring about another; most texts need none
        before = text
        if _MAY_BE_INVISIBLE.search(text):
            text = _INVISIBLE.sub("", text)
        text = _FLOOD.sub(lambda marks: "".join(dict.fromkeys(marks[0])), text)
        text = " ".join(unicodedata.normalize("NFC", text).split())
        if _IRREGULAR.search(text):
            text = normalize(text)
        text = _REPEATED.sub(r"\1\1\1", text)
    return text


# --- Thai words ---------------------------------------------------------------------------------------------

_PIECE = re.compile(
    rf"(?P<thai>[{THAI}]+(?:\.[{THAI}]+)*(?:\.(?!\.))?)"  # a dot may belong to an abbreviation: พ.ศ., กทม.
    rf"|\d+(?:[.,]\d+)*"  # 1,234.50
    rf"|[^\W\d_{THAI}]+(?:[-'’][^\W\d_{THAI}]+)*"  # Latin words and those of other scripts: e-mail, don't
    # "!!!", and an emoji with its skin and its family
    rf"|([^\s\w{THAI}]|_)(?:\2|[\ufe0f\U0001f3fb-\U0001f3ff]|\u200d[^\s\w{THAI}])*"
)
# nlpo3 does not know these clusters of characters, which newmm never cuts: เวียร์, วรรณ์.
_CLUSTERS = re.compile("เ[ก-ฮ]{1,2}[ิีุู][่-๋]?ย(?:[ก-ฮ]{1,2}[ุูิ]?์)?|[ก-ฮ]รร[ก-ฮ]์")
_PLAIN = re.compile(rf"[{THAI}]+|\.")


def _nlpo3_words(run: str) -> list[str]:
    """The words of nlpo3, or newmm's own in the rare run (1 in 300) where the two may differ."""
    words = nlpo3(run)
    if "." in run and not all(_PLAIN.fullmatch(word) or word in dictionary() for word in words):
        return newmm(run)
    clusters = [match.span() for match in _CLUSTERS.finditer(run)]
    if clusters and any(a < cut < b for cut in itertools.accumulate(map(len, words)) for a, b in clusters):
        return newmm(run)
    return words


_words_of_run: Callable[[str], list[str]] = _nlpo3_words if find_spec("nlpo3") else newmm


def thai_words(text: str) -> list[str]:
    """The words of a Thai text, normalised and lower-cased, without white space.

    Runs of Thai letters are cut by newmm (dictionary-based maximal matching within Thai character clusters,
    with pythainlp's own word list), through its Rust version `nlpo3` where that is installed: the words are
    the same either way. Numbers, words of other scripts and repeated punctuation are a token each.

    >>> thai_words("อยากเช็คยอด iPhone 13 ครับ!!")
    ['อยาก', 'เช็ค', 'ยอด', 'iphone', '13', 'ครับ', '!!']
    """
    words = []
    for piece in _PIECE.finditer(normalise(text)):
        if run := piece["thai"]:
            words += _words_of_run(run)
        else:
            words.append(piece[0].lower())
    return words


# --- English words and characters ---------------------------------------------------------------------------

_ENGLISH = re.compile(
    r"\d+(?:[.,]\d+)*"
    r"|n't\b|'(?:s|re|ve|ll|d|m)\b"
    r"|[^\W\d_]+?(?=n't\b)"  # do|n't
    r"|[^\W\d_]+(?:-[^\W\d_]+)*"
    r"|([^\s\w]|_)\1*"
)


def english_words(text: str) -> list[str]:
    """The words, numbers and punctuation of an English text, lower-cased; contractions as in the Penn Treebank.

    >>> english_words("I don't think it's well-made...")
    ['i', 'do', "n't", 'think', 'it', "'s", 'well-made', '...']
    """
    text = normalise(text).lower().replace("’", "'")
    return [word[0] for word in _ENGLISH.finditer(text)]


def characters(text: str) -> list[str]:
    """The characters (Unicode code points) of the normalised text, spaces included."""
    return list(normalise(text))


# --- Many texts ---------------------------------------------------------------------------------------------

_CHUNK = 250_000  # characters sent to a process at a time
_PAYS = 4_000_000  # characters a process: fewer do not repay the 1.5 s in which it reads the word list


def _tokenise_chunk(texts: list[str], tokeniser: Callable[[str], list[str]]) -> list[list[str]]:
    return [tokeniser(text) for text in texts]


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    """The texts in their order, some `_CHUNK` characters at a time."""
    chunk, size = [], 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _importable(tokeniser: Callable[[str], list[str]]) -> bool:
    """Whether another process can find the function: it stands in a module, not in a notebook or a lambda."""
    try:
        pickle.dumps(tokeniser)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return getattr(tokeniser, "__module__", None) != "__main__"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def possible_workers(workers: int | None, tokeniser: Callable[[str], list[str]]) -> int | None:
    """The number of processes that is asked for; 1 where the tokeniser forces it, None where there is a choice.

    Raises ValueError when `workers` is below 1 or the tokeniser cannot be sent to a process.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if _importable(tokeniser):
        return workers
    if workers not in (None, 1):
        raise ValueError(f"{tokeniser} cannot go to another process: put it into a module, or use workers=1")
    return 1


def tokenise(
    texts: Iterable[str],
    tokeniser: Callable[[str], list[str]] = thai_words,
    *,
    progress: bool = True,
    workers: int | None = None,
) -> list[list[str]]:
    """The tokens of each text, in the order of the texts.

    `workers`: how many processes. None takes one a core when the corpus is big enough to repay starting them;
    a smaller corpus, and a tokeniser written in a notebook, stay in this process. Processes are spawned: a
    script calls this under `if __name__ == "__main__":`. A bar shows the progress after the first second.

    Raises TypeError when a text is not a string, naming its position; ValueError when `workers` is below 1 or
    the tokeniser cannot be sent to a process; RuntimeError when a process ends early.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts; for one text call the tokeniser itself")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} must be a str, not {type(text).__name__}: {text!r:.80}")
    workers = possible_workers(workers, tokeniser)
    if workers is None:
        workers = max(min(cores(), sum(map(len, texts)) // _PAYS), 1)

    work = functools.partial(_tokenise_chunk, tokeniser=tokeniser)
    token_lists = []
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(texts), unit="text", delay=1, disable=not progress))
        run = map
        if workers > 1:
            spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
            run = stack.enter_context(ProcessPoolExecutor(workers, spawn)).map
        try:
            for result in run(work, _chunks(texts)):
                token_lists += result
                bar.update(len(result))
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {workers} processes ended early. In a script, call tokenise under "
                'if __name__ == "__main__":. Elsewhere the memory may not suffice for so many. '
                "workers=1 always works"
            ) from error
    return token_lists
