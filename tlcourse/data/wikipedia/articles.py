"""Articles on disk: out of a dump, or out of the cleaned set on the Hugging Face hub, into one form.

A folder of articles holds `articles-00000.jsonl.gz`, `articles-00001.jsonl.gz`, …, a JSON object a line,

    {"id": 123, "revision": 456, "title": "กรุงเทพมหานคร", "text": "paragraph\\nparagraph\\n…"}

and `articles.json`, which says what they are and how far the work has come. A shard is there whole or not at all; after
an interruption the same call goes on behind the last one, and the files are the same, byte for byte, as without.
"""

import gzip
import hashlib
import json
import multiprocessing
import shutil
import time
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from tlcourse.data.catalogue import DataError
from tlcourse.data.wikipedia.dump import DumpError, Page, pages, read_site
from tlcourse.data.wikipedia.markup import convert, paragraphs
from tlcourse.text.tokens import cores

FORMAT = "tlcourse-articles-1"
LICENCE = "CC BY-SA 4.0"
HUB = "wikimedia/wikipedia"
SHARD = 5_000  # articles
BATCH = 500_000  # characters of wikitext that a process gets at a time
PAYS = 2_000_000  # bytes of a dump: a smaller one does not repay starting processes
_HEAD = 1 << 20  # bytes of a dump by which it is known again


@dataclass(kw_only=True)
class Report:
    """What has been made of a dump.

    Attributes:
        folder: where the articles are.
        articles, characters: how many, in all shards.
        skipped: pages left out, by reason: "namespace" (no article), "redirect", "oversized" (over 5 MB), "stub"
            (short), "duplicate" (the text of another article).
        mended: articles with faults in their markup, by kind, as `tlcourse.data.wikipedia.markup.Text` has them.
        complete: whether the dump was read to its end, or to the limit.
        new: articles that this call wrote.
        seconds: that it took.
    """

    folder: Path
    language: str
    source: str
    articles: int = 0
    characters: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    mended: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    new: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rows = [
            ("articles", self.articles),
            ("characters", self.characters),
            *((f"skipped: {reason}", count) for reason, count in self.skipped.items()),
            *((f"kept, markup {fault}", count) for fault, count in self.mended.items()),
        ]
        if self.new:
            rows.append(("articles a second", round(self.new / self.seconds)))
        whole = "" if self.complete else ", not complete"
        lines = [f"{self.source} ({self.language}) in {self.folder}{whole}"]
        return "\n".join(lines + [f"  {name:<24}{value:>15,}" for name, value in rows])


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one page: an article, or the reason why not."""

    article: dict | None = None
    skipped: str = ""
    mended: frozenset[str] = frozenset()


def extract(
    dump: Path | str,
    folder: Path | str,
    *,
    language: str | None = None,
    min_characters: int = 200,
    limit: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Write the articles of a Wikimedia dump as plain text; a run that was interrupted is taken up again.

    Processes are spawned: a script calls this under `if __name__ == "__main__":`.

    Args:
        dump: `…-pages-articles.xml.bz2`; also `.xml` and `.xml.gz`.
        folder: of the articles; made where it is missing.
        language: code of the Wikipedia that the dump must be of; None takes that which the dump names.
        min_characters: a shorter text is a stub, and left out.
        limit: stop after so many articles; None for all.
        workers: processes that turn wikitext into text; None for one a core, or none for a small dump.
        progress: show a bar over the bytes of the dump, with the time left.

    Raises:
        DumpError: the dump is damaged (all before the damage is kept), of another wiki, or not the one that the
            folder was begun with.
        DataError: the folder was begun with other settings or is in use, or the disk is full (finished shards stay).
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    dump = Path(dump)
    site = read_site(dump)
    language = language or site.language
    if not language:
        raise DumpError(f"{dump} does not say which wiki it is of: name its language.")
    if site.language not in {"", language} or site.name not in {"", language.replace("-", "_") + "wiki"}:
        raise DumpError(
            f"{dump} is of {site.name or site.language}, not of the Wikipedia in {language!r}: fetch that one, "
            f"or ask for {site.language!r}."
        )
    with dump.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD)).hexdigest()
    size = dump.stat().st_size
    if workers is None:
        workers = cores() if size > PAYS else 1
    work = partial(
        _outcomes,
        language=language,
        namespaces=tuple(site.namespaces[number] for number in (-2, 6, 14) if number in site.namespaces),
        min_characters=min_characters,
    )

    def outcomes(done: int) -> Iterator[_Outcome]:
        bar = tqdm(total=size, unit="B", unit_scale=True, desc=dump.name, delay=1, disable=not progress)
        with bar:
            rest = islice(pages(dump, progress=lambda read: bar.update(read - bar.n)), done, None)
            yield from _in_order(work, _batches(rest), workers)

    header = {
        "format": FORMAT,
        "language": language,
        "source": dump.name,
        "source_bytes": size,
        "source_head_sha256": head,
        "licence": LICENCE,
        "min_characters": min_characters,
        "limit": limit,
    }
    return _write(Path(folder), header, outcomes)


def from_hub(
    folder: Path | str,
    *,
    config: str = "20231101.th",
    min_characters: int = 200,
    limit: int | None = None,
    progress: bool = True,
) -> Report:
    """Write the articles of the cleaned set `wikimedia/wikipedia` on the Hugging Face hub, in the same form.

    The set is streamed with `datasets`; its texts have no revision and keep their headings. Normalisation, stubs,
    duplicates and resuming are as in `extract`.

    Args:
        config: date of the dump and language, of those that the hub has.

    Raises:
        DataError: `datasets` is not installed, the hub cannot be reached or has no such set; and as `extract`.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError("from_hub needs the package `datasets`: pip install datasets") from error
    language = config.partition(".")[2]
    if not language:
        raise DataError(f"{config!r} is no set of {HUB}: it is a date and a language, such as '20231101.th'.")

    def rows(done: int) -> Iterator[dict]:
        try:
            yield from datasets.load_dataset(HUB, config, split="train", streaming=True).skip(done)
        except Exception as error:  # it may be one of several libraries' own
            raise DataError(
                f"{HUB} {config} cannot be read from the hub: {error}. Is there a network, and has the hub this set? "
                "Calling again goes on behind the last finished shard."
            ) from error

    def outcomes(done: int) -> Iterator[_Outcome]:
        for row in tqdm(rows(done), initial=done, unit="article", desc=config, delay=1, disable=not progress):
            text = paragraphs(row["text"], language=language)
            article = {"id": int(row["id"]), "revision": None, "title": row["title"], "text": text}
            yield _Outcome(article) if len(text) >= min_characters else _Outcome(skipped="stub")

    header = {
        "format": FORMAT,
        "language": language,
        "source": f"{HUB} {config}",
        "licence": LICENCE,
        "min_characters": min_characters,
        "limit": limit,
    }
    return _write(Path(folder), header, outcomes)


def read_articles(folder: Path | str) -> Iterator[dict]:
    """The articles of a folder, complete or part-way, in their order: `id`, `revision`, `title`, `text`.

    Raises:
        DataError: no such folder, or a shard is damaged.
    """
    folder = Path(folder)
    for shard in _read_state(folder)["shards"]:
        try:
            with gzip.open(folder / shard["file"], "rt", encoding="utf-8") as lines:
                yield from map(json.loads, lines)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise DataError(
                f"{folder / shard['file']} is damaged or missing ({error}): extract again into {folder}, "
                "which makes it anew."
            ) from error


# --- From pages to outcomes, on all cores ----------------------------------------------------------------------


def _batches(some_pages: Iterable[Page]) -> Iterator[list[Page]]:
    """The pages, some `BATCH` characters at a time; an error of the dump comes after the last of them."""
    batch, size, failure = [], 0, None
    try:
        for page in some_pages:
            batch.append(page)
            size += len(page.wikitext or "") + 100
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    except DumpError as error:
        failure = error
    if batch:
        yield batch
    if failure:
        raise failure


def _outcomes(batch: list[Page], *, language: str, namespaces: tuple[str, ...], min_characters: int) -> list[_Outcome]:
    """What becomes of each page, but for duplicates."""
    outcomes = []
    for page in batch:
        if page.namespace != 0:
            outcomes.append(_Outcome(skipped="namespace"))
        elif page.redirect is not None:
            outcomes.append(_Outcome(skipped="redirect"))
        elif page.wikitext is None:
            outcomes.append(_Outcome(skipped="oversized"))
        else:
            text, faults = convert(page.wikitext, language=language, namespaces=namespaces)
            if len(text) < min_characters:
                outcomes.append(_Outcome(skipped="stub"))
            else:
                article = {"id": page.id, "revision": page.revision, "title": page.title, "text": text}
                outcomes.append(_Outcome(article, mended=faults))
    return outcomes


def _in_order(
    work: Callable[[list[Page]], list[_Outcome]], batches: Iterator[list[Page]], workers: int
) -> Iterator[_Outcome]:
    """The outcomes in the order of the pages; only as many batches are in memory as keep the processes busy.

    An error of the dump comes after the outcomes of all pages before it.
    """
    if workers == 1:
        for batch in batches:
            yield from work(batch)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    waiting: deque[Future[list[_Outcome]]] = deque()
    failure = None
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(workers, spawn))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        try:
            while True:
                try:
                    batch = next(batches, None) if failure is None else None
                except DumpError as error:
                    batch, failure = None, error
                if batch is not None:
                    waiting.append(pool.submit(work, batch))
                    if len(waiting) < 2 * workers:
                        continue
                if not waiting:
                    break
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {workers} processes ended early. In a script, call extract under "
                'if __name__ == "__main__":. Elsewhere the memory may not suffice for so many. workers=1 always works'
            ) from error
    if failure:
        raise failure


# --- From outcomes to shards -----------------------------------------------------------------------------------


def _write(folder: Path, header: dict, outcomes: Callable[[int], Iterator[_Outcome]]) -> Report:
    """Write shards until the outcomes end, from where an earlier call stopped.

    Args:
        header: what `articles.json` says of the source and the settings.
        outcomes: from a number of pages to the outcomes of the pages after them.
    """
    if header["limit"] is not None and header["limit"] < 1:
        raise ValueError(f"limit must be at least 1, not {header['limit']}")
    start = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            writer = _Writer(folder, header)
            if not writer.complete:
                writer.run(outcomes(writer.pages))
    except Timeout as error:
        raise DataError(f"Another process is writing to {folder}: wait for it, or take another folder.") from error
    except OSError as error:
        if error.filename is not None and not Path(error.filename).is_relative_to(folder):
            raise
        there = next(path for path in (folder, *folder.parents) if path.exists())
        raise DataError(
            f"The articles cannot be written to {folder}: {error.strerror or error}; "
            f"{shutil.disk_usage(there).free:,} bytes are free there. Make room and call again: "
            "the shards that are finished stay, and the work goes on behind them."
        ) from error
    return writer.report(time.perf_counter() - start)


class _Writer:
    """The shards of a folder and its `articles.json`."""

    def __init__(self, folder: Path, header: dict) -> None:
        self.folder, self.header = folder, header
        self.complete, self.shards = False, []
        if (folder / "articles.json").exists():
            self._take_up(_read_state(folder))
        self.pages = sum(shard["pages"] for shard in self.shards)
        self.taken_up = self.totals()["articles"]
        self.seen = {_digest(article["text"]) for article in read_articles(folder)} if self.shards else set()

    def _take_up(self, state: dict) -> None:
        """Go on behind the last full shard before the first that is not what it was."""
        for name, value in self.header.items():
            if state.get(name) != value:
                raise DumpError(
                    f"{self.folder} was begun with {name} {state.get(name)!r}, now it is {value!r}. "
                    "Call with what it was begun with, or take another folder."
                )
        self.complete, shards = state["complete"], state["shards"]
        for shard in shards:
            if _sha256(self.folder / shard["file"]) != shard["sha256"]:
                warnings.warn(f"{self.folder / shard['file']} is damaged: made anew from there on.", stacklevel=5)
                self.complete = False
                break
            if self.complete or shard["articles"] == SHARD:
                self.shards.append(shard)
        if self.shards != shards:
            self._save()

    def run(self, outcomes: Iterator[_Outcome]) -> None:
        """Write shard after shard, and `articles.json` after each.

        When the source fails, what came before goes into a last shard.
        """
        limit = self.header["limit"]
        room = SHARD if limit is None else limit - self.taken_up
        with closing(outcomes):
            while not self.complete:
                size = min(SHARD, room)
                shard, failure = self._write_shard(outcomes, size)
                room -= 0 if limit is None else shard["articles"]
                self.complete = not failure and (shard["articles"] < size or room == 0)
                self.shards.append(shard)
                self._save()
                if failure:
                    raise failure

    def _write_shard(self, outcomes: Iterator[_Outcome], size: int) -> tuple[dict, DataError | None]:
        """Write the next `size` articles, or as many as come before the end or an error of the source."""
        file = self.folder / f"articles-{len(self.shards):05}.jsonl.gz"
        part = file.with_suffix(".part")
        articles, characters, begun_at = 0, 0, self.pages
        skipped, mended = Counter(), Counter()
        failure = None
        try:
            # No name and no time in the header: the same articles make the same bytes.
            with part.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                while articles < size:
                    try:
                        outcome = next(outcomes, None)
                    except DataError as error:
                        failure, outcome = error, None
                    if outcome is None:
                        break
                    self.pages += 1
                    if not (article := outcome.article):
                        skipped[outcome.skipped] += 1
                    elif (digest := _digest(article["text"])) in self.seen:
                        skipped["duplicate"] += 1
                    else:
                        self.seen.add(digest)
                        packed.write((json.dumps(article, ensure_ascii=False) + "\n").encode())
                        articles += 1
                        characters += len(article["text"])
                        mended.update(outcome.mended)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        shard = {
            "file": file.name,
            "sha256": _sha256(file),
            "articles": articles,
            "characters": characters,
            "pages": self.pages - begun_at,
            "skipped": dict(sorted(skipped.items())),
            "mended": dict(sorted(mended.items())),
        }
        return shard, failure

    def totals(self) -> dict:
        """Sums over the shards."""
        sums = {name: sum(shard[name] for shard in self.shards) for name in ("articles", "characters")}
        for name in ("skipped", "mended"):
            counts = sum((Counter(shard[name]) for shard in self.shards), Counter())
            sums[name] = dict(sorted(counts.items()))
        return sums

    def _save(self) -> None:
        """Replace `articles.json` in one step."""
        state = {**self.header, "complete": self.complete, **self.totals(), "shards": self.shards}
        part = self.folder / "articles.json.part"
        part.write_text(json.dumps(state, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        part.replace(self.folder / "articles.json")

    def report(self, seconds: float) -> Report:
        totals = self.totals()
        return Report(
            folder=self.folder,
            language=self.header["language"],
            source=self.header["source"],
            complete=self.complete,
            new=totals["articles"] - self.taken_up,
            seconds=seconds,
            **totals,
        )


def _read_state(folder: Path) -> dict:
    """What `articles.json` says."""
    file = folder / "articles.json"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        if state["format"] == FORMAT and isinstance(state["shards"], list):
            return state
        reason = f"its format is {state['format']!r}, not {FORMAT!r}"
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no articles ({file.name} is missing): extract some into it.") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise DataError(f"{file} is not a description of articles ({reason}): delete {folder} and extract again.")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _sha256(file: Path) -> str | None:
    """The sum of a file; None where there is none."""
    if not file.is_file():
        return None
    with file.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
