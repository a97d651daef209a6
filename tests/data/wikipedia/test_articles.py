"""Articles on disk: what is kept and why not, resuming to the same bytes, and everything that can go wrong."""

import contextlib
import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcourse.data import DataError
from tlcourse.data.wikipedia import DumpError, extract, from_hub, read_articles
from tlcourse.data.wikipedia import articles as articles_module
from tlcourse.data.wikipedia import dump as dump_module

LONG = "ข้อความยาวพอจะเป็นบทความ " * 12


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Shards of three articles, and pages of more than 10 kB are oversized."""
    monkeypatch.setattr(articles_module, "SHARD", 3)
    monkeypatch.setattr(dump_module, "MAX_BYTES", 10_000)


@pytest.fixture
def dump(export) -> Path:
    """Eleven articles, and one page of each kind that is left out."""
    kept = [export.page(n, f"'''บทความ''' {n} [[ก|ข]] {LONG}", title=f"ชื่อ {n}") for n in range(1, 12)]
    left_out = [
        export.page(20, f"บทความ 1 ข {LONG}"),
        export.page(21, "สั้น {{ยาวมาก|" + LONG + "}}"),
        export.page(22, "#เปลี่ยนทาง [[ก]]", redirect="ก"),
        export.page(23, LONG, namespace=1),
        export.page(24, "ก" * 4_000),
    ]
    return export.write(export.xml(*kept[:5], *left_out, *kept[5:]))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


def test_articles_their_form_and_the_report(dump, tmp_path):
    report = extract(dump, tmp_path / "out", progress=False)
    rows = list(read_articles(tmp_path / "out"))
    assert [row["id"] for row in rows] == list(range(1, 12))
    text = f"บทความ 1 ข {LONG}".strip()
    assert rows[0] == {"id": 1, "revision": 1001, "title": "ชื่อ 1", "text": text}
    assert (report.articles, report.new, report.complete) == (11, 11, True)
    assert report.characters == sum(len(row["text"]) for row in rows)
    assert report.skipped == dict.fromkeys(["duplicate", "namespace", "oversized", "redirect", "stub"], 1)
    for line in ("articles  ", "skipped: duplicate", "articles a second", "(th)"):
        assert line in str(report)
    state = json.loads((tmp_path / "out/articles.json").read_text(encoding="utf-8"))
    named = ("format", "language", "source", "licence", "complete", "articles", "characters", "skipped")
    assert {name: state[name] for name in named} == {
        "format": "tlcourse-articles-1",
        "language": "th",
        "source": dump.name,
        "licence": "CC BY-SA 4.0",
        "complete": True,
        "articles": 11,
        "characters": report.characters,
        "skipped": report.skipped,
    }
    names = [f"articles-{n:05}.jsonl.gz" for n in range(4)]
    assert sorted(contents(tmp_path / "out")) == [*names, "articles.json"]
    first = gzip.decompress((tmp_path / "out" / names[0]).read_bytes()).decode()
    assert first.count("\n") == 3 and "ชื่อ 1" in first


def test_faults_in_the_markup_are_told(export, tmp_path):
    report = extract(export.write(export.xml(export.page(1, "{{ไม่ปิด\n\n" + LONG))), tmp_path / "out", progress=False)
    assert report.mended == {"unclosed": 1} and "kept, markup unclosed" in str(report)


def test_processes_make_the_same_files(dump, tmp_path, monkeypatch):
    monkeypatch.setattr(articles_module, "BATCH", 2000)
    for workers in (1, 2):
        extract(dump, tmp_path / str(workers), workers=workers, progress=False)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_a_complete_folder_is_verified_and_not_read_again(dump, tmp_path, monkeypatch):
    first = extract(dump, tmp_path / "out", progress=False)
    before = contents(tmp_path / "out")
    monkeypatch.setattr(articles_module, "pages", None)
    again = extract(dump, tmp_path / "out", progress=False)
    assert (again.articles, again.skipped, again.new) == (first.articles, first.skipped, 0)
    assert contents(tmp_path / "out") == before and "a second" not in str(again)


class Killed(BaseException):
    """Nothing handles it, as nothing handles a kill."""


def test_after_kills_at_any_moment_the_files_are_the_same(dump, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    extract(dump, whole, progress=False)

    @settings(deadline=None, max_examples=15)
    @given(moments=st.lists(st.integers(0, 14), min_size=1, max_size=3), where=st.sampled_from(["_digest", "_sha256"]))
    def check(moments, where):
        killed = tmp_path_factory.mktemp("killed")
        real = getattr(articles_module, where)
        for moment in moments:
            calls = iter(range(moment))

            def until(argument, calls=calls):
                if next(calls, None) is None:
                    raise Killed
                return real(argument)

            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
                patch.setattr(articles_module, where, until)
                extract(dump, killed, progress=False)
            if (killed / "articles.json").exists():
                assert len(list(read_articles(killed))) % 3 in {0, 2}  # whole shards only
        extract(dump, killed, progress=False)
        assert contents(killed) == contents(whole)

    check()


def test_kill_9_between_shards(dump, tmp_path):
    script = textwrap.dedent("""
        import os, signal, sys
        from tlcourse.data.wikipedia import articles, dump
        articles.SHARD, dump.MAX_BYTES = 3, 10_000
        save = articles._Writer._save
        def save_then_die(self):
            save(self)
            if len(self.shards) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        articles._Writer._save = save_then_die
        articles.extract(sys.argv[1], sys.argv[2], progress=False)
    """)
    run = subprocess.run([sys.executable, "-c", script, dump, tmp_path / "killed"], check=False, env=os.environ)
    assert run.returncode == -signal.SIGKILL
    assert len(list(read_articles(tmp_path / "killed"))) == 6
    report = extract(dump, tmp_path / "killed", progress=False)
    extract(dump, tmp_path / "whole", progress=False)
    assert (report.articles, report.new) == (11, 5)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"x"), Path.unlink])
def test_a_damaged_shard_is_made_anew(dump, tmp_path, damage):
    extract(dump, tmp_path / "out", progress=False)
    before = contents(tmp_path / "out")
    damage(tmp_path / "out/articles-00001.jsonl.gz")
    with pytest.raises(DataError, match=r"articles-00001\.jsonl\.gz is damaged or missing"):
        list(read_articles(tmp_path / "out"))
    with pytest.warns(UserWarning, match=r"articles-00001\.jsonl\.gz is damaged"):
        report = extract(dump, tmp_path / "out", progress=False)
    assert report.new == 8 and contents(tmp_path / "out") == before


def test_a_full_disk_keeps_the_finished_shards(dump, tmp_path, monkeypatch):
    replace = Path.replace

    def full(self, target):
        if target.name == "articles-00002.jsonl.gz":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(DataError, match=r"(?s)No space left on device.*bytes are free.*call again"):
            extract(dump, tmp_path / "out", progress=False)
    assert len(list(read_articles(tmp_path / "out"))) == 6
    assert sorted(contents(tmp_path / "out")) == [*(f"articles-{n:05}.jsonl.gz" for n in range(2)), "articles.json"]
    extract(dump, tmp_path / "out", progress=False)
    extract(dump, tmp_path / "whole", progress=False)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("first", [1, 2])
def test_a_truncated_dump_keeps_what_came_before_and_says_so_each_time(export, tmp_path, first):
    raw = export.xml(*(export.page(n, f"{n} {LONG}") for n in range(1, 9)))
    cut = export.write(raw[: raw.index(b"<id>6</id>")], "thwiki-cut.xml")
    for workers in (first, 1):
        with pytest.raises(DumpError, match="after 5 articles"):
            extract(cut, tmp_path / "out", workers=workers, progress=False)
        assert [row["id"] for row in read_articles(tmp_path / "out")] == [1, 2, 3, 4, 5]
        assert not json.loads((tmp_path / "out/articles.json").read_text(encoding="utf-8"))["complete"]


def test_a_dump_of_another_wiki(export, tmp_path):
    english = export.write(export.xml(export.page(1, LONG), dbname="enwiki", language="en"))
    with pytest.raises(DumpError, match="is of enwiki, not of the Wikipedia in 'th'"):
        extract(english, tmp_path / "out", language="th", progress=False)
    news = export.write(export.xml(export.page(1, LONG), dbname="thwikinews"))
    with pytest.raises(DumpError, match="thwikinews"):
        extract(news, tmp_path / "out", progress=False)
    yue = export.write(export.xml(export.page(1, LONG), dbname="zh_yuewiki", language="yue"))
    assert extract(yue, tmp_path / "out", progress=False).language == "zh-yue"
    assert extract(yue, tmp_path / "out", language="zh-yue", progress=False).complete


def test_a_dump_that_does_not_say_which_it_is(export, tmp_path):
    file = export.write(f"<mediawiki>{export.page(1, LONG)}</mediawiki>".encode(), "anonymous.xml")
    with pytest.raises(DumpError, match="name its language"):
        extract(file, tmp_path / "out", progress=False)
    assert extract(file, tmp_path / "out", language="th", progress=False).articles == 1


def test_a_folder_goes_on_only_with_what_it_was_begun_with(export, dump, tmp_path):
    extract(dump, tmp_path / "out", limit=2, progress=False)
    with pytest.raises(DumpError, match="limit 2, now it is 3"):
        extract(dump, tmp_path / "out", limit=3, progress=False)
    with pytest.raises(DumpError, match="min_characters 200, now it is 5"):
        extract(dump, tmp_path / "out", limit=2, min_characters=5, progress=False)
    export.write(export.xml(export.page(1, LONG)), dump.name)  # the file has become another
    with pytest.raises(DumpError, match="source_bytes"):
        extract(dump, tmp_path / "out", limit=2, progress=False)


@pytest.mark.parametrize("limit", [1, 3, 4, 11, 99])
def test_a_limit(dump, tmp_path, limit):
    report = extract(dump, tmp_path / "out", limit=limit, progress=False)
    assert (report.articles, report.complete) == (min(limit, 11), True)
    assert len(list(read_articles(tmp_path / "out"))) == min(limit, 11)


def test_min_characters(dump, tmp_path):
    assert extract(dump, tmp_path / "all", min_characters=0, progress=False).articles == 12
    none = extract(dump, tmp_path / "none", min_characters=10_000, progress=False)
    assert (none.articles, none.skipped["stub"], list(read_articles(tmp_path / "none"))) == (0, 13, [])


def test_a_folder_in_use(dump, tmp_path):
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(DataError, match="Another process"):
        extract(dump, tmp_path / "out", progress=False)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"workers": 0}])
def test_arguments_that_make_no_sense(dump, tmp_path, wrong):
    with pytest.raises(ValueError, match="at least 1"):
        extract(dump, tmp_path / "out", **wrong)


@pytest.mark.parametrize("state", ["", "[]", '{"format": "other"}', '{"format": "tlcourse-articles-1", "shards": 1}'])
def test_an_articles_json_that_is_none(dump, tmp_path, state):
    (tmp_path / "articles.json").write_text(state, encoding="utf-8")
    for call in (lambda: extract(dump, tmp_path, progress=False), lambda: list(read_articles(tmp_path))):
        with pytest.raises(DataError, match=r"articles\.json is not a description"):
            call()


def test_a_folder_without_articles(dump, tmp_path):
    with pytest.raises(DataError, match="holds no articles"):
        list(read_articles(tmp_path / "none"))
    with pytest.raises(DataError, match="cannot be written"):
        extract(dump, dump, progress=False)


# --- the hub ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """`datasets` with a local parquet file in the hub's place; returns what was asked for."""
    datasets = pytest.importorskip("datasets")
    import pandas as pd

    texts = [f"บท  {n} {LONG}\n\nประวัติ\n\nเนื้อหา\u200b\n\nอ้างอิง\n\nหนังสือ" for n in range(8)]
    rows = [*texts[:4], "สั้น", *texts[4:], texts[0]]
    frame = pd.DataFrame(
        [{"id": str(n), "url": f"https://th/{n}", "title": f"ชื่อ {n}", "text": text} for n, text in enumerate(rows)]
    )
    frame.to_parquet(tmp_path / "hub.parquet")
    asked, load = [], datasets.load_dataset

    def load_local(name, config, **options):
        asked.append((name, config))
        return load("parquet", data_files=str(tmp_path / "hub.parquet"), **options)

    monkeypatch.setattr(datasets, "load_dataset", load_local)
    return asked


def test_the_hubs_set_has_the_same_form(hub, tmp_path):
    report = from_hub(tmp_path / "out", progress=False)
    rows = list(read_articles(tmp_path / "out"))
    assert hub == [("wikimedia/wikipedia", "20231101.th")]
    assert rows[0] == {"id": 0, "revision": None, "title": "ชื่อ 0", "text": f"บท 0 {LONG.strip()}\nประวัติ\nเนื้อหา"}
    assert (report.articles, report.skipped) == (8, {"duplicate": 1, "stub": 1})
    assert (report.language, report.source) == ("th", "wikimedia/wikipedia 20231101.th")


def test_the_hubs_set_is_taken_up_again(hub, tmp_path, monkeypatch):
    from_hub(tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        real = articles_module.paragraphs
        patch.setattr(articles_module, "paragraphs", lambda text, **k: real(text, **k) if " 5 " not in text else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            from_hub(tmp_path / "out", progress=False)
    assert from_hub(tmp_path / "out", progress=False).new == 5
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("error", [ConnectionError("Couldn't reach it"), ValueError("BuilderConfig '1.th' not found")])
def test_the_hub_out_of_reach(tmp_path, monkeypatch, error):
    datasets = pytest.importorskip("datasets")

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=str(error)):
        from_hub(tmp_path / "out", config="1.th", progress=False)
    with pytest.raises(DataError, match="a date and a language"):
        from_hub(tmp_path / "out", config="th", progress=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        from_hub(tmp_path / "out", progress=False)
