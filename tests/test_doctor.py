"""The doctor: each fault is found, and comes with what to do."""

import socket
from collections import namedtuple
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import matplotlib
import pytest
import torch
from packaging.requirements import Requirement

from tlcourse import data, doctor, plots


def test_this_machine():
    checks = list(doctor.examine())
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.found for check in checks)
    assert all(bool(check.advice) == (check.state != "ok") for check in checks)
    states = {check.name: check.state for check in checks}
    assert states["torch and torchvision"] == states["Thai font"] == states["Widgets"] == "ok"
    assert states["Data, thai_intents"] == "ok" and states["Data, truevoice"] == "warn"


def test_python_too_old():
    check = doctor.python((2, 7, 18), distribution="pytest")
    assert check.state == "fault" and "needs Python >=" in check.advice


def test_python_that_will_do():
    assert doctor.python(distribution="pytest").state == "ok"


def test_course_not_installed():
    check = doctor.python(distribution="no-such-course")
    assert check.state == "fault" and "make lab" in check.advice
    assert list(doctor.packages("no-such-course")) == []


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package of one module, found under its own name."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, *, version="1.0", code="", requires=()):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]) + "\n")
        (info / "RECORD").write_text(f"{name}.py,,\n")
        (tmp_path / f"{name}.py").write_text(code)

    return install


def test_packages_against_the_lower_bounds(install):
    install("sound_one", version="2.1")
    install("old_one", version="0.9")
    install("broken_one", code="raise RuntimeError('operator torchvision::nms does not exist')")
    install(
        "the_course",
        requires=["sound-one>=2", "old-one>=1.2", "broken_one", "missing-one>=3", 'nbval>=99; extra == "test"'],
    )
    found = {check.name: check for check in doctor.packages("the_course")}
    assert {name: check.state for name, check in found.items()} == {
        "sound-one": "ok",
        "old-one": "fault",
        "broken_one": "fault",
        "missing-one": "fault",
    }
    assert "0.9, too old" in found["old-one"].found and 'pip install "old-one>=1.2"' in found["old-one"].advice
    assert "RuntimeError: operator torchvision::nms" in found["broken_one"].found
    assert 'pip install "missing-one>=3"' in found["missing-one"].advice


def test_a_package_whose_module_has_another_name():
    assert doctor.package(Requirement("pyyaml>=6"), ["_yaml", "yaml"]).state == "ok"


def test_torch_and_torchvision_of_different_builds(monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda module: "RuntimeError: operator torchvision::nms")
    check = doctor.torchvision()
    assert check.state == "fault" and "torchvision::nms" in check.found
    assert "torch torchvision" in check.advice


def test_a_driver_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda command: f"/usr/bin/{command}")
    check = doctor.device()
    assert check.state == "warn" and "NVIDIA driver" in check.advice


def test_gpu_profile_without_a_gpu(monkeypatch):
    monkeypatch.setenv("TLCOURSE_PROFILE", "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda command: None)
    check = doctor.device()
    assert check.state == "warn" and "TLCOURSE_PROFILE" in check.advice


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("TLCOURSE_PROFILE", "huge")
    check = doctor.device()
    assert check.state == "fault" and "huge" in check.found


def test_a_t4(monkeypatch):
    monkeypatch.delenv("TLCOURSE_PROFILE")
    properties = namedtuple("Properties", "total_memory")(16 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    check = doctor.device()
    assert check.state == "ok"
    assert check.found == "Tesla T4, 16 GiB; profile gpu on cuda, computes in float16"


def test_little_memory(monkeypatch):
    import psutil

    memory = namedtuple("Memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(2**30, 8 * 2**30))
    check = doctor.memory()
    assert check.state == "warn" and check.found.startswith("1.0 of 8.0 GiB free")


def test_disk(tmp_path, monkeypatch):
    folder = tmp_path / "not" / "yet" / "there"
    assert doctor.room("Disk", folder, wanted=0).state == "ok"
    assert doctor.room("Disk", folder, wanted=2**60).state == "warn"
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10_000_000))
    assert doctor.room("Disk", folder).state == "fault"
    assert not folder.exists()


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    check = doctor.room("Disk, cache", tmp_path)
    assert check.state == "fault" and "read-only" in check.found and "TLCOURSE_CACHE" in check.advice


def test_a_font_without_thai_letters(monkeypatch):
    latin = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"
    monkeypatch.setattr(plots, "thai_font", lambda: latin)
    check = doctor.thai_font()
    assert check.state == "fault" and "has no Thai letters" in check.found


def test_no_font(monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named 'fontpkg_noto_sans_thai'")

    monkeypatch.setattr(plots, "thai_font", missing)
    check = doctor.thai_font()
    assert check.state == "fault" and "fontpkg-noto-sans-thai" in check.advice


def test_widgets_without_their_half_in_jupyterlab(monkeypatch):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *names: [])
    check = doctor.widgets()
    assert check.state == "fault" and "pip install jupyterlab_widgets" in check.advice


@pytest.mark.parametrize("missing, state", [("ipywidgets", "fault"), ("jupyterlab", "warn")])
def test_widgets_where_a_package_is_missing(missing, state, monkeypatch):
    version = metadata.version

    def without(name):
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    check = doctor.widgets()
    assert check.state == state and missing in check.advice


def test_data_at_hand_in_each_place(tmp_path, monkeypatch):
    entry = data.info("truevoice")
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
    absent = doctor.data_set(entry)
    assert absent.state == "warn" and "0.6 MB" in absent.found and "data get truevoice" in absent.advice
    repository = doctor.data_set(data.info("thaigov"))
    assert repository.state == "warn" and "to be cloned from https://github.com" in repository.found
    assert doctor.data_set(data.info("thai_intents")).found.startswith("embedded")
    assert doctor.data_set(data.info("orchid")).found.startswith("in a package")

    sets = tmp_path / "sets"
    (sets / "truevoice").mkdir(parents=True)
    (sets / "truevoice" / "mari_train.csv").write_text("")
    monkeypatch.setenv("TLCOURSE_DATA", str(sets))
    assert doctor.data_set(entry).found == f"in TLCOURSE_DATA, {sets / 'truevoice'}"


def test_a_damaged_file(tmp_path, monkeypatch):
    entry = data.info("truevoice")
    (tmp_path / entry.name).mkdir()
    (tmp_path / entry.name / entry.file).write_bytes(b"cut short")
    monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path))
    check = doctor.data_set(entry)
    assert check.state == "fault" and entry.sha256 in check.advice


def test_a_data_folder_that_is_not_there(monkeypatch):
    monkeypatch.setenv("TLCOURSE_DATA", "/no/such/folder")
    check = doctor.data_set(data.info("truevoice"))
    assert check.state == "fault" and "/no/such/folder" in check.found + check.advice


def test_a_package_of_data_that_is_not_installed():
    entry = replace(data.info("orchid"), package="no-such-package:file.txt")
    check = doctor.data_set(entry)
    assert check.state == "fault" and "pip install no-such-package" in check.found + check.advice


def test_the_doctor_reaches_for_no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the doctor opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert [doctor.data_set(data.info(name)) for name in data.names()]
