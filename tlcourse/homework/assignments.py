"""Where assignments are: their keys, the author's notebooks, and what a notebook's cells are for."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tlcourse import notebooks
from tlcourse.homework.questions import Assignment


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook: ``id`` is nbgrader's, or else the notebook's own, or empty."""

    id: str
    code: bool
    source: str
    tags: tuple[str, ...] = ()
    locked: bool = False

    @property
    def digest(self) -> str:
        return digest(self.source)


def digest(source: str) -> str:
    """Of a cell's source, whatever a notebook editor does to blanks at the ends of its lines."""
    lines = [line.rstrip() for line in source.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, eq=False)
class Homework:
    """One assignment: its key and the author's notebook, with solutions."""

    key: Path
    notebook: Path

    @cached_property
    def assignment(self) -> Assignment:
        """What the key says.

        Raises:
            ValueError: the module has no ``ASSIGNMENT``, or one of another name.
        """
        spec = importlib.util.spec_from_file_location(f"homework_key_{self.key.stem}", self.key)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = getattr(module, "ASSIGNMENT", None)
        if not isinstance(found, Assignment) or found.name != self.key.stem:
            raise ValueError(f"{self.key} defines no ASSIGNMENT named {self.key.stem}")
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """The author's cells.

        Raises:
            ValueError: a question of the key has no cell.
        """
        cells = [read_cell(cell) for cell in notebooks.read(self.notebook).cells]
        questions = (*self.assignment.questions, *self.assignment.written)
        if missing := [q.id for q in questions if q.id not in {cell.id for cell in cells}]:
            raise ValueError(f"{self.notebook.name} has no cell for {', '.join(missing)}")
        return cells

    @property
    def setup(self) -> list[str]:
        """What runs before any answer."""
        return [cell.source for cell in self.cells if "setup" in cell.tags]

    @property
    def solutions(self) -> dict[str, str]:
        """The author's answers, by question."""
        return {cell.id: cell.source for cell in self.cells if cell.id in {q.id for q in self.assignment.questions}}


def read_cell(cell: Mapping) -> Cell:
    """A cell as data of a notebook, anything of which may be missing or of another kind than it should."""
    metadata = mapping(cell.get("metadata"))
    nbgrader = mapping(metadata.get("nbgrader"))
    source = cell.get("source")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    tags = metadata.get("tags")
    return Cell(
        id=text(nbgrader.get("grade_id")) or text(cell.get("id")),
        code=cell.get("cell_type") == "code",
        source=text(source),
        tags=tuple(filter(None, map(text, tags))) if isinstance(tags, list) else (),
        locked=nbgrader.get("locked") is True,
    )


def mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def text(value: object) -> str:
    """A text that any file can hold; empty for what is none."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def find(folder: Path | None = None, names: Iterable[str] = ()) -> dict[str, Homework]:
    """The assignments by name, in order.

    Args:
        folder: with ``keys/`` and ``notebooks/``; by default the course's own.
        names: of these only.

    Raises:
        FileNotFoundError: there are no keys, or no notebook for one.
        ValueError: no assignment has such a name.
    """
    if folder is not None:
        keys, pages = folder / "keys", folder / "notebooks"
    else:
        keys, pages = Path(__file__).parent / "keys", notebooks.course_folder() / "homework"
    paths = sorted(path for path in keys.glob("*.py") if path.stem[0] not in "._")
    if not paths:
        raise FileNotFoundError(
            f"no homework keys in {keys}: they are in the course's source tree only, not in the installed package; "
            "run this there, or name a folder of your own with --homework"
        )
    found = {path.stem: Homework(path, pages / f"{path.stem}.ipynb") for path in paths}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"no assignment {missing[0]!r}; there are {', '.join(found)}")
    found = {name: one for name, one in found.items() if not names or name in names}
    if missing := [one.notebook for one in found.values() if not one.notebook.exists()]:
        raise FileNotFoundError(f"{missing[0]} is missing: the author's notebook of {missing[0].stem}")
    return found
