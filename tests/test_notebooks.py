"""Finding, executing and storing notebooks, and writing them as HTML."""

import asyncio
import io
import re
import time
from pathlib import Path

import nbformat
import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tlcourse import normal_form, notebooks
from tlcourse.normal_form import RAISES

WIDGET = """\
import matplotlib.pyplot as plt
import ipywidgets
out = ipywidgets.Output()
steps = ipywidgets.IntSlider(3, 1, 9, description="steps")
def draw(change):
    out.clear_output(wait=True)
    with out:
        plt.plot([0, steps.value])
        plt.show()
        print("drawn with", steps.value)
steps.observe(draw, "value")
steps.value = 5
display(ipywidgets.VBox([ipywidgets.HTML("<b>Explorer</b>"), steps, out]))"""

LESSON = [
    new_markdown_cell("# A lesson\n\nContinue with [the next](02_next.ipynb)."),
    new_code_cell("import os, sys, time"),
    new_markdown_cell("## Numbers"),
    new_code_cell("print('shape', (2, 3))\n2 + 2"),
    new_code_cell("1 / 0", metadata={"tags": [RAISES]}),
    new_code_cell("object(), os.getcwd(), os.environ['TLCOURSE_PROFILE'], sys.executable"),
    new_markdown_cell("## Widgets"),
    new_code_cell(WIDGET),
    new_code_cell("from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): time.sleep(0.01)"),
    new_code_cell("from tqdm import tqdm\nfor _ in tqdm(range(3)): time.sleep(0.01)"),
    new_code_cell(""),
]


def write(folder: Path, name: str, cells: list) -> Path:
    path = folder / name
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lesson"), "01_lesson.ipynb", LESSON)


@pytest.fixture(scope="module")
def shown():
    return io.StringIO()


@pytest.fixture(scope="module")
def executed(lesson, shown):
    return notebooks.execute(lesson, profile="smoke", progress=notebooks.Progress(shown))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A source tree with three notebooks, as the working folder."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tlcourse"\n')
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("02_second.ipynb", "01_first.ipynb", "01_other.ipynb"):
        write(folder, name, [new_markdown_cell("# Title")])
    monkeypatch.chdir(tmp_path)
    return folder


def test_course_is_in_order_of_names(course):
    (course / ".ipynb_checkpoints").mkdir()
    write(course, "scratch.ipynb", [])
    assert [path.name for path in notebooks.course()] == ["01_first.ipynb", "01_other.ipynb", "02_second.ipynb"]


def test_checkout_is_found_from_a_folder_below(course, monkeypatch):
    monkeypatch.chdir(course)
    assert notebooks.course_folder() == course


@pytest.mark.parametrize("name", ["02", "02_second", "02_second.ipynb", "notebooks/02_second.ipynb"])
def test_find(course, name):
    assert notebooks.find(name).resolve() == course / "02_second.ipynb"


@pytest.mark.parametrize("name, says", [("01", "several"), ("07", "no notebook"), ("", "several")])
def test_find_says_what_there_is(course, name, says):
    with pytest.raises(FileNotFoundError, match=says) as error:
        notebooks.find(name)
    assert "01_first" in str(error.value)


@pytest.mark.parametrize("content", ["", "{}", "plain text", '{"nbformat": 4}', "[1]", "\x00"])
def test_a_file_that_is_no_notebook(tmp_path, content):
    path = tmp_path / "bad.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.ipynb is not a Jupyter notebook"):
        notebooks.read(path)


def test_execution_leaves_the_file_alone(lesson, executed):
    assert all(not cell.get("outputs") for cell in notebooks.read(lesson).cells)
    assert executed.cells[3].outputs[0].text == "shape (2, 3)\n"


def test_kernel_has_profile_folder_and_packages_of_this_process(lesson, executed):
    import sys

    text = executed.cells[5].outputs[0].data["text/plain"]
    assert "'smoke'" in text and str(lesson.parent) in text and sys.executable in text


def test_progress_names_each_cell(executed, shown):
    lines = shown.getvalue().splitlines()
    assert len(lines) == 7
    assert re.fullmatch(r"\[2/7\] Numbers: print\('shape', \(2, 3\)\) +\d+\.\d s", lines[1])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_counts_up_on_a_terminal():
    terminal = Terminal()
    progress = notebooks.Progress(terminal)
    progress.end()  # none is running
    progress.start("[1/2] first")
    progress._ticker.join(0.7)
    progress.end()
    progress.end()
    text = terminal.getvalue()
    assert text.count("\r[1/2] first") >= 3 and text.endswith(" s\n") and text.count("\n") == 1


def test_a_failing_cell_is_shown_with_its_source_and_error(tmp_path):
    slider = new_code_cell("import ipywidgets\nipywidgets.IntSlider(7, description='steps')")
    path = write(tmp_path, "x.ipynb", [slider, new_code_cell("numbers = []\nnumbers[3]")])
    with pytest.raises(notebooks.CellFailed) as failure:
        notebooks.run(path, output=tmp_path / "out")
    text = normal_form.ANSI.sub("", str(failure.value))
    assert "code cell 2 failed" in text
    assert "   2  numbers[3]" in text and "IndexError: list index out of range" in text
    page = (tmp_path / "out" / "x.html").read_text(encoding="utf-8")
    assert "IndexError" in page and "[steps: 7]" in page


def test_a_cell_that_should_raise_and_does_not_fails(tmp_path):
    path = write(tmp_path, "x.ipynb", [new_code_cell("1 + 1", metadata={"tags": [RAISES]})])
    with pytest.raises(notebooks.CellFailed, match="it raised nothing"):
        notebooks.execute(path)


def test_a_dead_kernel_is_a_failure_of_its_cell(tmp_path):
    path = write(tmp_path, "x.ipynb", [new_markdown_cell("# T"), new_code_cell("import os; os._exit(1)")])
    with pytest.raises(notebooks.CellFailed, match=r"cell 1 failed(?s:.*)The kernel died"):
        notebooks.execute(path)


@pytest.mark.parametrize("channel", [notebooks.ShellChannel, AsyncZMQSocketChannel])
def test_a_reply_that_comes_while_something_is_sent_is_not_missed(channel):
    async def wait() -> bool:
        session = Session(key=b"")
        with (
            zmq.Context() as theirs,
            theirs.socket(zmq.DEALER) as kernel,
            zmq.asyncio.Context() as ours,
            ours.socket(zmq.DEALER) as socket,
        ):
            socket.linger = kernel.linger = 0
            socket.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            client = channel(socket, session)
            client.send(session.msg("kernel_info_request"))
            session.recv(kernel, mode=0)
            reply = asyncio.ensure_future(client.get_msg())
            await asyncio.sleep(0.1)
            session.send(kernel, "execute_reply")
            time.sleep(0.1)  # the reply comes while this thread is busy
            client.send(session.msg("comm_msg"))
            done, _ = await asyncio.wait([reply], timeout=1)
            reply.cancel()
            return bool(done)

    # Where Jupyter's own channel does not miss it either, ours is no longer needed.
    assert asyncio.run(wait()) == (channel is notebooks.ShellChannel)


def test_two_runs_store_the_same_bytes(tmp_path):
    path = write(tmp_path, "01_lesson.ipynb", LESSON)
    notebooks.store(path, profile="smoke")
    first = path.read_bytes()
    notebooks.store(path, profile="smoke")
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_stores_nothing(tmp_path):
    path = write(tmp_path, "x.ipynb", [new_code_cell("print(1)"), new_code_cell("1 / 0")])
    before = path.read_bytes()
    with pytest.raises(notebooks.CellFailed):
        notebooks.store(path, profile="smoke")
    assert path.read_bytes() == before


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write(tmp_path, "x.ipynb", [])
    before = path.read_bytes()

    def full(notebook, target):
        target.write_text("{half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nbformat, "write", full)
    with pytest.raises(OSError, match="No space"):
        notebooks.write(new_notebook(), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_page_shows_stills_and_links_to_pages(executed, tmp_path):
    page = tmp_path / "lesson.html"
    notebooks.write_html(executed, page)
    text = page.read_text(encoding="utf-8")
    assert "<title>A lesson</title>" in text
    assert 'href="02_next.html"' in text and ".ipynb" not in text
    assert "drawn with 5" in text and "[steps: 5]" in text and "data:image/png;base64" in text
    assert "widget-view" not in text
    assert "@font-face" in text and "data:font/ttf" in text


def test_index_lists_the_course(tmp_path):
    page = tmp_path / "index.html"
    rows = [("Why <b>", Path("00_why.html"), 12.4), ("Next", Path("01_next.html"), None)]
    notebooks.write_index(rows, where="Executed on a CPU.", page=page)
    text = page.read_text(encoding="utf-8")
    assert '<a href="00_why.html">Why &lt;b&gt;</a></td><td>12 s' in text
    assert '<a href="01_next.html">Next</a></td><td>failed' in text


def test_a_notebook_without_a_title():
    assert notebooks.title(new_notebook(cells=[new_markdown_cell("text"), new_code_cell("# no")])) == "Untitled"
