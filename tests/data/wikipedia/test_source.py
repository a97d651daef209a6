"""Fetching a dump, from a server on this machine that behaves and one that does not."""

import hashlib
import http.server
import shutil
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from tlcourse.data import ChecksumError, DownloadError
from tlcourse.data.wikipedia import default_folder, fetch

NAME = "thwiki-20251101-pages-articles.xml.bz2"


@dataclass
class Mirror:
    """A mirror of dumps; a test sets what it does and reads what it was asked."""

    files: dict[str, bytes]
    ranges: bool = True
    break_after: int | None = None  # bytes after which it hangs up, once
    announce: bool = True  # Content-Length
    asked: list[tuple[str, str, dict]] = field(default_factory=list)
    address: str = ""

    def list_of(self, raw: bytes, name: str = NAME) -> bytes:
        other = f"{'0' * 40}  thwiki-20251101-pages-articles-multistream.xml.bz2\n"
        return f"{other}{hashlib.sha1(raw).hexdigest()}  {name}\n".encode()


@pytest.fixture
def dump() -> bytes:
    return bytes(range(256)) * 8


@pytest.fixture
def mirror(dump, monkeypatch, tmp_path):
    state = Mirror({f"/thwiki/20251101/{NAME}": dump})
    for date in ("latest", "20251101"):
        state.files[f"/thwiki/{date}/thwiki-{date}-sha1sums.txt"] = state.list_of(dump)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            state.asked.append((self.command, self.path, dict(self.headers)))
            if (body := state.files.get(self.path)) is None:
                return self.send_error(404)
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if state.ranges else 0
            self.send_response(206 if start else 200)
            if state.announce:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if self.command == "GET":
                broken = state.break_after if self.path.endswith(".bz2") else None
                self.wfile.write(body[start:][:broken])
                if broken:
                    state.break_after = None

        do_GET = do_HEAD = answer

        def log_message(self, *args):
            pass

    monkeypatch.setattr("tlcourse.data.download.CHUNK", 100)
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.address = f"http://127.0.0.1:{httpd.server_port}"
        yield state
        httpd.shutdown()
        thread.join()


def fetch_from(mirror, tmp_path, **options):
    return fetch("th", folder=tmp_path / "dumps", mirror=mirror.address, **{"progress": False, **options})


def left_in(folder) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_latest_is_a_real_date_and_is_not_fetched_twice(mirror, dump, tmp_path, capfd):
    file = fetch_from(mirror, tmp_path)
    assert (file, file.read_bytes()) == (tmp_path / "dumps" / NAME, dump)
    assert fetch_from(mirror, tmp_path, date="20251101") == file
    assert [path for command, path, _ in mirror.asked if command == "GET"] == [
        "/thwiki/latest/thwiki-latest-sha1sums.txt",
        f"/thwiki/20251101/{NAME}",
        "/thwiki/20251101/thwiki-20251101-sha1sums.txt",
    ]
    assert all(headers["User-Agent"].startswith("tlcourse/") for _, _, headers in mirror.asked)
    assert left_in(tmp_path / "dumps") == [NAME]
    assert capfd.readouterr().err == ""


def test_the_cache_is_the_usual_folder_and_a_bar_shows(mirror, tmp_path, capfd):
    assert fetch("th", mirror=mirror.address) == tmp_path / "cache/wikipedia/th" / NAME
    assert NAME in capfd.readouterr().err


def test_an_interrupted_download_goes_on_where_it_stopped(mirror, dump, tmp_path):
    mirror.break_after = 700
    with pytest.raises(DownloadError, match=r"the connection broke off.*goes on after the 700 bytes"):
        fetch_from(mirror, tmp_path)
    assert left_in(tmp_path / "dumps") == [f"{NAME}.part"]
    assert fetch_from(mirror, tmp_path).read_bytes() == dump
    assert mirror.asked[-1][2]["Range"] == "bytes=700-"
    assert left_in(tmp_path / "dumps") == [NAME]


def test_a_server_without_ranges_starts_afresh(mirror, dump, tmp_path):
    mirror.ranges, mirror.break_after = False, 700
    with pytest.raises(DownloadError):
        fetch_from(mirror, tmp_path)
    assert fetch_from(mirror, tmp_path).read_bytes() == dump


def test_a_wrong_sum_keeps_nothing_and_names_both(mirror, dump, tmp_path):
    mirror.files[f"/thwiki/20251101/{NAME}"] = dump[::-1]
    with pytest.raises(ChecksumError) as error:
        fetch_from(mirror, tmp_path)
    for raw in (dump, dump[::-1]):
        assert hashlib.sha1(raw).hexdigest() in str(error.value)
    assert left_in(tmp_path / "dumps") == []


def test_a_damaged_file_is_fetched_again(mirror, dump, tmp_path):
    fetch_from(mirror, tmp_path).write_bytes(dump[:-1])
    assert fetch_from(mirror, tmp_path).read_bytes() == dump


def test_no_such_language_or_date(mirror, tmp_path):
    with pytest.raises(DownloadError, match=r"xxwiki-latest.*no Wikipedia has this language code.*backup-index"):
        fetch("xx", folder=tmp_path, mirror=mirror.address)
    with pytest.raises(DownloadError, match=r"20010101.*no dump this date.*/thwiki/ lists the dates"):
        fetch_from(mirror, tmp_path, date="20010101")


@pytest.mark.parametrize("sums", [b"", b"<html>", b"0123  thwiki-20251101-pages-articles.xml.bz2", b"\xff\xfe"])
def test_a_dump_that_is_not_finished(mirror, tmp_path, sums):
    mirror.files["/thwiki/latest/thwiki-latest-sha1sums.txt"] = sums
    with pytest.raises(DownloadError, match="not finished"):
        fetch_from(mirror, tmp_path)


def test_a_listed_file_that_is_not_there(mirror, tmp_path):
    del mirror.files[f"/thwiki/20251101/{NAME}"]
    with pytest.raises(DownloadError, match=r"404 Not Found.*try again later"):
        fetch_from(mirror, tmp_path)


def test_a_server_that_does_not_say_the_size(mirror, tmp_path):
    mirror.announce = False
    with pytest.raises(DownloadError, match="how many bytes"):
        fetch_from(mirror, tmp_path)


def test_offline(tmp_path):
    with pytest.raises(DownloadError, match="no connection"):
        fetch("th", folder=tmp_path, mirror="http://127.0.0.1:9")


def test_too_little_room_is_said_before_anything_is_fetched(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2_000))
    with pytest.raises(DownloadError, match="needs 2,048 bytes more, and 2,000 are free"):
        fetch_from(mirror, tmp_path)
    (tmp_path / "dumps" / f"{NAME}.part").write_bytes(bytes(range(48)))  # so much is here already
    assert fetch_from(mirror, tmp_path).stat().st_size == 2_048


def test_a_folder_that_cannot_be_made(mirror, tmp_path):
    (tmp_path / "dumps").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be kept in"):
        fetch_from(mirror, tmp_path)


@pytest.mark.parametrize("language", ["", "TH", "th/../../etc", "th_x", "-th", "th\n", "../th", "ไทย", "th?x"])
def test_language_codes_that_are_none(language, mirror, tmp_path):
    with pytest.raises(ValueError, match="no language code"):
        fetch(language, folder=tmp_path, mirror=mirror.address)
    with pytest.raises(ValueError, match="no language code"):
        default_folder(language)
    assert mirror.asked == [] and left_in(tmp_path) == []


@pytest.mark.parametrize("date", ["", "2025", "newest", "20251101/..", "latest\n"])
def test_dates_that_are_none(date, mirror, tmp_path):
    with pytest.raises(ValueError, match="no date of a dump"):
        fetch_from(mirror, tmp_path, date=date)
    assert mirror.asked == []


def test_a_language_of_several_words(mirror, dump, tmp_path):
    name = "zh_min_nanwiki-20251101-pages-articles.xml.bz2"
    mirror.files[f"/zh_min_nanwiki/20251101/{name}"] = dump
    mirror.files["/zh_min_nanwiki/latest/zh_min_nanwiki-latest-sha1sums.txt"] = mirror.list_of(dump, name)
    assert fetch("zh-min-nan", folder=tmp_path, mirror=mirror.address, progress=False).name == name
