"""A small TrueVoice-like archive, a catalogue that points to a local server, and that server."""

import hashlib
import http.server
import io
import threading
import zipfile
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from tlcourse import data

TRAIN = [
    (f"{words} ครั้งที่ {i}", action, thing, destination)
    for i in range(20)
    for words, action, thing, destination in [
        ("อยากเช็คยอดค่ะ", "enquire", "balance", "billing and payment"),
        ("เน็ตช้ามากครับ", "report", "internet", "internet"),
        ("สนใจโปร 4G", "enquire", "promotion", "promotions"),
    ]
]
TEST = [
    ("ยอดค้างเท่าไหร่", "enquire", "balance", "billing and payment"),
    ("ต่อไวไฟไม่ได้", "report", "internet", "internet"),
]


def csv(rows, *, header="texts,texts_deepcut,action,object,destination", end="\n") -> bytes:
    lines = [header, *(f" {text} ,{text},{action},{thing},{place}" for text, action, thing, place in rows)]
    return (end.join(lines) + end).encode()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


@pytest.fixture
def small():
    """The rows above and what makes files of them."""
    return SimpleNamespace(train=TRAIN, test=TEST, csv=csv, zipped=zipped)


@pytest.fixture
def archive() -> bytes:
    """`mari-intent.zip`, small."""
    return zipped({"mari_train.csv": csv(TRAIN), "mari_test.csv": csv(TEST, end="\r\n")})


@dataclass
class Server:
    """A web server on this machine; a test sets what it does and reads what it was asked."""

    body: bytes
    ranges: bool = True
    break_after: int | None = None  # bytes after which it hangs up, once
    status: int = 200
    announce: bool = True  # Content-Length
    requests: list[dict] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def server(archive):
    state = Server(archive)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests.append(dict(self.headers))
            start = 0
            if state.ranges and "Range" in self.headers:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start and start >= len(state.body):
                self.send_error(416)
                return
            if state.status != 200:
                self.send_error(state.status)
                return
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            if state.announce:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.break_after])
            state.break_after = None

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.address = f"http://127.0.0.1:{httpd.server_port}/mari-intent.zip"
        yield state
        httpd.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no TLCOURSE_DATA."""
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TLCOURSE_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    """An empty folder named by TLCOURSE_DATA."""
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "folder"))
    return tmp_path / "folder"


@pytest.fixture
def catalogue(server, archive, tmp_path):
    """The shipped catalogue, TrueVoice at the server's address and a small embedded sample."""
    sample = tmp_path / "sample"
    sample.mkdir()
    for split, rows in {"train": TRAIN, "valid": TEST, "test": TEST}.items():
        (sample / f"{split}.csv").write_bytes(csv(rows))
    (sample / "unlabelled.txt").write_text("ซิมหายค่ะ\n\nเติมเงินไม่เข้า\n", encoding="utf-8")
    shipped = data.read_catalogue()
    truevoice = replace(
        shipped["truevoice"],
        addresses=(server.address,),
        sha256=hashlib.sha256(archive).hexdigest(),
        bytes=len(archive),
    )
    return shipped | {
        "truevoice": truevoice,
        "thai_intents": replace(shipped["thai_intents"], embedded=str(sample)),
    }
