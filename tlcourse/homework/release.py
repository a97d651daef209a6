"""What students get, and the key of a term, which they never get."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from nbformat import NotebookNode

import tlcourse
from tlcourse import notebooks
from tlcourse.homework.assignments import Homework, read_cell

TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
REGION = re.compile(r"BEGIN SOLUTION.*\n((?:.*\n)*?).*END SOLUTION")
SAYS_ENOUGH, NAME_SAYS_ENOUGH = 24, 16
"""Characters, blanks not counted: code that is shorter, ``with torch.no_grad():``, and a test's name that is shorter,
"an empty text", are nobody's secret."""


class ReleaseError(ValueError):
    """A release that would give something away, or replace something."""


# ------------------------------------------------------------------------------------------------- the term's key
@dataclass(frozen=True)
class TermKey:
    """What grading needs of a term.

    Attributes:
        term: its name.
        seed: secret: hidden tests are drawn from it.
        versions: of what made it.
        cells: for each assignment the digests of the cells that were given out, by id.
    """

    term: str
    seed: int
    versions: dict[str, str]
    cells: dict[str, dict[str, str]]

    @classmethod
    def read(cls, path: Path) -> TermKey:
        """Read a key.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is no key.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            key = cls(**data)
            if not (isinstance(key.seed, int) and TERM.fullmatch(key.term) and isinstance(key.cells, dict)):
                raise ValueError
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no key of a term; `tlcourse homework release` writes one") from error
        return key

    def write(self, path: Path) -> None:
        """Write it so that its owner alone can read it, whole or not at all."""
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of what a key depends on."""
    names = ("numpy", "torch", "nbgrader")
    return {"tlcourse": tlcourse.__version__, **{name: metadata.version(name) for name in names}}


# ------------------------------------------------------------------------------------------------------ releasing
def release(term: str, folder: Path, homework: Mapping[str, Homework], *, replace: bool = False) -> list[Path]:
    """Write the students' notebooks to ``release/NAME/NAME.ipynb`` and the key to ``key-TERM.json``.

    Released again, a term keeps its seed.

    Args:
        replace: what differs from what is there; else that is an error.

    Returns:
        The notebooks, and last the key.

    Raises:
        ReleaseError: a notebook would give something away, or something is there already.
        ValueError: the term's name is none.
    """
    if not TERM.fullmatch(term):
        raise ValueError(f"{term!r} is no name of a term; letters, digits, dots and hyphens, such as 2027-1")
    key_path = folder / f"key-{term}.json"
    old = TermKey.read(key_path) if key_path.exists() else None
    pages = {name: student_version(one, term) for name, one in homework.items()}
    for name, page in pages.items():
        if found := [*leaks(page, homework[name])]:
            raise ReleaseError(f"{name} would give something away: " + "; ".join(found[:5]))
    digests = {name: {cell.id: cell.digest for cell in map(read_cell, page.cells)} for name, page in pages.items()}
    key = TermKey(
        term, old.seed if old else secrets.randbits(128), versions(), {**(old.cells if old else {}), **digests}
    )
    paths = {name: folder / "release" / name / f"{name}.ipynb" for name in pages}
    if not replace:
        for name, path in paths.items():
            if path.exists() and notebooks.read(path) != pages[name]:
                raise ReleaseError(f"{path} is there and differs; --replace replaces it")
        if old and any(old.cells.get(name, digests[name]) != digests[name] for name in digests):
            raise ReleaseError(f"{key_path} is of other notebooks; --replace replaces it, and keeps its seed")
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        notebooks.write(pages[name], path)
    key.write(key_path)
    return [*paths.values(), key_path]


def student_version(homework: Homework, term: str) -> NotebookNode:
    """The author's notebook as nbgrader gives it out: solutions and outputs cleared, cells locked and checksummed.

    Raises:
        ReleaseError: nbgrader finds the notebook's cells in disorder.
        ImportError: nbgrader is not installed.
    """
    try:
        from nbgrader import preprocessors as steps
    except ModuleNotFoundError as error:
        raise ImportError('nbgrader is not installed; pip install "tlcourse[homework]" brings it') from error

    notebook = notebooks.read(homework.notebook)
    order = (
        steps.LockCells, steps.ClearSolutions, steps.ClearOutput, steps.CheckCellMetadata, steps.ClearHiddenTests,
        steps.ClearMarkScheme, steps.ComputeChecksums, steps.CheckCellMetadata,
    )  # fmt: skip
    resources: dict = {}
    try:
        for step in order:
            notebook, resources = step().preprocess(notebook, resources)
    except Exception as error:  # nbgrader raises RuntimeError, and validation errors of its own
        raise ReleaseError(f"{homework.notebook}: {error}") from error
    notebook.metadata["tlcourse"] = {"assignment": homework.assignment.name, "term": term}
    return notebook


# ---------------------------------------------------------------------------------------------------- the scan
def leaks(page: NotebookNode, homework: Homework) -> Iterator[str]:
    """What a released notebook shows of solutions and hidden tests: their lines and their names."""
    words = list(strings(page))
    shown = "\n".join(map(bare, words))
    named = "\n".join(words).casefold()
    for kind, lines in secret_lines(homework, page).items():
        for line in sorted(lines):
            if bare(line) in shown:
                yield f"a line {kind}: {line!r}"
    names = {probe.test for question in homework.assignment.questions for probe in some_probes(question)}
    for name in sorted(names):
        if len(bare(name)) >= NAME_SAYS_ENOUGH and name.casefold() in named:
            yield f"the name of a hidden test {name!r}"


def secret_lines(homework: Homework, page: NotebookNode) -> dict[str, set[str]]:
    """Code that no student should get, but what the cells to answer in, and those to run, give out themselves."""
    assignment = homework.assignment
    cells = [read_cell(cell) for cell in page.cells]

    def given(*tags: str) -> set[str]:
        return {line for cell in cells if {*tags} & {*cell.tags} for line in telling(cell.source)}

    own = ["\n".join(REGION.findall(cell.source)) for cell in homework.cells]
    key = [source for question in assignment.questions for source in question.right.values()]
    tests = [probe.code for question in assignment.questions for probe in some_probes(question)]
    return {
        "of a solution": {line for source in own + key for line in telling(source)} - given("setup", "answer"),
        "of a hidden test": {line for source in tests for line in telling(source)}
        - given("setup", "answer", "experiment"),
    }


def some_probes(question) -> list:
    """Hidden tests of two terms that are none."""
    return [probe for seed in range(2) for probe in question.probes(np.random.default_rng(seed))]


def telling(source: str) -> Iterator[str]:
    """Lines of code, and each two that follow one another, if they say enough; comments and imports do not."""
    lines = [line for line in map(str.strip, source.splitlines()) if line]
    for size in (1, 2):
        for start in range(len(lines) - size + 1):
            part = lines[start : start + size]
            code = not any(line.startswith(("#", "import ", "from ")) for line in part)
            if code and len(bare("".join(part))) >= SAYS_ENOUGH:
                yield "\n".join(part)


def bare(text: str) -> str:
    """Without blanks, which tell two writings of the same line apart."""
    return "".join(text.split())


def strings(value: object) -> Iterator[str]:
    """Every text in plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from strings(key)
            yield from strings(one)
    elif isinstance(value, Iterable):
        for one in value:
            yield from strings(one)
