"""The normal form of a stored notebook: what a run leaves in it, so that two runs leave the same bytes.

Outputs are stored so that the course reads well where nothing runs, and so that the tests can compare a run
with them. What differs between runs or between machines is taken out: timings, ids, widget states, progress
bars, addresses in memory, folders. A widget, which needs a kernel to live, becomes a still of what it showed.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import groupby
from pathlib import Path

import nbformat
from nbformat import NotebookNode

CHECKED = "nbval-check-output"
RAISES = "raises-exception"
INSTALL = "install"
TAGS = {
    CHECKED: "the tests compare the output with the stored one, in every profile",
    RAISES: "shows an error on purpose",
    INSTALL: "the generated first cell that installs the package on Colab",
    "exercise": "for the student to fill in",
    "solution": "an exercise's solution",
    "check": "checks an exercise",
    "quiz": "questions",
    "demo": "an interactive demo",
    "claims": "holds the notebook's claims to what it measured",
}
"""The tags a cell may carry; a misspelt one would silently mean nothing."""

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
KEPT_METADATA = ("accelerator", "colab")  # which runtime Colab offers
KEPT_CELL_METADATA = ("tags", "slideshow", "nbgrader", "jupyter", "cellView", "editable", "deletable")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ADDRESS = re.compile(r"(?<= at )0x[0-9a-fA-F]{6,}\b")
BAR = re.compile(r"^.*\d+%\|.*\|.*$")
STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return cell.metadata.get("tags", [])


def output_text(output: NotebookNode) -> str:
    """All text of an output."""
    match output.output_type:
        case "stream":
            return output.text
        case "error":
            return "\n".join([output.ename, output.evalue, *output.traceback])
        case _:
            return "\n".join(str(d) for kind, d in output.data.items() if kind.startswith("text/"))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that hold code; what people call "cell 3" is the third of these."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def digest(notebook: NotebookNode) -> str:
    """The sha256 of the notebook's code, which tells whether the stored outputs are of this code.

    The generated installation cell does not count: it changes with the course's address.
    """
    sources = [cell.source for cell in code_cells(notebook) if INSTALL not in tags(cell)]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


# ---------------------------------------------------------------------------------------------- normalisation


def normalise(notebook: NotebookNode, *, profile: str) -> NotebookNode:
    """The executed notebook in normal form.

    Args:
        notebook: a notebook with the outputs and the widget states of a whole run.
        profile: the profile it ran under, kept in the notebook's metadata.
    """
    notebook = with_stills(notebook)
    kept = _only(KEPT_METADATA, notebook.metadata)
    for index, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"cell-{index:03d}")
        cell.metadata = _only(KEPT_CELL_METADATA, cell.metadata)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = list(map(_normal_output, filter(_is_lasting, cell.outputs)))
    for count, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "tlcourse": {"profile": profile, "code": digest(notebook)},
            **kept,
        }
    )
    return notebook


def _only(keys: Iterable[str], metadata: NotebookNode) -> NotebookNode:
    return nbformat.from_dict({key: metadata[key] for key in keys if key in metadata})


def _is_lasting(output: NotebookNode) -> bool:
    """Whether an output says something once the run is over: a progress bar does not."""
    if output.output_type == "stream" and output.name == "stderr":
        return not all(BAR.match(line) for line in output.text.splitlines() if line.strip())
    if output.output_type in ("stream", "error"):
        return True
    page = STYLE.sub("", output.data.get("text/html", "")).strip()
    return bool(output.data) and "<progress" not in page and ("text/html" not in output.data or bool(page))


def _normal_output(output: NotebookNode) -> NotebookNode:
    match output.output_type:
        case "stream":
            output.text = _anonymous(output.text)
        case "error":
            output.evalue = _anonymous(output.evalue)
            output.traceback = [f"{output.ename}: {output.evalue}"]
        case _:
            data = {kind: _anonymous_data(kind, value) for kind, value in output.data.items()}
            output.data = nbformat.from_dict(data)
            output.metadata = _only(data, output.metadata)
    return output


def _anonymous_data(kind: str, data: str) -> str:
    is_text = isinstance(data, str) and kind.startswith("text/")
    return _anonymous(data) if is_text else data


def _anonymous(text: str) -> str:
    """The text without this machine's folders and without addresses in memory."""
    for folder, name in own_folders().items():
        text = re.sub(rf"{re.escape(folder)}(?![\w-])", lambda _, name=name: name, text)
    return ADDRESS.sub("0x…", text)


def own_folders() -> dict[str, str]:
    """Folders of this machine that a run may print, the longest first, with what to write in their place."""
    folders = {str(Path.home()): "~", str(Path.cwd()): "."}
    if data := os.environ.get("TLCOURSE_DATA"):
        folders[str(Path(data).expanduser().resolve())] = "$TLCOURSE_DATA"
    return {f: folders[f] for f in sorted(folders, key=len, reverse=True) if len(f) > 1}


# ----------------------------------------------------------------------------------------------------- stills


def with_stills(notebook: NotebookNode) -> NotebookNode:
    """A copy in which each widget is replaced by what it showed at the end, as ordinary outputs."""
    notebook = deepcopy(notebook)
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [still for output in cell.outputs for still in _stills(output, models)]
    return notebook


def _stills(output: NotebookNode, models: dict) -> list[NotebookNode]:
    """The outputs that stand for one output."""
    view = output.get("data", {}).get(VIEW)
    if view is None:
        return [output]
    shown = list(_shown(view["model_id"], models))
    if any(isinstance(part, _Bar) for part in shown):
        return []
    stills = []
    for is_label, parts in groupby(shown, key=lambda part: isinstance(part, str)):
        if is_label:  # neighbouring controls share a line
            text = "   ".join(parts)
            stills.append(nbformat.v4.new_output("display_data", {"text/plain": text}))
        else:
            stills += [deepcopy(part) for part in parts]
    return stills


class _Bar:
    """Stands for a progress bar."""


def _shown(model_id: str, models: dict) -> Iterator[str | NotebookNode | _Bar]:
    """What a widget shows, top to bottom: outputs as they are, controls as a label with a value."""
    model = models.get(model_id, {"model_name": "", "state": {}})
    name, state = model["model_name"], model["state"]
    if _is_hidden(state, models):
        return
    label = html.unescape(str(state.get("description", "")))
    match name:
        case "OutputModel":
            for output in map(nbformat.from_dict, state.get("outputs", [])):
                yield from _stills(output, models)
        case "HTMLModel" | "HTMLMathModel":
            text = html.unescape(re.sub(r"<[^>]*>", "", state["value"]))
            if text.strip():
                data = {"text/html": state["value"], "text/plain": text}
                yield nbformat.v4.new_output("display_data", data)
        case "FloatProgressModel" | "IntProgressModel":
            yield _Bar()
        case "ImageModel":
            if data := next((b["data"] for b in model.get("buffers", []) if b["path"] == ["value"]), None):
                yield nbformat.v4.new_output("display_data", {f"image/{state['format']}": data})
        case "LabelModel":
            yield state["value"]
        case "ButtonModel":
            yield f"[{label}]"
        case "RadioButtonsModel" | "ToggleButtonsModel":
            options = enumerate(state["_options_labels"])
            marked = [f"{'●' if i == state['index'] else '○'} {option}" for i, option in options]
            yield "  ".join([label, *marked] if label else marked)
        case "AccordionModel" | "TabModel" | "StackModel":
            yield from _opened(state, models)
        case _ if "children" in state:
            for child in state["children"]:
                yield from _shown(child.removeprefix("IPY_MODEL_"), models)
        case _ if "_options_labels" in state and isinstance(state.get("index"), int):
            yield f"[{label}: {state['_options_labels'][state['index']]}]"
        case _ if isinstance(value := state.get("value"), str | int | float):
            value = f"{value:g}" if isinstance(value, float) else value
            yield f"[{label}: {value}]" if label else f"[{value}]"


def _opened(state: dict, models: dict) -> Iterator[str | NotebookNode | _Bar]:
    """The titles of an accordion or of tabs, and the content of the one that is open: a hint stays a hint."""
    chosen = state.get("selected_index")
    for i, title in enumerate(state.get("titles", [])):
        yield f"{'▾' if i == chosen else '▸'} {title}"
    if chosen is not None and chosen < len(state["children"]):
        yield from _shown(state["children"][chosen].removeprefix("IPY_MODEL_"), models)


def _is_hidden(state: dict, models: dict) -> bool:
    layout = models.get(str(state.get("layout", "")).removeprefix("IPY_MODEL_"), {}).get("state", {})
    return layout.get("display") == "none" or layout.get("visibility") == "hidden"
