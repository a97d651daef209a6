"""Opening the course: the student's copy, the port, and a JupyterLab that answers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_notebook

from tlcourse import cli, lab


@pytest.fixture
def packaged(tmp_path):
    """Notebooks as a wheel carries them."""
    folder = tmp_path / "packaged"
    (folder / "homework").mkdir(parents=True)
    for name in ("01_a.ipynb", "02_b.ipynb", "homework/hw1.ipynb"):
        (folder / name).write_text(f"first edition of {name}")
    return folder


def test_the_first_copy_is_whole(packaged, tmp_path):
    mine = tmp_path / "mine"
    assert lab.copy_course(packaged, mine) == []
    copied = {file.relative_to(mine).as_posix() for file in mine.rglob("*.ipynb")}
    assert copied == {"01_a.ipynb", "02_b.ipynb", "homework/hw1.ipynb"}


def test_edits_are_never_written_over(packaged, tmp_path):
    mine = tmp_path / "mine"
    lab.copy_course(packaged, mine)
    (mine / "01_a.ipynb").write_text("my answer")
    (mine / "notes.txt").write_text("mine too")
    assert lab.copy_course(packaged, mine) == []  # nothing new in the course
    for name in ("01_a.ipynb", "02_b.ipynb"):
        (packaged / name).write_text("second edition")
    assert lab.copy_course(packaged, mine) == [mine / "01_a.ipynb"]
    assert (mine / "01_a.ipynb").read_text() == "my answer"
    assert (mine / "02_b.ipynb").read_text() == "second edition"
    assert (mine / "notes.txt").read_text() == "mine too"


def test_a_notebook_put_aside_comes_back(packaged, tmp_path):
    mine = tmp_path / "mine"
    lab.copy_course(packaged, mine)
    (mine / "01_a.ipynb").rename(mine / "my_01_a.ipynb")
    assert lab.copy_course(packaged, mine) == []
    assert (mine / "01_a.ipynb").read_text() == "first edition of 01_a.ipynb"


def test_a_file_of_the_same_name_that_was_there_before_is_kept(packaged, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "01_a.ipynb").write_text("another thing")
    assert lab.copy_course(packaged, mine) == [mine / "01_a.ipynb"]
    assert (mine / "01_a.ipynb").read_text() == "another thing"


@pytest.fixture
def listener():
    """A port that something listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_passed_over(listener):
    assert not lab.is_free(listener)
    port = lab.free_port(listener)
    assert port != listener and lab.is_free(port)


def test_asking_for_a_taken_port(listener, capsys):
    assert cli.main(["lab", "--port", str(listener), "--no-browser"]) == 2
    assert f"port {listener} is taken" in capsys.readouterr().err


@pytest.fixture
def launched(monkeypatch):
    """The arguments that JupyterLab would be started with."""
    from jupyterlab.labapp import LabApp

    seen = []
    monkeypatch.setattr(LabApp, "launch_instance", lambda argv: seen.extend(argv))
    return seen


def test_an_installed_course_is_copied_first(packaged, tmp_path, monkeypatch, launched, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "checkout", lambda: None)
    monkeypatch.setattr(lab, "course_folder", lambda: packaged)
    lab.start(browser=False, options=["--LabApp.dev_mode=True"])
    assert (tmp_path / "tlcourse-notebooks" / "01_a.ipynb").exists()
    assert f"--ServerApp.root_dir={tmp_path / 'tlcourse-notebooks'}" in launched
    assert "--LabApp.default_url=/lab/tree/01_a.ipynb" in launched
    assert "--no-browser" in launched and launched[-1] == "--LabApp.dev_mode=True"
    assert re.search(r"http://localhost:\d+/lab/tree/01_a.ipynb\?token=\w+", capsys.readouterr().out)

    (tmp_path / "tlcourse-notebooks" / "01_a.ipynb").write_text("mine")
    (packaged / "01_a.ipynb").write_text("second edition")
    lab.start()
    assert "newer versions of files that you edited, and left yours alone: 01_a.ipynb" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users with numbers on this system")
@pytest.mark.parametrize("uid, allowed", [(0, True), (1000, False)])
def test_root_is_allowed_where_one_is_root(uid, allowed, tmp_path, monkeypatch, launched):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(lab, "checkout", lambda: tmp_path)
    monkeypatch.setattr(lab, "course_folder", lambda: tmp_path)
    lab.start()
    assert ("--allow-root" in launched) is allowed


def test_profile_reaches_the_kernels(monkeypatch, launched, tmp_path):
    monkeypatch.setattr(lab, "checkout", lambda: tmp_path)
    monkeypatch.setattr(lab, "course_folder", lambda: tmp_path)
    monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
    assert cli.main(["lab", "--profile", "laptop"]) == 0
    assert os.environ["TLCOURSE_PROFILE"] == "laptop"


@pytest.fixture
def server(tmp_path):
    """`tlcourse lab` in a source tree of two notebooks, with its own configuration; the address it printed."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tlcourse"\n')
    (tmp_path / "notebooks").mkdir()
    for name in ("02_next.ipynb", "01_first.ipynb"):
        nbformat.write(new_notebook(), tmp_path / "notebooks" / name)
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    process = subprocess.Popen(
        [sys.executable, "-m", "tlcourse", "lab", "--no-browser"],
        cwd=tmp_path,
        env=os.environ | {place: str(tmp_path / ".jupyter" / place.lower()) for place in places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"http://localhost:\d+\S+", line):
                yield found[0]
                break
        else:
            pytest.fail("the server ended without an address")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_jupyterlab_serves_the_course(server):
    assert "/lab/tree/01_first.ipynb?token=" in server
    root, token = server.split("/lab/")[0], server.split("token=")[1]
    answer = patiently(f"{root}/api/contents?token={token}")
    assert sorted(item["name"] for item in json.loads(answer)["content"]) == ["01_first.ipynb", "02_next.ipynb"]
    page = patiently(server).decode()
    settings = json.loads(re.search(r'id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.S)[1])
    assert "@jupyterlab/apputils-extension:announcements" in settings["disabledExtensions"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{root}/api/contents", timeout=10)


def patiently(address):
    """The answer of a server that is still starting."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.read()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.2)
    pytest.fail(f"no answer from {address}")
