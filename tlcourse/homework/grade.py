"""Grade a class: a row a student and question, a page a student, a picture.

Each submission is judged in a process of its own, so that none can stop the others; what is judged is kept, and is
judged again only when the submission, the key or the judge changed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import stat
import sys
import unicodedata
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from tlcourse.homework import feedback, inside, judge, questions
from tlcourse.homework.assignments import Homework
from tlcourse.homework.judge import Report
from tlcourse.homework.release import TermKey

if TYPE_CHECKING:
    import pandas as pd

    from tlcourse.homework.box import Box

COLUMNS = ("student", "assignment", "question", "title", "score", "points", "verdict", "failed tests", "note")


# ------------------------------------------------------------------------------------------------- what came in
@dataclass(frozen=True)
class Submission:
    """A file of a student's; `path` is None where nothing was handed in."""

    student: str
    assignment: str
    path: Path | None

    def read(self) -> bytes:
        """The file, up to a byte more than a judge reads.

        Raises:
            OSError: it is no regular file, or cannot be read.
        """
        file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link elsewhere, no pipe
        with os.fdopen(file, "rb") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("it is no regular file")
            return opened.read(judge.MOST_BYTES + 1)


def submissions(folder: Path, names: Collection[str], *, besides: tuple[Path, ...] = ()) -> list[Submission]:
    """What students handed in, of each assignment that anybody handed in.

    Args:
        folder: with ``STUDENT/NAME.ipynb`` or nbgrader's ``submitted/STUDENT/NAME/NAME.ipynb``.
        names: of the assignments.
        besides: folders that are no student's.

    Raises:
        FileNotFoundError: there is no such folder, or no submission in it.
    """
    root = folder / "submitted" if (folder / "submitted").is_dir() else folder
    no_student = {path.resolve() for path in besides}
    students = sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name[0] != "." and path.resolve() not in no_student
    )
    found = []
    for student in students:
        for name in names:
            places = (student / f"{name}.ipynb", student / name / f"{name}.ipynb")
            path = next((path for path in places if os.path.lexists(path)), None)
            found.append(Submission(student.name, name, path))
    handed_in = {one.assignment for one in found if one.path}
    if not handed_in:
        raise FileNotFoundError(
            f"no submission in {root}: a folder a student is looked for, with {', '.join(names)} (.ipynb) in it"
        )
    return [one for one in found if one.assignment in handed_in]


# ------------------------------------------------------------------------------------------------------ grading
@dataclass(frozen=True)
class Graded:
    """The reports by student and assignment, and what kept submissions from being judged."""

    reports: dict[tuple[str, str], Report]
    faults: dict[tuple[str, str], str]


def grade(
    found: list[Submission],
    key: TermKey,
    homework: Mapping[str, Homework],
    *,
    box: Box,
    kept: Path,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> Graded:
    """Judge submissions, some at a time.

    Args:
        kept: folder of what is judged.
        workers: at a time; by default one a core.
        say: told of each that is done.

    Raises:
        OSError: the box runs nothing.
        ValueError: the key is not of these assignments.
    """
    names = sorted({one.assignment for one in found})
    if unknown := [name for name in names if name not in key.cells]:
        raise ValueError(f"the key of {key.term} knows no {unknown[0]}; release the term again with it")
    for name in names:  # a key that is amiss is said before the work
        _ = homework[name].cells
    answer = judge.ask(box, [judge.question_item("try", ["import numpy, torch\nn = 1"], [], seconds=60) | TRY])["try"]
    if answer.answers != ({"answer": 2},):
        raise OSError(f"the box does not run Python with numpy and torch ({answer.ended}; {answer.answers})")
    context = get_context("forkserver")  # from one process without threads, which has imported what is slow
    context.set_forkserver_preload(["tlcourse.homework.grade"])
    reports, faults = {}, {}

    def one(submission: Submission) -> tuple[Report, str]:
        return _judge_apart(submission, key, homework[submission.assignment], box, kept, context)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        running = {pool.submit(one, submission): submission for submission in found}
        try:
            for number, done in enumerate(as_completed(running), start=1):
                submission = running[done]
                place = submission.student, submission.assignment
                reports[place], fault = done.result()
                if fault:
                    faults[place] = fault
                score = sum(result.score or 0 for result in reports[place].results)
                shown = feedback.printable(show(submission.student))
                say(f"{number}/{len(found)}  {shown}  {submission.assignment}  {fault or f'{score:g}'}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Graded({place: reports[place] for place in sorted(reports)}, faults)


TRY = {"probes": [{"code": "answer = n + 1", "arguments": {"dict": {}}}]}


def _judge_apart(
    submission: Submission, key: TermKey, homework: Homework, box: Box, kept: Path, context
) -> tuple[Report, str]:
    """A report, from what is kept or by a process of its own; and why there is none, or ""."""
    if submission.path is None:
        return judge.nothing(homework, judge.NOT_HANDED_IN), ""
    try:
        data = submission.read()
    except OSError as error:
        return judge.nothing(homework, judge.UNREADABLE, f"The file cannot be read: {error.strerror or error}."), ""
    mark = fingerprint(data, key, homework, box)
    path = kept / file_name(submission.student) / f"{submission.assignment}.json"
    if report := _kept(path, mark):
        return report, ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    only_paths = replace(homework)  # another process reads the key for itself
    process = context.Process(target=_judge_here, args=(submission, key, only_paths, box, path, mark), daemon=True)
    process.start()
    items = homework.assignment.questions
    once = judge.START_SECONDS + sum(one.seconds + inside.ADDED_SECONDS for one in items)
    process.join(60 + once * (1 + len(items)))
    if process.is_alive():
        process.terminate()
        process.join(10)
        process.kill()
        process.join()
    if report := _kept(path, mark):
        return report, ""
    why = f"its judge ended without a verdict (exit code {process.exitcode})"
    if path.exists():
        why = json.loads(path.read_bytes()).get("fault", why)
    return judge.nothing(homework, judge.NOT_JUDGED), why


def _judge_here(submission: Submission, key: TermKey, homework: Homework, box: Box, path: Path, mark: str) -> None:
    """In a process of its own: judge, and leave the report."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the box is closed
    try:
        released = key.cells[homework.assignment.name]
        report = judge.judge(
            submission.read(), homework, box=box, seed=key.seed, released=released, term=key.term
        ).to_json()
        left = {"mark": mark, "report": report}
    except Exception as error:
        left = {"mark": "", "fault": f"{type(error).__name__}: {error}"}
    _write(path, json.dumps(left, indent=1).encode())


def _kept(path: Path, mark: str) -> Report | None:
    try:
        left = json.loads(path.read_bytes())
        return Report.from_json(left["report"]) if left["mark"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):  # nothing is there, or something half
        return None


def fingerprint(data: bytes, key: TermKey, homework: Homework, box: Box) -> str:
    """Of all that a report depends on."""
    sources = [Path(module.__file__) for module in (inside, judge, questions)]
    parts = [data, repr((key.term, key.seed, key.cells[homework.assignment.name], type(box).__name__)).encode()]
    parts += [path.read_bytes() for path in (*sources, homework.key, homework.notebook)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


# ------------------------------------------------------------------------------------------------------ by hand
def read_by_hand(path: Path) -> dict[tuple[str, str, str], float]:
    """Scores by student, assignment and question, from a table like the one that grading writes.

    Raises:
        ValueError: a column is missing, a score is no number, or one is there twice.
    """
    scores = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if missing := {"student", "assignment", "question", "score"} - {*(rows.fieldnames or ())}:
            raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
        for number, row in enumerate(rows, start=2):
            if not (score := (row["score"] or "").strip()):
                continue
            place = row["student"], row["assignment"], row["question"]
            try:
                value = float(score)
            except ValueError:
                raise ValueError(f"{path}, line {number}: {score!r} is no score") from None
            if scores.get(place, value) != value:
                raise ValueError(f"{path}, line {number}: {' '.join(place)} has two scores")
            scores[place] = value
    return scores


def with_scores_by_hand(
    reports: Mapping[tuple[str, str], Report], scores: Mapping[tuple[str, str, str], float]
) -> dict[tuple[str, str], Report]:
    """The reports with scores of written questions; those of other questions are left aside.

    Raises:
        ValueError: a score of nobody's, or one beyond the question's points.
    """
    there = {
        (safe_cell(student), name, result.question): result
        for (student, name), report in reports.items()
        for result in report.results
    }
    for place, score in scores.items():
        if place not in there:
            raise ValueError(f"a score by hand is for {' '.join(place)}, and there is no such answer")
        if there[place].verdict == judge.BY_HAND and not 0 <= score <= there[place].points:
            raise ValueError(f"{' '.join(place)}: {score:g} is not between 0 and {there[place].points:g} points")
    given = {}
    for (student, name), report in reports.items():
        results = tuple(
            replace(one, score=scores.get((safe_cell(student), name, one.question)))
            if one.verdict == judge.BY_HAND
            else one
            for one in report.results
        )
        given[student, name] = replace(report, results=results)
    return given


# -------------------------------------------------------------------------------------------------- what goes out
def table(reports: Mapping[tuple[str, str], Report]) -> pd.DataFrame:
    """A row a student and question."""
    import pandas as pd

    rows = [
        (
            show(student), name, one.question, one.title, one.score, one.points, one.verdict,
            "; ".join(f"{test}: {why}" for test, why in one.failed), " ".join(filter(None, (one.note, *report.notes))),
        )
        for (student, name), report in reports.items()
        for one in report.results
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """As CSV that a spreadsheet opens, with Thai letters, and without taking a text for a formula."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in frame.astype(object).where(frame.notna(), "").itertuples(index=False):
            writer.writerow([safe_cell(one) if isinstance(one, str) else f"{one:g}" for one in row])
    part.replace(path)


def write_pages(
    reports: Mapping[tuple[str, str], Report], homework: Mapping[str, Homework], folder: Path, *, term: str
) -> list[Path]:
    """A page of feedback for each student."""
    assignments = {name: one.assignment for name, one in homework.items()}
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for student in dict.fromkeys(student for student, _ in reports):
        own = [report for (of, _), report in reports.items() if of == student]
        paths.append(folder / f"{file_name(student)}.html")
        _write(paths[-1], feedback.page(show(student), own, assignments, term=term).encode("utf-8", "replace"))
    return paths


def write_figure(frame: pd.DataFrame, path: Path) -> None:
    """The picture of the class."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tlcourse import plots

    with mpl.rc_context():
        plots.use_course_style()
        figure = Figure(figsize=(13, 2 + 0.62 * frame["question"].nunique()))
        FigureCanvasAgg(figure)
        feedback.class_figure(frame, ax=figure.subplots())
        figure.savefig(path, dpi=120)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name[:80]}.part")
    part.write_bytes(data)
    part.replace(path)


def show(student: str) -> str:
    """A folder's name as text, whatever its bytes are."""
    return os.fsencode(student).decode("utf-8", "replace")


def file_name(student: str) -> str:
    """A name for files that every system takes; no two students have the same."""
    kept = "".join(
        letter if unicodedata.category(letter)[0] in "LMN" or letter in "-_." else "_" for letter in show(student)[:40]
    ).strip(".")
    if kept == student:
        return kept
    return f"{kept or '_'}-{hashlib.sha256(os.fsencode(student)).hexdigest()[:8]}"


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, and that a line of a table holds."""
    text = feedback.printable(show(text)).replace("\n", " ⏎ ")
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@＝＋－＠|%") or text[:1] == "\t" else text
