"""Text at hand for a lesson: Wikipedia where it was extracted, and the sets that can be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tlcourse import data
from tlcourse.data import wikipedia


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


def texts_at_hand(names: Iterable[str], *, characters: int) -> dict[str, list[str]]:
    """The training texts of those data sets that can be had, up to so many characters of each, by the set's name.

    A set that cannot be downloaded is left out, and the reason printed.
    """
    texts = {}
    for name in names:
        try:
            texts[name] = up_to(data.load(name).texts(), characters)
        except data.DownloadError as error:
            print(f"Going on without {name}. {error}")
    return texts


def up_to(texts: Sequence[str], characters: int) -> list[str]:
    """The first texts, as many as begin within so many characters."""
    ends = np.cumsum([len(text) for text in texts])
    return list(texts[: int(np.searchsorted(ends, characters)) + 1])
