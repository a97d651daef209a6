"""Wikipedia, from the dump to clean articles, for any language that has one.

>>> from tlcourse.data import wikipedia
>>> dump = wikipedia.fetch("th")
>>> print(wikipedia.extract(dump, "articles"))
>>> next(wikipedia.read_articles("articles"))["title"]
"""

from tlcourse.data.wikipedia.articles import Report, extract, from_hub, read_articles
from tlcourse.data.wikipedia.dump import DumpError, Page, Site, pages, read_site
from tlcourse.data.wikipedia.markup import plain_text
from tlcourse.data.wikipedia.source import default_folder, fetch

__all__ = [
    "DumpError",
    "Page",
    "Report",
    "Site",
    "default_folder",
    "extract",
    "fetch",
    "from_hub",
    "pages",
    "plain_text",
    "read_articles",
    "read_site",
]
