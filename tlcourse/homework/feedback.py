"""What grading tells: a page for each student, and one picture of the class.

All that a student wrote is text here, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from tlcourse.homework import judge
from tlcourse.homework.judge import Report, Result
from tlcourse.homework.questions import Assignment

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

IN_WORDS = {
    judge.ACCEPTED: "All hidden tests accept it.",
    judge.REJECTED: "Hidden tests reject it.",
    judge.NOT_ANSWERED: "The cell is as it was given out.",
    judge.BY_HAND: "Graded by hand.",
    judge.CELL_MISSING: "Its cell is not in the notebook.",
    judge.IMPORTS_TLCOURSE: "It needs the course's package, which is not there when homework is graded.",
    judge.NOT_HANDED_IN: "No notebook was handed in.",
    judge.OUT_OF_TIME: "It takes too long.",
    judge.OUT_OF_MEMORY: "It takes too much memory.",
    judge.TOO_MUCH_OUTPUT: "It puts out too much.",
    judge.ENDED: "Its process ended before the tests were done.",
    judge.UNREADABLE: "The file cannot be read as a notebook.",
    judge.NOT_JUDGED: "Grading failed, through no fault of yours; it will be repeated.",
}

STYLE = """
body { font: 18px/1.5 system-ui, "Noto Sans Thai", sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 2px solid #ddd }
h3 { font-size: 1.05em; margin: 1.4em 0 0 } p { margin: .3em 0 } li { margin: .2em 0 }
.score { float: right; font-variant-numeric: tabular-nums } .full { color: #00704f } .less { color: #b34700 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .6em; font-size: .85em }
td, th { text-align: left; padding: .1em 1em .1em 0 } .reason { overflow-wrap: anywhere }
"""


def page(student: str, reports: Sequence[Report], assignments: Mapping[str, Assignment], *, term: str) -> str:
    """A student's page as HTML that loads nothing and runs nothing.

    Args:
        reports: of the assignments that were graded.
        assignments: their keys, for titles and rubrics.
    """
    parts = [_assignment(report, assignments[report.assignment]) for report in reports]
    name = escape(printable(student))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Homework of {name}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n<h1>Homework of <bdi>{name}</bdi>, term {escape(term)}</h1>\n{''.join(parts)}</body></html>\n"
    )


def _assignment(report: Report, assignment: Assignment) -> str:
    results = report.results
    got = sum(one.score or 0 for one in results)
    points = sum(one.points for one in results)
    title = f'<h2>{escape(assignment.title)} <span class="score">{got:g} of {points:g}</span></h2>\n'
    open_ = sum(one.points for one in results if one.score is None)
    waiting = f"<p>{open_:g} points are not given yet.</p>\n" if open_ else ""
    notes = "".join(f"<p>{escape(printable(note))}</p>\n" for note in report.notes)
    rubrics = {written.id: written.rubric for written in assignment.written}
    return title + waiting + notes + "".join(_question(one, rubrics.get(one.question)) for one in results)


def _question(result: Result, rubric: Mapping[str, float] | None) -> str:
    score = "–" if result.score is None else f"{result.score:g}"
    kind = "full" if result.score == result.points else "less"
    lines = [
        f'<h3>{escape(result.title)} <span class="score {kind}">{score} of {result.points:g}</span></h3>',
        f"<p>{IN_WORDS[result.verdict]}</p>",
    ]
    if result.failed:
        tests = (
            f'<li><b>{escape(test)}</b>: <span class="reason">{escape(printable(why))}</span></li>'
            for test, why in result.failed
        )
        lines.append(f"<ul>{''.join(tests)}</ul>")
    if result.note:
        lines.append(f'<p class="reason">{escape(printable(result.note))}</p>')
    if rubric:
        rows = (f"<tr><td>{escape(what)}</td><td>{points:g}</td></tr>" for what, points in rubric.items())
        lines.append(f"<table><tr><th>What is asked for</th><th>points</th></tr>{''.join(rows)}</table>")
    if result.answer:
        lines.append(f"<pre>{escape(printable(result.answer[:20_000]))}</pre>")
    return "\n".join(lines) + "\n"


def printable(text: str) -> str:
    """A text without what moves a terminal's cursor, turns the direction of writing, or is no letter."""
    turns = {*map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])}
    return "".join(
        "�" if letter in turns or (ord(letter) < 32 and letter not in "\n\t") or 0x7F <= ord(letter) < 0xA0 else letter
        for letter in text.encode("utf-8", "replace").decode("utf-8")
    )


# ------------------------------------------------------------------------------------------------------- the class
def class_figure(scores: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How each question went, a bar a question: accepted, rejected, not run through, not answered, not handed in.

    Args:
        scores: the table of :func:`tlcourse.homework.grade.table`.
    """
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    from tlcourse import plots

    stopped = {*judge.VERDICTS} - {
        judge.ACCEPTED, judge.REJECTED, judge.BY_HAND, judge.NOT_ANSWERED, judge.CELL_MISSING, judge.NOT_HANDED_IN,
        judge.NOT_JUDGED,
    }  # fmt: skip
    groups = {
        "accepted": ({judge.ACCEPTED}, plots.GREEN),
        "by hand": ({judge.BY_HAND}, plots.SKY),
        "rejected": ({judge.REJECTED}, plots.ORANGE),
        "did not run through": (stopped, plots.RED),
        "no answer": ({judge.NOT_ANSWERED, judge.CELL_MISSING}, plots.GREY),
        "not handed in": ({judge.NOT_HANDED_IN, judge.NOT_JUDGED}, "#d0d0d0"),
    }
    questions = scores[["assignment", "question", "title"]].drop_duplicates()
    if ax is None:
        ax = plt.subplots(figsize=(13, 1.8 + 0.62 * len(questions)))[1]
    rows = range(len(questions))
    left = [0] * len(questions)
    counts = scores.groupby(["question", "verdict"]).size()
    for label, (verdicts, colour) in groups.items():
        width = [sum(counts.get((name, verdict), 0) for verdict in verdicts) for name in questions["question"]]
        if any(width):
            bars = ax.barh(rows, width, left=left, color=colour, label=label, height=0.72)
            ax.bar_label(bars, [str(n) if n else "" for n in width], label_type="center", fontsize=16)
        left = [a + b for a, b in zip(left, width, strict=True)]
    ax.set_yticks(rows, list(questions["title"]), fontsize=17, parse_math=False)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(axis="x", labelsize=16)
    ax.set_xlabel("students", fontsize=18)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, fontsize=16, ncols=3, loc="lower center", bbox_to_anchor=(0.45, 1))
    return ax
