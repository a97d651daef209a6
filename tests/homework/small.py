"""A small assignment: its key, the author's notebook, and what students make of it."""

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tlcourse.homework import inside
from tlcourse.homework.box import Outcome

KEY = '''
"""The key of a small assignment."""
import numpy as np
from tlcourse.homework.questions import *

WRONG = {
    "adds": "def double(x):\\n    return x + 2",
    "squares": "def double(x):\\n    return x * x",
    "halves": "def double(x):\\n    return x / 2",
    "nothing": "def double(x):\\n    pass",
    "once": "def double(x):\\n    return x",
    "a text": "def double(x):\\n    return str(2 * x)",
    HARD_CODED: "def double(x):\\n    return {3: 6}.get(x)",
    PACKAGE: "from tlcourse.text import tokens\\ndef double(x):\\n    return 2 * x",
}
SUMS = {
    "first": "def total(xs):\\n    return double(xs[0])",
    "not doubled": "def total(xs):\\n    return sum(xs)",
    "a mean": "def total(xs):\\n    return double(sum(xs)) / len(xs)",
    "but the last": "def total(xs):\\n    return sum(map(double, xs[:-1]))",
    "but the first": "def total(xs):\\n    return sum(map(double, xs[1:]))",
    "negative": "def total(xs):\\n    return -sum(map(double, xs))",
    HARD_CODED: "def total(xs):\\n    return 12",
    PACKAGE: "import tlcourse\\ndef total(xs):\\n    return sum(map(double, xs))",
}

def doubles(rng):
    numbers = [int(n) for n in rng.integers(10, 99, 2)]
    return [
        Probe(f"hidden case, the {kind}", "answer = double(number_in_secret)", {"number_in_secret": n}, equal(n + n))
        for kind, n in zip(("first", "second"), numbers)
    ]

def totals(rng):
    numbers = rng.integers(10, 99, 5)
    return [Probe("hidden case of five numbers", "answer = total(list_in_secret)", {"list_in_secret": numbers.tolist()},
                  close(2 * numbers.sum()))]

ASSIGNMENT = Assignment(
    "small", "Doubling <small>",
    (
        Question("small-double", "Double", 2, doubles, {"a": "def double(x):\\n    return 2 * x",
                 "b": "def double(x):\\n    return x + x"}, WRONG, seconds=4),
        Question("small-total", "Total", 3, totals, {"a": "def total(xs):\\n    return double(sum(xs))",
                 "b": "def total(xs):\\n    return sum(map(double, xs))"}, SUMS, needs=("small-double",), seconds=4),
    ),
    (Written("small-why", "Why", {"says that it grows": 2, "says how fast": 1}),),
)
'''
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"


def nbgrader(name: str, **changes) -> dict:
    """nbgrader's metadata of a cell."""
    plain = dict(schema_version=3, grade=False, solution=False, locked=True, task=False, grade_id=name)
    return {"nbgrader": plain | changes}


def author() -> nbformat.NotebookNode:
    """The author's notebook."""
    answer, points = dict(solution=True, locked=False), dict(grade=True, locked=True)
    one = "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x + 0 * len('the secret')\n    ### END SOLUTION"
    two = "def total(xs):\n    ### BEGIN SOLUTION\n    return 2 * sum(xs) + 0 * len('the secret')\n    ### END SOLUTION"
    three = "Why?\n\n### BEGIN SOLUTION\nBecause it grows, twice as fast.\n### END SOLUTION"
    written = dict(solution=True, grade=True, locked=False, points=3)
    cells = [
        new_markdown_cell("# Doubling", id="head", metadata=nbgrader("head")),
        new_code_cell("import math", id="setup", metadata={**nbgrader("setup"), "tags": ["setup"]}),
        new_code_cell(one, id="small-double", metadata={**nbgrader("small-double", **answer), "tags": ["answer"]}),
        new_code_cell("assert double(3) == 6", id="small-double-tests",
                      metadata={**nbgrader("small-double-tests", points=2, **points), "tags": ["public-tests"]}),
        new_code_cell(two, id="small-total", metadata={**nbgrader("small-total", **answer), "tags": ["answer"]}),
        new_code_cell("assert total([1, 2, 3]) == 12", id="small-total-tests",
                      metadata={**nbgrader("small-total-tests", points=3, **points), "tags": ["public-tests"]}),
        new_code_cell("import tlcourse", id="run", metadata={**nbgrader("run"), "tags": ["experiment"]}),
        new_markdown_cell(three, id="small-why", metadata={**nbgrader("small-why", **written), "tags": ["written"]}),
    ]  # fmt: skip
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return new_notebook(cells=cells, metadata=metadata)


def write(folder: Path) -> Path:
    """The assignment as files: a folder for ``--homework``."""
    (folder / "keys").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    (folder / "keys/small.py").write_text(KEY, encoding="utf-8")
    nbformat.write(author(), folder / "notebooks/small.ipynb")
    return folder


GOOD = {"small-double": "def double(x):\n    return x + x", "small-total": "def total(xs):\n    return double(sum(xs))"}


def submission(released: Path, answers: dict[str, str], *, change=None) -> bytes:
    """A student's file: answers in the released notebook's cells; `change` may do anything to its data."""
    notebook = json.loads(released.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] in answers:
            cell["source"] = answers[cell["id"]]
    if change:
        notebook = change(notebook) or notebook
    return json.dumps(notebook).encode()


class Here:
    """Stands in for a box: runs the questions in this very process."""

    def run(self, command, files, *, limits) -> Outcome:
        assert command == ["python", "inside.py"]
        made = {}
        for question in json.loads(files["questions.json"]):
            said = inside.run(question["cells"], question["probes"], added=question["added"])
            made[f"{question['id']}.jsonl"] = lines({"ended": "exit 0"}, *said)
        return Outcome(0, made, "", 0.0, None)


class Says:
    """Stands in for a box that hostile code has in its hands: files come out as a function of the question says."""

    def __init__(self, says: Callable[[dict], bytes | None], *, code: int = 0, stopped: str | None = None) -> None:
        self.says, self.code, self.stopped = says, code, stopped
        self.asked: list[list[str]] = []

    def run(self, command, files, *, limits) -> Outcome:
        questions = json.loads(files["questions.json"])
        self.asked.append([question["id"] for question in questions])
        made = {f"{question['id']}.jsonl": self.says(question) for question in questions}
        made = {name: data for name, data in made.items() if data is not None}
        return Outcome(self.code, made, "", 0.0, self.stopped)


def lines(*values) -> bytes:
    """A line of JSON a value."""
    return b"\n".join(json.dumps(value).encode() for value in values)
