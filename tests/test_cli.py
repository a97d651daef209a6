"""The tlcourse command: what it prints, what it leaves, and how it ends."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tlcourse import __version__, cli, data, normal_form


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with a notebook that runs and one that fails, as the working folder."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tlcourse"\n')
    folder = tmp_path / "notebooks"
    folder.mkdir()
    lessons = {
        "01_good": [new_markdown_cell("# Good\n"), new_code_cell("import os\nos.environ['TLCOURSE_PROFILE']")],
        "02_bad": [new_markdown_cell("# Bad\n"), new_code_cell("words = {}\nwords['ตากลม']")],
    }
    for name, cells in lessons.items():
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
    monkeypatch.setenv("TLCOURSE_RECORD", "")
    return tmp_path


def one_line_error(capsys, *arguments):
    """The message of a command that its user got wrong: exit code 2, one line, no traceback."""
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("tlcourse: ") and message.count("\n") == 1
    return message


def test_help_imports_nothing_heavy():
    code = """
import sys
from tlcourse.cli import main
try:
    main(["--help"])
except SystemExit as end:
    heavy = {"torch", "pandas", "numpy", "nbformat", "matplotlib", "jupyterlab"} & set(sys.modules)
    sys.exit(f"imports {heavy}" if heavy else end.code)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert all(f"\n    {command} " in run.stdout for command in ("lab", "run", "course", "data", "claims", "doctor"))


def test_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "tlcourse", "--version"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, f"tlcourse {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["run"], ["data", "burn"], ["run", "01", "--fast"]])
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "tlcourse" in capsys.readouterr().err.splitlines()[-1]


# -------------------------------------------------------------------------------------------------- notebooks


def test_run_writes_the_page(tree, capsys):
    assert cli.main(["run", "01", "--profile", "laptop", "--output", "pages"]) == 0
    assert "laptop" in (tree / "pages" / "01_good.html").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    assert "[1/1] Good: import os" in shown and "pages/01_good.html" in shown.replace("\\", "/")


def test_course_goes_on_after_a_failure(tree, capsys):
    assert cli.main(["course"]) == 1
    pages = tree / "build" / "course"
    index = (pages / "index.html").read_text(encoding="utf-8")
    assert re.search(r"Good</a></td><td>\d+ s", index) and "Bad</a></td><td>failed" in index
    assert {page.name for page in pages.iterdir()} == {"index.html", "01_good.html", "02_bad.html"}
    error = capsys.readouterr().err
    assert "02_bad.ipynb: code cell 1 failed" in error
    assert "   2  words['ตากลม']" in error and "KeyError: 'ตากลม'" in error
    assert not normal_form.ANSI.search(error)


def test_notebooks_are_stored_and_checked(tree, capsys):
    assert cli.main(["notebooks", "--check", "01"]) == 1
    assert "run `make notebooks`" in capsys.readouterr().out
    assert cli.main(["notebooks", "01"]) == 1  # stored, and it says what is missing
    shown = capsys.readouterr().out
    stored = nbformat.read(tree / "notebooks" / "01_good.ipynb", as_version=4)
    assert stored.metadata.tlcourse.profile == "laptop"
    assert stored.cells[1].outputs[0].data["text/plain"] == "'laptop'"
    assert "make notebooks" not in shown and "cells tagged nbval-check-output: 0" in shown


def test_a_failing_notebook_is_not_stored(tree, capsys):
    before = (tree / "notebooks" / "02_bad.ipynb").read_bytes()
    assert cli.main(["notebooks", "02", "--profile", "smoke"]) == 1
    assert (tree / "notebooks" / "02_bad.ipynb").read_bytes() == before
    assert "KeyError" in capsys.readouterr().err


def test_notebook_that_is_not_there(tree, capsys):
    assert "'07' names no notebook; choose from 01_good, 02_bad" in one_line_error(capsys, "run", "07")


def test_notebook_that_is_none(tree, capsys):
    assert "pyproject.toml is not a Jupyter notebook" in one_line_error(capsys, "run", "pyproject.toml")


def test_unknown_profile(tree, capsys):
    assert "smoke, laptop, gpu" in one_line_error(capsys, "run", "01", "--profile", "huge")
    assert not (tree / "build").exists()


def test_unknown_profile_in_the_environment(tree, capsys, monkeypatch):
    monkeypatch.setenv("TLCOURSE_PROFILE", "huge")
    assert "TLCOURSE_PROFILE='huge'" in one_line_error(capsys, "course")


def test_output_that_is_a_file(tree, capsys):
    (tree / "taken").write_text("")
    assert "taken" in one_line_error(capsys, "run", "01", "--output", "taken")


def test_a_tree_without_notebooks(tree, capsys):
    for path in (tree / "notebooks").iterdir():
        path.unlink()
    assert "no notebooks in" in one_line_error(capsys, "course")


def test_outputs_are_stored_in_a_source_tree_only(tree, capsys, monkeypatch):
    monkeypatch.setattr("tlcourse.notebooks.checkout", lambda: None)
    assert "source tree" in one_line_error(capsys, "notebooks")


# ------------------------------------------------------------------------------------------- data and claims


def test_data_list_is_the_default(capsys):
    assert cli.main(["data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["name", "languages"]
    rows = {line.split()[0]: line for line in lines[1:] if line}
    assert "Apache-2.0" in rows["thai_intents"] and " yes " in rows["thai_intents"]
    assert " no " in rows["truevoice"]


def test_data_info(capsys):
    assert cli.main(["data", "info", "truevoice"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("licence", "citation", "sha256", "559,572", "at hand"))


def test_data_get(capsys):
    assert cli.main(["data", "get", "thai_intents"]) == 0
    shown = capsys.readouterr().out
    assert "from: embedded" in shown and "unlabelled" in shown


@pytest.mark.parametrize("action", ["info", "get"])
def test_unknown_data_set(action, capsys):
    assert "thai_intents" in one_line_error(capsys, "data", action, "truevoise")


def test_data_folder_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("TLCOURSE_DATA", "/no/such/folder")
    assert "/no/such/folder" in one_line_error(capsys, "data", "get", "truevoice")


def test_from_a_dump_to_a_backbone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dump, kept = data.shipped() / "wikipedia" / "thwiki-mini-pages-articles.xml", ["--folder", "wiki"]
    assert cli.main(["wiki", "tokens", *kept]) == 2  # nothing extracted yet
    assert cli.main(["wiki", "extract", *kept]) == 2
    assert "tlcourse wiki fetch" in capsys.readouterr().err
    assert cli.main(["wiki", "extract", str(dump), *kept, "--workers", "1"]) == 0
    assert "duplicate" in capsys.readouterr().out
    assert cli.main(["wiki", "tokens", *kept, "--vocab", "500", "--workers", "1"]) == 0
    assert "the text" in capsys.readouterr().out
    small = ["--recipe", "tiny", "--epochs", "1", "--output", "run"]
    assert cli.main(["pretrain", "wiki/tokens", *small]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert {path.name for path in Path("run").iterdir()} >= {"backbone.safetensors", "metrics.csv", "recipe.json"}
    assert cli.main(["pretrain", "wiki/tokens", *small, "--lr", "0.5"]) == 2  # another recipe in the same folder
    assert "lr was" in capsys.readouterr().err


def test_wiki_tells_what_is_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path))
    assert cli.main(["wiki"]) == 0
    assert capsys.readouterr().out.count("not yet") == 3


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["wiki", "fetch", "--language", "../th"], "no language code"),
        (["wiki", "extract", "no-such.xml", "--folder", "wiki"], "no-such.xml"),
        (["pretrain", "no-such-corpus"], "no-such-corpus"),
        (["pretrain", "--recipe", "huge"], "no recipe 'huge'"),
    ],
)
def test_a_wrong_wiki_or_corpus(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_claims_list(capsys):
    from tlcourse import claims

    assert cli.main(["claims"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name}: " in shown for name in claims.load())


def test_claims_results(tmp_path, capsys):
    page = tmp_path / "RESULTS.md"
    assert cli.main(["claims", "results", "--output", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("# ")


# ---------------------------------------------------------------------------------------------- how it ends


def raising(monkeypatch, error):
    """Let `tlcourse doctor` end in an error."""

    def examine():
        raise error

    monkeypatch.setattr("tlcourse.doctor.examine", examine)


def test_a_fault_of_the_course_is_shown_whole(monkeypatch):
    raising(monkeypatch, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["doctor"])


def test_traceback_on_demand(monkeypatch, capsys):
    raising(monkeypatch, ValueError("wrong input"))
    assert one_line_error(capsys, "doctor") == "tlcourse: wrong input\n"
    with pytest.raises(ValueError, match="wrong input"):
        cli.main(["--traceback", "doctor"])


def test_a_missing_package_is_named(monkeypatch, capsys):
    raising(monkeypatch, ModuleNotFoundError("No module named 'nbclient'", name="nbclient"))
    assert 'nbclient is not installed; pip install "tlcourse[lab]"' in one_line_error(capsys, "doctor")


def test_ctrl_c(monkeypatch, capsys):
    raising(monkeypatch, KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_a_reader_that_had_enough():
    command = subprocess.Popen(
        [sys.executable, "-m", "tlcourse", "claims"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    assert (command.stderr.read(), command.wait()) == (b"", 0)
    command.stderr.close()


@pytest.mark.parametrize("states, code", [(["ok"], 0), (["ok", "warn"], 0), (["warn", "fault", "ok"], 1)])
def test_doctor(states, code, monkeypatch, capsys):
    from tlcourse.doctor import Check

    advice = {"ok": "", "warn": "wait", "fault": "run `make lab`"}
    checks = [Check(name="Thing", state=state, found="seen", advice=advice[state]) for state in states]
    monkeypatch.setattr("tlcourse.doctor.examine", lambda: iter(checks))
    assert cli.main(["doctor"]) == code
    shown = capsys.readouterr().out
    assert shown.count("Thing") == len(states) and all(advice[state] in shown for state in states)
