"""A box for code that nobody has read: it computes, and reaches nothing, keeps nothing and outlasts nothing.

In a box a command sees the Python that runs this and the libraries beside it, read-only, and two folders in memory:
``/box``, where it stands among the files that it was given, and ``/tmp``. No network, no other process, no file of
anybody, no environment, no privileges. What a machine offers makes the box: the kernel's namespaces by util-linux,
bubblewrap, or a container engine; :func:`find_box` takes the first that does what it should.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

FILES = 100
"""That are taken out of a box at most."""
INODES = 10_000
"""Files in each of its folders, of any size."""
START = 30.0
"""Seconds that a box may take until its command runs, on a busy machine."""
MAPPED = 6 << 30
"""Bytes of address space that libraries take without using them as memory: ``import torch`` with CUDA maps 3.3 GB."""
GRACE = 5.0
"""Seconds that a box may take to close by itself when its command is done."""
STRANGERS = range(0x7000_0000, 0x7FFF_0000)
"""User ids that nobody has: where root starts a box, its command runs under one of them."""

SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64")
GROUPS, MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LIBRARIES = ("/etc/ld.so.cache", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class BoxError(OSError):
    """A box did not start, so nothing can be said of what should have run in it."""


@dataclass(frozen=True)
class Limits:
    """What a command may use.

    Attributes:
        seconds: on the clock, and of a processor for each process.
        memory: bytes, of all its processes together.
        processes: and threads, at one time.
        disk: bytes in each of ``/box`` and ``/tmp``.
        output: bytes of the log, and again of the files that are taken out.
    """

    seconds: float = 60
    memory: int = 2 << 30
    processes: int = 64
    disk: int = 64 << 20
    output: int = 4 << 20


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        code: its exit code, 128 and the signal where a signal ended it.
        files: by name, those it made or changed: regular ones, `FILES` and `Limits.output` bytes at most.
        log: what it wrote to stdout and stderr, in the order it came; a last line says how much was left out.
        seconds: from the start to the end, the box's own included.
        stopped: "time" or "memory" when that limit ended it, else None.
    """

    code: int
    files: dict[str, bytes] = field(repr=False)
    log: str
    seconds: float
    stopped: str | None


def find_box(choice: str | None = None) -> Box | None:
    """The first box of this machine that works, or the one that is asked for; None if there is none.

    Args:
        choice: "namespaces", "bubblewrap", "docker" or "podman".

    Raises:
        ValueError: another choice.
    """
    boxes: list[Box] = [kind(grouped) for kind in (Namespaces, Bubblewrap) for grouped in (True, False)]
    boxes += [Engine("docker"), Engine("podman")]
    names = dict.fromkeys(box.name for box in boxes)
    if choice is not None and choice not in names:
        raise ValueError(f"no box {choice!r}: choose among {', '.join(names)}")
    return next((box for box in boxes if choice in (None, box.name) and box.works()), None)


# ------------------------------------------------------------------------------------------------------ what is in it
def visible() -> list[str]:
    """Files and folders that Python and its libraries need, none within another."""
    prefixes = {sys.prefix, sys.base_prefix, str(Path(sys._base_executable).parent.parent), *site.getsitepackages()}
    wanted = {*SYSTEM, *LIBRARIES, *prefixes, *map(os.path.realpath, prefixes)} - {"/usr"}
    there = sorted(path for path in wanted if Path(path).exists())
    return [path for path in there if not any(path.startswith(f"{other}/") for other in there)]


def hidden() -> list[str]:
    """The course's own folders, where they stand within what is visible."""
    package = Path(__file__).resolve().parent.parent
    folders = [folder for folder in (package, package.parent / "notebooks") if folder.exists()]
    shown = {Path(path): Path(path).resolve() for path in visible() if not Path(path).is_symlink()}
    return [
        str(path / folder.relative_to(real))
        for path, real in shown.items()
        for folder in folders
        if folder.is_relative_to(real)
    ]


ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "USER": "student",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}

SETUP = r"""
set -e
(echo $(( memory / 4096 )) >/proc/sys/kernel/shmall) 2>/dev/null || :  # memory that no process holds
mount -t tmpfs -o mode=755,size=1m box /sys
cd /sys
printf %s "$devices$visible" | while read -r path; do
    mkdir -p ".${path%/*}"
    if [ -L "$path" ]; then cp -P "$path" ".$path"; continue; fi
    if [ -d "$path" ]; then mkdir ".$path"; else : > ".$path"; fi
    case $path in /dev/*) how=bind,nosuid,noexec;; *) how=bind,ro,nosuid,nodev;; esac
    mount -o $how "$path" ".$path"
done
printf %s "$hidden" | while read -r path; do mount -t tmpfs -o ro,size=4k hidden ".$path"; done
mkdir -p proc tmp box
ln -s /proc/self/fd dev/fd
ln -s /tmp dev/shm
mount -t proc -o nosuid,nodev,noexec proc proc
hostname box 2>/dev/null || :
for folder in box tmp; do mount -t tmpfs -o "mode=1777,size=$disk,nr_inodes=$inodes,nosuid,nodev" box $folder; done
pivot_root . .
umount -l .
cd /
mount -o remount,bind,ro /
exec sh -c "$RUN" box "$@"
"""
"""Builds a root of what is visible, in namespaces of its own, and goes there; process 1 of the box runs it."""

RUN = r"""
[ $$ = 1 ] || exit 1  # nowhere else may every process be killed
umask 0
cd /box
tar -xf - --no-same-owner || exit 1
as="${uid:+setpriv --reuid=$uid --regid=$uid --clear-groups --bounding-set=-all}"
own="unshare --user --map-user=65534 --map-group=65534 --keep-caps"
export bounding=
if $as $own true 2>/dev/null; then as="$as $own"; bounding=--bounding-set=-all; fi
echo started
timeout -s KILL "$seconds" $as sh -c "$DROP" box "$@" </dev/null >&2
code=$?
kill -9 -1 2>/dev/null
find . -type f -size "-${output}c" -print0 | head -z -n "$most" | tar -cf - --null -T - 2>/dev/null
exit $code
"""
"""Process 1 of the box: files in, the command as a user of its own, an end to all that is left, files out."""

DROP = r"""
{ echo 0 >/proc/sys/user/max_user_namespaces; echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
exec setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all $bounding \
    prlimit --core=0 --nofile=256 --cpu="$cpu" --as="$space" --fsize="$disk" --nproc="$processes" \
    env -i "$@"
"""
"""Gives up what is left of privileges, for good, and starts the command."""

JOIN = 'for group in $groups; do echo 0 >"$group/cgroup.procs" || exit 1; done; exec "$@"'

PROBE = r"""
import os, pathlib, socket, sys
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
assert os.getuid() and not int(status["CapEff"], 16) and status["NoNewPrivs"].strip() == "1", status
assert [name for _, name in socket.if_nameindex()] in ([], ["lo"]), socket.if_nameindex()
assert sum(name.isdigit() for name in os.listdir("/proc")) < 9, "other processes"
assert not any(map(os.path.exists, sys.argv[1:])), "files of others"
assert not os.access(sys.prefix, os.W_OK) and not os.access("/", os.W_OK), "libraries that it may write"
pathlib.Path("/box/done").write_bytes(pathlib.Path("/box/given").read_bytes())
"""
"""What must hold in a box, to be told from inside."""


# ------------------------------------------------------------------------------------------------------------ boxes
class Box(ABC):
    """Runs commands where nothing is within their reach; several may run at the same time."""

    name: str

    def __init__(self, grouped: bool) -> None:
        """With a control group for memory and processes, or with limits for each process and a look at their sum."""
        self.grouped = grouped

    @abstractmethod
    def start(self, variables: Mapping[str, str], command: Sequence[str]) -> list[str]:
        """The command that runs `RUN` with a command as process 1 of a new box."""

    def run(self, command: Sequence[str], files: Mapping[str, bytes], *, limits: Limits = Limits()) -> Outcome:
        """Run a command among files.

        Args:
            command: such as ``[sys.executable, "main.py"]``; names are looked up beside that Python, then in
                ``/usr/bin``.
            files: content by name, which may have folders; they stand in ``/box``.
            limits: for it.

        Raises:
            BoxError: it was never started.
        """
        began = time.monotonic()
        groups = make_groups(limits) if self.grouped else []
        variables = {
            "RUN": RUN,
            "DROP": DROP,
            "devices": "".join(f"{path}\n" for path in DEVICES),
            "visible": "".join(f"{path}\n" for path in visible()),
            "hidden": "".join(f"{path}\n" for path in hidden()),
            "seconds": str(limits.seconds),
            "cpu": str(int(limits.seconds) + 1),
            "space": "unlimited" if self.grouped else str(limits.memory + MAPPED),
            "memory": str(limits.memory),
            "disk": str(limits.disk),
            "inodes": str(INODES),
            "processes": str(limits.processes),
            "output": str(limits.output),
            "most": str(FILES),
            "uid": stranger(),
            "groups": " ".join(map(str, groups)),
        }
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        try:
            with tempfile.TemporaryFile() as given:
                pack(files, given)
                process = subprocess.Popen(
                    ["sh", "-c", JOIN, "join", *self.start(variables, [*environment, *command])],
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables},
                    start_new_session=True,
                )
            out = Reader(process.stdout, limits.output + FILES * 4096)
            log = Reader(process.stderr, limits.output)
            try:
                stopped = self.watch(process, out, limits)
            except BaseException:
                self.stop(process)
                process.wait()
                raise
            out.join()
            log.join()
        finally:
            killed = remove_groups(groups)
        if not out.kept.startswith(b"started\n"):
            raise BoxError(f"the box ({self.name}) did not start: {log.text() or 'it said nothing'}")
        return Outcome(
            code=process.returncode if process.returncode >= 0 else 128 - process.returncode,
            files=unpack(out.kept[len(b"started\n") :], files, limits.output),
            log=log.text(),
            seconds=time.monotonic() - began,
            stopped="memory" if killed else stopped,
        )

    def watch(self, process: subprocess.Popen, out: Reader, limits: Limits) -> str | None:
        """Wait for the end of a box, or make it; tells which limit did."""
        began = time.monotonic()
        stopped = None
        while process.returncode is None:
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                until = out.since + limits.seconds + GRACE if out.since else began + START
                if time.monotonic() > until:
                    stopped = "time"
                elif not self.grouped and used(process.pid) > limits.memory:
                    stopped = "memory"
                if stopped:
                    self.stop(process)
        # The word that it has begun may itself come late on a busy machine: half of the time is taken for all of it.
        on_time = not out.since or time.monotonic() - out.since < limits.seconds / 2
        killed = process.returncode == 128 + signal.SIGKILL and not on_time
        return "time" if killed or process.returncode == 128 + signal.SIGXCPU else stopped

    def stop(self, process: subprocess.Popen) -> None:
        """End process 1 of the box; the kernel ends all others before its parent, which waits for it, goes on."""
        for child in children(process.pid) or [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def works(self) -> bool:
        """Whether this machine has it, and it keeps out what it should."""
        others = [__file__, str(Path.home() / ".ssh"), "/etc/shadow", "/etc/passwd", "/sys/fs"]
        try:
            outcome = self.run([sys.executable, "-I", "-c", PROBE, *others], {"given": b"1"}, limits=Limits(seconds=20))
        except OSError:
            return False
        return outcome.code == 0 and outcome.files == {"done": b"1"}


class Namespaces(Box):
    """By util-linux: as root, or as anybody whom the kernel lets have a user namespace."""

    name = "namespaces"

    def start(self, variables: Mapping[str, str], command: Sequence[str]) -> list[str]:
        user = [] if variables["uid"] else ["--user", "--map-root-user"]
        kinds = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
        return ["setpriv", "--pdeathsig=KILL", "unshare", *user, *kinds, "sh", "-c", SETUP, "box", *command]


class Bubblewrap(Box):
    """By bubblewrap, which some systems let do what they let nobody else do; it sets no limit on files without size."""

    name = "bubblewrap"

    def start(self, variables: Mapping[str, str], command: Sequence[str]) -> list[str]:
        kinds = ["pid", "net", "ipc", "uts", "cgroup-try"]
        caps = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_DAC_READ_SEARCH"]
        if variables["uid"]:
            user = [word for cap in caps for word in ("--cap-add", cap)]
        else:
            user = ["--unshare-user", "--uid", "65534", "--gid", "65534"]
        root = []
        for path in map(Path, [*DEVICES, *visible()]):
            for parent in reversed(path.parents[:-1]):
                root += ["--perms", "0755", "--dir", str(parent)]
            if path.is_symlink():
                root += ["--symlink", str(path.readlink()), str(path)]
            else:
                root += ["--dev-bind" if str(path) in DEVICES else "--ro-bind", str(path), str(path)]
        for path in hidden():
            root += ["--tmpfs", path, "--remount-ro", path]
        for path in ("/box", "/tmp"):
            root += ["--perms", "1777", "--size", variables["disk"], "--tmpfs", path]
        root += ["--symlink", "/proc/self/fd", "/dev/fd", "--symlink", "/tmp", "/dev/shm", "--proc", "/proc"]
        return [
            *(
                shutil.which("bwrap") or "bwrap",
                "--die-with-parent",
                "--as-pid-1",
                "--hostname",
                "box",
                "--cap-drop",
                "ALL",
                *user,
            ),
            *(f"--unshare-{kind}" for kind in kinds),
            *(*root, "--remount-ro", "/", "sh", "-c", RUN, "box", *command),
        ]


class Engine(Box):
    """By a container engine, which is given an image with nothing in it."""

    IMAGE = "tlcourse-empty"

    def __init__(self, name: str) -> None:
        super().__init__(grouped=False)  # of ours: the engine makes its own
        self.name = name

    def start(self, variables: Mapping[str, str], command: Sequence[str]) -> list[str]:
        volumes = [f"--volume={path}:{path}:ro" for path in visible()]
        volumes += [f"--tmpfs={path}:ro,size=4k" for path in hidden()]
        volumes += [
            f"--tmpfs={path}:rw,exec,mode=1777,size={variables['disk']},nr_inodes={INODES}" for path in ("/box", "/tmp")
        ]
        limits = [f"--memory={variables['memory']}", f"--pids-limit={int(variables['processes']) + 8}"]
        names = ("DROP", "seconds", "cpu", "space", "disk", "processes", "output", "most")
        return [
            *(
                shutil.which(self.name) or self.name,
                "run",
                "--name",
                f"tlcourse-box-{uuid.uuid4().hex}",
                "--rm",
                "--interactive",
                "--pull=never",
            ),
            *("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            *("--user=65534:65534", "--hostname=box", *limits, *volumes),
            *(f"--env={name}={variables[name]}" for name in names),
            *(self.IMAGE, "/bin/sh", "-c", RUN, "box", *command),
        ]

    def stop(self, process: subprocess.Popen) -> None:
        container = process.args[process.args.index("--name") + 1]
        subprocess.run([self.name, "rm", "--force", container], capture_output=True)

    def works(self) -> bool:
        """Whether the engine answers, and its box keeps out what it should."""
        empty = io.BytesIO()
        tarfile.open(fileobj=empty, mode="w").close()
        try:
            for words, given in ((["info"], b""), (["import", "-", self.IMAGE], empty.getvalue())):
                subprocess.run([self.name, *words], input=given, capture_output=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return False
        return super().works()


class NoBox:
    """Runs commands as the user who grades, with everything within their reach; for submissions that are trusted."""

    name = "none"

    def run(self, command: Sequence[str], files: Mapping[str, bytes], *, limits: Limits = Limits()) -> Outcome:
        """As in a box, but for what a box keeps out."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tlcourse-no-box-", ignore_cleanup_errors=True) as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            sizes = f"-t {int(limits.seconds) + 1}", f"-v {(limits.memory + MAPPED) >> 10}", f"-f {limits.disk >> 9}"
            limited = "; ".join(f"ulimit {size} 2>/dev/null" for size in sizes) + '; exec "$@"'
            process = subprocess.Popen(
                ["sh", "-c", limited, "limited", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=ENVIRONMENT | {"HOME": folder},
                start_new_session=True,
            )
            log = Reader(process.stdout, limits.output)
            stopped = None
            try:
                process.wait(limits.seconds)
            except subprocess.TimeoutExpired:
                stopped = "time"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            log.join(GRACE)  # a daemon in a session of its own may hold the pipe
            made = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(Path(folder).rglob("*"))
                if path.is_file() and not path.is_symlink() and path.stat().st_size < limits.output
            }
        changed = {name: content for name, content in made.items() if files.get(name) != content}
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Outcome(code, changed, log.text(), time.monotonic() - began, stopped)


# ------------------------------------------------------------------------------------------- processes and their memory
def make_groups(limits: Limits) -> list[Path]:
    """Control groups for the processes of a box, of version 1 or 2; an OSError where they cannot be had."""
    lines = (line.split(":", 2) for line in MINE.read_text().splitlines())
    mine = {controller: path.lstrip("/") for _, names, path in lines for controller in names.split(",")}
    memory, tasks = str(limits.memory), str(limits.processes + 8)  # the box has a few processes itself
    if "memory" in mine:
        wanted = {
            GROUPS / "memory" / mine["memory"]: {"memory.limit_in_bytes": memory},
            GROUPS / "pids" / mine["pids"]: {"pids.max": tasks},
        }
    else:
        own = GROUPS / mine.get("", "")
        above = [folder for folder in (own, *own.parents) if (folder / "cgroup.subtree_control").exists()]
        fit = [f for f in above if {"memory", "pids"} <= {*(f / "cgroup.subtree_control").read_text().split()}]
        if not fit:
            raise OSError("no control group that may have others within it")
        wanted = {fit[0]: {"memory.max": memory, "memory.swap.max": "0", "pids.max": tasks}}
    made: list[Path] = []
    try:
        for folder, settings in wanted.items():
            made.append(folder / f"tlcourse-box-{uuid.uuid4().hex}")
            made[-1].mkdir()
            for name, value in settings.items():
                (made[-1] / name).write_text(value)
    except OSError:
        remove_groups(made)
        raise
    return made


def remove_groups(groups: Sequence[Path]) -> bool:
    """Remove control groups, when their last process is gone; whether the kernel had to end one for its memory."""
    killed = False
    for group in groups:
        for events in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                counts = dict(line.split() for line in (group / events).read_text().splitlines())
                killed |= int(counts.get("oom_kill", 0)) > 0
        until = time.monotonic() + GRACE
        while group.exists() and time.monotonic() < until:
            try:
                group.rmdir()
            except OSError:  # a process is still on its way out
                time.sleep(0.01)
    return killed


def stranger() -> str:
    """A user id for a box, if this is root, who may take any; else nothing."""
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    mapped = any(first <= STRANGERS.start and STRANGERS.stop <= first + count for first, _, count in ranges)
    return str(random.SystemRandom().choice(STRANGERS)) if mapped and os.getuid() == 0 else ""


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def used(process: int) -> int:
    """Bytes of memory of a process and all below it, what they share counted once."""
    total = 0
    with contextlib.suppress(OSError):
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) << 10 for line in rollup if line.startswith("Pss:"))
    return total + sum(map(used, children(process)))


# ------------------------------------------------------------------------------------------------- files and the log
class Reader(threading.Thread):
    """Reads a pipe to its end, and keeps the beginning."""

    def __init__(self, pipe: IO[bytes], most: int) -> None:
        super().__init__(daemon=True)
        self.pipe, self.most = pipe, most
        self.kept = bytearray()
        self.more = 0
        self.since: float | None = None
        self.start()

    def run(self) -> None:
        with self.pipe:
            while chunk := os.read(self.pipe.fileno(), 1 << 16):
                self.since = self.since or time.monotonic()
                room = self.most - len(self.kept)
                self.kept += chunk[:room]
                self.more += len(chunk[room:])

    def text(self) -> str:
        left_out = f"\n[{self.more:,} bytes more were left out]" if self.more else ""
        return bytes(self.kept).decode("utf-8", "replace") + left_out


def pack(files: Mapping[str, bytes], archive: IO[bytes]) -> None:
    """Write files as a tar archive that anybody may read and change, and go back to its beginning."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o666
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)


def unpack(archive: bytes, given: Mapping[str, bytes], most: int) -> dict[str, bytes]:
    """The regular files of an archive that nobody vouches for, as far as they go; not those that were given."""
    files: dict[str, bytes] = {}
    with contextlib.suppress(tarfile.TarError, ValueError, EOFError), tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            most -= member.size
            plain = member.type == tarfile.REGTYPE and not member.issparse()
            inside = name.isprintable() and not name.startswith("/") and ".." not in name.split("/")
            if plain and inside and most >= 0 and len(files) < FILES:
                content = tar.extractfile(member).read()
                if given.get(name) != content:
                    files[name] = content
    return files
