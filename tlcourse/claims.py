"""The ledger of what the course claims, and the check that holds each claim to what a run measured.

``claims.toml`` keeps one entry a claim: the sentence, where it was read, the notebook that shows it, the comparison
that decides it, and what to expect in each profile. A notebook ends with its claims::

    claims.check("ulmfit-fewer-labels", transfer_100=0.58, scratch_100=0.45)

prints the sentence, the figures and the verdict, and raises when the run contradicts the ledger. With
``TLCOURSE_RECORD`` set to a file, figures and tables are also kept there; ``RESULTS.md`` is written from that file.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VERDICTS = ("holds", "fails", "undecided")
PROFILES = ("smoke", "laptop", "gpu")
_started = time.perf_counter()


class ClaimError(AssertionError):
    """A run contradicts the ledger."""


@dataclass(frozen=True)
class Claim:
    """One claim of the course.

    Attributes:
        id: its name.
        sentence: what is claimed.
        source: where it was read.
        notebook: the notebook that measures it.
        test: the comparison that decides it, over the figures given to :func:`check`.
        expect: for each profile ``holds``, ``fails`` (a finding: it does not hold at this size) or
            ``undecided`` (differences within the noise, so nothing is asserted).
        data: the set that ``expect`` speaks of; the ``smoke`` profile always has the embedded one.
        published: what the source reports, for the results page.
        finding: what we found, where it is not simply that the claim holds.
    """

    id: str
    sentence: str
    source: str
    notebook: str
    test: str
    expect: Mapping[str, str]
    data: str = "truevoice"
    published: str = ""
    finding: str = ""

    def __post_init__(self):
        wrong = [v for v in self.expect.values() if v not in VERDICTS]
        if wrong or set(self.expect) != set(PROFILES):
            raise ValueError(f"claim {self.id}: expect needs {', '.join(PROFILES)}, each one of {', '.join(VERDICTS)}")


def load(path: Path | None = None) -> dict[str, Claim]:
    """The ledger, by id.

    Raises:
        ValueError: an entry is incomplete or has a field that no claim has.
    """
    text = path.read_text("utf-8") if path else resources.files("tlcourse").joinpath("claims.toml").read_text("utf-8")
    ledger = {}
    for name, entry in tomllib.loads(text).items():
        try:
            ledger[name] = Claim(id=name, **entry)
        except TypeError as error:
            raise ValueError(f"claims.toml, [{name}]: {error}") from None
    return ledger


def check(claim_id: str, *, on: str | None = None, **figures: float) -> None:
    """Decide a claim by the figures of this run, print it, and compare with what the ledger expects.

    Args:
        claim_id: the claim's name in ``claims.toml``.
        on: the data set of this run. Where it is not the one that the ledger speaks of, as when a laptop without a
            network falls back to the embedded sample, the figures are printed and nothing is asserted.
        figures: the measured numbers that its comparison names.

    Raises:
        KeyError: the ledger has no such claim, or a figure is missing.
        ValueError: a figure is not a number (nan), which no comparison can decide.
        ClaimError: the run contradicts the ledger.
    """
    from tlcourse import profile

    ledger = load()
    if claim_id not in ledger:
        raise KeyError(f"no claim {claim_id!r} in claims.toml; it has {', '.join(ledger)}")
    claim = ledger[claim_id]
    if missing := [name for name, value in figures.items() if math.isnan(value)]:
        raise ValueError(f"{claim_id}: nan was given for {', '.join(missing)}; no comparison can decide on it")
    holds = evaluate(claim.test, figures)
    where = profile.current().name
    elsewhere = on is not None and where != "smoke" and on != claim.data
    expected = "undecided" if elsewhere else claim.expect[where]
    print(f"{'✓' if holds else '✗'} {claim.sentence}")
    print(f"  {claim.test}:  " + ", ".join(f"{name} = {value:.3g}" for name, value in figures.items()))
    if elsewhere:
        print(f"  The ledger speaks of {claim.data}, this run used {on}: nothing is asserted.")
    elif expected == "undecided":
        print("  At this size the difference is within the noise: nothing is asserted.")
    if claim.finding:
        print(f"  {claim.finding}")
    if elsewhere:
        return
    _record("claims", claim_id, {"figures": {k: float(v) for k, v in figures.items()}, "holds": holds})
    if expected != "undecided" and holds != (expected == "holds"):
        raise ClaimError(
            f"{claim_id}: claims.toml expects that it {expected} in the {where} profile, and in this run it "
            f"{'holds' if holds else 'fails'}: {figures}"
        )


def report(title: str, table) -> None:
    """Keep a table (a pandas frame) of this run for the results page; show it in the notebook as usual."""
    rows = json.loads(table.to_json(orient="split", index=False, double_precision=6))
    _record("tables", title, {"columns": [str(c) for c in rows["columns"]], "rows": rows["data"]})


# ----------------------------------------------------------------------------------------------- the comparison
_COMPARISONS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def evaluate(test: str, figures: Mapping[str, float]) -> bool:
    """A comparison such as ``transfer_100 > scratch_100 + 0.02``: names, numbers, ``+ - * /``, ``< <= > >=``, ``and``.

    Raises:
        KeyError: a name has no figure.
        ValueError: anything else stands in the comparison, or nothing is compared.
    """

    def refuse(node: ast.AST) -> ValueError:
        return ValueError(f"«{test}»: {ast.unparse(node)!r} is not allowed in a comparison")

    def decide(node: ast.expr) -> bool:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                decided = [decide(part) for part in parts]  # all of them, so that a missing figure is always seen
                return all(decided)
            case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in _COMPARISONS for op in ops):
                operands = [number(left), *map(number, rights)]
                pairs = zip(ops, operands[:-1], operands[1:], strict=True)
                return all(_COMPARISONS[type(op)](a, b) for op, a, b in pairs)
        raise refuse(node)

    def number(node: ast.expr) -> float:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](number(left), number(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -number(operand)
            case ast.Constant(value=value) if type(value) in (int, float):
                return value
            case ast.Name(id=name):
                if name not in figures:
                    raise KeyError(f"the comparison «{test}» needs the figure {name!r}; given: {', '.join(figures)}")
                return figures[name]
        raise refuse(node)

    try:
        expression = ast.parse(test, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"«{test}» is no comparison: {error.msg}") from None
    return bool(decide(expression))


# --------------------------------------------------------------------------------------------------- the results
def _record(kind: str, name: str, what: dict) -> None:
    """Put one result into the file of ``TLCOURSE_RECORD``, under the current profile; nothing where it is not set."""
    target = os.environ.get("TLCOURSE_RECORD")
    if not target:
        return
    from tlcourse import profile

    p = profile.current()
    path = Path(target)
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept.setdefault(kind, {}).setdefault(name, {})[p.name] = what | {
        "device": profile.device_name(p.device),
        "minutes": round((time.perf_counter() - _started) / 60, 1),
        "memory_gib": round(_peak_memory(p.device) / 2**30, 1),
    }
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(kept, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _peak_memory(device: torch.device) -> int:
    """Peak bytes so far: of the GPU's memory on CUDA, else of this process, resident."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no resource module
        import psutil

        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def write_results(path: Path, measured: Path | None = None) -> Path:
    """Write ``RESULTS.md`` from the ledger and the recorded runs.

    Args:
        path: the page to write.
        measured: the file of recorded runs; the one beside the ledger when left out.
    """
    measured = measured or Path(str(resources.files("tlcourse").joinpath("measured.json")))
    runs = json.loads(measured.read_text("utf-8")) if measured.exists() else {}
    lines = [
        "# Results",
        "",
        "What the course claims, what the publications report, and what our runs measured. Made by",
        "`tlcourse claims results`; nothing here is written by hand. ✓ the comparison holds, ✗ it does not; in",
        "brackets what the ledger expects where that is not simply that it holds.",
        "",
    ]
    for claim in load().values():
        lines += [
            f"## {claim.sentence}",
            "",
            f"`{claim.id}`, from {claim.source}; shown in `{claim.notebook}`; decided by `{claim.test}`.",
            "",
        ]
        if claim.published:
            lines += [f"Published: {claim.published}", ""]
        if claim.finding:
            lines += [f"Finding: {claim.finding}", ""]
        lines += [
            "| profile | verdict | figures | device | minutes into the run | peak memory, GiB |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for name in PROFILES:
            run = runs.get("claims", {}).get(claim.id, {}).get(name)
            note = "" if claim.expect[name] == "holds" else f" ({claim.expect[name]})"
            if run is None:
                lines.append(f"| {name} | not run{note} | | | | |")
                continue
            figures = ", ".join(f"{k} = {v:.3f}" for k, v in run["figures"].items())
            mark = "✓" if run["holds"] else "✗"
            lines.append(
                f"| {name} | {mark}{note} | {figures} | {run['device']} | {run['minutes']} | {run['memory_gib']} |"
            )
        lines.append("")
    for title, by_profile in runs.get("tables", {}).items():
        for name, run in by_profile.items():
            lines += [f"## {title} ({name}, {run['device']})", ""]
            lines.append("| " + " | ".join(run["columns"]) + " |")
            lines.append("|" + " --- |" * len(run["columns"]))
            lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in run["rows"]]
            lines.append("")
    path.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    return path


def _cell(value) -> str:
    """A value of a table; an empty cell where the frame had nothing."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
