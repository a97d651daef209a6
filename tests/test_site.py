"""The public address: what is written from it, and that the Colab cell does what it says."""

import ast
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tlcourse import notebooks, site

TREE = Path(__file__).parents[1]
ADDRESS = "https://github.com/someone/transfer-learning"
PAGE = "https://colab.research.google.com/github/someone/transfer-learning/blob/main/notebooks/01_words.ipynb"
COLAB = {"COLAB_RELEASE_TAG": "release-colab-20260819"}


@pytest.fixture
def tree(tmp_path):
    """A source tree with two notebooks, a README and a citation."""
    (tmp_path / "notebooks/homework").mkdir(parents=True)
    (tmp_path / "notebooks/.ipynb_checkpoints").mkdir()
    (tmp_path / "notebooks/.ipynb_checkpoints/01_words.ipynb").write_text("broken")
    for name in ("01_words", "homework/words"):
        cells = [new_markdown_cell("# Words\n\nYou will learn."), new_code_cell("1 + 1")]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"notebooks/{name}.ipynb")
    (tmp_path / "README.md").write_text(
        "# Course\n\n| [Words](notebooks/01_words.ipynb) | 5 min |\n\nAgain: [it](notebooks/01_words.ipynb).\n"
    )
    shutil.copy(TREE / "CITATION.cff", tmp_path)
    return tmp_path


def contents(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_address_is_written_everywhere_and_taken_back(tree):
    site.write(tree, repository="")
    without = contents(tree)
    changed = site.write(tree, repository=ADDRESS)
    assert {path.name for path in changed} == {"01_words.ipynb", "words.ipynb", "README.md", "CITATION.cff"}
    header, install, *_ = notebooks.read(tree / "notebooks/01_words.ipynb").cells
    assert header.source.splitlines()[0] == "# Words"
    assert header.source.splitlines()[2].endswith(f"({PAGE})")
    assert header.source.endswith("You will learn.")
    assert f"git+{ADDRESS}@main" in install.source
    readme = (tree / "README.md").read_text()
    assert readme.count(PAGE) == 1, "only the first link to a notebook gets a badge"
    assert f"[Words](notebooks/01_words.ipynb) {site.badge('notebooks/01_words.ipynb', repository=ADDRESS)} |" in readme
    assert f'repository-code: "{ADDRESS}"' in (tree / "CITATION.cff").read_text()

    assert site.write(tree, repository=ADDRESS) == [], "the second time changes nothing"
    site.write(tree, repository=ADDRESS.replace("someone", "other"))
    assert "someone" not in "".join(p.read_text() for p in (tree / "README.md", tree / "CITATION.cff"))
    site.write(tree, repository="")
    assert contents(tree) == without


def test_homework_here_has_the_solutions_and_no_badge(tree):
    site.write(tree, repository=ADDRESS)
    header, install, *_ = notebooks.read(tree / "notebooks/homework/words.ipynb").cells
    assert header.source == "# Words\n\nYou will learn." and ADDRESS in install.source


def test_outputs_and_other_cells_stay(tree):
    path = tree / "notebooks/01_words.ipynb"
    notebook = notebooks.read(path)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    notebooks.write(notebook, path)
    site.write(tree, repository=ADDRESS)
    _, install, cell = notebooks.read(path).cells
    assert (cell.id, cell.source, cell.outputs) == (notebook.cells[1].id, "1 + 1", notebook.cells[1].outputs)
    assert (install.id, install.metadata.tags) == ("install", ["install"])


@pytest.mark.parametrize(
    "cells", [[], [new_code_cell("# Title")], [new_markdown_cell("No title")]], ids=["empty", "code", "text"]
)
def test_notebook_without_a_title_is_refused_and_nothing_is_written(tree, cells):
    nbformat.write(new_notebook(cells=cells), tree / "notebooks/99_bad.ipynb")
    before = contents(tree)
    with pytest.raises(ValueError, match=r"99_bad.ipynb: the first cell must be Markdown"):
        site.write(tree, repository=ADDRESS)
    assert contents(tree) == before


@pytest.mark.parametrize(
    "address", ["someone/course", "http://github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a", "x\ny"]
)
def test_address_that_colab_cannot_open_is_refused(address):
    with pytest.raises(ValueError, match="of the form https:"):
        site.owner_and_name(address)


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_ways_to_write_the_address(end):
    assert site.owner_and_name(ADDRESS + end) == "someone/transfer-learning"


def test_the_course_has_its_address_everywhere(tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(TREE / "notebooks", copy / "notebooks")
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(TREE / name, copy)
    assert site.write(copy) == [], "run `tlcourse site` and commit what it writes"


# ------------------------------------------------------------------------------------------ the Colab cell


class Shell:
    """Stands for IPython: keeps the commands of `!…` and `%…` with their `{…}` filled in."""

    def __init__(self, names: dict) -> None:
        self.commands, self.names = [], names

    def system(self, command: str) -> None:
        self.commands.append(self.fill(command))

    def run_line_magic(self, name: str, line: str) -> None:
        self.commands.append(self.fill(f"{name} {line}"))

    def fill(self, text: str) -> str:
        return re.sub(r"\{(.*?)\}", lambda m: str(eval(m[1], self.names)), text)


def run_cell(monkeypatch, folder: Path, *, repository: str, installed: bool, environment: dict) -> list[str]:
    """Run the installation cell as IPython would, and return its commands."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(os, "environ", environment)
    names: dict = {}
    shell = Shell(names)
    names["get_ipython"] = lambda: shell
    exec(TransformerManager().transform_cell(site.install_cell(repository=repository)), names)
    return shell.commands


@pytest.mark.parametrize("repository", ["", ADDRESS])
def test_cell_is_short_and_reads_as_code(repository):
    code = site.install_cell(repository=repository)
    assert len(code.splitlines()) <= 12
    assert max(map(len, code.splitlines())) <= 110
    ast.parse(TransformerManager().transform_cell(code))


@pytest.mark.parametrize("repository", ["", ADDRESS])
@pytest.mark.parametrize("environment", [{}, COLAB], ids=["at home", "on Colab"])
def test_cell_does_nothing_where_the_course_is_installed(monkeypatch, tmp_path, repository, environment):
    monkeypatch.setattr(Path, "glob", None)
    assert not run_cell(monkeypatch, tmp_path, repository=repository, installed=True, environment=environment)


@pytest.mark.parametrize("repository", ["", ADDRESS])
def test_cell_at_home_without_the_course_says_what_to_do(monkeypatch, tmp_path, repository):
    with pytest.raises(AssertionError, match="make lab"):
        run_cell(monkeypatch, tmp_path, repository=repository, installed=False, environment={})


def test_cell_on_colab_installs_from_the_address_and_holds_what_is_there(monkeypatch, tmp_path):
    listed, installed = run_cell(monkeypatch, tmp_path, repository=ADDRESS, installed=False, environment=COLAB)
    assert listed == "pip list --format=freeze > /tmp/installed.txt"
    assert installed.startswith("pip install --quiet --constraint /tmp/installed.txt ")
    assert installed.endswith(f'"tlcourse[fast] @ git+{ADDRESS}@main"')
    assert "upgrade" not in installed


def test_cell_on_colab_without_an_address_wants_the_wheel(monkeypatch, tmp_path):
    with pytest.raises(AssertionError, match=r"Upload .*whl"):
        run_cell(monkeypatch, tmp_path, repository="", installed=False, environment=COLAB)
    wheel = tmp_path / "tlcourse-0.1.0-py3-none-any.whl"
    wheel.touch()
    _, installed = run_cell(monkeypatch, tmp_path, repository="", installed=False, environment=COLAB)
    assert installed.endswith(f'--constraint /tmp/installed.txt "{wheel}[fast]"')


def test_command_needs_a_source_tree(monkeypatch, capsys):
    assert site.main.__doc__
    monkeypatch.setattr(notebooks, "checkout", lambda: None)
    with pytest.raises(FileNotFoundError, match="source tree"):
        site.main()


def test_command_says_what_it_wrote(monkeypatch, capsys, tree):
    monkeypatch.setattr(notebooks, "checkout", lambda: tree)
    assert site.main() == 0
    assert "wrote notebooks/01_words.ipynb" in capsys.readouterr().out.replace(os.sep, "/")
    assert site.main() == 0
    assert "has it already" in capsys.readouterr().out
