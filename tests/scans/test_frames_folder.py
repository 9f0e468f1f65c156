"""The authors' own volumes: what their loader makes of a folder of ``frame_N.pt``, and every folder turned away."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.scans.frames_folder import is_frames_folder
from swift_export.scans.placement import PLACEMENTS, Placement, parse_placement
from swift_export.scans.scan import Reading, open_scan

SHAPE = (5, 7, 4)
SIZE = (12, 12, 12)
#: As hcp pads 75x93x81, so this pads 5x7x4 to 12x12x12: its pads are those of 96, about the centre.
MINI = Placement(
    "mini", (0, 0, 0), drop_frames=(2, 1),
    paddings=((42 + 4, 42 + 3), (42 + 2, 42 + 3), (42 + 5, 42 + 3)), stored={SHAPE: (46, 44, 47)},
)  # fmt: skip


def volumes(count: int, shape=SHAPE, dtype: str = "float16") -> np.ndarray:
    """Normalised frames, whose smallest value is the background, as the first voxel is."""
    z = np.random.default_rng(0).standard_normal((*shape, count))
    z = np.clip(z, -2.5, None)
    z[np.random.default_rng(1).random(z.shape) < 0.5] = -2.5
    z[0, 0, 0] = -2.5
    return z.astype(dtype)


@pytest.fixture
def write(torch_file, tmp_path):
    """Write frames as the authors' preprocessing stores them, (x, y, z, 1), with its two further files."""

    def write(frames: np.ndarray, first: int = 0, name: str = "100206") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(frames.shape[-1]):
            tensor = torch_file.Tensor(np.ascontiguousarray(frames[..., number, None]))
            torch_file.write(folder / f"frame_{first + number}.pt", tensor)
        torch_file.write(folder / "voxel_mean.pt", torch_file.Tensor(np.zeros(3, np.float32)))
        (folder / "global_stats.pt").write_bytes(b"")
        return folder

    return write


def authors(frames: np.ndarray, start: int, count: int) -> np.ndarray:
    """``datasets.py``: frames side by side, padded by the first voxel's value."""
    y = frames[..., start : start + count].astype(np.float32)
    return np.pad(y, [(4, 3), (2, 3), (5, 3), (0, 0)], constant_values=y.flatten()[0])


def opened(folder: Path, frames: int = 4, warn=pytest.fail, **options):
    return open_scan(folder, Reading(**({"placement": MINI} | options)), SIZE, frames, warn=warn)


def refused(folder: Path, message: str, **options) -> None:
    with pytest.raises(InputError, match=message) as error, opened(folder, **options) as scan:
        list(scan)
    assert "\n" not in str(error.value)


def test_windows_are_what_the_authors_loader_makes(write):
    frames = volumes(13)
    folder = write(frames, first=3)
    with opened(folder) as scan:
        assert scan.run is None
        # Files are those of the frames that were not dropped: the placement's are not dropped again.
        assert (scan.facts["drop_frames"], scan.facts["starts"], scan.facts["total"]) == ([0, 0], [0, 4, 8], 13)
        assert (scan.facts["kind"], scan.facts["stored"], scan.facts["grid"]) == ("frames", "float16", [*SHAPE, 13])
        assert (scan.facts["placement"], scan.facts["orientation"]) == ("mini", "keep")
        assert scan.facts["background"] == -2.5
        for start, clip in zip((0, 4, 8), scan, strict=True):
            assert (clip.dtype, clip.flags.c_contiguous) == (np.float32, True)
            np.testing.assert_array_equal(clip, authors(frames, start, 4))
    with opened(folder, start=1, step=5, windows=2) as scan:
        for start, clip in zip((1, 6), scan, strict=True):
            np.testing.assert_array_equal(clip, authors(frames, start, 4))
    with opened(folder, stride=3) as scan:
        np.testing.assert_array_equal(scan.window(0), authors(frames[..., ::3], 0, 4))
    with opened(folder, drop_frames=(2, 4)) as scan:
        assert (scan.facts["drop_frames"], scan.facts["starts"], scan.facts["total"]) == ([2, 4], [0], 7)
        np.testing.assert_array_equal(scan.window(0), authors(frames, 2, 4))


def test_every_data_sets_paddings(write):
    for name, shape, pads in (
        ("hcp", (75, 93, 81), ((11, 10), (2, 1), (8, 7))),
        ("ukb", (91, 109, 91), ((3, 2), (-7, -6), (3, 2))),
        ("abcd", (79, 97, 85), ((9, 8), (0, -1), (6, 5))),
    ):
        frames = volumes(1, shape)
        with open_scan(write(frames, name=name), Reading(PLACEMENTS[name]), (96, 96, 96), 1, warn=pytest.fail) as scan:
            clip = scan.window(0)
        cut = frames.astype(np.float32)
        for axis, (front, behind) in enumerate(pads):
            cut = cut.take(range(max(-front, 0), cut.shape[axis] - max(-behind, 0)), axis)
        widths = [(max(front, 0), max(behind, 0)) for front, behind in pads]
        np.testing.assert_array_equal(clip, np.pad(cut, [*widths, (0, 0)], constant_values=np.float32(-2.5)))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_types_and_tensors_without_a_last_axis(torch_file, tmp_path, dtype):
    frames = volumes(4, dtype=dtype)
    for number in range(4):
        torch_file.write(tmp_path / f"frame_{number}.pt", torch_file.Tensor(np.ascontiguousarray(frames[..., number])))
    with opened(tmp_path) as scan:
        assert scan.facts["stored"] == dtype
        np.testing.assert_array_equal(scan.window(0), authors(frames, 0, 4))


def test_bfloat16(torch_file, tmp_path):
    bits = (volumes(1, dtype="float32")[..., 0].view(np.uint32) >> 16).astype(np.uint16)
    torch_file.write(tmp_path / "frame_0.pt", torch_file.Tensor(bits, kind="BFloat16Storage"))
    with opened(tmp_path, frames=1) as scan:
        assert scan.facts["stored"] == "bfloat16"
        np.testing.assert_array_equal(scan.window(0)[4:9, 2:9, 5:9, 0], (bits.astype(np.uint32) << 16).view(np.float32))


def test_which_folders_are_taken_for_frames(write, tmp_path):
    assert is_frames_folder(write(volumes(1)))
    assert not is_frames_folder(tmp_path)
    (tmp_path / "frame_0.pt.bak").write_bytes(b"")
    (tmp_path / "frame_x.pt").write_bytes(b"")
    assert not is_frames_folder(tmp_path)
    assert not is_frames_folder(tmp_path / "frame_x.pt")
    assert not is_frames_folder(tmp_path / "absent")


def test_frames_that_are_missing(write, tmp_path):
    folder = write(volumes(9), first=10)
    (folder / "frame_14.pt").unlink()
    refused(folder, r"100206: expected frames without a gap, found no frame_14\.pt; copy the folder again")
    for number in (15, 16, 17, 18):
        (folder / f"frame_{number}.pt").unlink()
    refused(folder, r"expected at least 5 frames \(5 from frame 0\), found 4", frames=5)
    refused(folder, r"dropping the first 3 and the last 1, found 4 in total", drop_frames=(3, 1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: np.where(v == v.max(), np.nan, v), r"frame_2\.pt: expected finite values, found NaN or infinite"),
        (lambda v: np.where(v == v.max(), np.inf, v), r"frame_2\.pt: expected finite values"),
        (lambda v: v[:, :-1], r"frame_2\.pt: expected shape \(5, 7, 4\) of the first frame, found \(5, 6, 4\)"),
        (lambda v: v[..., 0], r"frame_2\.pt: expected a volume of shape \(x, y, z, 1\), found \(5, 7\)"),
        (lambda v: np.stack([v, v], -1), r"frame_2\.pt: expected a volume .* found \(5, 7, 4, 2\)"),
        (lambda v: v[..., :0], r"frame_2\.pt: expected a volume"),
        (lambda v: v.astype(np.int32), r"frame_2\.pt: expected float16 or float32 values, found int32"),
        (lambda v: v.astype(np.float64), r"frame_2\.pt: expected float16 or float32 values, found float64"),
    ],
    ids=["nan", "inf", "shape", "plane", "two", "empty", "int32", "float64"],
)
def test_a_frame_that_is_not_as_the_others(write, torch_file, spoil, message):
    frames = volumes(4)
    folder = write(frames)
    torch_file.write(folder / "frame_2.pt", torch_file.Tensor(np.ascontiguousarray(spoil(frames[..., 2]))))
    refused(folder, message)


def test_shapes_that_the_placement_does_not_know(write):
    folder = write(volumes(4, (6, 7, 4)))
    refused(folder, r"100206: expected 5x7x4 voxels for placement mini .*, found 6x7x4")
    with opened(folder, placement=parse_placement("3,3,2,3,4,4")) as scan:
        assert scan.window(0).shape == (*SIZE, 4)
    with (
        pytest.raises(UsageError, match="--placement 0,-18,18 has no position in the array"),
        opened(folder, placement=parse_placement("0,-18,18")),
    ):
        pass


def test_options_that_folders_do_not_take(write):
    folder = write(volumes(4))
    with pytest.raises(UsageError, match="--resample-tr needs a repetition time"), opened(folder, resample_tr=0.8):
        pass
    with (
        pytest.raises(UsageError, match="--mask applies only to NIfTI runs"),
        open_scan(folder, Reading(MINI), SIZE, 4, mask=folder / "mask.nii", warn=pytest.fail),
    ):
        pass


def test_a_first_voxel_that_is_no_background_is_told(write):
    frames = volumes(4)
    frames[0, 0, 0] = 1.5
    told: list[str] = []
    folder = write(frames)
    with opened(folder, warn=told.append) as scan:
        np.testing.assert_array_equal(scan.window(0), authors(frames, 0, 4))
        assert scan.facts["warnings"] == list(scan.warnings)
    assert told == [f"{folder}: {scan.warnings[0]}"]
    assert scan.warnings[0].startswith("the first voxel (1.5), used as background, is not the smallest value (-2.5)")
    refused(folder, r"the first voxel .* \(an error because of --strict\)", strict=True)


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_is_executed(write, torch_file, tmp_path):
    executed = tmp_path / "executed"
    folder = write(volumes(4))
    for content in (
        pickle.dumps(_Attack(executed), 2),
        torch_file.Call(torch_file.Name("os", "system"), (f"touch {executed}",)),
        torch_file.Call(torch_file.Name("builtins", "exec"), (f"open({str(executed)!r}, 'w')",)),
    ):
        torch_file.write(folder / "frame_0.pt", content)
        refused(folder, r"frame_0\.pt: ")
    assert not executed.exists()


@pytest.mark.parametrize("length", [0, 200, -100])
def test_damaged_files(write, length):
    folder = write(volumes(4))
    path = folder / "frame_1.pt"
    path.write_bytes(path.read_bytes()[:length])
    refused(folder, r"frame_1\.pt: ")
    with pytest.raises(InputError) as error, opened(folder) as scan:
        list(scan)
    # The words are those of a frame, not of weights.
    assert "checkpoint" not in str(error.value)


def test_what_holds_more_than_a_tensor_is_no_frame(write, torch_file):
    folder = write(volumes(4))
    torch_file.write(folder / "frame_0.pt", {"volume": torch_file.Tensor(np.zeros(3, np.float32))})
    refused(folder, r"frame_0\.pt: expected one tensor, found")
    torch_file.write(folder / "frame_0.pt", torch_file.Tensor(np.zeros(3, np.float16), shape=(2**20, 2**20, 2**20, 1)))
    refused(folder, r"frame_0\.pt: ")
