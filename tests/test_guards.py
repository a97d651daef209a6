"""The guards over stored notebooks: that each one bites, and that every notebook of the course satisfies them."""

import gc
import os
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tlcourse import notebooks, site
from tlcourse.guards import faults, is_compared
from tlcourse.normal_form import CHECKED, INSTALL, RAISES, VIEW, code_cells, normalise, tags

COURSE = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
HEADER = (
    "# Title\n\n| profile | time |\n| --- | --- |\n| smoke | 40 s |\n| laptop | 6 min |\n| gpu | not yet measured |"
)


def checked(source, *outputs, also=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": [CHECKED, *also]})


def sound_notebook():
    cells = [new_markdown_cell(HEADER)]
    cells += [checked(f"print({i})", new_output("stream", text=f"{i}\n")) for i in range(3)]
    error = new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=["…"])
    cells += [checked("1 / 0", error, also=[RAISES]), new_code_cell("'plain'"), new_markdown_cell("The end.")]
    notebook = site.with_address(new_notebook(cells=cells), path="notebooks/01_a.ipynb", repository=site.REPOSITORY)
    return normalise(notebook, profile="laptop")


def test_a_sound_notebook_has_no_faults():
    assert faults(sound_notebook(), name="01_a.ipynb") == []


def set_output(notebook, number, *outputs):
    code_cells(notebook)[number].outputs = list(outputs)


def no_title(nb):
    nb.cells[0].source = nb.cells[0].source.replace("# Title", "Title")


def no_time(nb):
    nb.cells[0].source = nb.cells[0].source.replace("| gpu | not yet measured |", "")


def edited_install_cell(nb):
    code_cells(nb)[0].source += "\n# edited"


def no_install_cell(nb):
    del nb.cells[1]


def install_cell_below(nb):
    nb.cells.insert(2, nb.cells.pop(1))


def widget_state(nb):
    nb.metadata["widgets"] = {}


def edited_code(nb):
    code_cells(nb)[1].source = "print(17)"


def stored_under_smoke(nb):
    nb.metadata.tlcourse.profile = "smoke"


def same_id_twice(nb):
    nb.cells[3].id = nb.cells[2].id


def few_checked(nb):
    for cell in code_cells(nb)[2:4]:
        cell.metadata.tags = []


def misspelt_tag(nb):
    nb.cells[-1].metadata.tags = ["nbval-checkoutput"]


def not_executed(nb):
    code_cells(nb)[1].execution_count = None


def long_cell(nb):
    code_cells(nb)[5].source = "a = 1\n" * 31


def raises_nothing(nb):
    set_output(nb, 4, new_output("stream", text="fine\n"))


def raising_unchecked(nb):
    code_cells(nb)[4].metadata.tags = [RAISES]


def an_error(nb):
    set_output(nb, 5, new_output("error", ename="KeyError", evalue="'a'", traceback=["KeyError: 'a'"]))


def only_a_picture(nb):
    data = {"image/png": "AAAA", "text/plain": "<Figure size 640x480 with 1 Axes>"}
    set_output(nb, 1, new_output("display_data", data))


def nothing_to_compare(nb):
    set_output(nb, 1)


def a_widget(nb):
    set_output(nb, 5, new_output("display_data", {VIEW: {"model_id": "a"}, "text/plain": "HBox()"}))


def a_warning(nb):
    set_output(nb, 5, new_output("stream", name="stderr", text="FutureWarning: soon\n"))


def a_traceback(nb):
    code_cells(nb)[4].outputs[0].traceback = ["----", "File", "ZeroDivisionError"]


def machine_path(nb):
    set_output(nb, 5, new_output("execute_result", {"text/html": "<b>/home/anna/sets/a.csv</b>"}))


def windows_path(nb):
    set_output(nb, 5, new_output("stream", text=r"C:\Users\anna\a.csv"))


def own_path(nb):
    set_output(nb, 5, new_output("stream", text=str(Path.cwd() / "a.csv")))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (no_title, "must be Markdown and begin with the title"),
        (no_time, "gives no time for the gpu profile"),
        (edited_install_cell, "installation cell is not the generated one"),
        (no_install_cell, "installation cell is not the generated one"),
        (install_cell_below, "first code cell is not the one tagged install"),
        (widget_state, "metadata.widgets"),
        (edited_code, "its code changed since the outputs were stored"),
        (stored_under_smoke, "of the smoke profile, not of laptop"),
        (same_id_twice, "with the same one"),
        (few_checked, f"cells tagged {CHECKED}: 2"),
        (misspelt_tag, "unknown tags nbval-checkoutput"),
        (not_executed, "were not executed once each"),
        (long_cell, "code cell 6: 31 lines of code"),
        (raises_nothing, "code cell 5: it is tagged raises-exception and stores no error"),
        (raising_unchecked, "the tests would pass if it raised nothing"),
        (an_error, "code cell 6: it stores an error, KeyError"),
        (only_a_picture, "code cell 2: it is tagged nbval-check-output and stores nothing that is compared"),
        (nothing_to_compare, "stores nothing that is compared"),
        (a_widget, "code cell 6: it stores a widget"),
        (a_warning, "code cell 6: it stores a warning, 'FutureWarning: soon'"),
        (a_traceback, "code cell 5: it stores a traceback"),
        (machine_path, "names a folder of one machine, /home/anna"),
        (windows_path, "names a folder of one machine, C:"),
        (own_path, "names a folder of one machine"),
    ],
)
def test_each_guard_bites(spoil, says):
    notebook = sound_notebook()
    spoil(notebook)
    assert any(says in fault for fault in faults(notebook, name="01_a.ipynb"))


@pytest.mark.parametrize("text", ["precision/recall", "https://example.org/home/anna", "1/2 and/or 3/4", "~/a ./b"])
def test_what_is_no_machine_path(text):
    notebook = sound_notebook()
    set_output(notebook, 5, new_output("stream", text=text))
    assert faults(notebook, name="01_a.ipynb") == []


# ------------------------------------------------------------------------------------------------------ nbval


def with_changed_output(notebook):
    """A copy in which one output that nbval should compare says something else."""
    notebook = deepcopy(notebook)
    tagged = [cell for cell in code_cells(notebook) if CHECKED in tags(cell)]
    compared = [output for cell in tagged for output in cell.outputs if is_compared(output)]
    assert compared, "no tagged cell stores an output that is compared: run `make notebooks`"
    output = compared[0]
    if output.output_type == "stream":
        output.text += "changed"
    elif output.output_type == "error":
        output.evalue += "changed"
    else:
        output.data = {kind: str(data) + "changed" for kind, data in output.data.items()}
    return notebook


def up_to_first_checked(notebook):
    """A copy that ends with the first tagged cell, so that running it is quick."""
    notebook = deepcopy(notebook)
    last = next(i for i, cell in enumerate(notebook.cells) if CHECKED in tags(cell))
    notebook.cells = notebook.cells[: last + 1]
    return notebook


class Failures:
    """A pytest plugin that notes which files had a failing test."""

    def __init__(self):
        self.files, self.passed = set(), 0

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.files.add(Path(report.nodeid.split("::")[0]).name)
        self.passed += report.passed and report.when == "call"


def failing_under_nbval(folder, **named):
    """The names of the notebooks that nbval, called as `make test` calls it, finds a fault in."""
    for name, notebook in named.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    failures = Failures()
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", "--capture=no", "-qq"]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    pytest.main([*options, *plugins, "-c", os.devnull, "--rootdir", str(folder), str(folder)], plugins=[failures])
    assert failures.passed, "nbval ran nothing"
    return {file.removesuffix(".ipynb") for file in failures.files}


def test_nbval_sees_what_changed(tmp_path):
    notebook = sound_notebook()
    notebook.cells = [cell for cell in notebook.cells if INSTALL not in tags(cell)]
    calm = deepcopy(notebook)
    raising = next(cell for cell in calm.cells if RAISES in tags(cell))
    raising.source = "1 / 1"
    changed = with_changed_output(notebook)
    assert failing_under_nbval(tmp_path, same=notebook, changed=changed, calm=calm) == {"changed", "calm"}


# -------------------------------------------------------------------------------------------------- the course


def each_notebook(test):
    return pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)(test)


@each_notebook
def test_the_course_has_no_faults(path):
    assert faults(notebooks.read(path), name=path.name) == []


@each_notebook
def test_nbval_compares_the_course(path, tmp_path):
    notebook = up_to_first_checked(notebooks.read(path))
    changed = with_changed_output(notebook)
    assert failing_under_nbval(tmp_path, same=notebook, changed=changed) == {"changed"}


# -------------------------------------------------------------------------------------------------- the fixtures


@pytest.mark.usefixtures("drawn")
def test_what_another_test_left_open_is_not_this_ones_fault():
    Path(os.devnull).open("w")  # noqa: SIM115  # nbval leaves one, reaped while a picture is drawn
    gc.collect()
