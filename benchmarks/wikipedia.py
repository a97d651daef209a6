"""How fast and how clean wikitext becomes text: ratios to gensim's `wikicorpus`, measured in this run.

    python benchmarks/wikipedia.py [--articles 3]

On the real English and Bulgarian dumps that gensim ships, and on the course's own small Thai one. Every turn has a
process of its own, reads the file from the first byte and is measured in processor time, which others on the machine
hardly change; memory is the most it had in RAM, and what of that came after the imports. "left" is what stayed in the
text of an article, on average, and should not: braces, tags, empty brackets, names of categories. Then a few articles,
to be judged by eye.
"""

import argparse
import bz2
import multiprocessing
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parents[1]
LEFT = re.compile(
    r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]|</?[a-z]+[ >/]|'''|\(\s*[,;]*\s*\)|\bthumb\||^\s*\||"
    r"^(?:Category|Категория|หมวดหมู่):|^=+.*=+$|^(?:References|External links|อ้างอิง|แหล่งข้อมูลอื่น)\s*$",
    re.MULTILINE,
)


def dumps() -> list[tuple[str, Path]]:
    """Language and file of each dump."""
    gensim = Path(find_spec("gensim").origin).parent / "test/test_data"
    return [
        ("en", gensim / "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"),
        ("bg", gensim / "bgwiki-latest-pages-articles-shortened.xml.bz2"),
        ("th", HERE / "data/wikipedia/thwiki-mini-pages-articles.xml"),
    ]


def articles(file: Path) -> Iterator[object]:
    from tlcourse.data.wikipedia import pages

    return (page for page in pages(file) if page.namespace == 0 and page.redirect is None and page.wikitext)


# --- Turns: from a file to the texts of its articles -----------------------------------------------------------


def gensim(file: Path, language: str) -> Iterator[str]:
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    with bz2.open(file) if file.suffix == ".bz2" else file.open("rb") as stream:
        for _, text, _ in extract_pages(stream, ("0",)):
            if text and not re.match("#(?:redirect|เปลี่ยนทาง)", text, re.IGNORECASE):
                yield filter_wiki(text)


def wikiextractor(file: Path, language: str) -> Iterator[str]:
    """Without the dump's templates, as ours and gensim's; its own reader knows no UTF-16, so the pages are ours."""
    from wikiextractor.extract import Extractor

    for page in articles(file):
        extractor = Extractor(page.id, page.revision, "", page.title, [])
        yield "\n".join(extractor.clean_text(page.wikitext, expand_templates=False, html_safe=False))


def mwparserfromhell(file: Path, language: str) -> Iterator[str]:
    from mwparserfromhell import parse

    return (parse(page.wikitext).strip_code() for page in articles(file))


def wikitextparser(file: Path, language: str) -> Iterator[str]:
    from wikitextparser import remove_markup

    return (remove_markup(page.wikitext) for page in articles(file))


def ours(file: Path, language: str) -> Iterator[str]:
    from tlcourse.data.wikipedia import plain_text

    return (plain_text(page.wikitext, language=language) for page in articles(file))


def ours_without_normalising(file: Path, language: str) -> Iterator[str]:
    from tlcourse.data.wikipedia import markup

    markup.normalise = str.strip
    return ours(file, language)


def ours_to_disk(file: Path, language: str) -> Iterator[str]:
    from tlcourse.data.wikipedia import extract, read_articles

    with tempfile.TemporaryDirectory() as folder:
        extract(file, folder, language=language, min_characters=0, workers=1, progress=False)
        yield from (article["text"] for article in read_articles(folder))


TURNS: list[Callable[[Path, str], Iterator[str]]] = [
    gensim,
    wikiextractor,
    mwparserfromhell,
    wikitextparser,
    ours_without_normalising,
    ours,
    ours_to_disk,
]


def measure(turn: Callable[[Path, str], Iterator[str]], file: Path, language: str) -> tuple[int, float, int, int, int]:
    """Articles, seconds, MB at most, MB of that since the imports, and what is left of the markup."""
    for _ in turn(dumps()[1][1], "bg"):  # imports, and compiles what is compiled at first use
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    count, left, counting = 0, 0, 0.0
    for text in turn(file, language):
        pause = time.process_time()
        count, left = count + 1, left + len(LEFT.findall(text))
        counting += time.process_time() - pause
    seconds = time.process_time() - start - counting
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return count, seconds, peak // 1024, (peak - before) // 1024, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--articles", type=int, default=3, help="how many to print")
    options = parser.parse_args()
    for language, file in dumps():
        print(f"\n{file.name} ({language})")
        print(f"  {'':<28}{'articles':>9}{'a second':>10}{'ratio':>7}{'MB':>6}{'+MB':>6}{'left':>8}")
        peer = None
        for turn in TURNS:
            name = turn.__name__.replace("_", " ")
            if turn is wikiextractor and not find_spec("wikiextractor"):
                print(f"  {name:<28} is not installed (pip install wikiextractor)")
                continue
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                count, seconds, peak, more, left = pool.submit(measure, turn, file, language).result()
            rate = count / seconds
            peer = peer or rate
            print(f"  {name:<28}{count:9}{rate:10.1f}{rate / peer:7.1f}{peak:6}{more:6}{left / count:8.2f}", flush=True)
    shown = [("th", 0), ("th", 7), ("en", 2)][: options.articles]
    for language, position in shown:
        texts = list(ours(dict(dumps())[language], language))
        with suppress(IndexError):
            print(f"\n--- article {position} ({language})\n{texts[position][:1500]}")


if __name__ == "__main__":
    main()
