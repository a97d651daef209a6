"""What students get, what they do not, and the key of a term."""

import json
import stat

import nbformat
import pytest

from tlcourse.homework import assignments
from tlcourse.homework.release import ReleaseError, TermKey, leaks, release, student_version


def sources(path) -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}


@pytest.fixture
def edit(small, tmp_path):
    """The small assignment with the author's notebook edited: cells by id."""

    def edited(**changes: str) -> assignments.Homework:
        folder = small.write(tmp_path / "edited")
        notebook = small.author()
        for cell in notebook.cells:
            cell.source = changes.get(cell.id.replace("-", "_"), cell.source)
        nbformat.write(notebook, folder / "notebooks/small.ipynb")
        return assignments.find(folder)["small"]

    return edited


def test_students_get_the_frame_and_not_the_solution(small, term):
    page, _, _ = term
    assert page.parts[-3:] == ("release", "small", "small.ipynb")
    given = sources(page)
    assert given["small-double"] == "def double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert given["small-why"] == "Why?\n\nYOUR ANSWER HERE"
    assert given["small-double-tests"] == "assert double(3) == 6"
    everything = page.read_text(encoding="utf-8")
    for secret in ("the secret", "twice as fast", "in_secret", "hidden case", "SOLUTION"):
        assert secret not in everything


def test_cells_are_locked_and_checksummed_as_nbgrader_does(term):
    from nbgrader.utils import compute_checksum

    notebook = nbformat.read(term[0], as_version=4)
    for cell in notebook.cells:
        assert cell.metadata.nbgrader.checksum == compute_checksum(cell)
        assert not cell.metadata.deletable
        assert cell.metadata.get("editable", True) is not cell.metadata.nbgrader.locked
    assert notebook.metadata["tlcourse"] == {"assignment": "small", "term": "2027-1"}


def test_the_public_tests_run_without_the_key(small, term):
    cells = sources(term[0]) | small.GOOD
    namespace = {}
    for name in ("setup", "small-double", "small-double-tests", "small-total", "small-total-tests"):
        exec(cells[name], namespace)
    with pytest.raises(NotImplementedError):
        exec(f"{sources(term[0])['small-double']}\n{cells['small-double-tests']}", {})


def test_the_key_is_its_owners_alone(term):
    _, path, key = term
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name == "key-2027-1.json"
    assert key.seed.bit_length() > 64
    assert {*key.versions} == {"tlcourse", "numpy", "torch", "nbgrader"}
    assert {"small-double", "small-double-tests"} <= {*key.cells["small"]}


def test_a_term_keeps_its_seed_and_terms_have_others(homework, tmp_path):
    *_, path = release("2027-1", tmp_path, homework)
    first = TermKey.read(path)
    *_, path = release("2027-1", tmp_path, homework)
    assert TermKey.read(path) == first
    *_, path = release("2027-2", tmp_path, homework, replace=True)
    assert TermKey.read(path).seed != first.seed


def test_nothing_is_replaced_unasked(homework, edit, tmp_path):
    page, path = release("2027-1", tmp_path / "out", homework)
    first = TermKey.read(path)
    changed = {"small": edit(head="# Doubling again")}
    with pytest.raises(ReleaseError, match=r"small.ipynb is there and differs"):
        release("2027-1", tmp_path / "out", changed)
    assert sources(page)["head"] == "# Doubling"
    page.unlink()
    with pytest.raises(ReleaseError, match="is of other notebooks"):
        release("2027-1", tmp_path / "out", changed)
    release("2027-1", tmp_path / "out", changed, replace=True)
    assert sources(page)["head"] == "# Doubling again"
    second = TermKey.read(path)
    assert second.seed == first.seed
    assert second.cells != first.cells


@pytest.mark.parametrize(
    ("cell", "source", "says"),
    [
        ("head", "Hint: `return 2 * x + 0 * len('the secret')`", "a line of a solution"),
        ("head", "Hint: return 2*x+0*len( 'the secret' )", "a line of a solution"),
        ("small_double_tests", "def total(xs):\n    return sum(map(double, xs))", "a line of a solution"),
        ("head", "Because it grows, twice as fast.", "a line of a solution"),
        ("head", "answer = double(number_in_secret)", "a line of a hidden test"),
        ("head", "There is a Hidden Case, the first.", "the name of a hidden test"),
    ],
)
def test_what_gives_something_away_is_not_released(edit, tmp_path, cell, source, says):
    homework = edit(**{cell: source})
    assert says in next(leaks(student_version(homework, "1"), homework))
    with pytest.raises(ReleaseError, match=says):
        release("2027-1", tmp_path / "out", {"small": homework})
    assert not (tmp_path / "out").exists()


def test_a_release_gives_nothing_away(homework):
    one = homework["small"]
    assert [*leaks(student_version(one, "2027-1"), one)] == []


def test_a_solution_without_its_end_is_named(edit, tmp_path):
    with pytest.raises(ReleaseError, match="no end solution"):
        release("2027-1", tmp_path, {"small": edit(small_double="### BEGIN SOLUTION\nx = 1")})


@pytest.mark.parametrize("name", ["", "../up", "2027/1", "-x", "a" * 50])
def test_a_term_has_a_plain_name(homework, tmp_path, name):
    with pytest.raises(ValueError, match="is no name of a term"):
        release(name, tmp_path, homework)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"term": "a", "seed": "b", "versions": {}, "cells": {}}', "\x00"])
def test_what_is_no_key_is_said(tmp_path, text):
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no key of a term"):
        TermKey.read(path)


def test_assignments_without_keys_say_where_they_are(tmp_path, small):
    with pytest.raises(FileNotFoundError, match="in the course's source tree only"):
        assignments.find(tmp_path)
    folder = small.write(tmp_path / "source")
    with pytest.raises(ValueError, match="no assignment 'large'; there are small"):
        assignments.find(folder, ["large"])
    (folder / "notebooks/small.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match="author's notebook of small"):
        assignments.find(folder)


def test_a_key_and_its_notebook_must_agree(tmp_path, small):
    folder = small.write(tmp_path)
    key = folder / "keys/small.py"
    key.write_text(key.read_text(encoding="utf-8").replace('"small-double", "Double"', '"small-other", "Double"'))
    with pytest.raises(ValueError, match="has no cell for small-other"):
        _ = assignments.find(folder)["small"].cells
    key.write_text("ASSIGNMENT = 3")
    with pytest.raises(ValueError, match="defines no ASSIGNMENT named small"):
        _ = assignments.find(folder)["small"].assignment


def test_the_key_holds_no_solution(term):
    assert "secret" not in json.dumps(term[1].read_text(encoding="utf-8"))
