"""The demo of a dump's articles."""

import pytest

from tlcourse.data.wikipedia import Page
from tlcourse.widgets.wikipedia import article_cleaner

PAGES = [
    Page(
        id=1, revision=2, title="แม่น้ำ", namespace=0, redirect=False, wikitext="'''แม่น้ำ''' คือ[[ทางน้ำ|สายน้ำ]]<ref>ก</ref>"
    ),
    Page(id=3, revision=4, title="<ภูเขา>", namespace=0, redirect=False, wikitext="ภูเขา<b>สูง</b> {{แม่แบบ}}"),
]


def test_both_sides_are_shown_and_escaped():
    demo = article_cleaner(PAGES)
    assert demo.state.plain == "แม่น้ำ คือสายน้ำ"
    assert demo.state.kept == len(demo.state.plain) / len(PAGES[0].wikitext)
    assert "&lt;ref&gt;" in demo.state.text and "<ref>" not in demo.state.text
    demo.controls["article"].value = 1
    assert demo.state.wikitext == PAGES[1].wikitext
    assert "ภูเขาสูง" in demo.state.plain


def test_every_article_can_be_chosen():
    demo = article_cleaner(PAGES)
    assert [title for title, _ in demo.controls["article"].options] == [page.title for page in PAGES]


def test_without_articles_it_says_what_is_missing():
    with pytest.raises(ValueError, match="namespace 0"):
        article_cleaner([])
