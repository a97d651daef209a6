"""Where a data set comes from: the user's folder, the cache, a server that behaves and one that does not."""

import gzip
import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tlcourse import data
from tlcourse.data.download import published_file


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


def test_download_then_cache(cache, catalogue, server, small):
    first = data.load("truevoice", catalogue=catalogue)
    again = data.load("truevoice", catalogue=catalogue)
    assert (first.source, again.source) == ("download", "cache")
    assert len(server.requests) == 1
    assert left_in(cache) == ["mari-intent.zip"]
    assert len(first.train) + len(first.valid) == len(small.train) and len(first.test) == len(small.test)
    assert again.valid.equals(first.valid)


def test_an_interrupted_download_goes_on_where_it_stopped(cache, catalogue, server, archive, monkeypatch):
    monkeypatch.setattr("tlcourse.data.download.CHUNK", 10)
    server.break_after = 100
    with pytest.raises(data.DownloadError, match="100 bytes that are here"):
        data.load("truevoice", catalogue=catalogue)
    assert left_in(cache) == ["mari-intent.zip.part"]
    assert data.load("truevoice", catalogue=catalogue).source == "download"
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100-"]
    assert (cache / "truevoice/mari-intent.zip").read_bytes() == archive
    assert left_in(cache) == ["mari-intent.zip"]


def test_a_server_without_ranges_starts_afresh(cache, catalogue, server, archive, monkeypatch):
    monkeypatch.setattr("tlcourse.data.download.CHUNK", 10)
    server.ranges, server.break_after = False, 100
    with pytest.raises(data.DownloadError):
        data.load("truevoice", catalogue=catalogue)
    assert data.load("truevoice", catalogue=catalogue).source == "download"
    assert server.requests[1]["Range"] == "bytes=100-"
    assert (cache / "truevoice/mari-intent.zip").read_bytes() == archive


def test_a_complete_part_is_not_fetched_again(cache, catalogue, server, archive, small):
    (cache / "truevoice").mkdir(parents=True)
    (cache / "truevoice/mari-intent.zip.part").write_bytes(archive)
    assert len(data.load("truevoice", catalogue=catalogue).test) == len(small.test)
    assert server.requests == [] and left_in(cache) == ["mari-intent.zip"]


def test_a_part_of_something_else_is_thrown_away(cache, catalogue, archive):
    part = cache / "truevoice/mari-intent.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 50)
    with pytest.raises(data.ChecksumError):
        data.load("truevoice", catalogue=catalogue)
    assert left_in(cache) == []
    assert data.load("truevoice", catalogue=catalogue).source == "download"


def test_a_range_beyond_the_server_s_file_starts_afresh(cache, catalogue, server, archive):
    part = cache / "truevoice/mari-intent.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(archive[:-1])
    server.body = archive[:50]  # the publisher's file has become shorter
    with pytest.raises(data.ChecksumError):
        data.load("truevoice", catalogue=catalogue)
    assert [("Range" in request) for request in server.requests] == [True, False]
    assert left_in(cache) == []


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("body", [b"<html>Log in to the hotel's network</html>", b"x" * 1_000_000, b""])
def test_a_wrong_file_is_an_error_with_both_sums(cache, catalogue, server, body, announce):
    server.body, server.announce = body, announce
    with pytest.raises(data.ChecksumError) as error:
        data.load("truevoice", catalogue=catalogue, fallback="thai_intents")
    assert catalogue["truevoice"].sha256 in str(error.value)
    if len(body) < 1_000_000:  # what comes after the published size is not even read
        assert hashlib.sha256(body).hexdigest() in str(error.value)
    assert left_in(cache) == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(cache, catalogue, server, archive):
    file = cache / "truevoice/mari-intent.zip"
    file.parent.mkdir(parents=True)
    file.write_bytes(archive[:-10])
    with pytest.warns(UserWarning, match="damaged"):
        assert data.load("truevoice", catalogue=catalogue).source == "download"
    assert file.read_bytes() == archive


def test_offline_names_the_address_the_size_and_the_ways_out(cache, catalogue):
    entry = replace(catalogue["truevoice"], addresses=("http://127.0.0.1:9/mari-intent.zip",))
    with pytest.raises(data.DownloadError) as error:
        data.load("truevoice", catalogue=catalogue | {"truevoice": entry})
    for part in (
        entry.address,
        "no connection",
        f"{entry.bytes:,} bytes",
        "TLCOURSE_DATA",
        "fallback=",
        "browser",
    ):
        assert part in str(error.value)
    assert str(cache / "truevoice" / "mari-intent.zip") in str(error.value)
    assert left_in(cache) == []


def test_the_file_from_a_browser_is_taken_from_the_cache(cache, catalogue, archive, server):
    (cache / "truevoice").mkdir(parents=True)
    (cache / "truevoice/mari-intent.zip").write_bytes(archive)
    assert data.load("truevoice", catalogue=catalogue).source == "cache"
    assert server.requests == []


def test_a_set_to_clone_by_hand_says_how_and_is_then_found(cache):
    with pytest.raises(data.DownloadError) as error:
        data.load("thaigov")
    for part in (f"git clone --depth 1 {data.info('thaigov').repository} {cache / 'thaigov'}", "TLCOURSE_DATA"):
        assert part in str(error.value)
    assert not cache.exists()
    for i in range(20):
        page = cache / f"thaigov/data/2024/01/{i:02}/ข่าว_{i}_ab.txt"
        page.parent.mkdir(parents=True)
        page.write_text(f"รัฐบาลไทย-ก\n\nข่าวที่ {i}\n\nที่มา : https://example.org/{i}", encoding="utf-8")
    (cache / "thaigov/README.txt").write_text("not an article", encoding="utf-8")
    thaigov = data.load("thaigov")
    assert (thaigov.source, thaigov.label, thaigov.cut, list(thaigov.splits)) == (
        "cache",
        None,
        ("valid",),
        ["train", "valid"],
    )
    assert (len(thaigov.train), len(thaigov.valid)) == (18, 2)
    with pytest.raises(data.DataError, match="thaigov has no split 'test'; it has train, valid"):
        thaigov.test  # noqa: B018


def test_a_second_address_helps_when_the_first_is_gone(cache, catalogue, server):
    entry = catalogue["truevoice"]
    entry = replace(entry, addresses=("http://127.0.0.1:9/mari-intent.zip", *entry.addresses))
    assert data.load("truevoice", catalogue=catalogue | {"truevoice": entry}).source == "download"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_explained(cache, catalogue, server, status):
    server.status = status
    with pytest.raises(data.DownloadError, match=str(status)):
        data.load("truevoice", catalogue=catalogue)
    assert left_in(cache) == []


def test_fallback_warns_once_and_loads_the_sample(cache, catalogue, server):
    server.status = 404
    with pytest.warns(UserWarning) as warned:
        loaded = data.load("truevoice", fallback="thai_intents", catalogue=catalogue)
    assert len(warned) == 1 and "Using thai_intents in place of truevoice" in str(warned[0].message)
    assert warned[0].filename == __file__
    assert (loaded.name, loaded.source) == ("thai_intents", "embedded")
    assert loaded.unlabelled.text.tolist() == ["ซิมหายค่ะ", "เติมเงินไม่เข้า"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_explained_and_nothing_is_left(cache, catalogue):
    part = cache / "truevoice/mari-intent.zip.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(data.DownloadError, match=r"No space left.*TLCOURSE_CACHE"):
        data.load("truevoice", catalogue=catalogue)
    assert not part.is_symlink() and left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_explained(tmp_path, monkeypatch, cache, catalogue):
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("TLCOURSE_CACHE", str(tmp_path / "taken"))
    with pytest.raises(data.DownloadError, match=r"cannot be kept in .*TLCOURSE_CACHE"):
        data.load("truevoice", catalogue=catalogue)


def test_an_embedded_set_that_is_missing(cache, catalogue, tmp_path):
    entry = replace(catalogue["thai_intents"], embedded=str(tmp_path / "gone"))
    with pytest.raises(data.DataError, match=r"thai_intents is missing .* install tlcourse again"):
        data.load("thai_intents", catalogue={"thai_intents": entry})


def test_two_loads_at_once_download_once(cache, catalogue, server):
    loaded = []
    threads = [
        threading.Thread(target=lambda: loaded.append(data.load("truevoice", catalogue=catalogue))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.source for each in loaded) == ["cache", "cache", "cache", "download"]
    assert len(server.requests) == 1


def test_the_published_file_in_the_folder(folder, catalogue, archive, server):
    (folder / "truevoice").mkdir()
    (folder / "truevoice/mari-intent.zip").write_bytes(archive)
    assert data.load("truevoice", catalogue=catalogue).source == "folder"
    assert server.requests == []


def test_a_wrong_published_file_in_the_folder_is_an_error(folder, catalogue, small):
    wrong = small.zipped({"mari_train.csv": small.csv(small.train)})
    (folder / "truevoice").mkdir()
    (folder / "truevoice/mari-intent.zip").write_bytes(wrong)
    with pytest.raises(data.ChecksumError) as error:
        data.load("truevoice", catalogue=catalogue, fallback="thai_intents")
    assert catalogue["truevoice"].sha256 in str(error.value)
    assert hashlib.sha256(wrong).hexdigest() in str(error.value)


@pytest.mark.parametrize("packed", [False, True])
def test_unpacked_files_in_the_folder(folder, catalogue, packed, small):
    (folder / "truevoice").mkdir()
    for split, rows in {"train": small.train, "test": small.test}.items():
        raw, name = small.csv(rows), f"mari_{split}.csv"
        file = folder / "truevoice" / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(raw) if packed else raw)
    (folder / "truevoice/README.txt").write_bytes(b"\xff not read")
    loaded = data.load("truevoice", catalogue=catalogue)
    assert (loaded.source, loaded.cut) == ("folder", ("valid",))
    assert loaded.test.text.tolist() == [row[0] for row in small.test]


def test_half_of_the_unpacked_files_is_an_error(folder, catalogue, small):
    (folder / "truevoice").mkdir()
    (folder / "truevoice/mari_train.csv").write_bytes(small.csv(small.train))
    with pytest.raises(data.DataError, match=r"no test rows.*mari_test\.csv"):
        data.load("truevoice", catalogue=catalogue)


def test_a_folder_without_the_set_does_not_stand_in_the_way(folder, catalogue):
    (folder / "truevoice").mkdir()
    assert data.load("truevoice", catalogue=catalogue).source == "download"


def test_a_data_folder_that_is_not_there_is_an_error(monkeypatch, cache, catalogue):
    monkeypatch.setenv("TLCOURSE_DATA", "/nowhere/at/all")
    with pytest.raises(data.DataError, match=r"TLCOURSE_DATA=/nowhere/at/all is not a folder"):
        data.load("truevoice", catalogue=catalogue)


def test_a_package_that_is_not_installed_is_named(cache, catalogue):
    entry = replace(catalogue["orchid"], package="no-such-thing:a.txt")
    with pytest.raises(data.DataError, match="pip install no-such-thing"):
        data.load("orchid", catalogue={"orchid": entry})
    entry = replace(catalogue["orchid"], package="pooch:a.txt")
    with pytest.raises(data.DataError, match=r"pooch has no a\.txt"):
        data.load("orchid", catalogue={"orchid": entry})


def test_a_file_outside_the_catalogue(cache, server, archive, tmp_path, monkeypatch):
    known = {"n_bytes": len(archive), "checksum": f"md5:{hashlib.md5(archive).hexdigest()}", "folder": tmp_path}
    path = published_file("lm", server.address, **known)
    assert path == tmp_path / "mari-intent.zip" and path.read_bytes() == archive
    assert published_file("lm", server.address, **known) == path and len(server.requests) == 1
    given = tmp_path / "mine/lm/mari-intent.zip"
    given.parent.mkdir(parents=True)
    monkeypatch.setenv("TLCOURSE_DATA", str(tmp_path / "mine"))
    given.write_bytes(archive)
    assert published_file("lm", server.address, **known) == given
    given.write_bytes(b"another")
    with pytest.raises(data.ChecksumError, match=f"its md5 is {hashlib.md5(b'another').hexdigest()}, not"):
        published_file("lm", server.address, **known)


@pytest.mark.parametrize("announce", [True, False])
def test_a_file_without_a_sum_may_not_be_larger_than_its_limit(cache, server, archive, tmp_path, announce):
    server.announce = announce
    with pytest.raises(data.ChecksumError, match=r"lm could not be downloaded(.|\n)*more than the 100 bytes"):
        published_file("lm", server.address, n_bytes=100, folder=tmp_path)
    assert not (tmp_path / "mari-intent.zip").exists()
    assert published_file("lm", server.address, n_bytes=len(archive) + 1, folder=tmp_path).read_bytes() == archive


def test_a_file_outside_the_catalogue_that_cannot_be_had(cache, server, tmp_path):
    server.status = 404
    with pytest.raises(data.DownloadError, match=r"answers 404(.|\n)*put it at(.|\n)*TLCOURSE_DATA to .* lm/mari"):
        published_file("lm", server.address, n_bytes=100, folder=tmp_path)
