"""What must be true of a stored notebook, beyond that it runs.

nbval runs every notebook and compares what is tagged. It does not see a cell that was never executed, a
picture, a cell that was meant to raise and does not, or a folder of one machine in an output. These guards do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from tlcourse import profile, site
from tlcourse.normal_form import (
    CHECKED,
    INSTALL,
    RAISES,
    TAGS,
    VIEW,
    code_cells,
    digest,
    output_text,
    own_folders,
    tags,
)

STORED_PROFILE = "laptop"
MIN_CHECKED = 3
MAX_LINES = 30

TIME = r"(?:\d+(?:\.\d+)? ?(?:s|min|h)\b|not yet measured)"
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:home|root|Users|tmp|private|var|opt|usr|mnt|srv|content)/[\w.-]+"
    r"|\b[A-Z]:\\+\w+|site-packages|ipykernel_\d+"
)
REPR = re.compile(r"<(?:Figure|Axes|matplotlib)\b.*>")


def faults(notebook: NotebookNode, *, name: str) -> list[str]:
    """What keeps a notebook from being stored as it is, each fault in a sentence; empty for a sound one.

    Code cells are numbered from 1.

    Args:
        notebook: the notebook as stored.
        name: its file name in ``notebooks/``.
    """
    found = [*_header(notebook, name), *_whole(notebook)]
    for number, cell in enumerate(code_cells(notebook), start=1):
        found += [f"code cell {number}: {fault}" for fault in _cell(cell)]
    return found


def _header(notebook: NotebookNode, name: str) -> Iterator[str]:
    """The title, the time in each profile, the badge and the installation cell."""
    try:
        expected = site.with_address(notebook, path=f"notebooks/{name}", repository=site.REPOSITORY)
    except ValueError as error:
        yield str(error)
        return
    if expected != notebook:
        yield "its badge or its installation cell is not the generated one: run `tlcourse site`"
    elif INSTALL not in tags(code_cells(notebook)[0]):
        yield f"its first code cell is not the one tagged {INSTALL}: delete that one and run `tlcourse site`"
    cells = notebook.cells
    first_code = next((i for i, cell in enumerate(cells) if cell.cell_type == "code"), len(cells))
    header = "\n".join(cell.source for cell in cells[:first_code])
    for where in profile.NAMES:
        if not re.search(rf"\b{where}\b.*?{TIME}", header):
            yield f"its header gives no time for the {where} profile on a line with its name ('{where}: 6 min')"


def _whole(notebook: NotebookNode) -> Iterator[str]:
    if "widgets" in notebook.metadata:
        yield "metadata.widgets is stored, and GitHub shows no such notebook: run `make notebooks`"
    stored = notebook.metadata.get("tlcourse", {})
    if stored.get("code") != digest(notebook):
        yield "its code changed since the outputs were stored: run `make notebooks`"
    elif stored.get("profile") != STORED_PROFILE:
        yield f"its outputs are of the {stored.get('profile')} profile, not of {STORED_PROFILE}"
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        yield "cells without an id, or with the same one: run `make notebooks`"
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):  # nbval compares no output of a cell without a count
        yield "its cells were not executed once each, in order: run `make notebooks`"
    checked = sum(CHECKED in tags(cell) for cell in code_cells(notebook))
    if checked < MIN_CHECKED:
        yield f"cells tagged {CHECKED}: {checked}, and a notebook needs at least {MIN_CHECKED}"
    for cell in notebook.cells:
        if unknown := set(tags(cell)) - set(TAGS):
            yield f"unknown tags {', '.join(sorted(unknown))} in the cell that begins {cell.source[:40]!r}"


def _cell(cell: NotebookNode) -> Iterator[str]:
    if (lines := len(cell.source.splitlines())) > MAX_LINES:
        yield f"{lines} lines of code, and {MAX_LINES} are the most that a class can follow"
    errors = [output for output in cell.outputs if output.output_type == "error"]
    if RAISES in tags(cell):
        if not errors:
            yield f"it is tagged {RAISES} and stores no error"
        if CHECKED not in tags(cell):
            yield f"it is tagged {RAISES} and not {CHECKED}, so the tests would pass if it raised nothing"
    elif errors:
        yield f"it stores an error, {errors[0].ename}: {errors[0].evalue}"
    if CHECKED in tags(cell) and not any(is_compared(output) for output in cell.outputs):
        yield f"it is tagged {CHECKED} and stores nothing that is compared; pictures and widgets never are"
    for output in cell.outputs:
        yield from _output(output)


def is_compared(output: NotebookNode) -> bool:
    """Whether nbval notices when the content of this output changes: not that of a picture."""
    text = output_text(output).strip()
    return bool(text) and not REPR.fullmatch(text)


def _output(output: NotebookNode) -> Iterator[str]:
    if VIEW in output.get("data", {}):
        yield "it stores a widget, which shows nothing without its kernel: run `make notebooks`"
    if output.output_type == "stream" and output.name == "stderr":
        yield f"it stores a warning, {output.text.strip().splitlines()[0][:100]!r}"
    if output.output_type == "error" and len(output.traceback) > 1:
        yield "it stores a traceback: run `make notebooks`"
    text = output_text(output)
    path = MACHINE_PATH.search(text)
    if found := path[0] if path else next((folder for folder in own_folders() if folder in text), None):
        yield f"its output names a folder of one machine, {found}"
