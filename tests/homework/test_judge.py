"""From a file to verdicts: what students do to notebooks, and what comes out of a box that they have in their hands."""

import copy
import json
import sys

import pytest

from tlcourse.homework import inside, judge
from tlcourse.homework.box import NoBox
from tlcourse.homework.questions import PACKAGE


@pytest.fixture
def judged(small, homework, term):
    """Judges a submission of the small assignment; runs it in this process unless a box is given."""
    page, _, key = term

    def run(answers=small.GOOD, *, change=None, data=None, box=None) -> judge.Report:
        data = small.submission(page, answers, change=change) if data is None else data
        return judge.judge(
            data, homework["small"], box=box or small.Here(), seed=key.seed, released=key.cells["small"], term=key.term
        )

    return run


def verdicts(report: judge.Report) -> list[str]:
    return [result.verdict for result in report.results]


def cell(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["id"] == name)


def test_a_good_answer_has_its_points(judged):
    report = judged(box=NoBox())
    assert verdicts(report) == [judge.ACCEPTED, judge.ACCEPTED, judge.NOT_ANSWERED]
    assert [result.score for result in report.results] == [2, 3, 0]
    assert report.notes == ()
    assert judge.Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_each_wrong_answer_names_the_tests_that_reject_it(judged, homework):
    wrong = homework["small"].assignment.questions[0].wrong
    for source in (wrong[name] for name in wrong if name != PACKAGE):  # the package is there in this process
        result = judged({"small-double": source}).results[0]
        assert result.score == 0
        assert {test for test, _ in result.failed} <= {"hidden case, the first", "hidden case, the second"}
        assert result.failed


def test_a_question_that_builds_on_another_says_so(judged):
    report = judged({"small-total": "def total(xs):\n    return double(sum(xs))"})
    assert verdicts(report)[:2] == [judge.NOT_ANSWERED, judge.REJECTED]
    assert "builds on small-double, which has no answer" in report.results[1].note


def test_the_line_of_an_error_is_told(judged):
    report = judged({"small-double": "def double(x):\n    y = 2\n    return x / (y - 2)"})
    (_, reason), _ = report.results[0].failed
    assert reason == "ZeroDivisionError: division by zero (line 3 of your answer)"


def test_an_answer_that_does_not_compile_says_where(judged):
    result = judged({"small-double": "def double(x)\n    return 2 * x"}).results[0]
    assert "went wrong: SyntaxError: expected ':' (<your answer>, line 1)." in result.note


# ------------------------------------------------------------------------------------------------------ no notebook
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no notebook"),
        (b"PK\x03\x04\xff\xfe", "no notebook"),
        (b"[" * 200_000, "no notebook"),
        (b"[]", "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"cells": [1]}', "no list of cells"),
        (b'{"worksheets": [{"cells": []}]}', "no list of cells"),
        (b" " * (judge.MOST_BYTES + 1), "MB are read"),
    ],
)
def test_what_is_no_notebook_has_no_points(judged, data, says):
    report = judged(data=data)
    assert {*verdicts(report)} == {judge.UNREADABLE}
    assert sum(result.score for result in report.results) == 0
    assert says in report.notes[0]


def test_cells_of_any_kind_are_read(judged):
    odd = [
        {},
        {"source": 3},
        {"source": ["a", 1], "metadata": [], "cell_type": "code"},
        {"metadata": {"nbgrader": "x"}},
    ]
    odd += [{"id": 3, "metadata": {"nbgrader": {"grade_id": ["x"]}, "tags": 5}, "source": None}]

    def change(notebook):
        notebook["cells"] = odd + notebook["cells"]
        notebook["metadata"] = None

    assert verdicts(judged(change=change))[:2] == [judge.ACCEPTED] * 2
    assert {*verdicts(judged(data=json.dumps({"cells": odd}).encode()))} == {judge.CELL_MISSING}


def test_half_of_a_letter_is_read(judged, small):
    report = judged({"small-double": "x = '\ud83d'\ndef double(x): return x + x", "small-why": "\ud83d"})
    assert verdicts(report)[0] == judge.ACCEPTED
    json.dumps(report.to_json(), ensure_ascii=False).encode("utf-8")


# ------------------------------------------------------------------------------------------------- cells given out
def test_a_deleted_answer_and_a_deleted_test_are_named(judged):
    def change(notebook):
        gone = {"small-double", "small-total-tests", "setup"}
        notebook["cells"] = [one for one in notebook["cells"] if one["id"] not in gone]

    report = judged(change=change)
    assert verdicts(report)[0] == judge.CELL_MISSING
    assert report.notes == (
        "The locked cell setup was deleted; the original was used.",
        "The locked cell small-total-tests was deleted; the original was used.",
    )


def test_edited_cells_are_named_and_the_originals_used(judged):
    def change(notebook):
        cell(notebook, "setup")["source"] = "math = None"
        cell(notebook, "small-double-tests")["source"] = "assert True"

    answers = {"small-double": "def double(x):\n    return math.prod([2, x])"}
    report = judged(answers, change=change)
    assert verdicts(report)[0] == judge.ACCEPTED
    assert [note.split()[3] for note in report.notes] == ["setup", "small-double-tests"]


def test_blanks_that_an_editor_changes_are_no_edit(judged):
    def change(notebook):
        one = cell(notebook, "small-double-tests")
        one["source"] = [f"{''.join(one['source'])}  \r\n", "\n"]

    assert judged(change=change).notes == ()


def test_of_a_duplicated_answer_all_copies_are_run(judged):
    def change(notebook):
        place = notebook["cells"].index(cell(notebook, "small-double"))
        better = copy.deepcopy(notebook["cells"][place]) | {"source": "def double(x):\n    return 2 * x", "id": "copy"}
        notebook["cells"].insert(place + 1, better)
        notebook["cells"].append(stub := copy.deepcopy(better))
        stub["source"] = released["source"]

    released = {}

    def stub_of(notebook):
        released.update(cell(notebook, "small-double"))

    judged({}, change=stub_of)
    report = judged({"small-double": "def double(x):\n    return x"}, change=change)
    assert verdicts(report)[0] == judge.ACCEPTED
    assert "small-double is there 3 times" in report.notes[0]


def test_metadata_of_nbgrader_may_be_lost(judged):
    def change(notebook):
        for one in notebook["cells"]:
            del one["metadata"]["nbgrader"]

    assert verdicts(judged(change=change))[:2] == [judge.ACCEPTED] * 2


def test_a_cell_that_the_student_added_runs_before_the_answers_below_it(judged):
    def change(notebook):
        added = {"cell_type": "code", "metadata": {}, "source": "TWO = 2\n%matplotlib inline", "id": "mine"}
        notebook["cells"].insert(2, added)
        notebook["cells"].insert(2, added | {"source": "1 / 0", "id": "broken"})
        notebook["cells"].append(added | {"source": "TWO = 3", "id": "below"})

    report = judged({"small-double": "def double(x):\n    return TWO * x"}, change=change)
    assert verdicts(report)[0] == judge.ACCEPTED


def test_what_an_answer_needs_may_stand_below_it(judged):
    def change(notebook):
        notebook["cells"].reverse()

    assert verdicts(judged(change=change))[:2] == [judge.ACCEPTED] * 2


def test_cells_for_the_experiment_are_not_run(judged):
    def change(notebook):
        cell(notebook, "run")["source"] = "double = None"
        notebook["cells"].insert(0, cell(notebook, "run"))

    assert verdicts(judged(change=change))[:2] == [judge.ACCEPTED] * 2


def test_an_answer_turned_into_text_is_named(judged):
    def change(notebook):
        cell(notebook, "small-double")["cell_type"] = "markdown"

    assert "is no code cell any more" in judged(change=change).results[0].note


def test_a_notebook_of_another_term_is_named(judged):
    def change(notebook):
        notebook["metadata"]["tlcourse"]["term"] = "2026-2"

    assert "given out in the term 2026-2" in judged(change=change).notes[0]


def test_words_wait_for_a_hand(judged):
    report = judged({"small-why": "<b>Because</b>"})
    result = report.results[2]
    assert (result.verdict, result.score, result.answer) == (judge.BY_HAND, None, "<b>Because</b>")


# ----------------------------------------------------------------------------------------------- hostile answers
HOSTILE = {
    "a huge number": 10**4000,
    "no number": {"float": "nan"},
    "a float in many digits": {"float": "9" * 10_000},
    "a number that is a text": {"float": "1_0e"},
    "deep": json.loads("[" * 900 + "]" * 900),
    "deep lists": None,
    "a shape that is none": {"array": "float", "shape": [10**9, 10**9], "values": ["1"]},
    "values that are a dict": {"array": "float", "shape": [1], "values": {"a": 1}},
    "an unknown kind": {"set": []},
    "two kinds": {"list": [], "tuple": []},
    "a dict of a list": {"dict": []},
    "true": True,
    "nothing": {},
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answers_are_rejected(judged, small, answer):
    if answer is None:
        for _ in range(300):
            answer = {"list": [answer]}
    answers = [{"answer": answer}] * 2
    report = judged(box=small.Says(lambda question: small.lines({"ended": "exit 0"}, {"cells": []}, *answers)))
    assert verdicts(report)[:2] == [judge.REJECTED] * 2
    assert [result.score for result in report.results] == [0, 0, 0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n\n",
        b"[]",
        b"null\nnull\nnull",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"ended": 3}\n{"cells": 3}\n{"error": []}',
        b'{"ended": "exit 0", "score": 100}',
        b'{"ended": "exit 0"}\n{"cells": [1, null]}\n{"answer": ' + b"9" * 5000 + b"}",
    ],
)
def test_files_that_hostile_code_wrote_are_no_answers(judged, small, data):
    report = judged(box=small.Says(lambda question: data))
    assert {*verdicts(report)[:2]} <= {judge.ENDED, judge.REJECTED}
    assert sum(result.score for result in report.results) == 0


def test_more_answers_than_questions_are_not_read(judged, small):
    def says(question):
        return small.lines({"ended": "exit 0"}, {"cells": []}, *[{"answer": 0}] * 50)

    assert len(judged(box=small.Says(says)).results[0].failed) == 2


def test_what_ends_the_box_costs_one_question_only(judged, small):
    here = small.Here()

    def says(question):
        if "double" in question["id"]:
            return None
        files = {"questions.json": json.dumps([question]).encode()}
        return here.run(["python", "inside.py"], files, limits=None).files[f"{question['id']}.jsonl"]

    box = small.Says(says, stopped="memory")
    report = judged(box=box)
    assert verdicts(report)[:2] == [judge.OUT_OF_MEMORY, judge.ACCEPTED]
    assert box.asked == [["small-double", "small-total"], ["small-double"]]


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        ("time", judge.OUT_OF_TIME),
        ("memory", judge.OUT_OF_MEMORY),
        ("signal 9", judge.OUT_OF_MEMORY),
        ("signal 11", judge.ENDED),
        ("exit 3", judge.ENDED),
        ("size", judge.TOO_MUCH_OUTPUT),
        ("disk", judge.ENDED),
        ("", judge.ENDED),
    ],
)
def test_how_a_process_ended_is_told(judged, small, ended, verdict):
    result = judged(box=small.Says(lambda question: small.lines({"ended": ended}, {"cells": []}))).results[0]
    assert (result.verdict, result.score, len(result.failed)) == (verdict, 0, 1)


def test_an_import_of_the_package_is_told(judged, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [inside.NoPackage(), *sys.meta_path])
    answers = {"small-double": "from tlcourse.text.no_such_module import double"}
    assert verdicts(judged(answers))[0] == judge.IMPORTS_TLCOURSE


def test_an_import_of_the_package_past_the_guard_is_told(judged, small):
    error = {"error": "ModuleNotFoundError: No module named 'tlcourse' (line 2 of your answer)"}
    report = judged(box=small.Says(lambda question: small.lines({"ended": "exit 0"}, {"cells": []}, error, error)))
    assert verdicts(report)[0] == judge.IMPORTS_TLCOURSE


def test_results_that_its_code_wrote_are_named(judged, small):
    report = judged(box=small.Says(lambda question: small.lines({"ended": "exit 0"}, {"score": 2}, {"score": 2})))
    assert "its code wrote there itself" in report.results[0].failed[0][1]
    report = judged(box=small.Says(lambda question: small.lines({"ended": "exit 0"}, {}, *[{"answer": 1}] * 9)))
    assert "its code wrote some itself" in report.results[0].note
