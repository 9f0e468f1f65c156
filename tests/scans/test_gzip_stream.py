"""Compressed runs: every way of writing gzip is read, in little memory, and damage anywhere is found."""

from __future__ import annotations

import gzip
import io
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError
from swift_export.scans.gzip_stream import GzipStream
from swift_export.scans.nifti import open_nifti

DATA = np.random.default_rng(0).integers(0, 4, 300_000).astype(np.uint8).tobytes()


def read(content: bytes, piece: int = -1) -> tuple[bytes, int]:
    """What a stream holds, taken in pieces, and how many bytes it left."""
    stream = GzipStream(io.BytesIO(content))
    with io.BufferedReader(stream, 2**12) as reader:
        data = b"".join(iter(lambda: reader.read(piece), b""))
        return data, stream.trailing


@pytest.mark.parametrize("piece", [-1, 1000, 2**20])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_data_is_gzips(piece, level):
    assert read(gzip.compress(DATA, level), piece) == (DATA, 0)


def test_several_members_are_one_stream():
    parts = [DATA[:1], b"", DATA[1:70_000], DATA[70_000:]]
    assert read(b"".join(map(gzip.compress, parts))) == (DATA, 0)
    blocks = [gzip.compress(DATA[start : start + 500]) for start in range(0, len(DATA), 500)]
    assert read(b"".join(blocks)) == (DATA, 0)


def test_header_with_a_name_and_a_comment():
    body = gzip.compress(b"data")[10:]
    assert read(b"\x1f\x8b\x08\x18" + bytes(6) + b"name\0" + b"comment\0" + body) == (b"data", 0)


@pytest.mark.parametrize("zeros", [1, 512, 100_000])
def test_zeros_behind_a_member_are_padding(zeros):
    whole = gzip.compress(DATA)
    assert read(whole + bytes(zeros)) == (DATA, 0)
    assert read(whole + bytes(zeros) + whole + bytes(zeros)) == (DATA * 2, 0)


@pytest.mark.parametrize(
    "rest", [b"\n", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07 no member", b"--boundary--\r\n" * 50_000, bytes(3) + b"x\0"]
)
def test_other_bytes_behind_the_last_member_are_counted(rest):
    assert read(gzip.compress(DATA) + rest) == (DATA, len(rest.lstrip(b"\0")))


def test_members_across_the_borders_of_what_is_read_at_once():
    """Each length of padding puts the next member, or what is none, elsewhere against the 32 KiB that are read."""
    member = gzip.compress(b"x" * 40)
    for padding in (*range(2**15 - len(member) - 12, 2**15 + 3), 2**16 - len(member)):
        zeros = bytes(padding)
        assert read(member + zeros + member) == (b"x" * 80, 0)
        assert read(member + zeros + b"\x1f\x8b?") == (b"x" * 40, 3)


def test_every_cut_is_found():
    whole = gzip.compress(DATA[:2000])
    for length in range(len(whole)):
        with pytest.raises(EOFError):
            read(whole[:length])
    for length in range(3, len(whole)):
        with pytest.raises(EOFError):
            read(whole + whole[:length])


def test_a_cut_stream_is_not_mended_by_what_follows():
    whole = gzip.compress(DATA)
    for length in (20, 5000, len(whole) - 9, len(whole) - 8, len(whole) - 4, len(whole) - 1):
        with pytest.raises((EOFError, zlib.error)):
            read(whole[:length] + b"trailing bytes" * 1000)
        with pytest.raises((EOFError, zlib.error)):
            read(whole[:length] + whole)


@pytest.mark.requires("fmri")
def test_trailing_bytes_are_told_once(brains, tmp_path):
    run = brains.run((6, 7, 5, 4))
    path = brains.write(tmp_path / "run.nii.gz", run)
    path.write_bytes(path.read_bytes() + bytes(7) + b"appended")
    said = []
    volumes = list(open_nifti(path).volumes(said.append))
    np.testing.assert_array_equal(np.stack(volumes, axis=-1), run)
    assert said == [f"{path}: 8 bytes after the complete compressed data were ignored"]
    assert sum(1 for _ in open_nifti(path).raw_volumes()) == 4


@pytest.mark.requires("fmri")
def test_zeros_behind_the_stream_are_not_told(brains, tmp_path):
    path = brains.write(tmp_path / "run.nii.gz", brains.run((6, 7, 5, 4)))
    path.write_bytes(path.read_bytes() + bytes(512))
    said = []
    assert sum(1 for _ in open_nifti(path).volumes(said.append)) == 4
    assert not said


@pytest.mark.requires("fmri")
def test_a_damaged_second_member_is_an_error(brains, tmp_path):
    plain = brains.write(tmp_path / "run.nii", brains.run((6, 7, 5, 4))).read_bytes()
    first, second = gzip.compress(plain[:2000]), gzip.compress(plain[2000:])
    path = tmp_path / "run.nii.gz"
    path.write_bytes(first + second[:-8] + bytes(8))
    with pytest.raises(InputError, match=r"run\.nii\.gz: the compressed file is damaged"):
        list(open_nifti(path).volumes())


@pytest.mark.requires("fmri")
def test_frames_may_be_taken_in_another_thread(brains, tmp_path):
    run = brains.run((6, 7, 5, 4))
    scan = open_nifti(brains.write(tmp_path / "run.nii.gz", run))
    taken: list[bytes] = []
    thread = threading.Thread(target=lambda: taken.extend(scan.raw_volumes()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(np.stack([scan.decode(raw) for raw in taken], axis=-1), run)


def bomb(path: Path, header: bytes, size: int, blocks: int) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header)
        for _ in range(blocks):
            file.write(bytes(size))
    return path


@pytest.mark.requires("fmri")
def test_a_gzip_bomb_costs_no_memory(brains, tmp_path):
    plain = brains.write(tmp_path / "run.nii", brains.run((6, 7, 5, 4)))
    header = brains.patch(plain, dim=(4, 100, 100, 100, 20, 1, 1, 1)).read_bytes()[:352]
    path = bomb(tmp_path / "bomb.nii.gz", header, 4_000_000, 20)
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    frames = sum(1 for raw in open_nifti(path).raw_volumes() if len(raw) == 4_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == 20
    assert peak < 12e6, "one frame and the buffers"


@pytest.mark.requires("fmri")
def test_what_follows_the_frames_is_not_inflated_to_its_end(brains, tmp_path):
    plain = brains.write(tmp_path / "run.nii", brains.run((6, 7, 5, 4))).read_bytes()
    path = bomb(tmp_path / "bomb.nii.gz", plain, 4_000_000, 10)
    # Damage at the very end would be found if it were.
    path.write_bytes(path.read_bytes()[:-100])
    said = []
    assert sum(1 for _ in open_nifti(path).volumes(said.append)) == 4
    assert len(said) == 1
    assert "continues after the 4 frames" in said[0]
