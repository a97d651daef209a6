"""The normal form of stored notebooks."""

import base64
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tlcourse.normal_form import INSTALL, STATE, VIEW, digest, normalise, with_stills


def cell_with(*outputs, **metadata):
    return new_code_cell("code", outputs=list(outputs), execution_count=17, metadata=metadata)


def normal(*cells, **metadata):
    return normalise(new_notebook(cells=list(cells), metadata=metadata), profile="laptop")


def widget(name, **state):
    return {"model_name": f"{name}Model", "model_module": "@jupyter-widgets/controls", "state": state}


def shown(models, root="root"):
    """What stands in the place of a widget: text, or the mime types of a picture."""
    view = new_output("display_data", {VIEW: {"model_id": root}, "text/plain": "VBox(children=(…))"})
    state = {STATE: {"state": models, "version_major": 2, "version_minor": 0}}
    notebook = with_stills(new_notebook(cells=[cell_with(view)], metadata={"widgets": state}))
    assert "widgets" not in notebook.metadata
    outputs = notebook.cells[0].outputs
    return [o.get("text") or o.data.get("text/html") or o.data.get("text/plain") or list(o.data) for o in outputs]


def test_counts_run_from_one_and_results_follow():
    result = new_output("execute_result", {"text/plain": "4"}, execution_count=31)
    notebook = normal(cell_with(), new_markdown_cell("text"), cell_with(result), new_code_cell(""))
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2, None]
    assert notebook.cells[2].outputs[0].execution_count == 2


def test_metadata_keeps_what_means_something():
    cell = cell_with(tags=["demo"], execution={"iopub.status.busy": "2027-01-01"}, ExecuteTime={}, scrolled=True)
    notebook = normal(cell, widgets={}, accelerator="GPU", colab={"gpuType": "T4"}, toc={"a": 1})
    assert notebook.cells[0].metadata == {"tags": ["demo"]}
    assert set(notebook.metadata) == {"kernelspec", "language_info", "tlcourse", "accelerator", "colab"}
    assert notebook.metadata.tlcourse == {"profile": "laptop", "code": digest(notebook)}


def test_normal_form_is_a_fixed_point():
    notebook = normal(cell_with(new_output("stream", text="a\n")), new_markdown_cell("b"))
    assert normalise(notebook, profile="laptop") == notebook
    nbformat.validate(notebook)


def test_cells_without_an_id_get_one():
    cells = [{"cell_type": "markdown", "source": text, "metadata": {}} for text in "ab"]
    old = nbformat.from_dict({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    assert [cell.id for cell in normalise(old, profile="laptop").cells] == ["cell-000", "cell-001"]


def test_ids_are_kept():
    assert normal(new_markdown_cell("a", id="the-question")).cells[0].id == "the-question"


def test_folders_and_addresses_of_a_machine_are_taken_out(monkeypatch, tmp_path):
    monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    home = Path.home()
    text = f"{tmp_path}/sets/a.csv {tmp_path}/b {tmp_path}x {home}/c <f at 0x7f0a1b2c3d4e> 0xe0b881\n"
    stream = new_output("stream", text=text)
    page = new_output("display_data", {"text/html": f"<i>{tmp_path}/b</i>", "image/png": "0x7f0a1b2c3d4e"})
    outputs = normal(cell_with(stream, page)).cells[0].outputs
    own_home = str(home) if str(tmp_path).startswith(str(home)) else "~"  # a working folder below home wins
    assert outputs[0].text.split()[:2] == ["$TLCOURSE_DATA/a.csv", "./b"]
    assert outputs[0].text.endswith("<f at 0x…> 0xe0b881\n") and f"{own_home}/c" in outputs[0].text
    assert outputs[1].data["text/html"] == "<i>./b</i>" and outputs[1].data["image/png"] == "0x7f0a1b2c3d4e"


def test_tracebacks_are_cut():
    error = new_output("error", ename="KeyError", evalue="'a'", traceback=["\x1b[31m----", "File /home/x.py", "…"])
    assert normal(cell_with(error)).cells[0].outputs[0].traceback == ["KeyError: 'a'"]


@pytest.mark.parametrize(
    "bar",
    [
        new_output("stream", name="stderr", text="  0%|    | 0/3\n100%|████| 3/3 [00:00<00:00]\n"),
        new_output("display_data", {"text/html": "<div><progress value='5'></progress> 00:01</div>"}),
        new_output("display_data", {"text/html": "\n<style>\n a { b: c }\n</style>\n", "text/plain": "<HTML>"}),
        new_output("display_data", {}),
    ],
)
def test_progress_bars_leave_nothing(bar):
    assert normal(cell_with(bar)).cells[0].outputs == []


def test_warnings_stay_for_the_guards_to_see():
    warning = new_output("stream", name="stderr", text="UserWarning: 100% wrong\n")
    assert normal(cell_with(warning)).cells[0].outputs == [warning]


def test_digest_is_of_the_code_alone():
    code, text = new_code_cell("a = 1"), new_markdown_cell("text")
    install = new_code_cell("pip", metadata={"tags": [INSTALL]})
    one, other = new_notebook(cells=[install, code, text]), new_notebook(cells=[code])
    assert digest(one) == digest(other) != digest(new_notebook(cells=[new_code_cell("a = 2")]))


# ---------------------------------------------------------------------------------------------------- stills


def test_controls_are_labels_with_values_and_outputs_are_outputs():
    text, picture = new_output("stream", text="ok\n"), new_output("display_data", {"image/png": "AA=="})
    models = {
        "root": widget("VBox", children=["IPY_MODEL_row", "IPY_MODEL_title", "IPY_MODEL_out"]),
        "row": widget("HBox", children=["IPY_MODEL_t", "IPY_MODEL_lr", "IPY_MODEL_set", "IPY_MODEL_go"]),
        "t": widget("IntSlider", description="T", value=1000),
        "lr": widget("FloatSlider", description="lr", value=0.30000000000000004),
        "set": widget("Dropdown", description="data", _options_labels=["a", "b"], index=1),
        "go": widget("Button", description="Reset"),
        "title": widget("HTML", value="<b>Two &amp; three</b>"),
        "out": widget("Output", outputs=[text, picture]),
    }
    assert shown(models) == [
        "[T: 1000]   [lr: 0.3]   [data: b]   [Reset]",
        "<b>Two &amp; three</b>",
        "ok\n",
        ["image/png"],
    ]


def test_a_closed_hint_stays_closed():
    models = {
        "root": widget("Accordion", children=["IPY_MODEL_a", "IPY_MODEL_b"], titles=["Hint 1", "Hint 2"]),
        "a": widget("Label", value="look at the mask"),
        "b": widget("Label", value="the answer"),
    }
    models["root"]["state"]["selected_index"] = None
    assert shown(models) == ["▸ Hint 1   ▸ Hint 2"]
    models["root"]["state"]["selected_index"] = 0
    assert shown(models) == ["▾ Hint 1   ▸ Hint 2   look at the mask"]


def test_choices_are_shown_with_the_chosen_one():
    models = {"root": widget("RadioButtons", description="Which?", _options_labels=["one", "two"], index=None)}
    assert shown(models) == ["Which?  ○ one  ○ two"]
    models["root"]["state"] |= {"index": 1, "description": ""}
    assert shown(models) == ["○ one  ● two"]


def test_what_is_hidden_is_not_shown():
    models = {
        "root": widget("VBox", children=["IPY_MODEL_a", "IPY_MODEL_b"]),
        "a": widget("Label", value="seen", layout="IPY_MODEL_plain"),
        "b": widget("Label", value="unseen", layout="IPY_MODEL_gone"),
        "plain": widget("Layout", display=None),
        "gone": widget("Layout", display="none"),
    }
    assert shown(models) == ["seen"]


def test_a_widget_in_an_output_of_a_widget():
    inner = new_output("display_data", {VIEW: {"model_id": "inner"}, "text/plain": "Label()"})
    models = {"root": widget("Output", outputs=[inner]), "inner": widget("Label", value="inside")}
    assert shown(models) == ["inside"]


def test_a_picture_widget():
    picture = base64.b64encode(b"png").decode()
    models = {"root": widget("Image", format="png")}
    assert shown(models) == []
    models["root"]["buffers"] = [{"path": ["value"], "encoding": "base64", "data": picture}]
    assert shown(models) == [["image/png"]]


def test_a_bar_is_dropped_with_the_words_beside_it():
    models = {
        "root": widget("HBox", children=["IPY_MODEL_a", "IPY_MODEL_bar"]),
        "a": widget("HTML", value="  40%"),
        "bar": widget("FloatProgress", value=40.0),
    }
    assert shown(models) == []


def test_a_widget_without_a_stored_state_leaves_nothing():
    assert shown({}) == []
