"""Published vectors from a server on this machine, in each format that real ones come in, and from those that lie."""

import gzip
import hashlib
import http.server
import io
import threading
import zipfile
from dataclasses import dataclass, field

import fasttext
import numpy as np
import pytest

from tlcourse import data
from tlcourse.word2vec import published
from tlcourse.word2vec.formats import VectorsError
from tlcourse.word2vec.vectors import SubwordVectors

WORDS = ["ที่", "แมว", "หมา", "ปลา", "New_York", "คน\u00a0ไทย"]
MATRIX = np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)


# ------------------------------------------------------------------------------------------- what is published
def text(*, header: bool) -> bytes:
    lines = [f"{len(WORDS)} {MATRIX.shape[1]}"] if header else []
    lines += [" ".join([word, *map(str, row)]) for word, row in zip(WORDS, MATRIX, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def binary() -> bytes:
    """word2vec's binary format as gensim writes it, which is how thai2fit and Google News are published."""
    rows = (word.encode() + b" " + row.tobytes() for word, row in zip(WORDS, MATRIX, strict=True))
    return b"%d %d\n" % MATRIX.shape + b"".join(rows)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model of fastText's own."""
    corpus = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    corpus.write_text("แมว กิน ปลา และ หมา กิน ข้าว\n" * 50, encoding="utf-8")
    return fasttext.train_unsupervised(
        str(corpus), dim=4, epoch=1, minCount=1, bucket=50, minn=2, maxn=3, thread=1, verbose=0
    )


@dataclass
class Site:
    """A publisher on this machine; a test sets what it does and reads what it was asked."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)  # of each request
    break_after: int | None = None  # bytes after which it hangs up, once

    def publish(self, file: str, raw: bytes, *, checksum: bool = True, **changes) -> dict[str, published.Vectors]:
        """Publish a file under the name `v`; gives the table that leads to it."""
        self.files[file] = raw
        fields = {
            "name": "v",
            "title": "Small vectors",
            "language": "th",
            "dim": MATRIX.shape[1],
            "words": len(WORDS),
            "address": f"{self.address}/{file}",
            "bytes": len(raw),
            "checksum": f"sha256:{hashlib.sha256(raw).hexdigest()}" if checksum else "",
            "unpacked_bytes": 10_000,
            "verified": "made here",
            "licence": "CC0-1.0",
            "citation": "none",
            "homepage": "https://example.org",
        } | changes
        return {fields["name"]: published.Vectors(**fields)}


@pytest.fixture
def site():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            site.ranges.append(asked)
            if (raw := site.files.get(self.path[1:])) is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(raw) - start))
            self.end_headers()
            self.wfile.write(raw[start:][: site.break_after])
            site.break_after = None

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where vectors are kept in the cache."""
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vectors"


def load(table, monkeypatch, **how):
    """Load the vectors `v` of a table."""
    monkeypatch.setattr(published, "read_table", lambda: table)
    return published.load("v", **how)


def left_in(kept) -> set[str]:
    return {path.name for path in kept.iterdir() if path.suffix != ".lock"}


# ------------------------------------------------------------------------------------------------------- formats
class TestFormats:
    def holds_all(self, vectors):
        assert list(vectors.words) == WORDS
        np.testing.assert_array_equal(vectors.matrix, MATRIX)
        assert isinstance(vectors.matrix, np.memmap)

    def test_text_with_a_header_as_fasttext_publishes(self, site, kept, monkeypatch):
        self.holds_all(load(site.publish("v.vec.gz", gzip.compress(text(header=True))), monkeypatch))
        assert left_in(kept) == {"v"}  # not the download as well

    @pytest.mark.parametrize("packed", [True, False])
    def test_binary_as_google_news_and_thai2fit(self, site, kept, monkeypatch, packed):
        raw = gzip.compress(binary()) if packed else binary()
        table = site.publish("v.gz" if packed else "v.bin", raw, checksum=packed)
        self.holds_all(load(table, monkeypatch))

    def test_a_member_of_a_zip_without_a_header_as_glove(self, site, kept, monkeypatch):
        members = {"v.2d.txt": b"x 1 2\n", "v.4d.txt": text(header=False)}
        table = site.publish("v.zip", zipped(members), member="v.4d.txt")
        self.holds_all(load(table, monkeypatch))
        two = site.publish("v.zip", site.files["v.zip"], name="w", member="v.2d.txt", dim=2)
        assert published.fetch("w", table=two) == kept / "w"
        assert len(site.ranges) == 1 and left_in(kept) == {"v", "w", "v.zip"}  # the two share one download

    def test_fasttexts_own_model(self, site, kept, monkeypatch, model, tmp_path):
        model.save_model(str(tmp_path / "m.bin"))
        raw = gzip.compress((tmp_path / "m.bin").read_bytes())
        vectors = load(site.publish("v.bin.gz", raw, subwords=True), monkeypatch)
        assert isinstance(vectors, SubwordVectors) and list(vectors.words) == model.words
        assert isinstance(vectors.matrix, np.memmap) and isinstance(vectors.ngrams, np.memmap)
        rows = model.get_input_matrix()
        for word in (*model.words, "แมวปลา", "กินข้าว"):
            expected = rows[model.get_subwords(word)[1]].mean(axis=0)
            np.testing.assert_allclose(vectors[word], expected, rtol=1e-5, atol=1e-7)
        assert "แมวปลา" not in vectors and vectors.composable("แมวปลา")
        assert vectors.nearest("แมวปลา", k=2).word.isin(model.words).all()
        assert left_in(kept) == {"v"}
        few = published.load("v", most_frequent=2)
        assert list(few.words) == model.words[:2]
        for word in (few.words[1], "กินข้าว"):
            np.testing.assert_array_equal(few[word], vectors[word])

    def test_a_table_of_words_is_no_fasttext_model(self, site, kept):
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)), subwords=True)
        with pytest.raises(VectorsError, match="of v: it is a table of words"):
            published.fetch("v", table=table)

    def test_nor_the_other_way_round(self, site, kept, model, tmp_path):
        model.save_model(str(tmp_path / "m.bin"))
        table = site.publish("v.bin", (tmp_path / "m.bin").read_bytes())
        with pytest.raises(VectorsError, match="of v: it is a whole fastText model"):
            published.fetch("v", table=table)

    def test_only_the_most_frequent(self, site, kept, monkeypatch):
        few = load(site.publish("v.vec.gz", gzip.compress(text(header=True))), monkeypatch, most_frequent=3)
        assert list(few.words) == WORDS[:3] and isinstance(few.matrix, np.memmap)
        np.testing.assert_array_equal(few.matrix, MATRIX[:3])
        assert len(published.load("v", most_frequent=100)) == len(WORDS)
        with pytest.raises(ValueError, match="most_frequent must be 1 or more, not 0"):
            published.load("v", most_frequent=0)


# ------------------------------------------------------------------------------------- where vectors come from
class TestWhere:
    def test_the_second_time_nothing_is_asked(self, site, kept):
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)))
        first = published.fetch("v", table=table)
        site.files.clear()
        assert published.fetch("v", table=table) == first == kept / "v"
        assert site.ranges == [None]

    def test_an_interrupted_download_goes_on_where_it_stopped(self, site, kept, monkeypatch):
        monkeypatch.setattr("tlcourse.data.download.CHUNK", 10)
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)))
        site.break_after = 100
        with pytest.raises(data.DownloadError, match=r"v could not be downloaded(.|\n)*broke off(.|\n)*call again"):
            published.fetch("v", table=table)
        assert left_in(kept) == {"v.vec.gz.part"}
        np.testing.assert_array_equal(load(table, monkeypatch).matrix, MATRIX)
        assert site.ranges == [None, "bytes=100-"]

    def test_a_folder_of_the_users(self, site, kept, monkeypatch, tmp_path):
        raw = gzip.compress(text(header=True))
        table = site.publish("v.vec.gz", raw)
        given = tmp_path / "mine" / "v" / "v.vec.gz"
        given.parent.mkdir(parents=True)
        monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "mine"))
        given.write_bytes(raw + b"x")
        with pytest.raises(data.ChecksumError, match=r"v\.vec\.gz is not the published one: its sha256 is"):
            published.fetch("v", table=table)
        given.write_bytes(raw)
        np.testing.assert_array_equal(load(table, monkeypatch).matrix, MATRIX)
        assert site.ranges == [] and given.read_bytes() == raw

    def test_what_a_stopped_process_left_is_cleared_away(self, site, kept):
        (kept / ".v.converting").mkdir(parents=True)
        (kept / ".v.converting" / "unpacked").write_bytes(b"half of it")
        published.fetch("v", table=site.publish("v.vec.gz", gzip.compress(text(header=True))))
        assert left_in(kept) == {"v"}

    def test_two_at_once_download_once(self, site, kept):
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)))
        threads = [threading.Thread(target=published.fetch, args=("v",), kwargs={"table": table}) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert site.ranges == [None] and left_in(kept) == {"v"}

    def test_no_network(self, site, kept):
        table = site.publish("v.vec.gz", b"x")
        site.files.clear()
        with pytest.raises(data.DownloadError, match=r"answers 404(.|\n)*put it at(.|\n)*TLCOURSE_DATA"):
            published.fetch("v", table=table)

    def test_a_cache_that_cannot_be_written(self, site, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "file"))
        with pytest.raises(data.DownloadError, match=r"v cannot be kept in .*bytes are free.*TLCOURSE_CACHE"):
            published.fetch("v", table=site.publish("v.vec.gz", b"x"))


# ------------------------------------------------------------------------------------------ not what was published
class TestRefused:
    def test_a_wrong_sum(self, site, kept):
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)))
        site.files["v.vec.gz"] = gzip.compress(text(header=False))
        with pytest.raises(data.ChecksumError, match=r"v could not be downloaded.*\n.*v\.vec\.gz"):
            published.fetch("v", table=table)
        assert left_in(kept) == set()

    def test_a_larger_file_than_it_may_be(self, site, kept):
        table = site.publish("v.bin", bytes(3_000_000), checksum=False, bytes=1000)
        with pytest.raises(data.ChecksumError, match=r"more than the 1,000 bytes"):
            published.fetch("v", table=table)
        assert left_in(kept) == set()

    def refused(self, table, why, kept):
        """The message is of the published file, not of the one it was unpacked to."""
        with pytest.raises(
            VectorsError, match=rf"does not hold the published vectors of v: {why}(.*[^.])?\. Delete it"
        ):
            published.fetch("v", table=table)
        assert left_in(kept) == {table["v"].file}  # the download, and nothing half done

    def test_another_dimension(self, site, kept):
        table = site.publish("v.vec.gz", gzip.compress(text(header=True)), dim=300)
        self.refused(table, "they have 4 dimensions, not 300", kept)

    @pytest.mark.parametrize("packed", ["gz", "zip"])
    def test_what_unpacks_to_more_than_it_may(self, site, kept, packed):
        bomb = bytes(5_000_000)
        raw = gzip.compress(bomb) if packed == "gz" else zipped({"v.txt": bomb})
        table = site.publish(f"v.{packed}", raw, member="v.txt")
        why = "it unpacks to more than 10,000 bytes" if packed == "gz" else r"its v\.txt claims to have 5,000,000"
        self.refused(table, why, kept)

    @pytest.mark.parametrize(
        "claimed, why", [(10, "the archive is damaged .*CRC"), (900_000, r"its v\.txt claims to have 900,000 bytes")]
    )
    def test_a_zip_whose_header_lies(self, site, kept, claimed, why):
        honest = text(header=False)
        raw = zipped({"v.txt": honest})
        assert raw.count(len(honest).to_bytes(4, "little")) == 2  # of the member, and in the directory at the end
        raw = raw.replace(len(honest).to_bytes(4, "little"), claimed.to_bytes(4, "little"))
        self.refused(site.publish("v.zip", raw, member="v.txt"), why, kept)

    def test_a_path_in_a_zip_leads_nowhere(self, site, kept, tmp_path):
        outside = {f"{tmp_path}/absolute.txt": b"x", "../../outside.txt": b"x", "v.txt": text(header=False)}
        published.fetch("v", table=site.publish("v.zip", zipped(outside), member="v.txt"))
        assert left_in(kept) == {"v", "v.zip"}
        self.nothing_outside(tmp_path)

    def test_not_even_that_of_the_member(self, site, kept, tmp_path):
        table = site.publish("v.zip", zipped({"../../v.txt": text(header=False)}), member="../../v.txt")
        published.fetch("v", table=table)
        self.nothing_outside(tmp_path)

    def nothing_outside(self, tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"cache"}
        assert {path.name for path in (tmp_path / "cache").iterdir()} == {"vectors"}

    def test_a_zip_without_the_member(self, site, kept):
        self.refused(site.publish("v.zip", zipped({"w.txt": b"x"}), member="v.txt"), r"it lacks v\.txt", kept)

    @pytest.mark.parametrize("file", ["v.gz", "v.zip"])
    def test_a_damaged_archive(self, site, kept, file):
        whole = text(header=True)
        raw = gzip.compress(whole) if file == "v.gz" else zipped({"v.txt": whole})
        self.refused(site.publish(file, raw[: len(raw) // 2], member="v.txt"), "the archive is damaged", kept)

    def test_vectors_cut_short(self, site, kept):
        table = site.publish("v.gz", gzip.compress(binary()[:-50]), checksum=False)
        self.refused(table, "it (claims|is cut short)", kept)

    def test_no_vectors_at_all(self, site, kept):
        self.refused(site.publish("v.bin", b"<html>Not here any more</html>", checksum=False), "it holds no word", kept)


# --------------------------------------------------------------------------------------------------------- the table
class TestTable:
    def test_every_entry_is_verified_and_credited(self):
        for entry in published.read_table().values():
            assert entry.address.startswith("https://") and entry.homepage.startswith("https://")
            assert entry.title and entry.licence and entry.citation and entry.verified.endswith(".")
            assert entry.bytes > 0 and entry.dim > 0 and entry.words > 0 and entry.language in ("th", "en")
            algorithm, _, digits = entry.checksum.partition(":")
            assert len(digits) == 2 * (hashlib.new(algorithm).digest_size if algorithm else 0)
            assert entry.checksum or "no sum" in entry.verified
            packed = entry.file.endswith((".gz", ".zip"))
            assert (entry.unpacked_bytes if packed else entry.bytes) > 2 * entry.words * entry.dim  # there is room
            assert bool(entry.member) == entry.file.endswith(".zip")

    def test_names_are_one_a_dimension_of_glove(self):
        assert published.names()[0] == "thai2fit"
        glove = [published.info(name) for name in published.names() if name.startswith("glove")]
        assert [(entry.name, entry.dim, entry.member) for entry in glove] == [
            (f"glove-6b-{dim}", dim, f"glove.6B.{dim}d.txt") for dim in (50, 100, 200, 300)
        ]

    def test_as_a_table(self):
        table = published.table()
        assert list(table.columns) == ["name", "language", "dim", "words", "download", "licence"]
        assert list(table.name) == published.names()
        assert table.set_index("name").loc["glove-6b-100", ["dim", "download"]].tolist() == [100, 862]

    def test_an_unknown_name(self):
        with pytest.raises(data.DataError, match=r"no published word vectors 'thai3fit'\. There are: thai2fit, "):
            published.load("thai3fit")

    @pytest.mark.parametrize(
        "content", ["[a", "[a]\ntitle = 'x'", "a = 3", "[a]\ndims = [2]", "[a]\ndims = [2]\nmember = 'a'"]
    )
    def test_a_damaged_table(self, tmp_path, content):
        (tmp_path / "t.toml").write_text(content)
        with pytest.raises(data.DataError, match=r"t\.toml cannot be read"):
            published.read_table(tmp_path / "t.toml")
