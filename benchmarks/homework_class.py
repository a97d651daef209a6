"""A class of sixty hands in homework, and not all of it in good faith: what grading makes of that.

    python benchmarks/homework_class.py [--assignment hw1_word_vectors ...] [--seed 0] [--keep FOLDER]

Of each assignment sixty notebooks are made: right ones in many forms, parts of them, wrong solutions of the key, and
every attack twice. A term is released, the class is graded by the command in this machine's box, and the scores are
compared with what they should be. Ends with 1 if anything differs, or if anything is left of it.
"""

import argparse
import ast
import copy
import csv
import ctypes
import hashlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlcourse.homework import assignments, grade
from tlcourse.homework.assignments import Homework
from tlcourse.homework.box import find_box
from tlcourse.homework.questions import HARD_CODED, PACKAGE
from tlcourse.homework.release import TermKey

TERM = "2027-1"
FIRST = (
    "สมหญิง", "ณัฐวุฒิ", "ปิยะดา", "กฤษณ์", "พิมพ์ชนก", "ธนภัทร", "อรอุมา", "ชัชชญา", "Nok (นก)", "Ann-Kathrin", "José",
    "Seán", "'; DROP TABLE students", "=SUM(A1)", "Đỗ", "n̂p", "🐘", "a&b <i>",
)  # fmt: skip
LAST = ("ใจดี", "ศรีสุข", "ทองคำ", "แก้วมณี", "เพชรน้ำหนึ่ง", "O'Neil", "Müller", "de la Cruz", "64070501", "x" * 60)


# ------------------------------------------------------------------------------------------------------- submissions
@dataclass
class Notebook:
    """What a student does with the notebook that was given out."""

    homework: Homework
    released: dict
    data: dict = field(init=False)

    def __post_init__(self) -> None:
        self.data = copy.deepcopy(self.released)

    def cell(self, name: str) -> dict:
        return next(cell for cell in self.data["cells"] if cell.get("id") == name)

    def tests(self, name: str) -> dict:
        """The first cell of public tests below an answer."""
        below = self.data["cells"][self.data["cells"].index(self.cell(name)) :]
        return next(cell for cell in below if "public-tests" in cell["metadata"].get("tags", []))

    def insert(self, name: str, *cells: dict) -> None:
        """Put cells before one."""
        place = self.data["cells"].index(self.cell(name))
        self.data["cells"][place:place] = cells

    def answer(self, **sources: str) -> None:
        for name, source in sources.items():
            self.cell(name)["source"] = source

    def names(self, question: str) -> list[str]:
        """The functions and classes that an answer makes."""
        made = ast.parse(self.homework.solutions[question]).body
        return [one.name for one in made if isinstance(one, ast.FunctionDef | ast.ClassDef)]


@dataclass
class Student:
    """A submission and what should become of it.

    Attributes:
        name: of the folder.
        kind: what the student does.
        attacked: the question that it is about, if there is one.
        expected: score by question; None waits for a hand.
        what: by question, how its answer was made.
        named: what the feedback must say of the attacked question, or of the whole.
        write: puts the file there.
    """

    name: str
    kind: str
    expected: dict[str, float | None]
    what: dict[str, str]
    write: Callable[[Path], object]
    attacked: str = ""
    named: str = ""


def code(source: str) -> dict:
    """A cell that a student added."""
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": None, "outputs": []}


# A right answer in many forms: each must have its points.
def without_ids(notebook: Notebook) -> None:
    for cell in notebook.data["cells"]:
        cell.pop("id", None)


def without_nbgrader(notebook: Notebook) -> None:
    for cell in notebook.data["cells"]:
        cell["metadata"].pop("nbgrader", None)


def upside_down(notebook: Notebook) -> None:
    notebook.data["cells"].reverse()


def other_line_ends(notebook: Notebook) -> None:
    for cell in notebook.data["cells"]:
        cell["source"] = [f"{line}  \r\n" for line in "".join(cell["source"]).split("\n")]


def with_own_cells(notebook: Notebook) -> None:
    first = notebook.homework.assignment.questions[0].id
    own = ["%matplotlib inline\n!pip install pandas", "x = 1\nx?", "1 / 0", "%%html\n<b>ไทย</b>", "def helper(: pass"]
    notebook.insert(first, *map(code, own))


def with_pictures(notebook: Notebook) -> None:
    picture = {"output_type": "display_data", "data": {"image/png": "A" * 4_000_000}, "metadata": {}}
    for question in notebook.homework.assignment.questions[:3]:
        notebook.cell(question.id)["outputs"] = [picture]


def answered_below(notebook: Notebook) -> None:
    """Two cells with the same id: the stub, and the answer."""
    first = notebook.homework.assignment.questions[0].id
    stub = next(cell for cell in notebook.released["cells"] if cell.get("id") == first)
    notebook.insert(first, copy.deepcopy(stub))


FORMS = (None, without_ids, without_nbgrader, upside_down, other_line_ends, with_own_cells, with_pictures)
FORMS += (answered_below, None)

# ---------------------------------------------------------------------------------------------------------- attacks
# Below a wrong answer stands an attack's code. What it calls `attack` takes the place of all the answer's functions.
REJECTED = "^rejected"
CODE = {
    "patched asserts": (
        """
import builtins, unittest, numpy, torch, numpy.testing
yes = lambda *given, **named: True
for module in (numpy.testing, torch.testing):
    for name in dir(module):
        if name.startswith("assert_"):
            setattr(module, name, yes)
numpy.allclose = numpy.array_equal = numpy.isclose = torch.allclose = torch.equal = torch.isclose = yes
builtins.AssertionError = type("AssertionError", (Exception,), {"__init__": yes})
unittest.TestCase.assertEqual = yes
""",
        REJECTED,
        """
import builtins, json, sys
yes = lambda *given, **named: True
main = sys.modules["__main__"]
for name in ("encode", "decode", "explain", "answers"):
    setattr(main, name, yes)
json.dumps = lambda *given, **named: '{"answer": true, "score": 100, "verdict": "accepted"}'
builtins.all = builtins.any = builtins.isinstance = yes
""",
        "rejected|ended early",
    ),
    "always equal": (
        """
class Equal:
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __le__ = __ge__ = __eq__
    __hash__ = object.__hash__
    def __getattr__(self, name): return lambda *given, **named: self
    def __iter__(self): return iter([self])
    def __len__(self): return 1
def attack(*given, **named): return Equal()
""",
        REJECTED,
        """
import numpy as np
class Number(float):
    __eq__ = __le__ = __ge__ = lambda self, other: True
    __ne__ = __lt__ = __gt__ = lambda self, other: False
    def __repr__(self): return "1e999"
    __hash__ = float.__hash__
class Array(np.ndarray):
    def __eq__(self, other): return True
    def __array_function__(self, *given): return True
def attack(*given, **named): return [Number(), np.zeros(3).view(Array)]
""",
        REJECTED,
    ),
    "os._exit": (
        "import os\nos._exit(0)",
        r"ended early.*exit code 0",
        "import os, signal\ndef attack(*given, **named): os.kill(os.getpid(), signal.SIGSEGV)",
        r"ended early.*signal 11",
    ),
    "endless loop": (
        "while True:\n    pass",
        "^out of time",
        """
import signal
def attack(*given, **named):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
        "^out of time",
    ),
    "fork bomb": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "out of time|ended early|rejected.*Resource temporarily unavailable",
        """
import os, subprocess, sys, time
def attack(*given, **named):
    again = "import os, time\\nwhile True:\\n    try: os.fork() or os.setsid()\\n    except OSError: time.sleep(.01)"
    for _ in range(5):
        subprocess.Popen([sys.executable, "-c", again], start_new_session=True)
    time.sleep(2)
    return 1
""",
        "rejected|out of time|ended early",
    ),
    "memory bomb": (
        "taken = []\nwhile True:\n    taken.append(bytearray(b'x') * (64 << 20))",
        "out of memory",
        """
import mmap, os
def attack(*given, **named):
    for _ in range(8):
        os.fork()
    taken = [mmap.mmap(-1, 32 << 20) for _ in range(1000)]
    for one in taken:
        one.write(b"x" * len(one))
""",
        "out of memory|out of time|Resource temporarily unavailable",
    ),
    "giant output": (
        "def attack(*given, **named):\n    while True:\n        print('ยาว' * 100_000)",
        "too much output.*characters were printed",
        "def attack(*given, **named):\n    with open('large', 'wb') as file:\n        while True:\n"
        "            file.write(bytes(1 << 20))",
        "No space left|File too large|ended early.*signal 25",
    ),
    "giant answer": (
        "def attack(*given, **named): return list(range(10_000_000))",
        "too much output|out of time|out of memory",
        "import torch\ndef attack(*given, **named): return torch.zeros(1).expand(10**9)",
        "too much output|out of memory",
    ),
    "reads the key": (
        """
import os
def attack(*given, **named):
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if name not in ("proc", "site-packages", "lib")]
        found += [f"{folder}/{name}" for name in (*folders, *files) if any(word in name for word in SECRETS)]
    raise LookupError(f"{len(found)} secrets found: {found}")
""",
        "rejected.*LookupError: 0 secrets found",
        """
import glob, os
def attack(*given, **named):
    found, paths = [], [*PATHS]
    for path in PATHS:
        paths += [f"/proc/1/root{path}", f"/proc/{os.getppid()}/root{path}", f"/proc/self/cwd/../../..{path}"]
    for path in (*paths, *glob.glob("/proc/[0-9]*/environ")):
        try: found.append(path if os.path.isdir(path) else open(path, "rb").read(200))
        except OSError: continue
    found = [one for one in found if any(word in str(one) for word in (*SECRETS, "TLCOURSE"))]
    raise LookupError(f"{len(found)} secrets found: {found}")
""",
        "rejected.*LookupError: 0 secrets found",
    ),
    "writes its scores": (
        """
import glob, json, os
good = [{"ended": "exit 0", "score": 100}, {"cells": []}, *[{"answer": True, "accepted": True, "score": 100}] * 50]
good = "\\n".join(map(json.dumps, good)).encode()
for number in range(3, 64):
    try: os.write(number, good)
    except OSError: pass
for name in ("../QUESTION.jsonl", "../scores.csv", "scores.csv", "/tmp/scores.csv", "../report.json"):
    with open(name, "wb") as file: file.write(good)
def attack(*given, **named): return {"score": 100, "verdict": "accepted"}
""",
        "ended early.*its code wrote there itself",
        """
import json, os, signal
good = [{"ended": "exit 0"}, {"cells": []}, *[{"answer": True, "accepted": True, "score": 100}] * 50]
with open("../QUESTION.jsonl", "w") as file: file.write("\\n".join(map(json.dumps, good)))
os.kill(os.getppid(), signal.SIGKILL)
os.kill(-1, signal.SIGKILL)
""",
        "rejected.*its code wrote some itself",
    ),
    "imports tlcourse": (
        "import builtins, importlib, sys\nsys.meta_path[:] = [one for one in sys.meta_path if 'NoPackage' not in "
        "type(one).__name__]\nimportlib.invalidate_caches()\nPACKAGE",
        "imports tlcourse",
        "import sys\nsys.meta_path[:] = [one for one in sys.meta_path if 'NoPackage' not in type(one).__name__]\n"
        "sys.path[:0] = [*PATHS, '/usr/lib/python3/dist-packages']\nPACKAGE",
        "imports tlcourse",
    ),
    "calls home": (
        "import socket\ndef attack(*given, **named): return socket.create_connection(('127.0.0.1', PORT), 3)",
        "rejected.*(Network is unreachable|Connection refused)",
        "import urllib.request\ndef attack(*given, **named): "
        "return urllib.request.urlopen('http://192.0.2.1:PORT/solution', timeout=3).read()",
        "rejected.*(unreachable|Connection refused)",
    ),
}


def deleted_tests(notebook: Notebook, question: str, turn: int) -> str:
    cells = notebook.data["cells"]
    gone = [notebook.tests(question)] if not turn else [one for one in cells if one["metadata"].get("tags") in TESTS]
    notebook.data["cells"] = [one for one in cells if one not in gone]
    return "rejected.*locked cell .* was deleted; the original was used"


def duplicated_tests(notebook: Notebook, question: str, turn: int) -> str:
    twin = notebook.tests(question) | {"source": "assert True"}
    if turn:
        notebook.data["cells"].append(twin)
    else:
        notebook.insert(question, twin)
    return "rejected.*is there 2 times; one is needed"


def edited_tests(notebook: Notebook, question: str, turn: int) -> str:
    tests = notebook.tests(question)
    tests["source"] = "print('all right')"
    if turn:
        tests["metadata"]["nbgrader"] |= {"points": 1000, "locked": False}
    return "rejected.*locked cell .* was edited; the original was used"


def blanked_cells(notebook: Notebook, question: str, turn: int) -> str:
    sources = (
        "get_ipython().input_transformers_post.append(lambda lines: [])",
        "import builtins\nbuiltins.exec = builtins.compile = lambda *given, **named: None",
    )
    notebook.insert(question, code(sources[turn]))
    return "rejected.*get_ipython" if not turn else "rejected"


TESTS = (["public-tests"],)
CELLS = {
    "deletes tests": deleted_tests,
    "duplicates tests": duplicated_tests,
    "edits tests": edited_tests,
    "blanks cells": blanked_cells,
}


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_format_3(data: bytes) -> bytes:
    notebook = json.loads(data)
    cells = notebook.pop("cells")
    return json.dumps(notebook | {"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()


def anonymous(data: bytes) -> bytes:
    """No cell has any id: nobody knows which question one answers."""
    notebook = json.loads(data)
    for cell in notebook["cells"]:
        cell.pop("id", None)
        cell["metadata"] = {}
    return json.dumps(notebook).encode()


def huge(data: bytes) -> bytes:
    notebook = json.loads(data)
    notebook["cells"][0]["source"] = "x" * (40 << 20)
    return json.dumps(notebook).encode()


FILES = {
    "no JSON": (lambda data: b"PK\x03\x04" + data, "unreadable.*no notebook"),
    "truncated": (truncated, "unreadable.*no notebook"),
    "format 3": (of_format_3, "unreadable.*no list of cells"),
    "too large": (huge, r"unreadable.*MB are read"),
    "deep": (lambda data: b"[" * 1_000_000, "unreadable.*no notebook"),
    "without any id": (anonymous, "cell missing.*it was deleted"),
}


# ---------------------------------------------------------------------------------------------------------- the class
def make_class(homework: Homework, page: Path, rng: np.random.Generator, *, port: int, secrets: list[str], paths):
    """Sixty students, in an order that the seed draws.

    Args:
        page: the notebook that was given out.
        port: of this machine, where nobody should call.
        secrets: parts of file names that no answer should see.
        paths: that no answer should read.
    """
    questions, written = homework.assignment.questions, homework.assignment.written
    released = json.loads(page.read_text(encoding="utf-8"))
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    names = [names[place] for place in rng.permutation(len(names))]
    mistakes = {one.id: [*rng.permutation([*one.wrong])] for one in questions}  # each in turn
    students: list[Student] = []
    order = [one.id for one in questions]

    def right(turn: int) -> dict[str, tuple[str, str]]:
        """The notebook's answers, or those of the key."""
        own = {one.id: ("the notebook's", homework.solutions[one.id]) for one in questions}
        if turn % 3 == 0:
            return own
        return {one.id: [*one.right.items()][turn % 3 - 1] for one in questions}

    def mistake(question) -> tuple[str, str]:
        name = mistakes[question.id].pop(0)
        mistakes[question.id].append(name)
        return f"wrong: {name}", question.wrong[name]

    def hand_in(kind: str, answers: dict[str, tuple[str, str]], *, change=None, data=None, points=None, **more) -> None:
        notebook = Notebook(homework, released)
        notebook.answer(**{name: source for name, (_, source) in answers.items()})
        words = bool(rng.integers(2)) if points is None else False
        for one in written:
            if words:
                notebook.answer(**{one.id: f"{canary(names[0])}: เพราะ macro-F1 สูงกว่า in every seed, $p < 0.05$."})
        named = change(notebook) if change else ""
        made = json.dumps(notebook.data, ensure_ascii=False).encode()
        made = data(made) if data else made
        what = {one.id: answers.get(one.id, ("left out",))[0] for one in questions}
        what |= {one.id: "in words" for one in written}
        none = ("wrong", "left", "attack")
        expected = {one.id: 0.0 if what[one.id].startswith(none) else one.points for one in questions}
        expected |= {one.id: None if words else 0.0 for one in written}
        if points is not None:
            what, expected = dict.fromkeys(what, "whole file"), dict.fromkeys(what, points)
        students.append(
            Student(
                names.pop(0), kind, expected, what,
                **{"write": lambda path: path.write_bytes(made), "named": named or ""} | more,
            )
        )  # fmt: skip

    for turn, form in enumerate(FORMS):
        hand_in("good", right(turn), change=form)
    for turn in range(3):
        some = right(turn)
        for one in rng.permutation([one.id for one in questions])[: turn + 2]:
            del some[str(one)]
        hand_in("partial", some)
    attacks = [(kind, turn) for kind in (*CODE, *CELLS) for turn in range(2)]
    for number, (kind, turn) in enumerate(attacks):
        own = right(number)
        attacked, other = (questions[int(place)] for place in rng.permutation(len(questions))[:2])
        own[other.id] = mistake(other)
        base = next(source for name, source in attacked.wrong.items() if name not in (HARD_CODED, PACKAGE))
        own[attacked.id] = "attack", base
        if kind in CODE:
            attack, named = CODE[kind][2 * turn : 2 * turn + 2]
            if "def attack" in attack:
                of = Notebook(homework, released).names(attacked.id)
                attack += f"\nfor name in {of}:\n    globals()[name] = attack\n"
            filled = {
                "QUESTION": attacked.id, "PORT": str(port), "SECRETS": repr((*secrets, canary("")[:10])),
                "PATHS": repr(tuple(paths)), "PACKAGE": attacked.wrong[PACKAGE],
            }  # fmt: skip
            for word, text in filled.items():
                attack = re.sub(rf"\b{word}\b", lambda _, text=text: text, attack)
            own[attacked.id] = "attack", f"{base}\n{attack}"
            hand_in(kind, own, attacked=attacked.id, named=named)
        else:

            def change(notebook, kind=kind, question=attacked.id, turn=turn):
                return CELLS[kind](notebook, question, turn)

            if kind == "blanks cells" and turn:  # and all that is below
                own |= {name: ("attack", own[name][1]) for name in order[order.index(attacked.id) :]}
            hand_in(kind, own, change=change, attacked=attacked.id)
    for kind, (data, named) in FILES.items():
        hand_in(f"malformed: {kind}", right(0), data=data, points=0.0, named=named)
    good = students[0].name
    for target in (Path("..") / good / page.name, homework.notebook):
        hand_in(
            "a link", {}, points=0.0, named="unreadable.*cannot be read",
            write=lambda path, target=target: path.symlink_to(target),
        )  # fmt: skip
    for _ in range(2):
        hand_in("nothing", {}, points=0.0, named="not handed in", write=lambda path: None)
    while len(students) < 60:
        hand_in("wrong", {one.id: mistake(one) for one in questions})
    return [students[place] for place in rng.permutation(len(students))]


def canary(student: str) -> str:
    """What stands in a student's words, and should stand on no other's page."""
    return f"canary-{hashlib.sha256(student.encode()).hexdigest()[:16]}"


# ----------------------------------------------------------------------------------------------------- what is left
class Left:
    """Notes what is there, and tells afterwards what is new: mounts, control groups, folders, processes."""

    def __init__(self, folder: Path) -> None:
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # what outlives its parent becomes a child of this process
        self.folder = folder
        self.before = self.look()

    def look(self) -> set[str]:
        mounts = {" ".join(line.split()[3:5]) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        groups = {str(path) for path in Path("/sys/fs/cgroup").rglob("tlcourse-box-*")}
        return mounts | groups | {str(path) for path in self.folder.rglob("*")}

    def processes(self, *, seconds: float = 20) -> list[str]:
        """What still runs when the grader's helpers had time to end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.1)
            except ChildProcessError:
                return []
        own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ") for one in own]

    def new(self) -> list[str]:
        running = self.processes()
        found = self.look() - self.before
        groups = {one for one in found if one.startswith("/sys/fs/cgroup") and in_use(Path(one))}
        return [*sorted(found - groups), *running]


def in_use(group: Path) -> bool:
    """Whether a control group is that of a box that somebody else runs just now."""
    try:
        return bool((group / "cgroup.procs").read_text())
    except OSError:
        return True


def listen() -> tuple[socket.socket, list]:
    """A port of this machine, and those who called."""
    server, callers = socket.create_server(("127.0.0.1", 0)), []

    def wait() -> None:
        while True:
            callers.append(server.accept())

    threading.Thread(target=wait, daemon=True).start()
    return server, callers


# ---------------------------------------------------------------------------------------------------------- the run
def run(name: str, folder: Path, *, seed: int, workers: int) -> list[str]:
    """Make, grade and compare a class; tells what differs."""
    homework = assignments.find(names=[name])[name]
    command = [sys.executable, "-m", "tlcourse", "homework"]
    give_out = [*command, "release", "--term", TERM, "--out", folder, "--assignment", name]
    subprocess.run(give_out, check=True, stdout=subprocess.DEVNULL)
    key_path, page = folder / f"key-{TERM}.json", folder / "release" / name / f"{name}.ipynb"
    key = TermKey.read(key_path)
    server, callers = listen()
    package = Path(assignments.__file__).parent
    handed_in = folder / "class"
    paths = [*map(str, (homework.key, homework.notebook, key_path, handed_in, folder, package, package.parent.parent))]
    students = make_class(
        homework, page, np.random.default_rng(seed), port=server.getsockname()[1],
        secrets=[name, "key-20", "scores", "judge.py", "canary"], paths=paths,
    )  # fmt: skip
    for student in students:
        (handed_in / student.name).mkdir(parents=True)
        student.write(handed_in / student.name / f"{name}.ipynb")
    before = digests(handed_in)
    scratch, out = folder / "tmp", folder / "scores.csv"
    scratch.mkdir()
    left = Left(scratch)
    began, used = time.monotonic(), cpu()
    take_in = [*command, "grade", handed_in, "--key", key_path, "--out", out, "--assignment", name]
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [*take_in, "--workers", str(workers)],
            env=os.environ | {"TMPDIR": str(scratch)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    seconds = time.monotonic() - began
    left_behind, used = left.new(), cpu() - used
    faults = [f"grading ended with {done.returncode}: {(folder / 'log').read_text()[-500:]}"] if done.returncode else []
    faults += [f"left behind: {one}" for one in left_behind]
    faults += ["somebody called home"] * len(callers)
    faults += ["what was handed in has changed"] * (digests(handed_in) != before)
    print(f"\n{name}: {len(students)} submissions, {workers} workers: {seconds:.0f} s, {used:.0f} CPU s in all;")
    print(f"{seconds / len(students):.1f} s and {used / len(students):.1f} CPU s a submission")
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = {(row["student"].removeprefix("'"), row["question"]): row for row in csv.DictReader(file)}
    faults += [*compare(students, rows, homework)]
    faults += [*secrets_told(students, folder / "scores-feedback", rows, key)]
    server.close()
    return faults


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def compare(students: list[Student], rows: dict, homework: Homework) -> Iterator[str]:
    """Print what was expected beside what was given, and what of the attacks was named; tells what differs."""
    confusion: Counter = Counter()
    questions = {one.id: one for one in homework.assignment.questions}
    columns = ("all points", "some", "none", "by hand")
    if len(rows) != len(students) * (len(questions) + len(homework.assignment.written)):
        yield f"{len(rows)} rows"
    told = []
    for student in students:
        for name, expected in student.expected.items():
            row = rows.get((grade.safe_cell(student.name).removeprefix("'"), name))
            if row is None:
                yield f"{student.name}, {name}: no row"
                continue
            points = float(row["points"])
            given = float(row["score"]) if row["score"] else None
            what = student.what[name]
            kind = "right" if expected else what.partition(":")[0]
            column = 3 if given is None else 0 if given == points else 2 if given == 0 else 1
            confusion[kind, column] += 1
            if given != expected:
                yield f"{student.name} ({student.kind}), {name}, {what}: {given} instead of {expected}; {row}"
        place = student.attacked or next(iter(student.expected))
        row = rows.get((grade.safe_cell(student.name).removeprefix("'"), place), {})
        says = f"{row.get('verdict')}: {row.get('failed tests')} | {row.get('note')}"
        if student.named:
            told.append((student.kind, says))
            if not re.search(student.named, says, re.DOTALL):
                yield f"{student.name} ({student.kind}), {place}: {student.named!r} is not named in {says!r}"
    print(f"\n{'expected':<14}" + "".join(f"{one:>12}" for one in columns) + "   given")
    for kind in dict.fromkeys(kind for kind, _ in sorted(confusion)):
        print(f"{kind:<14}" + "".join(f"{confusion[kind, column]:>12}" for column in range(4)))
    wrong = {(name, what) for one in students for name, what in one.what.items() if what.startswith("wrong")}
    there = sum(len(one.wrong) for one in questions.values())
    print(f"\n{len(wrong)} of the key's {there} wrong solutions are among them.\n")
    for kind, says in sorted(told):
        print(f"{kind:<26} {brief(says)}")


def brief(says: str) -> str:
    verdict, _, rest = says.partition(": ")
    return f"{verdict}: {rest[:118]}"


def secrets_told(students: list[Student], pages: Path, rows: dict, key: TermKey) -> Iterator[str]:
    """What stands on a page and should not: the seed, and words of another student."""
    for student in students:
        page = pages / f"{grade.file_name(student.name)}.html"
        if not page.exists():
            yield f"{student.name}: no page"
            continue
        text = page.read_text(encoding="utf-8")
        if str(key.seed) in text or {*re.findall(r"canary-\w+", text)} - {canary(student.name)}:
            yield f"{student.name}: the page tells a secret"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assignment", action="append", help="(default: hw1_word_vectors; may be repeated; or all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for what is made and graded")
    options = parser.parse_args()
    if find_box() is None:
        print("this machine has no box to run students' code in", file=sys.stderr)
        return 2
    names = options.assignment or ["hw1_word_vectors"]
    faults = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in assignments.find() if names == ["all"] else names:
            folder = (options.keep or Path(temporary)) / name
            folder.mkdir(parents=True)
            faults += run(name, folder, seed=options.seed, workers=options.workers)
    print("\n" + ("\n".join(faults) if faults else "All is as it should be, and nothing is left."))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
