"""Opening the course in JupyterLab."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tlcourse.notebooks import checkout, course, course_folder

WORKBOOK = Path("tlcourse-notebooks")
"""Where a student's copy of the packaged notebooks lies, in the working folder."""

CONFIGURATION = Path(__file__).parent / "jupyter"
"""JupyterLab's settings for the course: no question about news, no look for updates."""

MANIFEST = ".tlcourse-copied.json"
PORT = 8888


def copy_course(source: Path, target: Path) -> list[Path]:
    """Copy the notebooks into a student's folder, or bring that folder up to date.

    A file that the student edited is never written over. One that is as it was copied is replaced when the
    course has a newer one.

    Args:
        source: the packaged notebooks.
        target: the student's folder.

    Returns:
        The edited files that the course has a newer version of.
    """
    target.mkdir(parents=True, exist_ok=True)
    manifest = target / MANIFEST
    copied = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    held_back = []
    for file in sorted(f for f in source.rglob("*") if f.is_file()):
        name, new = file.relative_to(source).as_posix(), _digest(file)
        mine = target / name
        if not mine.exists() or _digest(mine) in (copied.get(name), new):
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, mine)
            copied[name] = new
        elif copied.get(name) != new:
            held_back.append(mine)
    manifest.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return held_back


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def free_port(first: int = PORT) -> int:
    """The first free port from ``first`` on; any free one when the next fifty are taken."""
    for port in (*range(first, first + 50), 0):
        if found := _bind(port):
            return found
    raise OSError("no free port on this machine")


def is_free(port: int) -> bool:
    """Whether nothing listens on a port of this machine."""
    return _bind(port) is not None


def _bind(port: int) -> int | None:
    with socket.socket() as probe:
        if os.name == "posix":  # as the server does; on Windows the option would share a port in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        return probe.getsockname()[1]


def start(*, port: int | None = None, browser: bool = True, options: Sequence[str] = ()) -> None:
    """Open the course in JupyterLab; returns when the server has stopped.

    In a source tree the notebooks are opened where they lie. With an installed package they are first copied
    into ``tlcourse-notebooks`` in the working folder.

    Args:
        port: the port to answer on; by default 8888, or the next free one.
        browser: whether to open a browser.
        options: further options for JupyterLab.

    Raises:
        OSError: the port is taken.
        ImportError: JupyterLab is not installed.
    """
    from jupyterlab.labapp import LabApp

    if port is not None and not is_free(port):
        raise OSError(f"port {port} is taken; leave --port out, and a free one is found")
    port = port or free_port()
    folder = course_folder()
    if not checkout():
        held_back = copy_course(folder, WORKBOOK)
        folder = WORKBOOK.resolve()
        print(f"Your copy of the course is in {folder}.")
        if held_back:
            names = ", ".join(file.relative_to(WORKBOOK).as_posix() for file in held_back)
            print(f"The course has newer versions of files that you edited, and left yours alone: {names}.")
            print("Rename yours and start again to get them.")
    first = f"/lab/tree/{course(folder)[0].name}" if course(folder) else "/lab"
    paths = [str(CONFIGURATION), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    token = secrets.token_hex(16)
    arguments = [
        f"--ServerApp.root_dir={folder}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",  # or the address printed below would be wrong
        f"--LabApp.default_url={first}",
        f"--IdentityProvider.token={token}",
        "--Application.log_level=WARN",
        *([] if browser else ["--no-browser"]),
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *options,
    ]
    print(f"The course is at http://localhost:{port}{first}?token={token}")
    print("Press Ctrl-C twice to stop it.", flush=True)
    LabApp.launch_instance(argv=arguments)
