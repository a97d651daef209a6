"""A box lets a good program work, and lets no other do harm."""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlcourse.homework import box as boxes
from tlcourse.homework.box import BoxError, Bubblewrap, Limits, Namespaces, NoBox, find_box

KINDS = ["namespaces", "bubblewrap"]
REPOSITORY = Path(__file__).parents[2]
VISIBLE = boxes.visible()
QUICK = Limits(seconds=20, memory=256 << 20, processes=24, disk=8 << 20, output=100_000)
SHORT = Limits(seconds=1, memory=256 << 20, processes=24, disk=8 << 20, output=100_000)


@pytest.fixture(scope="module")
def box():
    return find_box() or pytest.skip("no box works on this machine")


@pytest.fixture(scope="module", params=KINDS)
def each(request):
    return find_box(request.param) or pytest.skip(f"no {request.param} on this machine")


@pytest.fixture(autouse=True)
def traces(monkeypatch, tmp_path):
    """Nothing of a box is left: no process, mount, temporary file or control group."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    groups, make = [], boxes.make_groups

    def record(limits):
        groups.extend(made := make(limits))
        return made

    monkeypatch.setattr(boxes, "make_groups", record)
    mounts = Path("/proc/self/mountinfo").read_text() if sys.platform == "linux" else ""
    before = children(os.getpid())  # such as the server that starts processes of other tests
    yield
    assert children(os.getpid()) <= before
    assert not mounts or mounts == Path("/proc/self/mountinfo").read_text()
    assert not list(tmp_path.iterdir())
    assert not [group for group in groups if group.exists()]


def children(process: int) -> set[int]:
    return set(boxes.children(process))


def run(box, program: str, files=None, limits=QUICK, words=()):
    return box.run([sys.executable, "-c", program, *words], files or {}, limits=limits)


def running(mark: str) -> list[str]:
    """Processes of this machine that have a word among theirs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(process.name)
    return found


# ---------------------------------------------------------------------------------------------------- a good program
def test_a_good_program_gets_its_files_and_gives_back_what_it_makes(each):
    program = """
import json, os, pathlib, sys
print(json.load(open("data/given.json")), flush=True)
print("careful", file=sys.stderr)
pathlib.Path("answers").mkdir()
pathlib.Path("answers/ก.txt").write_text(os.environ["OMP_NUM_THREADS"] + os.environ["MPLBACKEND"])
pathlib.Path("changed").write_text("new")
pathlib.Path("/tmp/notes").write_text("x")
sys.exit(3)
"""
    given = {"data/given.json": b"[1, 2]", "changed": b"old"}
    outcome = run(each, program, given)
    assert outcome.files == {"answers/ก.txt": b"1Agg", "changed": b"new"}
    assert (outcome.code, outcome.log, outcome.stopped) == (3, "[1, 2]\ncareful\n", None)
    assert outcome.seconds > 0


def test_torch_can_be_imported(box):
    ungrouped = type(box)(False) if isinstance(box, Bubblewrap | Namespaces) else box  # limits its address space
    outcome = run(ungrouped, "import torch; print(torch.ones(3, 3) @ torch.ones(3))", limits=Limits(seconds=300))
    assert (outcome.code, outcome.log) == (0, "tensor([3., 3., 3.])\n"), outcome


def test_boxes_at_the_same_time_see_nothing_of_each_other_and_count_their_own_processes(box):
    program = """
import os, sys, time
kids = []
for _ in range(15):
    pid = os.fork()
    if not pid:
        time.sleep(1)
        os._exit(0)
    kids.append(pid)
assert os.listdir() == ["mine"] and open("mine").read() == sys.argv[1]
for pid in kids:
    os.waitpid(pid, 0)
open("done", "w").write(sys.argv[1])
"""

    def one(word: str):
        return run(box, program, {"mine": word.encode()}, words=[word])

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(one, "abcd"))
    assert [outcome.files for outcome in outcomes] == [{"done": word.encode()} for word in "abcd"], outcomes


# ----------------------------------------------------------------------------------------------------- what is refused
ATTEMPTS = {
    "network": "socket.create_connection(('127.0.0.1', given['port']), 1)",
    "network, any address": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "a socket of the machine": "socket.socket(socket.AF_UNIX).connect('\\0' + given['mark'])",
    "the key": "open(given['key']).read()",
    "the checkout": "os.listdir(given['repository'] + '/tlcourse')",
    "the course's package": "__import__('tlcourse')",
    "the home": "open(given['home'] + '/' + os.listdir(given['home'])[0])",
    "passwords": "open('/etc/shadow').read()",
    "the machine's users": "open('/etc/passwd').read()",
    "a disk": "os.open('/dev/vda', os.O_RDONLY)",
    "environment of process 1": "open('/proc/1/environ').read()",
    "memory of process 1": "open('/proc/1/mem', 'rb')",
    "root of process 1": "os.listdir('/proc/1/root')",
    "output of process 1": "open('/proc/1/fd/1', 'wb')",
    "another process": "os.kill(given['tests'], 0)",
    "write the libraries": "open(sys.prefix + '/x', 'w')",
    "write a library": "open(json.__file__, 'a')",
    "write a program": "open('/usr/bin/env', 'ab')",
    "write the root": "open('/x', 'w')",
    "a setting of the kernel": "open('/proc/sys/kernel/shmall', 'w').write('1')",
    "setuid": "os.setuid(0)",
    "setgid": "os.setgid(0)",
    "chroot": "os.chroot('/tmp')",
    "chown": "os.chown('/box/mine', 0, 0)",
    "mount": "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "unmount": "call('umount2', b'/box', 2)",
    "a user namespace": "call('unshare', 0x10000000)",
    "a network namespace": "call('unshare', 0x40000000)",
    "ptrace of process 1": "call('ptrace', 16, 1, 0, 0)",
    "another host name": "socket.sethostname('x')",
    "a device": "os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))",
    "more memory": "resource.setrlimit(resource.RLIMIT_NPROC, (10**5, 10**5))",
    "a giant file": "open('/box/big', 'wb').truncate(1 << 30)",
    "filling the disk": "fill('/box')",
    "filling /tmp": "fill('/tmp')",
    "filling /dev/shm": "fill('/dev/shm')",
    "many files": "[open(f'/tmp/{i}', 'w') .close() for i in range(20_000)]",
    "many open files": "open_files()",
    "many threads": "[threading.Thread(target=time.sleep, args=(1,)).start() for _ in range(100)]",
}

ATTACKER = """
import ctypes, json, os, resource, shutil, socket, sys, threading, time
given = json.load(open("given"))

def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

def fill(folder):
    for name in range(100):
        open(f"{folder}/filler{name}", "wb").write(bytes(1 << 20))

def open_files():
    opened = []
    try:
        for _ in range(1000):
            opened.append(os.dup(0))
    finally:
        for number in opened:
            os.close(number)

print("uid", os.getuid(), "caps", *[line for line in open("/proc/self/status") if line.startswith("Cap")])
open("mine", "w").close()
found = {}
for name, attempt in given["attempts"].items():
    try:
        found[name] = f"done: {eval(attempt)!r:.200}"
    except BaseException as error:
        found[name] = type(error).__name__
    for folder in ("/box", "/tmp"):
        for entry in os.listdir(folder):
            if entry not in ("given", "mine"):
                os.remove(f"{folder}/{entry}")
open("found", "w").write(json.dumps(found))
"""


def test_what_is_refused(each, tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    (folder / "key.py").write_text("ASSIGNMENT = 1")
    mark = uuid.uuid4().hex
    attempts = dict(ATTEMPTS)
    if isinstance(each, Bubblewrap):
        del attempts["many files"]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + mark)
        local.listen()
        facts = {"port": server.getsockname()[1], "key": str(folder / "key.py"), "repository": str(REPOSITORY)}
        facts |= {"home": str(Path.home()), "tests": os.getpid(), "mark": mark, "attempts": attempts}
        outcome = run(each, ATTACKER, {"given": json.dumps(facts).encode()})
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome.code == 0, outcome
    found = json.loads(outcome.files["found"])
    assert found.keys() == attempts.keys()
    assert {name: result for name, result in found.items() if result.startswith("done")} == {}
    assert "uid 65534 caps" in outcome.log
    assert not any(int(line.split()[-1], 16) for line in outcome.log.splitlines() if "CapEff" in line)


# ------------------------------------------------------------------------------------------------------ what is stopped
STUBBORN = """
import os, signal, sys, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
told, tell = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        print("daemon", flush=True)
        os.write(tell, b"x")
        while True:
            time.sleep(1)
    os._exit(0)
os.read(told, 1)
"""


STOP_THE_CLOCK = """
import os, signal
try:
    os.kill(os.getppid(), signal.SIGSTOP)  # may be its own user's, whose box is in no root's hands
except PermissionError:
    pass
while True:
    pass
"""


@pytest.mark.parametrize(
    "program",
    ["while True: pass", STUBBORN + "time.sleep(60)", STOP_THE_CLOCK],
    ids=["loop", "ignores signals", "stops the clock"],
)
def test_time(box, program, monkeypatch):
    monkeypatch.setattr(boxes, "GRACE", 1.0)
    mark = uuid.uuid4().hex
    outcome = run(box, program, limits=SHORT, words=[mark])
    assert (outcome.code, outcome.stopped) == (128 + signal.SIGKILL, "time"), outcome
    assert not running(mark)


def test_what_was_made_in_time_comes_out(box):
    outcome = run(box, "open('first', 'w').write('x')\nwhile True: pass", limits=SHORT)
    assert (outcome.files, outcome.stopped) == ({"first": b"x"}, "time")


def test_an_interrupt_of_the_grader_ends_the_box(box, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(box), "watch", interrupt)
    mark = uuid.uuid4().hex
    with pytest.raises(KeyboardInterrupt):
        run(box, STUBBORN + "time.sleep(60)", words=[mark])
    assert not running(mark)


def test_a_daemon_ends_with_its_program(each):
    mark = uuid.uuid4().hex
    outcome = run(each, STUBBORN, words=[mark])
    assert (outcome.code, outcome.log, outcome.stopped) == (0, "daemon\n", None)
    assert not running(mark)


def test_a_fork_bomb(each):
    program = """
import os
while True:
    try:
        os.fork()
    except OSError as error:
        if not os.path.exists("/tmp/named"):
            open("/tmp/named", "w").close()
            print(error)
"""
    mark = uuid.uuid4().hex
    outcome = run(each, program, limits=SHORT, words=[mark])
    assert outcome.stopped == "time"
    assert "Resource temporarily unavailable" in outcome.log
    assert not running(mark)


@pytest.mark.parametrize("grouped", [True, False], ids=["control group", "no control group"])
@pytest.mark.parametrize("many", [1, 8], ids=["alone", "many"])
def test_a_memory_bomb(box, grouped, many):
    if not isinstance(box, Bubblewrap | Namespaces):
        pytest.skip("the engine's own limit")
    if grouped and not box.grouped:
        pytest.skip("no control groups for this user")
    program = f"""
import os, time
for _ in range({many} - 1):
    if not os.fork():
        break
kept = []
for _ in range({1600 // many}):
    kept.append(bytearray(os.urandom(1) * (1 << 20)))
    time.sleep(0.002)
time.sleep(60)
"""
    outcome = run(type(box)(grouped), program)
    assert outcome.stopped == "memory", outcome


def test_more_memory_than_there_is_at_once(box):
    outcome = run(box, "bytearray(64 << 30)", limits=SHORT)
    assert outcome.stopped == "memory" or "MemoryError" in outcome.log, outcome


def test_giant_output_is_cut_while_it_is_written(each):
    outcome = run(each, "import os\nfor _ in range(1000): os.write(1, b'x' * 65536)")
    assert outcome.code == 0
    assert outcome.log == "x" * 100_000 + "\n[65,436,000 bytes more were left out]"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os; os._exit(7)", 7),
        ("import os; os.abort()", 128 + signal.SIGABRT),
        ("import ctypes; ctypes.string_at(0)", 128 + signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL),
    ],
    ids=["_exit", "abort", "segmentation fault", "kills itself"],
)
def test_how_a_program_ends(box, program, code):
    outcome = run(box, program)
    assert (outcome.code, outcome.stopped) == (code, None)


def test_a_command_that_is_not_there(box):
    outcome = box.run(["no-such-command"], {}, limits=QUICK)
    assert outcome.code == 127
    assert "no-such-command" in outcome.log


# ------------------------------------------------------------------------------------------------------- what comes out
def test_only_regular_files_come_out(each):
    program = """
import os, socket
os.symlink("/etc/passwd", "link")
os.symlink("/", "folder")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.mkdir("empty")
open("large", "wb").write(bytes(200_000))
open("hidden", "w").write("x")
os.chmod("hidden", 0)
open("line\\nbreak", "w").write("x")
open("good", "w").write("x")
"""
    assert run(each, program).files == {"good": b"x", "hidden": b"x"}


def test_many_files_do_not_come_out(box):
    outcome = run(box, "for i in range(500): open(str(i), 'w').write('x')")
    assert len(outcome.files) == boxes.FILES
    program = "for i in range(9): open(str(i), 'wb').write(bytes(30_000))"
    assert sum(map(len, run(box, program).files.values())) <= QUICK.output


def archive(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_a_forged_archive_gives_nothing():
    names = ["/etc/passwd", "../x", "a/../../x", "a\nb"]
    assert boxes.unpack(archive(*map(tarfile.TarInfo, names)), {}, 10) == {}
    claims = tarfile.TarInfo("big")
    claims.size = 1 << 40
    assert boxes.unpack(claims.tobuf() + b"x" * 512, {}, 1 << 50) == {}  # more than there is
    links = [tarfile.TarInfo(name) for name in ("a", "b", "c")]
    for link, kind in zip(links, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE), strict=True):
        link.type, link.linkname = kind, "/etc/passwd"
    assert boxes.unpack(archive(*links), {}, 10) == {}


@given(st.binary(max_size=2000), st.integers(0, 1100))
def test_any_bytes_are_an_archive(noise, at):
    member = tarfile.TarInfo("x")
    member.size = 3
    good = archive(member, content=b"abc")
    assert all(len(content) <= 10 for content in boxes.unpack(good[:at] + noise, {}, 10).values())


# ------------------------------------------------------------------------------------------------- which box, and none
ENGINE = """#!/bin/sh
printf '%s\\n' "$@" >>"$0.asked"
"""


def test_a_container_engine_is_asked_for_a_box_and_not_believed(monkeypatch, tmp_path_factory):
    """An engine that answers, and starts nothing: no box. (What a real one keeps out, its probe tells.)"""
    (engine := tmp_path_factory.mktemp("bin") / "docker").write_text(ENGINE)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    assert find_box("docker") is None
    asked = Path(f"{engine}.asked").read_text().splitlines()
    assert asked[:4] == ["info", "import", "-", "tlcourse-empty"]
    walls = [
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=65534:65534",
    ]
    assert {*walls, *(f"--volume={path}:{path}:ro" for path in VISIBLE)} < {*asked}
    assert not any(str(REPOSITORY) in word and ".venv" not in word for word in asked if word.startswith("--volume"))


def test_an_unknown_box():
    with pytest.raises(ValueError, match="no box 'chroot': choose among namespaces, bubblewrap, docker, podman"):
        find_box("chroot")


def test_none_where_nothing_works(monkeypatch):
    monkeypatch.setattr(boxes, "PROBE", "assert False")
    assert find_box("namespaces") is None


def test_one_that_lets_too_much_through_is_not_taken(monkeypatch):
    if find_box("namespaces") is None:
        pytest.skip("no namespaces on this machine")
    monkeypatch.setattr(boxes, "visible", lambda: [*VISIBLE, "/etc/passwd"])
    assert find_box("namespaces") is None


@pytest.mark.parametrize("command", [["false"], ["sh", "-c", "echo no room >&2; exit 1"]])
def test_a_box_that_does_not_start(command):
    class Broken(Namespaces):
        def start(self, variables, words):
            return command

    with pytest.raises(BoxError, match=r"the box \(namespaces\) did not start: (it said nothing|no room)"):
        Broken(False).run(["true"], {})
    assert not Broken(False).works()


def test_the_course_itself_is_hidden_where_it_stands_among_the_libraries(box, monkeypatch):
    around = [path for path in VISIBLE if not path.startswith(f"{REPOSITORY}/")]
    monkeypatch.setattr(boxes, "visible", lambda: [*around, str(REPOSITORY)])
    folders = [str(REPOSITORY / name) for name in ("tlcourse", "notebooks", "tests")]
    outcome = run(box, f"import os; print([bool(os.listdir(folder)) for folder in {folders}])")
    assert outcome.log == "[False, False, True]\n", outcome


def test_the_course_is_hidden_by_each_name_that_it_has(monkeypatch, tmp_path_factory):
    (alias := tmp_path_factory.mktemp("names") / "alias").symlink_to(REPOSITORY.parent)
    here, there = REPOSITORY, alias / REPOSITORY.name
    monkeypatch.setattr(boxes, "visible", lambda: [str(here), str(there), str(alias), "/usr/bin"])
    assert boxes.hidden() == [f"{path}/{name}" for path in (here, there) for name in ("tlcourse", "notebooks")]


def test_control_groups_of_version_2_are_made_where_others_may_be(monkeypatch, tmp_path_factory):
    tree = tmp_path_factory.mktemp("cgroup")
    (tree / "user/shell").mkdir(parents=True)
    for folder, controllers in ((".", "cpu memory pids"), ("user", "memory pids"), ("user/shell", "")):
        (tree / folder / "cgroup.subtree_control").write_text(controllers)
    (mine := tree / "mine").write_text("0::/user/shell\n")
    monkeypatch.setattr(boxes, "GROUPS", tree)
    monkeypatch.setattr(boxes, "MINE", mine)
    monkeypatch.setattr(boxes, "GRACE", 0.0)
    (group,) = boxes.make_groups(QUICK)
    assert group.parent == tree / "user"
    assert {file.name: file.read_text() for file in group.iterdir()} == {
        "memory.max": str(QUICK.memory),
        "memory.swap.max": "0",
        "pids.max": str(QUICK.processes + 8),
    }
    (group / "memory.events").write_text("max 3\noom_kill 1\n")
    assert boxes.remove_groups([group])
    shutil.rmtree(group)
    (tree / "user/cgroup.subtree_control").write_text("")
    (tree / "cgroup.subtree_control").write_text("cpu")
    with pytest.raises(OSError, match="no control group"):
        boxes.make_groups(QUICK)


def test_root_needs_no_user_namespaces(monkeypatch):
    if not boxes.stranger() or find_box("namespaces") is None:
        pytest.skip("not root, or no namespaces")
    monkeypatch.setattr(boxes, "RUN", boxes.RUN.replace('own="unshare', 'own="false'))
    assert Namespaces(False).works()


def test_an_ordinary_user_has_a_box_too(tmp_path_factory):
    """Where root runs the tests, as the user «nobody» with the system's Python."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.getuid() or subprocess.run([*nobody, "unshare", "--user", "true"], check=False).returncode:
        pytest.skip("not root, or no user namespaces for others")
    python = next((path for path in map(Path, ("/usr/bin/python3", "/usr/local/bin/python3")) if path.exists()), None)
    if python is None or subprocess.run([*nobody, python, "-c", "import tomllib"], check=False).returncode:
        pytest.skip("no Python of the system, 3.11 or newer")
    source = Path(boxes.__file__).read_text()
    program = source + '\nbox = find_box("namespaces")\nprint(box.works(), box.grouped)\n'
    outcome = subprocess.run(
        [*nobody, python, "-"], input=program, capture_output=True, text=True, cwd="/", check=False
    )
    assert outcome.stdout.startswith("True"), outcome


# -------------------------------------------------------------------------------------------------------------- no box
def test_without_a_box():
    program = "import sys; open('made', 'w').write(open('a/given').read()); print(1, file=sys.stderr); sys.exit(4)"
    outcome = run(NoBox(), program, {"a/given": b"2"})
    assert (outcome.code, outcome.files, outcome.log, outcome.stopped) == (4, {"made": b"2"}, "1\n", None)


def test_without_a_box_time_is_limited_too():
    outcome = run(NoBox(), "print('x' * 200_000, flush=True)\nwhile True: pass", limits=SHORT)
    assert outcome.stopped == "time"
    assert outcome.log.endswith("[100,001 bytes more were left out]")
