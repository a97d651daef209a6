"""Is this machine ready for the course? Each check says what it found and what to do where it is amiss."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        state: ``ok``; ``warn``, where the course runs with less; ``fault``, where something will not run.
        found: what is there.
        advice: what to do about it; empty where nothing needs doing.
    """

    name: str
    state: Literal["ok", "warn", "fault"]
    found: str
    advice: str = ""


def examine() -> Iterator[Check]:
    """All checks, one after the other; importing the packages takes some seconds."""
    yield python()
    yield from packages()
    yield torchvision()
    yield device()
    yield memory()
    yield from disk()
    yield thai_font()
    yield widgets()
    yield from data_sets()


def python(version: tuple[int, ...] = sys.version_info[:3], distribution: str = "tlcourse") -> Check:
    """The interpreter, against the package's own lower bound."""
    found = f"{'.'.join(map(str, version))} in {sys.prefix}"
    try:
        wanted = SpecifierSet(metadata.metadata(distribution)["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        return Check(
            name="Python",
            state="fault",
            found=f"{found}, where {distribution} is not installed",
            advice="run `make lab` in the course's folder, or `pip install .`",
        )
    if ".".join(map(str, version)) not in wanted:
        return Check(name="Python", state="fault", found=found, advice=f"the course needs Python {wanted}")
    return Check(name="Python", state="ok", found=found)


def packages(distribution: str = "tlcourse") -> Iterator[Check]:
    """Each package that the course requires: its version against the lower bound, and whether it imports."""
    modules: dict[str, list[str]] = {}
    for module, owners in metadata.packages_distributions().items():
        for owner in owners:
            modules.setdefault(_plain(owner), []).append(module)
    try:
        requirements = [Requirement(text) for text in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        return
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement, modules.get(_plain(requirement.name), []))


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def package(requirement: Requirement, modules: list[str]) -> Check:
    """One required package.

    Args:
        requirement: its name and lower bound.
        modules: the importable modules that it installs.
    """
    name, install = requirement.name, f'pip install "{requirement}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name=name, state="fault", found="not installed", advice=install)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(name=name, state="fault", found=f"{version}, too old", advice=install)
    own = {module.lower(): module for module in modules if not module.startswith("_")}
    module = own.get(_plain(name).replace("-", "_")) or next(iter(own.values()), None)
    if module and (error := import_error(module)):
        found = f"{version}, and importing {module} fails: {error}"
        advice = f"pip install --force-reinstall --no-deps {name}=={version}"
        return Check(name=name, state="fault", found=found, advice=advice)
    return Check(name=name, state="ok", found=version)


def import_error(module: str) -> str | None:
    """Import a module; what went wrong in one line, or None."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except Exception as error:  # a broken package may raise anything
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return None


def torchvision() -> Check:
    """torch and torchvision from one build: fastai needs both, and a mixed pair breaks transformers too."""
    versions = []
    for name in ("torch", "torchvision"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    found = " with ".join(versions)
    if error := import_error("torchvision"):
        return Check(
            name="torch and torchvision",
            state="fault",
            found=f"{found}: {error}",
            advice="install both at once, from one index: pip install --force-reinstall torch torchvision",
        )
    return Check(name="torch and torchvision", state="ok", found=found)


def device() -> Check:
    """The accelerator, and the profile that follows from it."""
    try:
        import torch

        from tlcourse import profile

        current = profile.current()
        seen = profile.find_device()
        name = profile.device_name(seen)
    except Exception as error:
        return Check(name="Device", state="fault", found=str(error), advice="put this right first")
    if seen.type == "cuda":
        size = torch.cuda.get_device_properties(seen).total_memory / GIB
        name = f"{name}, {size:.0f} GiB"
    found = f"{name}; profile {current.name} on {current.device.type}, computes in {str(current.dtype)[6:]}"
    if seen.type == "cpu" and shutil.which("nvidia-smi"):
        advice = "an NVIDIA driver is here, but this torch cannot use it: install the build pytorch.org names"
        return Check(name="Device", state="warn", found=found, advice=advice)
    if current.name == "gpu" and seen.type != "cuda":
        advice = "the gpu profile would take days here: unset TLCOURSE_PROFILE, or choose a GPU runtime"
        return Check(name="Device", state="warn", found=found, advice=advice)
    return Check(name="Device", state="ok", found=found)


def memory() -> Check:
    """The memory that is free, against what the laptop profile takes."""
    import psutil

    system = psutil.virtual_memory()
    found = f"{system.available / GIB:.1f} of {system.total / GIB:.1f} GiB free, {os.cpu_count()} cores"
    if system.available < 4 * GIB:
        advice = "the laptop profile wants 4 GiB: close something"
        return Check(name="Memory", state="warn", found=found, advice=advice)
    return Check(name="Memory", state="ok", found=found)


def disk() -> Iterator[Check]:
    """Room where downloads are kept, and in the working folder."""
    from tlcourse.data import cache_folder

    for what, folder in (("cache", cache_folder()), ("working folder", Path.cwd())):
        yield room(f"Disk, {what}", folder)


def room(name: str, folder: Path, *, wanted: int = 3 * GIB) -> Check:
    """Free bytes in a folder, which need not be there yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {folder}"
    if not os.access(there, os.W_OK):
        advice = "choose a folder that you may write in" + (" with TLCOURSE_CACHE" if "cache" in name else "")
        return Check(name=name, state="fault", found=f"{folder} is read-only", advice=advice)
    if free < wanted:
        state = "fault" if free < GIB // 10 else "warn"
        advice = f"make room: {wanted / GIB:.0f} GiB are wanted"
        return Check(name=name, state=state, found=found, advice=advice)
    return Check(name=name, state="ok", found=found)


def thai_font() -> Check:
    """A font with Thai letters, without which pictures show boxes."""
    advice = "pip install --force-reinstall fontpkg-noto-sans-thai"
    try:
        from matplotlib.ft2font import FT2Font

        from tlcourse import plots

        path = plots.thai_font()
        if FT2Font(str(path)).get_char_index(ord("ก")):
            return Check(name="Thai font", state="ok", found=path.name)
        found = f"{path} has no Thai letters"
    except (ImportError, LookupError, OSError, RuntimeError, StopIteration) as error:
        found = f"none: {str(error) or type(error).__name__}"
    return Check(name="Thai font", state="fault", found=found, advice=advice)


def widgets() -> Check:
    """ipywidgets, and its half that lives in JupyterLab: without it a demo shows nothing and says nothing."""
    try:
        version = metadata.version("ipywidgets")
    except metadata.PackageNotFoundError:
        return Check(name="Widgets", state="fault", found="no ipywidgets", advice="pip install ipywidgets")
    try:
        from jupyter_core.paths import jupyter_path

        lab = metadata.version("jupyterlab")
    except (ImportError, metadata.PackageNotFoundError):
        advice = "fine on Colab; for `tlcourse lab`: pip install jupyterlab"
        found = f"ipywidgets {version}, no JupyterLab here"
        return Check(name="Widgets", state="warn", found=found, advice=advice)
    manager = "@jupyter-widgets/jupyterlab-manager"
    if not any((Path(folder) / manager).is_dir() for folder in jupyter_path("labextensions")):
        found = f"ipywidgets {version}, and JupyterLab {lab} without its widget extension"
        return Check(name="Widgets", state="fault", found=found, advice="pip install jupyterlab_widgets")
    return Check(name="Widgets", state="ok", found=f"ipywidgets {version} in JupyterLab {lab}")


def data_sets() -> Iterator[Check]:
    """Each data set of the catalogue: at hand, or still to be downloaded."""
    from tlcourse import data

    for name in data.names():
        yield data_set(data.info(name))


def data_set(entry) -> Check:
    """Where a data set (a `tlcourse.data.Entry`) is at hand, without downloading anything."""
    from tlcourse.data import DataError, cache_folder, shipped
    from tlcourse.data.download import data_folder, in_folder
    from tlcourse.data.files import installed_file

    name = f"Data, {entry.name}"
    try:
        places: list[tuple[str, Callable[[], Path | None]]] = [
            ("in TLCOURSE_DATA", lambda: (folder := data_folder()) and in_folder(entry, folder)),
            ("embedded", lambda: shipped() / entry.embedded if entry.embedded else None),
            ("in a package", lambda: installed_file(entry) if entry.package else None),
            ("in the cache", lambda: in_folder(entry, cache_folder())),
        ]
        for place, look in places:
            if path := look():
                return Check(name=name, state="ok", found=f"{place}, {path}")
    except DataError as error:
        found, *advice = str(error).splitlines()
        return Check(name=name, state="fault", found=found, advice=" ".join(advice).strip())
    if entry.repository:
        found = f"not here yet; to be cloned from {entry.repository}"
        return Check(name=name, state="warn", found=found, advice=f"`tlcourse data get {entry.name}` says how")
    return Check(
        name=name,
        state="warn",
        found=f"not here yet; {entry.bytes / 1e6:.1f} MB at {entry.address}",
        advice=f"`tlcourse data get {entry.name}`, or name a folder that holds it in TLCOURSE_DATA",
    )
