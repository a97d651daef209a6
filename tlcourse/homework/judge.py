"""From a submission's file to a verdict on each question.

A submission is read as data; its code runs in a box (:mod:`tlcourse.homework.box`) by :mod:`tlcourse.homework.inside`,
and what leaves the box is read as data, too: nothing of it is executed or unpickled here. Locked cells are taken from
the author's notebook, never from the student's.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlcourse.homework import inside
from tlcourse.homework.assignments import Cell, Homework, digest, mapping, read_cell, text
from tlcourse.homework.box import Box, Limits
from tlcourse.homework.questions import Probe, Question, Written

MOST_BYTES = 30 << 20
"""Of a submission; pictures in its outputs make most of it."""

OUTPUT_BYTES = 32 << 20
START_SECONDS = 60
"""For starting Python and importing torch, on a machine that is busy."""

ACCEPTED, REJECTED, NOT_ANSWERED, BY_HAND = "accepted", "rejected", "not answered", "by hand"
CELL_MISSING, IMPORTS_TLCOURSE, NOT_HANDED_IN = "cell missing", "imports tlcourse", "not handed in"
OUT_OF_TIME, OUT_OF_MEMORY, TOO_MUCH_OUTPUT, ENDED = "out of time", "out of memory", "too much output", "ended early"
UNREADABLE, NOT_JUDGED = "unreadable", "not judged"
VERDICTS = (
    ACCEPTED, REJECTED, NOT_ANSWERED, BY_HAND, CELL_MISSING, IMPORTS_TLCOURSE, NOT_HANDED_IN, OUT_OF_TIME,
    OUT_OF_MEMORY, TOO_MUCH_OUTPUT, ENDED, UNREADABLE, NOT_JUDGED,
)  # fmt: skip


class Unreadable(ValueError):
    """A submission that is no notebook."""


@dataclass(frozen=True)
class Result:
    """What became of one question.

    Attributes:
        score: None as long as nobody has given one.
        verdict: one of `VERDICTS`.
        failed: names of hidden tests, each with the reason.
        note: what else the student should know.
        answer: the text of a written one.
    """

    question: str
    title: str
    points: float
    score: float | None
    verdict: str
    failed: tuple[tuple[str, str], ...] = ()
    note: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Report:
    """What became of a submission: notes on the whole, and a result a question."""

    assignment: str
    notes: tuple[str, ...]
    results: tuple[Result, ...]

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping) -> Report:
        results = [
            Result(**one | {"failed": tuple(map(tuple, one["failed"]))})  # JSON knows no tuples
            for one in data["results"]
        ]
        return cls(data["assignment"], tuple(data["notes"]), tuple(results))


def judge(data: bytes, homework: Homework, *, box: Box, seed: int, released: Mapping[str, str], term: str) -> Report:
    """Judge a submission.

    Args:
        data: the notebook's file as it came.
        seed: of the term.
        released: digests of the cells as the students got them, by id.
        term: that the key is of.
    """
    try:
        cells, given = read(data)
    except Unreadable as error:
        return nothing(homework, UNREADABLE, str(error))
    assignment = homework.assignment
    notes = remarks(cells, homework, released)
    if given and given != term:
        notes.append(f"This notebook was given out in the term {given}; it is graded by the tests of {term}.")
    results, asked = {}, {}
    for question in assignment.questions:
        plan = Plan.of(question, cells, homework, released)
        if plan.verdict:
            results[question.id] = result(question, 0.0, plan.verdict, note=plan.note)
        else:
            asked[question.id] = question, plan, draw(question, seed)
    found = ask(box, [plan.item(question, probes) for question, plan, probes in asked.values()])
    for name, (question, plan, probes) in asked.items():
        decided = decide(question, probes, found[name])
        results[name] = replace(decided, note=" ".join(filter(None, (plan.note, decided.note))))
    for written in assignment.written:
        texts = [cell.source for cell in cells if cell.id == written.id]
        unchanged = all(digest(one) == released.get(written.id) for one in texts)
        verdict = CELL_MISSING if not texts else NOT_ANSWERED if unchanged else BY_HAND
        score = None if verdict == BY_HAND else 0.0
        answer = "\n\n".join(texts) if verdict == BY_HAND else ""
        results[written.id] = result(written, score, verdict, answer=answer)
    in_order = (results[one.id] for one in (*assignment.questions, *assignment.written))
    return Report(assignment.name, tuple(notes), tuple(in_order))


def nothing(homework: Homework, verdict: str, note: str = "") -> Report:
    """The report on what there is nothing of: no points, or, where we failed, no score at all."""
    score = None if verdict == NOT_JUDGED else 0.0
    assignment = homework.assignment
    questions = (*assignment.questions, *assignment.written)
    results = [result(one, score, verdict) for one in questions]
    return Report(assignment.name, (note,) if note else (), tuple(results))


def result(question: Question | Written, score: float | None, verdict: str, **more: Any) -> Result:
    """A result of a question."""
    return Result(question.id, question.title, question.points, score, verdict, **more)


# --------------------------------------------------------------------------------------------------- the notebook
def read(data: bytes) -> tuple[list[Cell], str]:
    """The cells of a submission and the term it names.

    Raises:
        Unreadable: it is no notebook of a size and form that is read.
    """
    if len(data) > MOST_BYTES:
        raise Unreadable(f"The file is too large: up to {MOST_BYTES / 1e6:.0f} MB are read.")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"The file is no notebook: {str(error)[:200]}.") from error
    cells = mapping(notebook).get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise Unreadable("The file is no notebook of format 4: it has no list of cells.")
    term = text(mapping(mapping(mapping(notebook).get("metadata")).get("tlcourse")).get("term"))
    return [read_cell(cell) for cell in cells], term[:40]


def remarks(cells: Sequence[Cell], homework: Homework, released: Mapping[str, str]) -> list[str]:
    """What happened to the cells that were given out."""
    count = Counter(cell.id for cell in cells)
    answers = {question.id for question in homework.assignment.questions}
    notes = [
        f"Cell {name} is there {count[name]} times; {'all were run, in order' if name in answers else 'one is needed'}."
        for name in released
        if count[name] > 1
    ]
    for cell in homework.cells:
        if not (cell.locked and cell.code and cell.id in released):
            continue
        copies = [one for one in cells if one.id == cell.id]
        if not copies:
            notes.append(f"The locked cell {cell.id} was deleted; the original was used.")
        elif any(one.digest != released[cell.id] for one in copies):
            notes.append(f"The locked cell {cell.id} was edited; the original was used.")
    return notes


@dataclass(frozen=True)
class Plan:
    """What is run for a question, or the verdict that stands without running anything."""

    cells: tuple[str, ...] = ()
    added: tuple[int, ...] = ()
    verdict: str = ""
    note: str = ""

    @classmethod
    def of(cls, question: Question, cells: Sequence[Cell], homework: Homework, released: Mapping[str, str]) -> Plan:
        """Setup cells of the author's; then, in the student's order, added cells, needed answers and the answer."""

        def written(name: str) -> list[int]:
            places = [place for place, cell in enumerate(cells) if cell.id == name]
            return [place for place in places if cells[place].digest != released.get(name)]

        if not any(cell.id == question.id for cell in cells):
            return cls(verdict=CELL_MISSING, note=f"There is no cell with the id {question.id}: it was deleted.")
        if not (own := written(question.id)):
            return cls(verdict=NOT_ANSWERED)
        needed = {place for name in question.needs for place in written(name)} | {*own}
        known = {cell.id for cell in homework.cells}
        kept = {cell.digest for cell in homework.cells} | {*released.values()}
        chosen, added = list(homework.setup), []
        for place, cell in enumerate(cells[: own[-1]]):
            if place in needed:
                chosen.append(cell.source)
            elif cell.code and cell.source.strip() and cell.id not in known and cell.digest not in kept:
                added.append(len(chosen))
                chosen.append(cell.source)
        late = [name for name in question.needs if any(place > own[-1] for place in written(name))]
        chosen += [cells[place].source for name in late for place in written(name) if place > own[-1]]
        chosen.append(cells[own[-1]].source)
        missing = [name for name in question.needs if not written(name)]
        note = f"It builds on {', '.join(missing)}, which has no answer." if missing else ""
        if not cells[own[-1]].code:
            note = f"The cell {question.id} is no code cell any more. {note}".strip()
        return cls(tuple(chosen), tuple(added), note=note)

    def item(self, question: Question, probes: Sequence[Probe]) -> dict:
        """What goes into the box."""
        return question_item(question.id, self.cells, probes, seconds=question.seconds, added=self.added)


# ---------------------------------------------------------------------------------------------------- in the box
def draw(question: Question, seed: int) -> list[Probe]:
    """The hidden tests of a term."""
    return question.probes(np.random.default_rng([seed, zlib.crc32(question.id.encode())]))


def question_item(
    name: str, cells: Sequence[str], probes: Sequence[Probe], *, seconds: float, added: Sequence[int] = ()
) -> dict:
    """One entry of the box's ``questions.json``."""
    calls = [{"code": probe.code, "arguments": inside.encode(dict(probe.arguments))} for probe in probes]
    return {"id": name, "cells": list(cells), "added": list(added), "probes": calls, "seconds": seconds}


@dataclass(frozen=True)
class Found:
    """What came out of the box for a question.

    Attributes:
        ended: ``"exit N"``, ``"signal N"``, ``"time"``, ``"size"``, ``"forged"``, or what the box was stopped for.
        cells: errors of the cells.
        answers: of the probes, as far as it came: ``{"answer": …}`` or ``{"error": text}``.
    """

    ended: str
    cells: tuple[str, ...] = ()
    answers: tuple[dict, ...] = ()


def ask(box: Box, items: Sequence[dict]) -> dict[str, Found]:
    """Run the questions in the box, once unless one of them ends it.

    A question that ends the whole box costs itself only: the others are asked again without it.
    """
    found: dict[str, Found] = {}
    pending = list(items)
    program = Path(inside.__file__).read_bytes()
    while pending:
        seconds = START_SECONDS + sum(item["seconds"] + inside.ADDED_SECONDS for item in pending)
        outcome = box.run(
            ["python", "inside.py"],
            {"inside.py": program, "questions.json": json.dumps(pending).encode()},
            limits=Limits(seconds=seconds, output=OUTPUT_BYTES),
        )
        there = {item["id"]: outcome.files.get(f"{item['id']}.jsonl") for item in pending}
        found |= {name: read_answers(data) for name, data in there.items() if data is not None}
        left = [item for item in pending if there[item["id"]] is None]
        if len(left) == len(pending):  # the first one's doing
            found[left[0]["id"]] = Found(outcome.stopped or f"exit {outcome.code}")
            left = left[1:]
        pending = left
    return found


def read_answers(data: bytes) -> Found:
    """What a file from the box says; of a line that says something else, and of what follows, nothing is taken."""
    ended, cells, answers = "exit 0", (), []
    for number, line in enumerate(data.split(b"\n")):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError, MemoryError):
            break
        said = mapping(said)
        if number == 0:
            ended = text(said.get("ended"))[:40]
        elif number == 1:
            errors = said.get("cells")
            cells = tuple(text(one)[:600] for one in errors) if isinstance(errors, list) else ()
        elif "answer" in said or isinstance(said.get("error"), str):
            answers.append(said)
        else:  # inside.py writes no such line
            ended = "forged"
            break
    return Found(ended, cells, tuple(answers))


# ------------------------------------------------------------------------------------------------------ decisions
def decide(question: Question, probes: Sequence[Probe], found: Found) -> Result:
    """Accept or reject what came out of the box."""
    failed = []
    for probe, said in zip(probes, found.answers, strict=False):
        reason = text(said["error"])[:600] if "error" in said else wrong(probe, said["answer"])
        if reason is not None:
            failed.append((probe.test, reason))
    verdict = REJECTED if failed else ACCEPTED
    if len(found.answers) < len(probes):
        verdict, reason = how_it_ended(found.ended, question.seconds)
        failed.append((probes[len(found.answers)].test, reason))
    said = " ".join(reason for _, reason in failed) + " ".join(found.cells)
    if verdict == REJECTED:
        if "tlcourse is not there" in said or "No module named 'tlcourse" in said:
            verdict = IMPORTS_TLCOURSE
        elif "MemoryError" in said or "can't allocate memory" in said:
            verdict = OUT_OF_MEMORY
        elif any(text in said for text in ("characters were printed", "the result takes", "No space left on device")):
            verdict = TOO_MUCH_OUTPUT
    note = ""
    if failed and found.cells:
        note = f"Before the tests, this went wrong: {'; '.join(found.cells[-3:])}."
    if len(found.answers) > len(probes):
        note = f"More results came out than there are tests: its code wrote some itself. {note}".strip()
    score = float(question.points) if verdict == ACCEPTED else 0.0
    return result(question, score, verdict, failed=tuple(failed), note=note)


def wrong(probe: Probe, answer: Any) -> str | None:
    """Why an answer is not accepted, or None; an answer that cannot be read is not accepted."""
    try:
        reason = probe.accept(inside.decode(answer, tensors=False))
    except Exception as error:  # of anything that a student's process may have sent
        return f"the result is not of the kind asked for ({type(error).__name__})"
    return None if reason is None else str(reason)


def how_it_ended(ended: str, seconds: float) -> tuple[str, str]:
    """A verdict and a reason for a process that did not answer everything."""
    kind, _, number = ended.partition(" ")
    if kind == "time":
        return OUT_OF_TIME, f"not done after {seconds:g} s"
    if kind == "memory" or ended == "signal 9":
        return OUT_OF_MEMORY, "its process was killed, as happens when memory runs out"
    if kind == "size":
        return TOO_MUCH_OUTPUT, "the results are too large"
    if kind == "forged":
        return ENDED, "something else than results came out of its process: its code wrote there itself"
    if kind == "signal":
        return ENDED, f"its process crashed (signal {number})"
    if kind == "exit":
        return ENDED, f"its process ended without a result (exit code {number})"
    return ENDED, f"the box was stopped: {ended or 'for an unknown reason'}"
