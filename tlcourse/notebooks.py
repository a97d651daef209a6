"""The course's notebooks: finding, executing and storing them, and showing them as HTML.

A notebook is executed in a fresh kernel of the environment that runs this code, whatever kernels the user has
registered, with the notebook's own folder as the working folder.
"""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import tomllib
import uuid
from pathlib import Path
from typing import TextIO

import nbformat
import zmq
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from tlcourse import normal_form

PACKAGED = Path(__file__).parent / "_notebooks"
"""Where a wheel keeps the notebooks."""


class CellFailed(Exception):
    """A cell of a notebook failed.

    Attributes:
        notebook: the notebook with the outputs it has so far, the failing cell's among them.
        cell: the cell's number, counting code cells from 1.
        source: the cell's code.
        error: the kernel's traceback, or what else went wrong.
    """

    def __init__(self, notebook: NotebookNode, *, cell: int, source: str, error: str) -> None:
        super().__init__(f"code cell {cell} failed")
        self.notebook, self.cell, self.source, self.error = notebook, cell, source, error

    def __str__(self) -> str:
        lines = self.source.splitlines()
        numbered = "\n".join(f"{number:>4}  {line}" for number, line in enumerate(lines, start=1))
        return f"code cell {self.cell} failed:\n\n{numbered}\n\n{self.error.rstrip()}"


def checkout() -> Path | None:
    """The source tree at hand: the working folder's, else the one this package is imported from."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[1]):
        settings = folder / "pyproject.toml"
        if settings.is_file() and (folder / "notebooks").is_dir():
            project = tomllib.loads(settings.read_text(encoding="utf-8")).get("project", {})
            if project.get("name") == "tlcourse":
                return folder
    return None


def course_folder() -> Path:
    """The folder of the notebooks: the source tree's, else the one in the installed package.

    Raises:
        FileNotFoundError: neither is there.
    """
    tree = checkout()
    folder = tree / "notebooks" if tree else PACKAGED
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no notebooks at {folder}; install the package again, or work in a copy of its source tree"
        )
    return folder


def course(folder: Path | None = None) -> list[Path]:
    """The notebooks in the order they are taught, which is the order of their names."""
    return sorted((folder or course_folder()).glob("[0-9]*.ipynb"))


def find(name: str) -> Path:
    """The notebook that ``name`` means: a path, a file name, its stem, or the number it begins with.

    Raises:
        FileNotFoundError: no notebook, or more than one, answers to the name; the message lists the choice.
    """
    path = Path(name)
    if path.is_file():
        return path
    notebooks = course()
    stem = path.name.removesuffix(".ipynb")
    matches = [p for p in notebooks if p.stem == stem] or [p for p in notebooks if p.stem.startswith(stem)]
    if stem and len(matches) == 1:
        return matches[0]
    choice = ", ".join(p.stem for p in matches or notebooks) or "none"
    names = "names several notebooks" if matches else "names no notebook"
    raise FileNotFoundError(f"{name!r} {names}; choose from {choice}")


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        ValueError: the file is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).split(":")[0].splitlines()
        raise ValueError(f"{path} is not a Jupyter notebook ({(reason or ['unreadable'])[0]})") from error


def write(notebook: NotebookNode, path: Path) -> None:
    """Store a notebook, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        nbformat.write(notebook, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def title(notebook: NotebookNode) -> str:
    """The notebook's first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (heading := re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE)):
            return heading[1].strip()
    return "Untitled"


class ShellChannel(AsyncZMQSocketChannel):
    """The channel of requests and replies; a reply that comes while something is sent is not missed.

    A socket tells only once that something has come (ZMQ_FD in libzmq's manual), and sending swallows that, because
    Jupyter sends past pyzmq's asynchronous layer. The client sends while it waits for the reply wherever a cell has an
    output widget; now and then it would wait for ever.
    """

    def send(self, msg: dict) -> None:
        super().send(msg)
        self.socket.get(zmq.EVENTS)  # whoever waits for what has come meanwhile is woken


class KernelClient(AsyncKernelClient):
    """Talks to a kernel through a `ShellChannel`."""

    shell_channel_class = ShellChannel


class ThisPython(AsyncKernelManager):
    """Starts kernels with the interpreter and packages of the running process."""

    client_factory = KernelClient

    def __init__(self, **settings):
        if os.name != "nt":  # a free port may be taken by another before the kernel has it; a socket's file is not
            path = Path(tempfile.gettempdir(), f"kernel-{uuid.uuid4().hex}")
            settings = {"transport": "ipc", "ip": str(path)} | settings
        super().__init__(**settings)

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


class Progress:
    """Shows how far a run is: one line a code cell, with the seconds that it took.

    On a terminal the running cell's line is there from the start and its seconds count up.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.width = min(100, shutil.get_terminal_size().columns - 1)
        self._ended = threading.Event()
        self._ended.set()

    def start(self, label: str) -> None:
        """A cell starts."""
        self._label, self._begun = label[: self.width - 10], time.monotonic()
        self._ended.clear()
        if self.stream.isatty():
            self._show()
            self._ticker = threading.Thread(target=self._count_up, daemon=True)
            self._ticker.start()

    def end(self) -> None:
        """The cell has ended, well or not; without effect when none is running."""
        if not self._ended.is_set():
            self._ended.set()
            if self.stream.isatty():
                self._ticker.join()
            self._show(end="\n")

    def _count_up(self) -> None:
        while not self._ended.wait(0.5):
            self._show()

    def _show(self, end: str = "") -> None:
        start = "\r" if self.stream.isatty() else ""
        seconds = f"{time.monotonic() - self._begun:.1f} s"
        line = f"{start}{self._label:<{self.width - 10}}{seconds:>10}"
        print(line, end=end, file=self.stream, flush=True)


def cell_labels(notebook: NotebookNode) -> dict[int, str]:
    """A label for each code cell by its index: its number, the heading above it, its first line."""
    labels, heading = {}, ""
    total = len(normal_form.code_cells(notebook))
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            found = re.findall(r"^#+\s+(.+)$", cell.source, re.MULTILINE)
            heading = f"{found[-1].strip()}: " if found else heading
        elif cell.cell_type == "code" and cell.source.strip():
            number = f"{len(labels) + 1:>{len(str(total))}}/{total}"
            labels[index] = f"[{number}] {heading}{cell.source.strip().splitlines()[0]}"
    return labels


def execute(path: Path, *, profile: str | None = None, progress: Progress | None = None) -> NotebookNode:
    """Execute a notebook and return it with its outputs; the file is left as it is.

    Args:
        path: the notebook.
        profile: the profile it runs under; by default the one of this process.
        progress: where to show how far it is.

    Raises:
        ValueError: the file is not a notebook.
        CellFailed: a cell raised, a cell that was meant to raise did not, or the kernel died.
    """
    notebook = read(path)
    labels = cell_labels(notebook)
    latest = 0

    def started(*, cell: NotebookNode, cell_index: int) -> None:
        nonlocal latest
        latest = cell_index
        if progress and cell_index in labels:
            progress.start(labels[cell_index])

    def executed(*, cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        if progress:
            progress.end()
        if normal_form.RAISES in normal_form.tags(cell) and execute_reply["content"]["status"] == "ok":
            raise failure(f"The cell is tagged {normal_form.RAISES}, and it raised nothing.")

    def failure(error: str) -> CellFailed:
        client.set_widgets_metadata()  # nbclient does it at the end of a whole run only
        number = list(labels).index(latest) + 1
        return CellFailed(notebook, cell=number, source=notebook.cells[latest].source, error=error)

    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisPython,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        resources={"metadata": {"path": str(path.resolve().parent)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_start=started,
        on_cell_executed=executed,
    )
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # silences a debugger's warning
    if profile:
        environment["TLCOURSE_PROFILE"] = profile
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from error
        raised = [output for output in notebook.cells[latest].outputs if output.output_type == "error"]
        raise failure("\n".join(raised[-1].traceback) if raised else str(error)) from error
    except DeadKernelError as error:
        raise failure("The kernel died: most often the machine ran out of memory.") from error
    except AssertionError as error:
        if client.km is None:  # on Ctrl-C nbclient shuts the kernel down, and then misses it
            raise KeyboardInterrupt from error
        raise
    finally:
        if progress:
            progress.end()
    return notebook


def run(
    path: Path, *, output: Path, profile: str | None = None, progress: Progress | None = None
) -> tuple[Path, float]:
    """Execute a notebook and write it as HTML into the folder ``output``; the notebook is left as it is.

    Returns:
        The page and the seconds that the execution took.

    Raises:
        CellFailed: as :func:`execute`; the page is written with what ran and the error.
    """
    output.mkdir(parents=True, exist_ok=True)
    page = output / f"{path.stem}.html"
    begun = time.monotonic()
    try:
        notebook = execute(path, profile=profile, progress=progress)
    except CellFailed as failure:
        write_html(failure.notebook, page)
        raise
    seconds = time.monotonic() - begun
    write_html(notebook, page)
    return page, seconds


def store(path: Path, *, profile: str, progress: Progress | None = None) -> NotebookNode:
    """Execute a notebook, normalise it and store it in its place; on a failure the file stays as it was.

    Raises:
        CellFailed: as :func:`execute`.
    """
    notebook = normal_form.normalise(execute(path, profile=profile, progress=progress), profile=profile)
    write(notebook, path)
    return notebook


THAI = """<style>
@font-face { font-family: Thai; src: url(data:font/ttf;base64,%s); font-weight: 100 900;
             unicode-range: U+0E00-0E7F }
:root { --jp-content-font-family: Thai, system-ui, sans-serif; --jp-ui-font-family: Thai, system-ui, sans-serif;
        --jp-code-font-family: Thai, Menlo, Consolas, "DejaVu Sans Mono", monospace }
</style>"""


def write_html(notebook: NotebookNode, page: Path) -> None:
    """Write an executed notebook as one HTML page.

    Widgets become stills, since a page has no kernel to answer them; links to other notebooks lead to their
    pages; a Thai font is in the page, for machines that have none.
    """
    from nbconvert import HTMLExporter

    from tlcourse import plots

    notebook = normal_form.with_stills(notebook)
    exporter = HTMLExporter(embed_images=True)
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title(notebook)}})
    body = re.sub(r'(href="(?!\w+:)[^"#]*)\.ipynb(?=["#])', r"\1.html", body)
    font = base64.b64encode(plots.thai_font().read_bytes()).decode()
    page.write_text(body.replace("</head>", THAI % font + "</head>", 1), encoding="utf-8")


INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Transfer learning for NLP</title>
<style>body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem }}
td, th {{ text-align: left; padding: .2rem 1.5rem .2rem 0 }}</style></head>
<body><h1>Transfer learning for NLP</h1>
<p>{where}</p>
<table><tr><th>Notebook</th><th>Took</th></tr>
{rows}
</table></body></html>
"""


def write_index(rows: list[tuple[str, Path, float | None]], *, where: str, page: Path) -> None:
    """Write the course's table of contents.

    Args:
        rows: title, HTML page and seconds of each notebook; None for one that failed.
        where: a sentence that says where the course ran.
        page: the file to write.
    """
    lines = []
    for name, path, seconds in rows:
        link = f'<a href="{html.escape(path.name)}">{html.escape(name)}</a>'
        took = "failed" if seconds is None else f"{seconds:.0f} s"
        lines.append(f"<tr><td>{link}</td><td>{took}</td></tr>")
    page.write_text(INDEX.format(where=html.escape(where), rows="\n".join(lines)), encoding="utf-8")
