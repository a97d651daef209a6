import nbformat
import pytest
from nbclient import NotebookClient

from tlcourse.training import Stage, fit, progress
from tlcourse.training.progress import Lines, Notebook, Silence, Terminal, find_display

STAGES = [Stage(1, 1), Stage(3, 2)]


@pytest.fixture
def outside_tests(monkeypatch):
    """A function after which things are as when no test is running."""

    def leave():
        monkeypatch.delenv("PYTEST_CURRENT_TEST")
        monkeypatch.delenv("TLCOURSE_PROGRESS", raising=False)

    return leave


def test_nothing_is_shown_in_a_test(small, capsys):
    fit(small.classifier_learner(), STAGES, lr=0.01)
    assert capsys.readouterr() == ("", "")


def test_a_log_has_one_line_a_stage(small, capsys, outside_tests):
    outside_tests()
    history = fit(small.classifier_learner(), STAGES, lr=0.01)
    first, second = capsys.readouterr().out.splitlines()
    row = history.iloc[-1]
    assert first.startswith("stage 1/2: top 1 of 3 · 1 epoch · train_loss ")
    assert second.startswith("stage 2/2: all · 2 epochs · train_loss ")
    assert second.endswith(f" · accuracy {row['accuracy']:.3f} · macro_f1 {row['macro_f1']:.3f}")


def test_a_finished_checkpoint_says_so(small, capsys, outside_tests, tmp_path):
    outside_tests()
    for _ in range(2):
        fit(small.classifier_learner(), STAGES, lr=0.01, checkpoint=tmp_path / "run.pt")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [f"resumed from {tmp_path / 'run.pt'}: 15 of 15 steps are done"]


def test_a_reader_can_ask_for_silence(small, capsys, outside_tests, monkeypatch):
    outside_tests()
    fit(small.classifier_learner(), 1, lr=0.01, progress=False)
    monkeypatch.setenv("TLCOURSE_PROGRESS", "0")
    fit(small.classifier_learner(), 1, lr=0.01)
    assert capsys.readouterr() == ("", "")


def test_the_display_suits_the_place(outside_tests, monkeypatch):
    outside_tests()
    assert type(find_display()) is Lines
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    assert type(find_display()) is Terminal
    monkeypatch.setenv("TLCOURSE_PROGRESS", "0")
    assert type(find_display()) is Silence


def test_the_moving_line_tells_where_a_training_is(small, outside_tests, monkeypatch):
    outside_tests()
    moved = []
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_UPDATES", 0)
    monkeypatch.setattr(Lines, "move", lambda self, text: moved.append(text))
    fit(small.classifier_learner(), STAGES, lr=0.01)
    assert len(moved) == 3 * (5 + 2)
    assert moved[0].startswith("epoch 1/3 · step 1/15 · loss ")
    assert moved[5].startswith("epoch 1/3 · step 5/15 · validation · ")
    assert moved[-1] == "epoch 3/3 · step 15/15 · validation · 0:00 left"


def test_a_terminal_keeps_the_lines_of_the_stages(capsys):
    terminal = Terminal()
    terminal.move("moving")
    terminal.keep("stage 1")
    terminal.move("moving on")
    terminal.close()
    erase = "\r\x1b[K"
    assert capsys.readouterr().out == f"{erase}moving{erase}stage 1\n{erase}moving on{erase}"


def test_a_notebook_keeps_one_output_with_the_lines_of_the_stages():
    """In a kernel of its own: what is left in the notebook is what does not move."""
    show = (
        "display = find_display()\n"
        "display.move('moving')\n"
        "display.keep('stage 1')\n"
        "display.keep('stage 2')\n"
        "display.move('moving on')\n"
        "display.close()"
    )
    cells = [
        "import os\nfrom tlcourse.training.progress import find_display",
        show,
        "del os.environ['PYTEST_CURRENT_TEST']\n" + show,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    under_test, read = notebook.cells[1:]
    assert under_test.outputs == []
    assert [output["data"] for output in read.outputs] == [{"text/plain": "stage 1\nstage 2"}]


def test_a_notebook_without_lines_shows_nothing():
    display = Notebook()
    display.close()
    assert display.handle is None
