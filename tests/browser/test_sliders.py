"""Every slider of the course, moved with the keyboard in Chromium until JupyterLab shows something new.

What a widget's unit test cannot see: that the widget is drawn at all, that its front end loads, and that a move
reaches the kernel and its answer comes back onto the page.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tlcourse.normal_form import code_cells

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
COURSE = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

TINY = """\
import ipywidgets
words, out = ipywidgets.HTML(), ipywidgets.Output()
first = ipywidgets.IntSlider(9, 0, 9, description="first")
second = ipywidgets.FloatLogSlider(0.01, min=-4, max=0, description="second")
def answer(change):
    words.value = f"the first is {first.value}"
def write(change):
    with out:
        print("the second is", second.value)
first.observe(answer, "value")
second.observe(write, "value")
ipywidgets.VBox([first, second, words, out])"""

# What the kernel put on the page, without the number that a slider shows beside itself.
ANSWER = """
handle => [...handle.closest(".jp-Cell").querySelectorAll(
    ".jp-OutputArea-output .widget-html-content, .jp-OutputArea-output .jp-OutputArea-output, .jp-OutputArea-output img"
)].map(part => part.innerText + (part.src ?? "")).join("|")
"""
MOVED = f"([handle, before]) => ({ANSWER})(handle) !== before"
PROMPTS = "[...document.querySelectorAll('.jp-InputPrompt')].map(prompt => prompt.innerText)"


@pytest.fixture
def tree(tmp_path):
    """A source tree without notebooks: JupyterLab saves what it runs, so the course's own are copied into it."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tlcourse"\n')
    (tmp_path / "notebooks").mkdir()
    return tmp_path


@pytest.fixture
def open_lab(tree):
    """Starts `tlcourse lab` in the tree, with settings of its own; returns the address of the first notebook."""
    servers = []
    settings = tree / ".jupyter" / "jupyterlab_settings_dir"
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')  # draw the cells below the window too

    def open_lab():
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
        server = subprocess.Popen(
            [sys.executable, "-m", "tlcourse", "lab", "--no-browser"],
            cwd=tree,
            env=os.environ | {place: str(tree / ".jupyter" / place.lower()) for place in places},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        servers.append(server)
        addresses = (re.search(r"http://localhost:(\d+)\S+", line) for line in server.stdout)
        address = next(filter(None, addresses))
        while server.poll() is None:  # it prints the address first and answers a little later
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", address[1])):
                return address[0]
            time.sleep(0.3)
        pytest.fail("JupyterLab ended")

    yield open_lab
    for server in servers:
        server.terminate()  # it ends its kernels, which are process groups of their own
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        server.stdout.close()


@pytest.fixture
def page():
    """A page of a fresh browser; an error in its scripts fails the test."""
    errors = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    assert not errors


def run_all(page, address):
    """Open a notebook and run it, to its end."""
    page.goto(f"{address}&reset", timeout=120_000)
    page.get_by_text("| Idle").wait_for(timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("[data-command='runmenu:run-all']").click()
    page.wait_for_function(f"{PROMPTS}.some(prompt => /\\d/.test(prompt))", timeout=120_000)
    page.wait_for_function(f"!{PROMPTS}.includes('[*]:')", timeout=600_000)


def move_every_slider(page):
    """Move each slider one step and wait until its cell shows something new; the sliders' names."""
    names = []
    for handle in page.locator(".jp-OutputArea-output .noUi-handle:visible").all():
        name = handle.evaluate("handle => handle.closest('.widget-inline-hbox').innerText")
        before = handle.evaluate(ANSWER)
        handle.focus()
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        handle.press("ArrowLeft" if at_end else "ArrowRight")
        try:
            page.wait_for_function(MOVED, arg=[handle.element_handle(), before], timeout=30_000)
        except sync_api.TimeoutError:
            pytest.fail(f"the slider {name!r} was moved, and the page shows nothing new")
        names.append(name)
    return names


def test_two_sliders_of_a_tiny_notebook(tree, open_lab, page):
    cells = [new_markdown_cell("# Tiny"), new_code_cell(TINY)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tree / "notebooks" / "01_tiny.ipynb")
    run_all(page, open_lab())
    assert len(move_every_slider(page)) == 2
    assert page.get_by_text("the first is 8").count() and page.get_by_text("the second is").count()


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_every_slider_of_the_course(path, tree, open_lab, page):
    shutil.copy(path, tree / "notebooks")
    run_all(page, open_lab())
    executed = page.evaluate(f"{PROMPTS}.filter(prompt => /\\d/.test(prompt)).length")
    assert executed == len(code_cells(nbformat.read(path, as_version=4))), "a cell failed, and stopped the rest"
    assert not page.get_by_text("Error displaying widget").count()
    if not (moved := move_every_slider(page)):
        pytest.skip("no slider in this notebook")
    print(f"moved in {path.name}: {', '.join(name.splitlines()[0] for name in moved)}")
