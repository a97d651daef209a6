"""The course's public address, and what is written from it: badges, and the cell that installs it on Colab.

Set :data:`REPOSITORY` once the course has an address, run ``tlcourse site`` in the source tree, and commit.
As long as it is empty no badge is shown, and the cell says how to bring the course to Colab as a file.
"""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode

from tlcourse import notebooks
from tlcourse.normal_form import INSTALL, tags

REPOSITORY = ""
"""The public address, ``https://github.com/OWNER/NAME``; Colab opens notebooks from GitHub only."""

BRANCH = "main"

BADGE = re.compile(r" ?\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
NOTEBOOK_LINK = re.compile(r"\[[^\]\n]*\]\((?:\./)?(notebooks/[^)\s]+\.ipynb)\)")


def badge(notebook: str, *, repository: str) -> str:
    """The Markdown of the badge that opens a notebook on Colab; empty without an address.

    Args:
        notebook: its path in the repository, with forward slashes.
        repository: the public address, or "".
    """
    if not repository:
        return ""
    colab = "https://colab.research.google.com"
    page = f"{colab}/github/{owner_and_name(repository)}/blob/{BRANCH}/{notebook}"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({page})"


def install_cell(*, repository: str) -> str:
    """The code of a notebook's first code cell.

    It does nothing where the package is installed. On Colab it installs the package with every version that
    is there already as a constraint, so that pip adds what is missing or else stops.

    Args:
        repository: the public address, or "": then the package comes from a wheel that was uploaded.
    """
    if repository:
        imports = []
        find = [f'package = "tlcourse[fast] @ git+https://github.com/{owner_and_name(repository)}@{BRANCH}"']
    else:
        imports = ["from pathlib import Path"]
        find = [
            'wheels = sorted(Path.cwd().glob("tlcourse-*.whl"))',
            'assert wheels, "Upload tlcourse-….whl (`pip wheel --no-deps .` makes it): folder icon, left"',
            'package = f"{wheels[-1]}[fast]"',
        ]
    install = [
        'assert "COLAB_RELEASE_TAG" in os.environ, "tlcourse is missing: open the course with `make lab`"',
        *find,
        "!pip list --format=freeze > /tmp/installed.txt",
        '%pip install --quiet --constraint /tmp/installed.txt "{package}"',
    ]
    lines = [
        "# On Colab: adds the course, replaces nothing that is there. Elsewhere `make lab` has installed it.",
        "import importlib.util",
        "import os",
        *imports,
        "",
        'if importlib.util.find_spec("tlcourse") is None:',
        *(f"    {line}" for line in install),
    ]
    return "\n".join(lines)


def owner_and_name(repository: str) -> str:
    """``OWNER/NAME`` of a repository's address.

    Raises:
        ValueError: the address is of another form.
    """
    if not (match := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", repository)):
        raise ValueError(
            f"{repository!r} is not an address of the form https://github.com/OWNER/NAME; "
            "Colab opens notebooks from GitHub only. REPOSITORY in tlcourse/site.py holds it."
        )
    return match[1]


def with_address(notebook: NotebookNode, *, path: str, repository: str) -> NotebookNode:
    """The notebook with its badge under the title and its installation cell. Doing it again changes nothing.

    Args:
        notebook: begins with a Markdown cell that begins with the title.
        path: where it lies in the repository.
        repository: the public address, or "".

    Raises:
        ValueError: the notebook does not begin with a title.
    """
    notebook = deepcopy(notebook)
    header = notebook.cells[0] if notebook.cells else None
    if header is None or header.cell_type != "markdown" or not header.source.startswith("# "):
        raise ValueError(f"{path}: the first cell must be Markdown and begin with the title, '# …'")
    title, *rest = header.source.splitlines()
    text = "\n".join(line for line in rest if not BADGE.fullmatch(line)).strip()
    is_homework = "homework" in PurePosixPath(path).parts  # what lies there has the solutions: students get a release
    link = "" if is_homework else badge(path, repository=repository)
    header.source = "\n\n".join(filter(None, [title, link, text]))

    code = install_cell(repository=repository)
    if cell := next((c for c in notebook.cells if INSTALL in tags(c)), None):
        cell.source = code
    else:
        cell = nbformat.v4.new_code_cell(code, id=INSTALL, metadata={"tags": [INSTALL]})
        notebook.cells.insert(1, cell)
    return notebook


def with_badges(readme: str, *, repository: str) -> str:
    """The README's text with a badge after the first link to each notebook; without an address, with none."""
    seen = set()

    def add(link: re.Match) -> str:
        is_first = link[1] not in seen
        seen.add(link[1])
        return f"{link[0]} {badge(link[1], repository=repository)}" if repository and is_first else link[0]

    return NOTEBOOK_LINK.sub(add, BADGE.sub("", readme))


def with_repository(citation: str, *, repository: str) -> str:
    """The text of CITATION.cff with the address in it; without an address, with none."""
    text = re.sub(r"^repository-code:.*\n", "", citation, flags=re.MULTILINE)
    return text.rstrip("\n") + "\n" + (f'repository-code: "{repository}"\n' if repository else "")


def write(tree: Path, *, repository: str = REPOSITORY) -> list[Path]:
    """Write the address into the notebooks, the README and CITATION.cff of a source tree.

    Returns:
        The files that changed.

    Raises:
        ValueError: the address is not one that Colab can use, or a notebook does not begin with a title.
            Nothing is written then.
    """
    new: dict[Path, NotebookNode | str] = {}
    for path in sorted((tree / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        old = notebooks.read(path)
        notebook = with_address(old, path=path.relative_to(tree).as_posix(), repository=repository)
        if notebook != old:
            new[path] = notebook
    for name, change in (("README.md", with_badges), ("CITATION.cff", with_repository)):
        old = (tree / name).read_text(encoding="utf-8")
        if (text := change(old, repository=repository)) != old:
            new[tree / name] = text
    for path, content in new.items():
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            notebooks.write(content, path)
    return list(new)


def main() -> int:
    """``tlcourse site``: write the address where it belongs and say what changed.

    Raises:
        FileNotFoundError: there is no source tree at hand.
    """
    if (tree := notebooks.checkout()) is None:
        raise FileNotFoundError("the address is written into the course's source tree; run this inside it")
    print(f"The course's address: {REPOSITORY or 'not set yet (REPOSITORY in tlcourse/site.py)'}")
    for path in (changed := write(tree)):
        print(f"wrote {path.relative_to(tree)}")
    if not changed:
        print("Everything has it already.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
