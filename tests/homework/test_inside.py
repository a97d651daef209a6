"""What runs in the box: cells, IPython's syntax, plain data, and a process for each question."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.homework import inside, judge
from tlcourse.homework.box import NoBox

numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
plain = st.recursive(
    numbers,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(plain)
def test_plain_data_comes_back_as_it_was(value):
    again = inside.decode(json.loads(json.dumps(inside.encode(value))))
    assert repr(again) == repr(value)  # NaN too


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, math.inf], [math.nan, -0.1]]),
        np.zeros((0, 3)),
        np.array([2**62, -1]),
        np.array(7, dtype=np.uint8),
        np.array([True, False]),
        np.float32(0.5),
    ],
)
def test_arrays_come_back(array):
    again = inside.decode(json.loads(json.dumps(inside.encode(array))), tensors=False)
    np.testing.assert_array_equal(again, array)
    assert again.shape == np.shape(array)


def test_tensors_come_back():
    tensor = torch.tensor([1.5, -2], dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(inside.decode(inside.encode(tensor), tensors=False), [1.5, -2])
    assert inside.decode(inside.encode(torch.arange(3))).dtype == torch.int64


@pytest.mark.parametrize("value", [{1}, {1: 2}, object(), 1j, np.array(["1"]), np.array([1j]), [print]])
def test_what_is_no_plain_data_is_said(value):
    with pytest.raises(TypeError):
        inside.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        {"array": "float", "shape": [10**12], "values": ["1"]},
        {"array": "int", "shape": [1], "values": [10**30]},
        {"array": "float", "shape": [2], "values": ["x" * 50, ""]},
        {"array": "object", "shape": [], "values": [1]},
        {"list": 3, "tuple": 4},
        {"list": 3},
        {"dict": [1]},
        {},
    ],
)
def test_what_encode_did_not_write_raises(data):
    with pytest.raises((ValueError, TypeError, KeyError, OverflowError, AttributeError)):
        inside.decode(data)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("%matplotlib inline\nx = 3", 3),
        ("!pip install nothing\nx = 3", 3),
        ("%%time\nx = 3", 3),
        ("%time x = 3", 3),
        ("x = !ls\nx = 3", 3),
        ("def f():\n    !ls\n    return 3\nx = f()", 3),
        ("len?\nx = 3", 3),
        ("x = 3\ndisplay(x)", 3),
        ('x = """\n%no magic\n!no command\n"""', "\n%no magic\n!no command\n"),
        ("x = 7\\\n% 4", 3),
    ],
)
def test_cells_may_hold_what_ipython_takes(cell, found):
    namespace = {"display": lambda shown: None}
    exec(inside.compile_cell(cell, "cell"), namespace)
    assert namespace["x"] == found


def test_a_cell_in_another_language_does_nothing():
    assert inside.without_magics("%%bash\nrm nothing") == ""


def test_a_cell_that_fails_costs_what_it_would_have_made():
    cells = ["1 / 0", "y = 2", "def f(x):\n    return y / x"]
    probes = [{"code": f"answer = f({x})", "arguments": {"dict": {}}} for x in (4, 0)]
    head, good, bad = inside.run(cells, probes)
    assert head == {"cells": ["ZeroDivisionError: division by zero (line 1 of an earlier cell)"]}
    assert inside.decode(good["answer"]) == 0.5
    assert bad["error"] == "ZeroDivisionError: division by zero (line 2 of your answer)"


def test_added_cells_are_interrupted(monkeypatch):
    monkeypatch.setattr(inside, "ADDED_SECONDS", 0.2)
    cells = ["while True: pass", "while True: pass", "x = 1"]
    head, found = inside.run(cells, [{"code": "answer = x", "arguments": {"dict": {}}}], added={0, 1})
    assert found == {"answer": 1}
    assert [error.split(":")[0] for error in head["cells"]] == ["TimeoutError"] * 2


def ask(**cells: str) -> dict[str, judge.Found]:
    """Ask questions whose cell makes ``x``, in a few seconds each; one run of the file."""
    probe = {"code": "answer = x", "arguments": {"dict": {}}}
    items = [
        {"id": name, "cells": [cell], "added": [], "probes": [probe], "seconds": 4} for name, cell in cells.items()
    ]
    return judge.ask(NoBox(), items)


def test_no_question_costs_another():
    found = ask(
        good="x = 1",
        ends="import os; os._exit(0)",
        crashes="import os; os.kill(os.getpid(), 11)",
        sleeps="import time\nx = 1\ntime.sleep(60)",
        exits="raise SystemExit",
        prints="while True: print('x' * 100_000)",
        large="x = [0.1] * 10**5",
        deep="x = []\nfor i in range(5000): x = [x]",
        daemon="import os, time\nif not os.fork():\n    os.setsid(); time.sleep(60)\nx = 1",
        package="import tlcourse",
        many="import os, time\nos.fork()\nfor _ in range(3):\n    if not os.fork(): os.setsid()\ntime.sleep(60)",
        writes="from pathlib import Path\nPath('../more').write_text('more')\nx = 1",
        ends_all="import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(60)",
        last="x = 2",
    )
    told = {name: (one.ended, *one.answers) for name, one in found.items()}
    assert told.pop("good") == told.pop("daemon") == told.pop("writes") == ("exit 0", {"answer": 1})
    assert told.pop("last") == ("exit 0", {"answer": 2})
    assert told.pop("ends") == ("exit 0",)
    assert told.pop("crashes") == ("signal 11",)
    assert told.pop("sleeps") == told.pop("many") == ("time",)
    assert told.pop("ends_all") == ("exit 137",)
    starts = {name: answer["error"].split()[0] for name, (_, answer) in told.items()}
    unmade = dict.fromkeys(("exits", "prints", "package"), "NameError:")
    assert starts == unmade | {"large": "the", "deep": "RecursionError:"}
    assert "more than 1,048,576 characters were printed" in found["prints"].cells[0]
    assert "write it yourself" in found["package"].cells[0]
