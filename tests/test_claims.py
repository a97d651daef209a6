"""The ledger of claims: the comparison, the check, the record of a run, the results page, the ledger that ships."""

import ast
import json
import math
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from tlcourse import claims, data, profile
from tlcourse.claims import Claim, ClaimError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
HOLDS = {"smoke": "holds", "laptop": "holds", "gpu": "holds"}


def claim(name="few-labels", **changes) -> Claim:
    entry = {
        "id": name,
        "sentence": "Transfer needs fewer labels.",
        "source": "Howard and Ruder (2018), section 4",
        "notebook": "03_ulmfit_classifier",
        "test": "transfer > scratch + 0.02",
        "expect": HOLDS,
    }
    return Claim(**entry | changes)


@pytest.fixture
def ledger(monkeypatch):
    """Put claims in place of those that ship: ``ledger(claim(), …)``."""

    def replace(*entries):
        monkeypatch.setattr(claims, "load", lambda: {entry.id: entry for entry in entries})

    monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
    return replace


@pytest.fixture
def record(monkeypatch, tmp_path):
    path = tmp_path / "measured.json"
    monkeypatch.setenv("TLCOURSE_RECORD", str(path))
    return path


FIGURES = {"a": 1, "b": 2.0, "c": np.float64(3)}


class TestEvaluate:
    @pytest.mark.parametrize(
        ("test", "holds"),
        [
            ("a < b", True),
            ("b < a", False),
            ("a <= 1", True),
            ("a >= 1.5", False),
            ("a < b < c", True),
            ("a < b < 2", False),
            ("a + b >= c", True),
            ("c - b > a", False),
            ("c > 2 * a + 0.5", True),
            ("c / b < 1.4", False),
            ("(a + b) * c >= 9", True),
            ("a - b > -1.5", True),
            ("-a < 0", True),
            ("a < b and b < c", True),
            ("a < b and c < b", False),
            ("c < b and a < b", False),
        ],
    )
    def test_known_values(self, test, holds):
        assert claims.evaluate(test, FIGURES) is holds

    @given(a=st.floats(-1e6, 1e6), b=st.floats(-1e6, 1e6), margin=st.floats(0, 1e3))
    def test_it_is_python_s_own_comparison(self, a, b, margin):
        figures = {"a": a, "b": b, "margin": margin}
        for test in ("a > b + margin", "a - margin <= b < a * 2", "a / 4 >= b - margin and -b < a"):
            assert claims.evaluate(test, figures) is eval(test, {}, figures)

    @pytest.mark.parametrize(
        ("test", "refused"),
        [
            ("max(a, b) > 1", "max(a, b)"),
            ("__import__('os').system('true') < 1", "__import__('os').system('true')"),
            ("a.real < b", "a.real"),
            ("a[0] < b", "a[0]"),
            ("'x' < b", "'x'"),
            ("a < True", "True"),
            ("a == b", "a == b"),
            ("a in b", "a in b"),
            ("a < b or b < a", "a < b or b < a"),
            ("not a < b", "not a < b"),
            ("a ** b > 1", "a ** b"),
            ("a % b > 1", "a % b"),
            ("(a < b) + 1 > 0", "a < b"),
            ("[a] < b", "[a]"),
            ("lambda: a < b", "lambda: a < b"),
            ("a < (b := 3)", "(b := 3)"),
            ("a", "a"),  # no comparison: it would hold for any number but 0
            ("a + b", "a + b"),
            ("1", "1"),
        ],
    )
    def test_anything_else_is_refused(self, test, refused):
        with pytest.raises(ValueError) as error:
            claims.evaluate(test, FIGURES)
        assert str(error.value) == f"«{test}»: {refused!r} is not allowed in a comparison"

    @pytest.mark.parametrize("test", ["", "a <", "a < b; b", "import os"])
    def test_what_is_no_expression_is_refused(self, test):
        with pytest.raises(ValueError, match="is no comparison"):
            claims.evaluate(test, FIGURES)

    @pytest.mark.parametrize("test", ["a < nothing", "b < a and nothing > 1", "b < a < nothing"])
    def test_a_missing_figure_is_named_even_where_the_rest_decides(self, test):
        with pytest.raises(KeyError, match="needs the figure 'nothing'; given: a, b, c"):
            claims.evaluate(test, FIGURES)


class TestCheck:
    def test_a_claim_that_holds(self, ledger, capsys):
        ledger(claim())
        claims.check("few-labels", transfer=0.8, scratch=0.6)
        assert capsys.readouterr().out == (
            "✓ Transfer needs fewer labels.\n  transfer > scratch + 0.02:  transfer = 0.8, scratch = 0.6\n"
        )

    def test_a_claim_that_stops_holding_raises(self, ledger, capsys):
        ledger(claim())
        with pytest.raises(ClaimError, match="expects that it holds in the smoke profile, and in this run it fails"):
            claims.check("few-labels", transfer=0.6, scratch=0.6)
        assert capsys.readouterr().out.startswith("✗ Transfer needs fewer labels.")

    def test_a_finding_that_turns_out_to_hold_raises_too(self, ledger):
        ledger(claim(expect=HOLDS | {"smoke": "fails"}))
        claims.check("few-labels", transfer=0.6, scratch=0.6)
        with pytest.raises(ClaimError, match="expects that it fails in the smoke profile, and in this run it holds"):
            claims.check("few-labels", transfer=0.8, scratch=0.6)

    def test_what_is_undecided_never_raises(self, ledger, capsys):
        ledger(claim(expect=HOLDS | {"smoke": "undecided"}))
        for transfer in (0.8, 0.6):
            claims.check("few-labels", transfer=transfer, scratch=0.6)
            assert "nothing is asserted" in capsys.readouterr().out

    def test_the_profile_decides_what_is_expected(self, ledger, monkeypatch):
        ledger(claim(expect=HOLDS | {"laptop": "fails"}))
        monkeypatch.setenv("TLCOURSE_PROFILE", "laptop")
        claims.check("few-labels", transfer=0.6, scratch=0.6)

    def test_the_finding_is_told(self, ledger, capsys):
        ledger(claim(finding="It shows from 500 labels on."))
        claims.check("few-labels", transfer=0.8, scratch=0.6)
        assert "  It shows from 500 labels on.\n" in capsys.readouterr().out

    def test_on_other_data_nothing_is_asserted_or_recorded(self, ledger, record, monkeypatch, capsys):
        monkeypatch.setenv("TLCOURSE_PROFILE", "laptop")
        ledger(claim())  # the ledger speaks of truevoice
        claims.check("few-labels", on="thai_intents", transfer=0.6, scratch=0.6)
        assert "speaks of truevoice, this run used thai_intents: nothing is asserted" in capsys.readouterr().out
        assert not record.exists()
        with pytest.raises(ClaimError):
            claims.check("few-labels", on="truevoice", transfer=0.6, scratch=0.6)

    def test_smoke_is_always_on_the_embedded_sample(self, ledger):
        ledger(claim())
        with pytest.raises(ClaimError):
            claims.check("few-labels", on="thai_intents", transfer=0.6, scratch=0.6)

    def test_bad_input(self, ledger):
        ledger(claim(), claim("other"))
        with pytest.raises(KeyError, match=r"no claim 'few' in claims.toml; it has few-labels, other"):
            claims.check("few", transfer=0.8, scratch=0.6)
        with pytest.raises(KeyError, match="needs the figure 'scratch'; given: transfer"):
            claims.check("few-labels", transfer=0.8)
        with pytest.raises(ValueError, match="few-labels: nan was given for scratch"):
            claims.check("few-labels", transfer=0.8, scratch=math.nan)

    def test_the_error_is_an_assertion(self):
        assert issubclass(ClaimError, AssertionError)


class TestLoad:
    entry = """
[few-labels]
sentence = "Transfer needs fewer labels."
source = "Howard and Ruder (2018)"
notebook = "03.ipynb"
test = "a > b"
expect = { smoke = "undecided", laptop = "holds", gpu = "fails" }
"""

    def load(self, tmp_path, text):
        (tmp_path / "claims.toml").write_text(text, encoding="utf-8")
        return claims.load(tmp_path / "claims.toml")

    def test_an_entry(self, tmp_path):
        loaded = self.load(tmp_path, self.entry + 'finding = "ไทย"\n')
        assert list(loaded) == ["few-labels"]
        found = loaded["few-labels"]
        assert (found.id, found.test, found.finding, found.published) == ("few-labels", "a > b", "ไทย", "")
        assert found.expect == {"smoke": "undecided", "laptop": "holds", "gpu": "fails"}

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('test = "a > b"\n', "", r"claims.toml, \[few-labels\].*'test'"),
            ("source =", "sauce =", r"claims.toml, \[few-labels\].*'sauce'"),
            ('"fails"', '"perhaps"', "claim few-labels: expect needs .* holds, fails, undecided"),
            (', gpu = "fails"', "", "claim few-labels: expect needs smoke, laptop, gpu"),
            ('gpu = "fails"', 'gpu = "fails", tpu = "fails"', "claim few-labels: expect needs smoke, laptop, gpu"),
        ],
    )
    def test_a_wrong_entry_is_named(self, tmp_path, old, new, message):
        assert old in self.entry
        with pytest.raises(ValueError, match=message):
            self.load(tmp_path, self.entry.replace(old, new))

    def test_the_profiles_are_those_of_the_course(self):
        assert claims.PROFILES == profile.NAMES


class TestRecord:
    def test_nothing_is_kept_without_the_variable(self, ledger, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TLCOURSE_RECORD", raising=False)
        ledger(claim())
        claims.check("few-labels", transfer=0.8, scratch=0.6)
        assert list(tmp_path.iterdir()) == []

    def test_figures_and_where_they_were_measured(self, ledger, record):
        ledger(claim())
        claims.check("few-labels", transfer=np.float32(0.75), scratch=0)
        run = json.loads(record.read_text("utf-8"))["claims"]["few-labels"]["smoke"]
        assert run["figures"] == {"transfer": 0.75, "scratch": 0.0} and run["holds"] is True
        assert run["device"] == profile.device_name(profile.current().device)
        assert 0.01 < run["memory_gib"] < 1000 and run["minutes"] >= 0

    def test_a_run_that_contradicts_the_ledger_is_kept_too(self, ledger, record):
        ledger(claim())
        with pytest.raises(ClaimError):
            claims.check("few-labels", transfer=0.5, scratch=0.5)
        assert json.loads(record.read_text("utf-8"))["claims"]["few-labels"]["smoke"]["holds"] is False

    def test_a_new_run_replaces_its_own_profile_and_leaves_the_rest(self, ledger, record, monkeypatch):
        ledger(claim(), claim("other"))
        claims.check("few-labels", transfer=0.8, scratch=0.1)
        claims.check("other", transfer=0.8, scratch=0.2)
        claims.report("Test rows", pd.DataFrame({"model": ["SVM"], "F1": [0.85]}))
        monkeypatch.setenv("TLCOURSE_PROFILE", "laptop")
        claims.check("few-labels", transfer=0.8, scratch=0.3)
        claims.check("few-labels", transfer=0.8, scratch=0.4)
        kept = json.loads(record.read_text("utf-8"))
        scratch = {
            (name, where): run["figures"]["scratch"]
            for name, by_profile in kept["claims"].items()
            for where, run in by_profile.items()
        }
        assert scratch == {("few-labels", "smoke"): 0.1, ("few-labels", "laptop"): 0.4, ("other", "smoke"): 0.2}
        assert kept["tables"]["Test rows"]["smoke"]["rows"] == [["SVM", 0.85]]

    def test_a_full_disk_leaves_what_was_there(self, ledger, record, monkeypatch):
        ledger(claim())
        claims.check("few-labels", transfer=0.8, scratch=0.1)
        before = record.read_bytes()
        write = Path.write_text

        def half(path, text, *args):
            write(path, text[: len(text) // 2], *args)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", half)
        with pytest.raises(OSError, match="No space"):
            claims.check("few-labels", transfer=0.8, scratch=0.2)
        assert record.read_bytes() == before and list(record.parent.iterdir()) == [record]

    def test_a_table_keeps_its_columns_types_and_gaps(self, record, monkeypatch):
        monkeypatch.setenv("TLCOURSE_PROFILE", "smoke")
        frame = pd.DataFrame({"model": ["SVM", "ไทย"], 100: [1, 2], "F1": [0.25, None]}, index=[5, 7])
        claims.report("Scores", frame)
        kept = json.loads(record.read_text("utf-8"))["tables"]["Scores"]["smoke"]
        assert kept["columns"] == ["model", "100", "F1"]
        assert kept["rows"] == [["SVM", 1, 0.25], ["ไทย", 2, None]]


class TestWriteResults:
    def test_the_page(self, ledger, record, tmp_path):
        expect = HOLDS | {"smoke": "undecided", "gpu": "fails"}
        ledger(
            claim(published="10 times fewer", finding="Only with the constant rate."),
            claim("other", sentence="Lower layers learn slower.", expect=expect),
        )
        claims.check("few-labels", transfer=0.8125, scratch=0.5)
        claims.check("other", transfer=0.25, scratch=0.5)
        claims.report("Test rows", pd.DataFrame({"model": ["SVM", "ULMFiT"], "n": [3, 4], "F1": [0.85126, None]}))
        page = claims.write_results(tmp_path / "RESULTS.md", record).read_text("utf-8")
        assert page.startswith("# Results\n") and page.endswith("|\n")
        first, second = page.index("## Transfer needs fewer"), page.index("## Lower layers learn slower.")
        tables = page.index("## Test rows (smoke, CPU (1 threads))")
        assert first < second < tables
        about = page[first:second]
        assert "`few-labels`, from Howard and Ruder (2018), section 4; shown in `03_ulmfit_classifier`" in about
        assert "`transfer > scratch + 0.02`" in about
        assert "Published: 10 times fewer" in about and "Finding: Only with the constant rate." in about
        assert "| smoke | ✓ | scratch = 0.500, transfer = 0.812 | CPU (1 threads) |" in about
        assert "| laptop | not run | | | | |" in about
        assert "| smoke | ✗ (undecided) | scratch = 0.500, transfer = 0.250 |" in page[second:tables]
        assert "| gpu | not run (fails) | | | | |" in page[second:tables]
        assert page[tables:].splitlines()[2:] == [
            "| model | n | F1 |",
            "| --- | --- | --- |",
            "| SVM | 3 | 0.851 |",
            "| ULMFiT | 4 |  |",
        ]

    def test_every_table_row_has_as_many_cells_as_its_head(self, ledger, record, tmp_path):
        ledger(claim(), claim("other"))
        claims.check("few-labels", transfer=0.8, scratch=0.5)
        page = claims.write_results(tmp_path / "RESULTS.md", record).read_text("utf-8")
        rows = [line for line in page.splitlines() if line.startswith("|")]
        assert len(rows) == 10 and {row.count("|") for row in rows} == {7}

    def test_without_runs_every_claim_is_there(self, ledger, tmp_path):
        ledger(claim())
        page = claims.write_results(tmp_path / "RESULTS.md", tmp_path / "none.json").read_text("utf-8")
        assert page.count("| not run |") == 3


# ------------------------------------------------------------------------------------- the ledger that ships
def checks_of(notebook: Path):
    """The calls ``claims.check("id", figure=…)`` in a notebook: each id and the names of its figures."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        source = TransformerManager().transform_cell(cell.source)  # lines such as !pip are no Python
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "claims.check":
                yield node.args[0].value, {keyword.arg for keyword in node.keywords} - {"on"}


@pytest.fixture(scope="module")
def checked():
    """For each notebook, the claims it checks and the figures it gives."""
    return {path.stem: dict(checks_of(path)) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def figures_of(entry: Claim) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(entry.test)) if isinstance(node, ast.Name)}


class TestTheLedger:
    def test_each_claim_is_checked_in_its_notebook_and_each_check_is_in_the_ledger(self, checked):
        in_ledger = {(entry.notebook, name) for name, entry in claims.load().items()}
        assert in_ledger == {(notebook, name) for notebook, checks in checked.items() for name in checks}

    def test_each_check_gives_the_figures_that_its_comparison_names(self, checked):
        for entry in claims.load().values():
            assert figures_of(entry) == checked[entry.notebook][entry.id], entry.id

    def test_each_comparison_can_turn_out_either_way(self):
        rng = np.random.default_rng(0)
        for entry in claims.load().values():
            draws = [{name: 10 ** rng.uniform(-3, 1) for name in figures_of(entry)} for _ in range(300)]
            assert {claims.evaluate(entry.test, draw) for draw in draws} == {True, False}, entry.test

    def test_each_claim_is_a_sentence_with_its_source_and_a_known_data_set(self):
        for entry in claims.load().values():
            assert entry.sentence.endswith(".") and entry.source, entry.id
            assert entry.data in data.names(), entry.id

    def test_a_claim_that_fails_somewhere_says_what_was_found(self):
        for entry in claims.load().values():
            assert "fails" not in entry.expect.values() or entry.finding, entry.id
