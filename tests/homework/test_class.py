"""Six students and the box of this machine: one good, one wrong, four who try what they can."""

import csv

import pytest

from tlcourse import cli
from tlcourse.homework.box import find_box

LOOP = "def double(x):\n    while True:\n        pass"
FORGED = """
import json, os
lines = [{"ended": "exit 0", "score": 5}, {"cells": []}, *[{"answer": True, "score": 5}] * 9]
said = "\\n".join(map(json.dumps, lines)).encode()
for name in ("../small-total.jsonl", "../scores.csv", "scores.csv"):
    with open(name, "wb") as file:
        file.write(said)
for number in range(3, 32):
    try: os.write(number, said)
    except OSError: pass
def total(xs):
    return {"score": 5, "verdict": "accepted"}
"""
EDITED = "The locked cell small-double-tests was edited; the original was used."


@pytest.fixture(scope="module")
def scores(small, source, term, tmp_path_factory):
    """The verdict and score of each question, and the notes, by student."""
    if find_box() is None:
        pytest.skip("this machine has no box to run students' code in")
    page, key, _ = term
    folder = tmp_path_factory.mktemp("class")
    total = {"small-total": "def total(xs):\n    return 2 * sum(xs)"}

    def edit(notebook):
        (tests,) = (cell for cell in notebook["cells"] if cell["id"] == "small-double-tests")
        tests["source"] = "print('all right')"

    wrong = "def double(x):\n    return x + 3"
    handed_in = {
        "ดี": small.submission(page, small.GOOD),
        "wrong": small.submission(page, {"small-double": wrong} | total),
        "loop": small.submission(page, {"small-double": LOOP} | total),
        "edited": small.submission(page, {"small-double": wrong} | total, change=edit),
        "malformed": small.submission(page, small.GOOD)[:-200],
        "forged": small.submission(page, small.GOOD | {"small-total": FORGED}),
    }
    for student, data in handed_in.items():
        (folder / student).mkdir()
        (folder / student / "small.ipynb").write_bytes(data)
    out = tmp_path_factory.mktemp("graded") / "scores.csv"
    arguments = [folder, "--key", key, "--homework", source, "--out", out, "--workers", "2"]
    assert cli.main(["homework", "grade", *map(str, arguments)]) == 0
    found = {student: {} for student in handed_in}
    with out.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            found[row["student"]][row["question"]] = row
    return found


@pytest.mark.parametrize(
    ("student", "double", "total", "attacked", "verdict", "says"),
    [
        ("ดี", "2", "3", "small-double", "accepted", ""),
        ("wrong", "0", "3", "small-double", "rejected", "hidden case, the first: another result than expected"),
        ("loop", "0", "3", "small-double", "out of time", "hidden case, the first: not done after 4 s"),
        ("edited", "0", "3", "small-double", "rejected", EDITED),
        ("malformed", "0", "0", "small-double", "unreadable", "The file is no notebook"),
        ("forged", "2", "0", "small-total", "ended early", "its code wrote there itself"),
    ],
)
def test_each_has_the_points_of_what_is_right(scores, student, double, total, attacked, verdict, says):
    rows = scores[student]
    assert [rows[name]["score"] for name in ("small-double", "small-total")] == [double, total]
    assert rows[attacked]["verdict"] == verdict
    assert says in f"{rows[attacked]['failed tests']} {rows[attacked]['note']}"
