"""Archives: read without writing, whole or refused."""

import io
import stat
import tarfile
import zipfile
from dataclasses import replace

import pytest

from tlcourse import data
from tlcourse.data.files import read_files

ENTRY = replace(data.info("truevoice"), members=("a.txt", "train/*.txt"), unpacked_bytes=100)


def make_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return path


def make_tar(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


MAKERS = {"x.zip": make_zip, "x.tar.gz": make_tar}
both = pytest.mark.parametrize("name", MAKERS)


@both
def test_only_the_members_are_read(tmp_path, name):
    members = [
        ("b.txt", b"b"),
        ("deep/a.txt", b"a"),
        ("deep/.a.txt", b"no"),
        ("x/train/1.txt", b"1"),
        ("x/1.txt", b""),
    ]
    path = MAKERS[name](tmp_path / name, *members)
    assert dict(read_files(path, ENTRY)) == {"deep/a.txt": b"a", "x/train/1.txt": b"1"}
    assert list(tmp_path.iterdir()) == [path]


@both
@pytest.mark.parametrize("bad", ["../a.txt", "/etc/a.txt", "x/../../a.txt", "..\\a.txt", "C:/a.txt"])
def test_a_member_that_leads_outside_is_refused(tmp_path, name, bad):
    path = MAKERS[name](tmp_path / name, (bad, b"a"))
    with pytest.raises(data.DataError, match=r"refused: its member .* leads outside"):
        list(read_files(path, ENTRY))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_in_a_tar_is_refused(tmp_path, kind):
    link = tarfile.TarInfo("a.txt")
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(data.DataError, match="link or a device"):
        list(read_files(make_tar(tmp_path / "x.tar.gz", (link, b"")), ENTRY))


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("a.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(data.DataError, match="is a link"):
        list(read_files(make_zip(tmp_path / "x.zip", (link, b"/etc/passwd")), ENTRY))


@both
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, name):
    path = MAKERS[name](tmp_path / name, ("a.txt", b"0" * 60), ("train/1.txt", b"0" * 41))
    read = read_files(path, ENTRY)
    assert next(read)[0] == "a.txt"
    with pytest.raises(data.DataError, match="more than 100 bytes"):
        next(read)


@both
def test_a_truncated_archive_is_corrupt(tmp_path, name):
    entry = replace(ENTRY, unpacked_bytes=10**6)
    raw = MAKERS[name](tmp_path / name, ("a.txt", bytes(range(256)) * 99), ("train/1.txt", b"1")).read_bytes()
    for end in (len(raw) // 2, 20, 0):
        (tmp_path / name).write_bytes(raw[:end])
        with pytest.raises(data.DataError, match="corrupt or not whole"):
            list(read_files(tmp_path / name, entry))


def test_a_changed_byte_in_a_zip_is_corrupt(tmp_path):
    path = make_zip(tmp_path / "x.zip", ("a.txt", b"0123456789" * 5))
    raw = bytearray(path.read_bytes())
    raw[36] ^= 255
    path.write_bytes(raw)
    with pytest.raises(data.DataError, match="corrupt"):
        list(read_files(path, ENTRY))


def test_a_corrupt_gz_in_a_folder(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(b"\x1f\x8b\x08 not gzip")
    with pytest.raises(data.DataError, match="corrupt"):
        list(read_files(tmp_path, ENTRY))
    (tmp_path / "a.txt.gz").write_bytes(b"plain")
    with pytest.raises(data.DataError, match="corrupt"):
        list(read_files(tmp_path, ENTRY))


@both
def test_an_archive_of_something_else(tmp_path, name):
    path = MAKERS[name](tmp_path / name, ("readme.md", b"hello"))
    with pytest.raises(data.DataError, match=r"holds none of the files of truevoice: a\.txt"):
        list(read_files(path, ENTRY))


def test_a_hundred_files_of_a_folder_come_in_order(tmp_path):
    (tmp_path / "train").mkdir()
    for i in range(100):
        (tmp_path / f"train/{i:02}.txt").write_bytes(b"%d" % (i % 10))
    assert [name for name, _ in read_files(tmp_path, ENTRY)] == [f"train/{i:02}.txt" for i in range(100)]
