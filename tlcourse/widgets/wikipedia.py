"""A demo of the pretraining lesson: an article as it stands in a Wikipedia dump, and the text that is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets

from tlcourse.data.wikipedia import Page, plain_text
from tlcourse.widgets.demo import Demo, live

COLUMN = "flex:1;height:420px;overflow:auto;border:1px solid #bbb;padding:10px;white-space:pre-wrap"


def article_cleaner(pages: Sequence[Page], *, language: str = "th") -> Demo:
    """Choose an article: its wikitext on the left, its plain text on the right.

    Args:
        pages: at least one article, such as ``tlcourse.data.wikipedia.pages`` yields.
        language: of the Wikipedia.

    Returns:
        A demo with the control ``article`` (the position in ``pages``) and the state ``wikitext``, ``plain`` and
        ``kept``, the share of the characters that is left.

    Raises:
        ValueError: there is no article.
    """
    if not pages:
        raise ValueError("no article to show; a dump's articles are its pages with namespace 0 that are no redirect")

    def draw(article: int):
        wikitext = pages[article].wikitext
        plain = plain_text(wikitext, language=language)
        kept = len(plain) / max(len(wikitext), 1)
        columns = (
            f"<div style='{COLUMN};font-family:monospace;font-size:85%'>{escape(wikitext)}</div>"
            f"<div style='{COLUMN}'>{escape(plain)}</div>"
        )
        words = f"{len(wikitext):,} characters of wikitext, {len(plain):,} of text: {kept:.0%} are left."
        text = f"{words}<div style='display:flex;gap:14px'>{columns}</div>"
        return None, text, {"wikitext": wikitext, "plain": plain, "kept": kept}

    options = [(page.title, i) for i, page in enumerate(pages)]
    return live({"article": widgets.Dropdown(options=options, description="article")}, draw)
