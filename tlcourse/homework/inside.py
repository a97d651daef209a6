"""What runs in the box: a student's cells, then the calls of the hidden tests; results leave as plain data.

This file is copied into the box by itself: it imports nothing of tlcourse, and knows nothing that is expected.
``python inside.py`` reads ``questions.json`` and writes ``ID.jsonl`` for each question: how it ended, which cells
failed, an answer a line. Each question has a process of its own, so whatever its code does, the next one is asked.
"""

import builtins
import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import torch

ADDED_SECONDS = 10
"""For the cells that a student added, all together; what is not done by then is left."""

ANSWER_BYTES, QUESTION_BYTES, PRINTED = 1 << 20, 4 << 20, 1 << 20
"""The most that an answer takes, all answers of a question take, and a question may print."""

OWN, EARLIER = "<your answer>", "<an earlier cell>"


class NoPackage(MetaPathFinder):
    """The course's own code cannot be imported: what is asked is to write it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "tlcourse":
            raise ImportError("tlcourse is not there when homework is graded: write it yourself")


class Printed:
    """Takes what is printed, up to a limit, and keeps nothing."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.left = PRINTED

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise OSError(f"more than {PRINTED:,} characters were printed")
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def answers(cells: list[str], probes: list[dict]) -> list[dict]:
    """Run cells, then each probe's code in what they made; each gives ``{"answer": …}`` or ``{"error": text}``."""
    return list(run(cells, probes))[1:]


def run(cells: list[str], probes: list[dict], *, added: Collection[int] = ()) -> Iterator[dict]:
    """``{"cells": errors}``, then what :func:`answers` gives, as soon as it is there.

    Args:
        cells: the last one is the answer.
        added: positions of the cells that the student added, which share `ADDED_SECONDS`.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown, **how: None}
    errors = []
    end = time.monotonic() + ADDED_SECONDS
    for position, cell in enumerate(cells):
        try:
            code = compile_cell(cell, OWN if position == len(cells) - 1 else EARLIER)
            if position in added:
                with_alarm(code, namespace, end)
            else:
                exec(code, namespace)
        except BaseException as error:  # a cell that fails costs what it would have made
            errors.append(explain(error))
    yield {"cells": errors}
    for probe in probes:
        try:
            local = dict(namespace) | decode(probe["arguments"])
            exec(compile(probe["code"], "<test>", "exec"), local)
            found = {"answer": encode(local["answer"])}
            if (size := len(json.dumps(found))) > ANSWER_BYTES:
                found = {"error": f"the result takes {size:,} bytes; {ANSWER_BYTES:,} are read"}
        except BaseException as error:
            found = {"error": explain(error)}
        yield found


def with_alarm(code, namespace: dict, end: float) -> None:
    """Run a cell that is interrupted when time is over."""

    def stop(*_):
        raise TimeoutError(f"cells that you added may take {ADDED_SECONDS} s; this one was interrupted")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(end - time.monotonic(), 0.001), 1)
    try:
        exec(code, namespace)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def explain(error: BaseException) -> str:
    """An error in words, with the last line of the student's that it went through."""
    try:
        text = f"{type(error).__name__}: {error}"[:500]
    except BaseException:  # an exception of the student's own, whose text cannot be had
        text = type(error).__name__
    line, trace = None, error.__traceback__
    while trace:
        if (file := trace.tb_frame.f_code.co_filename) in (OWN, EARLIER):
            line = f" (line {trace.tb_lineno} of {file[1:-1]})"
        trace = trace.tb_next
    return text + (line or "")


# ------------------------------------------------------------------------------------------------ IPython's syntax
PYTHON_MAGIC = re.compile(r"^(\s*)%{1,2}(?:time|timeit|capture|prun)\b(?:\s+-\S+)*[ \t]*")
MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w.]+\?{1,2}\s*)$")
ASSIGNED = re.compile(r"^(\s*[\w, ]+=)\s*[%!].*$")


def compile_cell(source: str, name: str):
    """A cell's code; magics and shell commands of IPython do nothing.

    Raises:
        SyntaxError: it is no Python without them either.
    """
    try:
        return compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:
        return compile(without_magics(source), name, "exec", dont_inherit=True)


def without_magics(source: str) -> str:
    """IPython's ``%magic``, ``!command`` and ``name?`` lines as lines that do nothing."""
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%") and not PYTHON_MAGIC.match(lines[first]):
        return ""  # a cell in another language
    if lines[first].startswith("%%"):
        lines[first] = ""
    for i, line in enumerate(lines):
        statement = PYTHON_MAGIC.sub(r"\1", line)
        lines[i] = ASSIGNED.sub(r"\1 None", MAGIC.sub(r"\1pass", statement if statement.strip() else line))
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- plain data
KINDS = {"bool": bool, "int": int, "float": float}
TYPES = {"bool": bool, "int": np.int64, "float": np.float64}


def encode(value: Any) -> Any:
    """Numbers, texts, lists, tuples, dicts, arrays and tensors as JSON; anything else is an error.

    Raises:
        TypeError: there is something else in it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    if isinstance(value, np.ndarray | np.generic):
        kind = {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(value.dtype.kind)
        if kind is None:
            raise TypeError(f"an array of {value.dtype} holds no numbers")
        numbers = value.astype(TYPES[kind]).ravel().tolist()
        flat = [repr(number) for number in numbers] if kind == "float" else numbers
        return {"array": kind, "shape": list(value.shape), "values": flat}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return {"float": repr(float(value))}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [encode(one) for one in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(one) for key, one in value.items()}}
    raise TypeError(f"a {type(value).__name__} is no number, text, list, tuple, dict, array or tensor")


def decode(value: Any, *, tensors: bool = True) -> Any:
    """The reverse; arrays as torch tensors, or as NumPy's. What :func:`encode` did not write raises any error."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        kind = value["array"]
        numbers = [KINDS[kind](number) for number in value["values"]]  # never an array of what came in
        array = np.array(numbers, dtype=TYPES[kind]).reshape(value["shape"])
        if not tensors:
            return array
        return torch.from_numpy(array).float() if kind == "float" else torch.from_numpy(array)
    if "float" in value:
        return float(value["float"])
    if "dict" in value:
        return {key: decode(one, tensors=tensors) for key, one in value["dict"].items()}
    (kind,) = value
    return {"tuple": tuple, "list": list}[kind](decode(one, tensors=tensors) for one in value[kind])


# ------------------------------------------------------------------------------------------------------- processes
def main() -> None:
    """Ask every question of ``questions.json``, one after the other."""
    torch.set_num_threads(1)
    sys.meta_path.insert(0, NoPackage())
    adopt_orphans()
    folder = Path.cwd()
    questions = json.loads((folder / "questions.json").read_bytes())
    keep = {*folder.iterdir()}
    for question in questions:
        scratch = tempfile.mkdtemp(dir=folder)
        ended, found = ask(question, scratch)
        alone = end_children()
        for path in {*folder.iterdir()} - keep:  # what its code left there takes no room from the next
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        result = folder / f"{question['id']}.jsonl"
        result.write_bytes(json.dumps({"ended": ended}).encode() + b"\n" + found)
        keep.add(result)
        if not alone:  # the judge asks what is left in another box
            sys.exit("processes that a question left behind cannot be ended")


def ask(question: dict, scratch: str) -> tuple[str, bytes]:
    """Run one question in a process of its own.

    Returns:
        ``"exit N"``, ``"signal N"``, ``"time"`` or ``"size"``; and the lines it sent until then.
    """
    seconds = question["seconds"] + (ADDED_SECONDS if question["added"] else 0)
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        be_asked(question, scratch, writer)
    os.close(writer)
    try:
        return listen(child, reader, time.monotonic() + seconds)
    finally:
        os.close(reader)


def be_asked(question: dict, scratch: str, writer: int) -> None:
    """The child's part: its output goes nowhere, its answers into the pipe."""
    try:
        os.setsid()
        os.nice(5)  # however many there will be, who ends them has his turn
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        sys.stdout = sys.stderr = Printed()
        os.chdir(scratch)
        tempfile.tempdir = os.environ["TMPDIR"] = scratch
        builtins.input = lambda prompt="": ""
        for found in run(question["cells"], question["probes"], added=question["added"]):
            line = json.dumps(found).encode() + b"\n"
            while line:
                line = line[os.write(writer, line) :]
    finally:
        os._exit(0)


def listen(child: int, reader: int, end: float) -> tuple[str, bytes]:
    """What a child sends until it ends, is too late or says too much; its group is ended then."""
    found, status = bytearray(), None
    ended = ""
    while not ended:
        if status is None:
            over, code = os.waitpid(child, os.WNOHANG)
            status = code if over else None
        ready, _, _ = select.select([reader], [], [], 0 if status is not None else 0.02)
        said = os.read(reader, 1 << 16) if ready else b""
        found += said
        if len(found) > QUESTION_BYTES:
            ended = "size"
        elif time.monotonic() > end:
            ended = "time"
        elif status is not None and not said:
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        elif ready and not said:  # it closed the pipe, and lives on
            time.sleep(0.02)
    with contextlib.suppress(OSError):  # nobody is left of the group
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.kill(child, signal.SIGKILL)  # it had no group yet
        os.waitpid(child, 0)
    return ended, bytes(found[:QUESTION_BYTES])


def adopt_orphans() -> None:
    """Make every process that outlives its parent a child of this one, where the system can (Linux)."""
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def end_children() -> bool:
    """End what a question left running outside its group; False if new ones come as quickly as they are ended."""
    end = time.monotonic() + 5
    while found := children():
        for child in found:
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > end:
            return False
    return True


def children() -> list[int]:
    """The processes whose parent this one is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
        except (OSError, IndexError):  # it ended meanwhile
            continue
        if int(parent) == os.getpid():
            found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    main()
