"""Valid and invalid archives of torch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

from swift_export.formats.checkpoint.archive import TorchArchive

Refused = Callable[..., AbstractContextManager[None]]

MEMBERS = {"data.pkl": b"\x80\x02N.", "byteorder": b"little", "data/0": bytes(range(256)) * 16, "version": b"3\n"}


def read(path: Path) -> None:
    archive = TorchArchive(path)
    archive.read("data.pkl")
    archive.read("data/0")


def test_reads_members_where_zipfile_put_them(torch_file: ModuleType, tmp_path: Path) -> None:
    archive = TorchArchive(torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS))
    assert {name: archive.read(name) for name in MEMBERS} == MEMBERS
    assert archive.member_size("data/0") == 4096
    assert archive.member_size("data/1") is None
    assert archive.byte_order == "<"


def test_reads_what_torch_aligned(golden: Path) -> None:
    """torch pads members to 64 bytes, names them by descriptors and adds a zip64 end."""
    path = golden / "tiny-full" / "checkpoint.ckpt"
    archive = TorchArchive(path)
    with zipfile.ZipFile(path) as expected:
        for name in expected.namelist():
            assert archive.read(name.removeprefix("checkpoint/")) == expected.read(name)


def test_reads_zip64_sizes_and_offsets(torch_file: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # from here on zipfile writes what it writes beyond 4 GB
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    assert b"\xff\xff\xff\xff\xff\xff\xff\xff" in path.read_bytes()
    assert {name: TorchArchive(path).read(name) for name in MEMBERS} == MEMBERS


def test_reads_big_endian(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS | {"byteorder": b"big"})
    assert TorchArchive(path).byte_order == ">"
    path = torch_file.write_archive(tmp_path / "b.ckpt", MEMBERS | {"byteorder": b"middle"})
    with refused(str(path), "neither little nor big"):
        read(path)


def test_a_comment_at_the_end_is_fine(torch_file: ModuleType, tmp_path: Path) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"from the lab" * 100
    assert TorchArchive(path).read("data/0") == MEMBERS["data/0"]


NO_ARCHIVES = {
    "empty": (b"", "empty file"),
    "text": (b"hello, weights\n" * 100, "another type of file"),
    "web page": (b"<!DOCTYPE html><html></html>", "web page"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 52998337\n", "git lfs pull"),
    "torch's legacy format": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "torch.save it again"),
    "bare pickle": (b"\x80\x04}.", "bare pickle"),
    "one byte": (b"P", "another type"),
    "a zip's first bytes": (b"PK\x03\x04", "truncated"),
    "zeros": (bytes(10_000), "another type"),
}


@pytest.mark.parametrize("what", NO_ARCHIVES)
def test_other_files_are_told_apart(refused: Refused, what: str, tmp_path: Path) -> None:
    content, told = NO_ARCHIVES[what]
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with refused(str(path), told):
        read(path)


def test_folders_and_absent_files(refused: Refused, tmp_path: Path) -> None:
    with refused(str(tmp_path), "a folder"):
        read(tmp_path)
    with refused(str(tmp_path / "absent.ckpt"), "no such file"):
        read(tmp_path / "absent.ckpt")


def test_every_truncation_is_one_line(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    whole = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS).read_bytes()
    path = tmp_path / "b.ckpt"
    for length in [*range(0, len(whole), 97), *range(len(whole) - 30, len(whole))]:
        path.write_bytes(whole[:length])
        with refused(str(path)):
            read(path)


def test_zip_bomb(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    """64 MB of zeros in 64 kB: nothing compressed is ever unpacked."""
    bomb = MEMBERS | {"data/0": bytes(64 * 2**20)}
    path = torch_file.write_archive(tmp_path / "a.ckpt", bomb, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    with refused(str(path), "compressed"):
        read(path)


def test_another_zip_archive(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with refused(str(path), "with one data.pkl"):
        read(path)


def test_two_pickles(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", {"a/data.pkl": b"N.", "b/data.pkl": b"N."}, root="")
    with refused(str(path), "with one data.pkl, found a zip archive with 2"):
        read(path)


def test_a_name_given_twice(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", b"]")
    with refused(str(path), "appears twice"):
        read(path)


def test_changed_bytes_are_noticed(refused: Refused, torch_file: ModuleType, tmp_path: Path) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    data = path.read_bytes()
    path.write_bytes(data.replace(bytes(range(256)), bytes(256), 1))
    with refused(str(path), "checksum of data/0"):
        read(path)


def test_absent_checksums_are_fine(torch_file: ModuleType, tmp_path: Path) -> None:
    """torch writes zeros after ``torch.serialization.set_crc32_options(False)``."""
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    data = bytearray(path.read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 16 : at + 20] = bytes(4)
        at += 4
    path.write_bytes(data)
    assert TorchArchive(path).read("data/0") == MEMBERS["data/0"]


def test_huge_pickle(refused: Refused, tmp_path: Path, torch_file: ModuleType) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS | {"data.pkl": bytes(64 * 2**20 + 1)})
    with refused(str(path), "data.pkl: expected at most 67108864 bytes, found 67108865"):
        read(path)


# The central directory's fields, by offset from an entry's signature, and what a liar writes there.
LIES = {
    "size beyond the file": (20, struct.pack("<II", 2**31, 2**31)),
    "packed and unpacked sizes differ": (20, struct.pack("<II", 1, 2)),
    "offset beyond the file": (42, struct.pack("<I", 2**31)),
    "offset of no member": (42, struct.pack("<I", 7)),
    "long name": (28, struct.pack("<H", 65535)),
    "long extra field": (30, struct.pack("<H", 65535)),
    "encrypted": (8, struct.pack("<H", 1)),
    "another method": (10, struct.pack("<H", 14)),
    "no signature": (0, b"XX\x01\x02"),
    "zip64 size without its field": (24, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_in_the_directory(refused: Refused, lie: str, torch_file: ModuleType, tmp_path: Path) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    offset, value = LIES[lie]
    data[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(data)
    with refused(str(path)):
        read(path)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (10, struct.pack("<H", 60000)),  # members
        (12, struct.pack("<I", 2**31)),  # bytes of the directory
        (16, struct.pack("<I", 2**31)),  # its offset
        (16, struct.pack("<I", 0)),
    ],
)
def test_lies_in_the_end_record(
    refused: Refused, offset: int, value: bytes, torch_file: ModuleType, tmp_path: Path
) -> None:
    path = torch_file.write_archive(tmp_path / "a.ckpt", MEMBERS)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + offset : end + offset + len(value)] = value
    path.write_bytes(data)
    with refused(str(path)):
        read(path)


def test_lies_in_the_zip64_end_record(refused: Refused, golden: Path, tmp_path: Path) -> None:
    original = (golden / "tiny-padded" / "checkpoint.ckpt").read_bytes()
    end = original.rfind(b"PK\x06\x06")
    path = tmp_path / "a.ckpt"
    for offset, value in [(32, 2**40), (40, 2**40), (48, 2**63), (32, 100_001)]:
        data = bytearray(original)
        data[end + offset : end + offset + 8] = struct.pack("<Q", value)
        path.write_bytes(data)
        with refused(str(path)):
            read(path)


def test_too_many_members(refused: Refused, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for i in range(100_001):
            archive.writestr(zipfile.ZipInfo(str(i)), b"")
    path = tmp_path / "a.ckpt"
    path.write_bytes(stream.getvalue())
    with refused(str(path), "100001 members"):
        read(path)
