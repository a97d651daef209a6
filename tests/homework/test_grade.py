"""A class is graded: what is found, what is kept, and what goes out."""

import csv
import json
import os
import shutil
from html.parser import HTMLParser

import pytest

from tlcourse import cli
from tlcourse.homework import box as boxes
from tlcourse.homework import feedback, grade, judge
from tlcourse.homework.box import NoBox

SUM = "=1+1+cmd|' /C calc'!A0"
BAD = "def double(x):\n    return x  # <script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(small, term, tmp_path_factory):
    """What a class handed in."""
    folder = tmp_path_factory.mktemp("class")
    page, _, _ = term

    def hand_in(student: str, data: bytes) -> None:
        (folder / student).mkdir()
        (folder / student / "small.ipynb").write_bytes(data)

    hand_in("สมหญิง ใจดี", small.submission(page, small.GOOD | {"small-why": "เพราะ <b>โตเร็ว</b> \u202etxt"}))
    hand_in(SUM.replace("/", "∕"), small.submission(page, small.GOOD | {"small-double": BAD}))
    hand_in("broken", b"{")
    (folder / "absent").mkdir()
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe/small.ipynb")
    (folder / "link").mkdir()
    (folder / "link/small.ipynb").symlink_to(term[1])
    return folder


@pytest.fixture(scope="module")
def graded(folder, source, term, tmp_path_factory):
    """The command's output, its exit code, and the folder it wrote to."""
    out = tmp_path_factory.mktemp("graded")
    code = run(folder, source, term, out)
    return code, out


def run(folder, source, term, out, *more: str) -> int:
    arguments = [folder, "--key", term[1], "--homework", source, "--out", out / "scores.csv", "--workers", 2]
    return cli.main(["homework", "grade", *map(str, arguments), "--without-box", *more])


def rows(out) -> list[dict]:
    with (out / "scores.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_student_and_question(graded):
    code, out = graded
    assert code == 0
    found = rows(out)
    assert len(found) == 6 * 3
    assert {*found[0]} == {*grade.COLUMNS}
    table = {(row["student"], row["question"]): row for row in found}
    scores = [table["สมหญิง ใจดี", name]["score"] for name in ("small-double", "small-total", "small-why")]
    assert scores == ["2", "3", ""]
    wrong = table["'" + SUM.replace("/", "∕"), "small-double"]
    assert (wrong["score"], wrong["verdict"]) == ("0", "rejected")
    assert wrong["failed tests"].startswith("hidden case, the first: another result than expected")
    assert table["broken", "small-double"]["verdict"] == "unreadable"
    assert table["absent", "small-why"]["verdict"] == "not handed in"
    for student in ("pipe", "link"):
        assert table[student, "small-total"]["verdict"] == "unreadable"
        assert "cannot be read" in table[student, "small-total"]["note"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_feedback_tells_why_and_runs_nothing(graded):
    _, out = graded
    pages = {path.name: path for path in (out / "scores-feedback").iterdir()}
    assert len(pages) == 6
    assert all(name.isprintable() and not {*name} & {*'/\\:*?"<>|='} for name in pages)
    (thai,) = (path for name, path in pages.items() if name.startswith("สมหญิง"))
    read = Tags()
    read.feed(thai.read_text(encoding="utf-8"))
    assert not read.tags & {"script", "b", "img", "iframe", "a"}
    assert "เพราะ <b>โตเร็ว</b>" in read.text
    assert "\u202e" not in read.text
    assert "says that it grows" in read.text  # the rubric
    assert "Doubling <small>" in read.text
    (wrong,) = (path for name, path in pages.items() if "calc" in name)
    text = wrong.read_text(encoding="utf-8")
    assert "hidden case, the first" in text
    assert "<script" not in text
    assert "Hidden tests reject it." in text


def test_a_picture_of_the_class(graded):
    _, out = graded
    assert (out / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_judged_is_not_judged_again(graded, folder, term, small, homework, monkeypatch, tmp_path):
    _, out = graded
    shutil.copytree(out, tmp_path / "out")
    shutil.copytree(folder, tmp_path / "class", symlinks=True, ignore=lambda *_: ["pipe"])
    changed = tmp_path / "class/broken/small.ipynb"
    changed.write_bytes(b"[]")
    monkeypatch.setattr(NoBox, "run", small.Here.run)
    monkeypatch.setattr(grade, "_judge_here", None)  # nothing judges any more
    found = grade.submissions(tmp_path / "class", homework)
    told = []
    result = grade.grade(
        found, term[2], homework, box=NoBox(), kept=tmp_path / "out/scores-judged", workers=1, say=told.append
    )
    assert {student for student, _ in result.faults} == {"broken"}  # the one that was to be judged again
    assert result.reports["broken", "small"].results[0].verdict == judge.NOT_JUDGED
    assert result.reports["broken", "small"].results[0].score is None
    good = result.reports["สมหญิง ใจดี", "small"]
    assert [one.score for one in good.results] == [2, 3, None]
    assert len(told) == len(found) == 5


def test_words_get_their_scores_by_hand(graded, tmp_path):
    _, out = graded
    found = rows(out)
    for row in found:
        if row["question"] == "small-why" and row["verdict"] == "by hand":
            row["score"] = "2.5"
    hand = tmp_path / "hand.csv"
    with hand.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, grade.COLUMNS)
        writer.writeheader()
        writer.writerows(found)
    reports = {("สมหญิง ใจดี", "small"): kept(out, "สมหญิง ใจดี")}
    scores = grade.read_by_hand(hand)
    only = {place: score for place, score in scores.items() if place[0] == "สมหญิง ใจดี"}
    given = grade.with_scores_by_hand(reports, only)
    assert [one.score for one in given["สมหญิง ใจดี", "small"].results] == [2, 3, 2.5]
    with pytest.raises(ValueError, match="there is no such answer"):
        grade.with_scores_by_hand(reports, {("nobody", "small", "small-why"): 1})
    for score in (3.5, -1, float("nan")):
        with pytest.raises(ValueError, match="is not between 0 and 3 points"):
            grade.with_scores_by_hand(reports, {("สมหญิง ใจดี", "small", "small-why"): score})


def kept(out, student: str) -> judge.Report:
    path = out / "scores-judged" / grade.file_name(student) / "small.json"
    return judge.Report.from_json(json.loads(path.read_text(encoding="utf-8"))["report"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("student,score\na,1\n", "has no column assignment, question"),
        ("student,assignment,question,score\na,b,c,good\n", "line 2: 'good' is no score"),
        ("student,assignment,question,score\na,b,c,1\na,b,c,2\n", "line 3: a b c has two scores"),
        ("", "has no column"),
    ],
)
def test_a_table_by_hand_that_is_amiss_is_said(tmp_path, text, says):
    path = tmp_path / "hand.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        grade.read_by_hand(path)


def test_nbgraders_folders_are_found(tmp_path):
    path = tmp_path / "submitted/anna/small/small.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (tmp_path / "submitted/.hidden").mkdir()
    assert grade.submissions(tmp_path, ["small", "large"]) == [grade.Submission("anna", "small", path)]


def test_without_submissions_it_says_what_is_looked_for(tmp_path):
    (tmp_path / "anna").mkdir()
    with pytest.raises(FileNotFoundError, match="a folder a student is looked for, with small"):
        grade.submissions(tmp_path, ["small"])


def test_students_names_are_safe_in_paths():
    names = [
        "anna",
        "สมหญิง",
        "a b",
        "A/B".replace("/", "∕"),
        "..",
        "...",
        "=x",
        "x" * 250,
        "x" * 249,
        "\udcff",
        "con.",
        "\n",
    ]
    paths = [grade.file_name(name) for name in names]
    assert paths[:2] == names[:2]
    assert len({*paths}) == len(names)
    for path in paths:
        assert len(path.encode()) < 200
        assert path.strip(".")
        assert path.isprintable()
        assert not {*path} & {*' /\\:*?"<>|=\n'}


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\t=1", "＝1"])
def test_no_cell_is_a_formula(text):
    assert grade.safe_cell(text).startswith("'")


def test_a_cell_is_one_line():
    assert grade.safe_cell("a\r\nb\x1b[31m\udcff") == "a� ⏎ b�[31m�"


# ------------------------------------------------------------------------------------------------- what it refuses
def test_without_a_box_grading_refuses(folder, source, term, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(boxes, "find_box", lambda: None)
    arguments = [folder, "--key", term[1], "--homework", source, "--out", tmp_path / "scores.csv"]
    assert cli.main(["homework", "grade", *map(str, arguments)]) == 2
    assert "has no box" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_key_of_other_assignments_is_said(folder, homework, term, tmp_path):
    from dataclasses import replace

    found = grade.submissions(folder, homework)
    with pytest.raises(ValueError, match="the key of 2027-1 knows no small"):
        grade.grade(found, replace(term[2], cells={}), homework, box=NoBox(), kept=tmp_path)


def test_a_box_that_runs_nothing_stops_grading(folder, homework, term, small, tmp_path):
    found = grade.submissions(folder, homework)
    with pytest.raises(OSError, match="the box does not run Python"):
        grade.grade(found, term[2], homework, box=small.Says(lambda question: None, code=1), kept=tmp_path)


def test_every_verdict_has_words_and_a_colour(homework, drawn):
    assert {*feedback.IN_WORDS} == {*judge.VERDICTS}
    reports = {(verdict, "small"): judge.nothing(homework["small"], verdict, "a note") for verdict in judge.VERDICTS}
    ax = feedback.class_figure(grade.table(reports))
    assert sum(patch.get_width() for patch in ax.patches) == 3 * len(judge.VERDICTS)
