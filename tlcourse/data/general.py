"""Text at hand for a lesson: Wikipedia where it was extracted, and the sets that can be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcourse import data
from tlcourse.data import wikipedia
from tlcourse.text import tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HELD_OUT = 50  # one document in so many is not trained on


def mini_dump() -> Path:
    """A small Thai MediaWiki export that ships with the course: the format of the real dumps, texts of our own."""
    return data.shipped() / "wikipedia" / "thwiki-mini-pages-articles.xml"


def wikipedia_texts() -> list[str]:
    """Articles, title first: of Thai Wikipedia where it was extracted, else of the dump that ships with the course."""
    extracted = wikipedia.default_folder("th") / "articles"
    if (extracted / "articles.json").exists():
        return [f"{row['title']}\n{row['text']}" for row in wikipedia.read_articles(extracted)]
    articles = (page for page in wikipedia.pages(mini_dump()) if page.namespace == 0 and not page.redirect)
    texts = (f"{page.title}\n{wikipedia.plain_text(page.wikitext, language='th')}" for page in articles)
    return list(dict.fromkeys(texts))


def at_hand(name: str) -> data.Dataset | None:
    """A data set, or nothing where it cannot be downloaded; then the reason is printed."""
    try:
        return data.load(name)
    except data.DownloadError as error:
        print(f"Going on without {name}. {error}")
        return None


def texts_at_hand(names: Iterable[str], *, characters: int) -> dict[str, list[str]]:
    """The training texts of those data sets that can be had, up to so many characters of each, by the set's name.

    A set that cannot be downloaded is left out, and the reason printed.
    """
    return {name: up_to(found.texts(), characters) for name in names if (found := at_hand(name))}


def thai_texts(names: Iterable[str], *, characters: int) -> dict[str, list[str]]:
    """General Thai by its source, up to so many characters of each: Wikipedia, and those sets that can be had."""
    texts = {"wikipedia": up_to(wikipedia_texts(), characters)}
    return texts | texts_at_hand(names, characters=characters)


def thai_and_english(thai: Iterable[str], english: Iterable[str], *, characters: int) -> dict[str, list[str]]:
    """Texts of both languages, "th" and "en", up to so many characters of each source."""
    sources = thai_texts(thai, characters=characters), texts_at_hand(english, characters=characters)
    return {
        language: [text for texts in some.values() for text in texts]
        for language, some in zip(("th", "en"), sources, strict=True)
    }


@dataclass(frozen=True, eq=False)
class Text:
    """What there is to learn a language from, and the same as tokens.

    Attributes:
        texts: documents by language.
        tokeniser: its vocabulary is of all languages.
        documents: their tokens, without those held out.
        held_out: the tokens of the documents held out.
    """

    texts: Mapping[str, Sequence[str]] = field(repr=False)
    tokeniser: PreTrainedTokenizerFast = field(repr=False)
    documents: Any
    held_out: Any

    def aside(self, language: str) -> Sequence[str]:
        """The texts of a language that are held out."""
        return self.texts[language][::HELD_OUT]


def as_tokens(
    texts: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    train: Callable[[list[str]], PreTrainedTokenizerFast],
    save: Callable[[PreTrainedTokenizerFast, Path], None],
    load: Callable[[Path], PreTrainedTokenizerFast],
    documents: type,
) -> Text:
    """A vocabulary trained on the texts that are not held out, and the tokens of all: kept in a folder.

    Args:
        train, save, load: make a tokeniser of texts, write it into a folder, and read it from there.
        documents: the class of tokens of documents, which ``from_texts`` makes, ``save`` writes and ``load`` reads.
    """
    if not (folder / "held_out" / "documents.json").exists():
        read = [text for some in texts.values() for number, text in enumerate(some) if number % HELD_OUT]
        aside = [text for some in texts.values() for text in some[::HELD_OUT]]
        save(train(read), folder)
        tokeniser = load(folder)
        documents.from_texts(read, tokeniser).save(folder / "documents")
        documents.from_texts(aside, tokeniser).save(folder / "held_out")
    return Text(texts, load(folder), documents.load(folder / "documents"), documents.load(folder / "held_out"))


def up_to(texts: Sequence[str], characters: int) -> list[str]:
    """The first texts, as many as begin within so many characters."""
    ends = np.cumsum([len(text) for text in texts])
    return list(texts[: int(np.searchsorted(ends, characters)) + 1])


def lines_of_words(
    texts: Mapping[str, Sequence[str]], tokeniser: Callable[[str], list[str]], *, signs: bool = False
) -> list[list[str]]:
    """Texts cut into lines, and lines into words; lines of one word are left out.

    Args:
        texts: by source.
        signs: keep what has no letter or digit.
    """
    lines = [line for some in texts.values() for text in some for line in text.splitlines() if line.strip()]
    cut = tokenise(lines, tokeniser, progress=False)
    words = ([word for word in line if signs or any(map(str.isalnum, word))] for line in cut)
    return [line for line in words if len(line) > 1]


def fingerprint(*settings: object) -> str:
    """Eight hexadecimal digits that differ when a setting does: a name for what is kept in the cache."""
    return hashlib.sha256(json.dumps(settings, ensure_ascii=False).encode()).hexdigest()[:8]
