"""A whole run as one file of clips: what it holds, what its sidecar says, and that a failure leaves nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import swift_export
from swift_export.errors import InputError, UsageError
from swift_export.models.swift.clip import load_clip
from swift_export.models.swift.config import SwiFTConfig
from swift_export.scans.placement import Placement, parse_placement
from swift_export.scans.preparing import prepare_scan, sidecar_of
from swift_export.scans.scan import Reading, open_scan

pytestmark = pytest.mark.requires("fmri")

SHAPE = (9, 11, 7, 23)
SIZE = (12, 18, 12)
CENTRED = parse_placement("0,-18,18")


def prepared(scan: Path, output: Path, *, mask: Path | None = None, dtype: str = "float32", warn=lambda _: None, **how):
    reading = Reading(**({"placement": CENTRED} | how))
    return prepare_scan(scan, output, reading, size=SIZE, frames=4, mask=mask, dtype=dtype, warn=warn)


def windows(scan: Path, **how) -> np.ndarray:
    with open_scan(scan, Reading(**({"placement": CENTRED} | how)), SIZE, 4, warn=lambda _: None) as opened:
        return np.stack(list(opened))[:, None]


@pytest.fixture
def scan(brains, tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return brains.timed(tmp_path / "data/sub-01_bold.nii.gz", brains.run(SHAPE), 0.72)


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out/sub-01.npy"


def files(folder: Path) -> dict[str, bytes]:
    """Hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "how", [{}, {"step": 1}, {"start": 3, "windows": 2}, {"resample_tr": 1.0, "stride": 2}], ids=str
)
def test_the_file_holds_the_windows(scan, out, how):
    expected = windows(scan, **how)
    made = prepared(scan, out, **how)
    stored = np.load(out, mmap_mode="r", allow_pickle=False)
    assert (stored.dtype, stored.flags.c_contiguous) == (np.dtype("<f4"), True)
    assert made.shape == stored.shape == (len(expected), 1, *SIZE, 4)
    np.testing.assert_array_equal(stored, expected)
    assert sorted(files(out.parent)) == ["sub-01.json", "sub-01.npy"]
    del stored
    half = prepared(scan, out, dtype="float16", **how)
    stored = np.load(out)
    assert stored.dtype == np.dtype("<f2")
    np.testing.assert_array_equal(stored, expected.astype(np.float16))
    assert half.facts["dtype"] == "float16"
    assert sorted(files(out.parent)) == ["sub-01.json", "sub-01.npy"]


def test_the_sidecar_says_how(brains, scan, out, tmp_path):
    inside = np.ones(SHAPE[:3], np.uint8)
    inside[:5] = 0
    mask = brains.write(tmp_path / "mask.nii.gz", inside)
    placement = Placement("mine", (0, -18, 18), "RAS", drop_frames=(2, 1))
    warned: list[str] = []
    made = prepared(scan, out, mask=mask, placement=placement, start=1, step=5, stride=2, warn=warned.append)
    told = json.loads(sidecar_of(out).read_text())
    assert made.facts == told
    assert (made.path, made.sidecar, made.picture) == (out, out.with_name("sub-01.json"), None)
    image = nib.load(scan)
    signal = image.get_fdata()[..., 2:-1] * inside[..., None]
    background, signal = signal == 0, signal[signal != 0]
    close = {
        "mean": signal.mean(),
        "deviation": signal.std(ddof=1),
        "background": (signal.min() - signal.mean()) / signal.std(ddof=1),
        "foreground": 1 - background.mean(),
    }
    for name, value in close.items():
        assert told.pop(name) == pytest.approx(value, rel=1e-9)
    versions = told.pop("versions")
    assert versions == {"swift-export": swift_export.__version__, "numpy": np.__version__}
    assert told == {
        "source": "sub-01_bold.nii.gz",
        "source_sha256": hashlib.sha256(scan.read_bytes()).hexdigest(),
        "kind": "nifti",
        "grid": list(SHAPE),
        "affine": image.affine.tolist(),
        "placement": "mine",
        "point": [0, -18, 18],
        "orientation": "RAS",
        "paddings": [[2, 1], [4, 3], [3, 2]],
        "point_distance": 0.0,
        "drop_frames": [2, 1],
        "cut_voxels": 0,
        "mask": "mask.nii.gz",
        "repetition_time": {"seconds": 0.72, "source": "header"},
        "resample_tr": None,
        "starts": [1, 6, 11],
        "frames": 4,
        "stride": 2,
        "total": 20,
        "warnings": [line.removeprefix(f"{scan}: ") for line in warned],
        "dtype": "float32",
        "shape": [3, 1, *SIZE, 4],
    }
    assert any("the brain measures" in line for line in told["warnings"])
    assert str(tmp_path) not in sidecar_of(out).read_text()


def test_what_was_made_is_an_input(scan, out):
    prepared(scan, out, dtype="float16")
    config = SwiFTConfig(
        img_size=(*SIZE, 4), in_chans=1, embed_dim=12, window_size=(4, 4, 4, 4), first_window_size=(4, 4, 4, 4),
        patch_size=(6, 6, 6, 1), depths=(2,), num_heads=(3,), c_multiplier=2, last_layer_full_MSA=True,
    )  # fmt: skip
    np.testing.assert_array_equal(load_clip(out, config).array, np.load(out).astype(np.float32))
    np.testing.assert_array_equal(load_clip(out, config, most=2).array, np.load(out)[:2].astype(np.float32))


def test_folders_of_frames(torch_file, out, tmp_path):
    frames = np.random.default_rng(0).standard_normal((5, 7, 4, 9)).astype(np.float16)
    frames[0, 0, 0] = frames.min()
    folder = tmp_path / "100206"
    folder.mkdir()
    for number in range(9):
        tensor = torch_file.Tensor(np.ascontiguousarray(frames[..., number, None]))
        torch_file.write(folder / f"frame_{number}.pt", tensor)
    placement = parse_placement("4,3,5,6,5,3")
    made = prepared(folder, out, dtype="float16", placement=placement, orientation="keep")
    np.testing.assert_array_equal(np.load(out), windows(folder, placement=placement).astype(np.float16))
    # float16 holds what float16 held.
    np.testing.assert_array_equal(np.load(out)[1, 0, 4:9, 5:12, 5:9], frames[..., 4:8])
    assert (made.facts["source"], made.facts["source_sha256"], made.facts["kind"]) == ("100206", None, "frames")


# What fails leaves everything as it was.


@pytest.fixture
def old(scan, out) -> dict[str, bytes]:
    prepared(scan, out, windows=1)
    return files(out.parent)


def test_an_error_midway_leaves_what_was_there(torch_file, out, old, tmp_path):
    """The last frame of a folder is damaged: windows before it were written already."""
    for number in range(12):
        values = np.full((5, 7, 4, 1), -1.0 if number < 11 else np.nan, np.float16)
        torch_file.write(tmp_path / f"frame_{number}.pt", torch_file.Tensor(values))
    with pytest.raises(InputError, match=r"frame_11\.pt: expected finite values"):
        prepared(tmp_path, out, placement=parse_placement("4,3,5,6,5,3"))
    assert files(out.parent) == old


@pytest.mark.parametrize("fault", ["truncated", "too short", "strict"])
def test_runs_that_are_refused_leave_what_was_there(brains, scan, out, old, fault):
    if fault == "truncated":
        scan.write_bytes(scan.read_bytes()[:-500])
    if fault == "too short":
        brains.write(scan, brains.run((9, 11, 7, 3)))
    with pytest.raises(InputError, match=r"sub-01_bold\.nii\.gz: "):
        prepared(scan, out, strict=fault == "strict")
    assert files(out.parent) == old
    out.unlink()
    sidecar_of(out).unlink()
    with pytest.raises(InputError):
        prepared(scan, out, strict=fault == "strict")
    assert files(out.parent) == {}


def test_an_interruption_leaves_what_was_there(scan, out, old):
    def interrupt(what: str) -> None:
        if "frame 5 of" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_scan(scan, out, Reading(CENTRED), size=SIZE, frames=4, warn=lambda _: None, on_progress=interrupt)
    assert files(out.parent) == old


def test_a_new_run_replaces_an_old_one(brains, scan, out, old):
    brains.timed(scan, brains.run(SHAPE, seed=5), 0.72)
    prepared(scan, out)
    assert np.load(out).shape[0] == 5
    assert sidecar_of(out).read_bytes() != old["sub-01.json"]


def test_the_scans_own_sidecar_is_not_replaced(scan):
    """BIDS keeps the repetition time where the clips' sidecar would lie."""
    out = scan.with_name("sub-01_bold.npy")
    bids = scan.with_name("sub-01_bold.json")
    for content in ('{"RepetitionTime": 0.72}', "", "[]", '{"versions": 3}', '{"versions": {"dcm2niix": "1"}}'):
        bids.write_text(content)
        with pytest.raises(UsageError, match=r"sub-01_bold\.json: the new sidecar would replace this file"):
            prepared(scan, out)
        assert bids.read_text() == content
        assert not out.exists()
    bids.unlink()
    prepared(scan, out)
    prepared(scan, out)


def test_neither_links_nor_names_lead_to_what_is_read_or_to_one_file(brains, scan, out):
    mask = brains.write(scan.with_name("mask.nii"), (brains.run(SHAPE)[..., 0] != 0).astype(np.uint8))
    before = files(scan.parent)
    reading = Reading(CENTRED)
    for source in (scan, mask):
        out.symlink_to(source)
        with pytest.raises(UsageError, match=r"sub-01\.npy: is also the input"):
            prepared(scan, out, mask=mask)
        out.unlink()
    picture = out.with_suffix(".png")
    for link, target in ((out, out.with_suffix(".json")), (picture, out)):
        link.symlink_to(target)
        with pytest.raises(UsageError, match=r"sub-01\.npy: expected separate files for array, sidecar and picture"):
            prepare_scan(scan, out, reading, size=SIZE, frames=4, picture=picture)
        link.unlink()
    assert files(scan.parent) == before
    assert list(out.parent.iterdir()) == []


def test_values_beyond_float16(torch_file, out, tmp_path):
    """No run's z values are: they do not exceed the root of the number of values. What a folder holds may be."""
    values = np.full((5, 7, 4, 1), -1, np.float32)
    values[2, 3, 2] = 65536
    for number in range(4):
        torch_file.write(tmp_path / f"frame_{number}.pt", torch_file.Tensor(values))
    placement = parse_placement("4,3,5,6,5,3")
    with pytest.raises(
        InputError, match=r"--dtype float16: expected z values .* found 6\.55e\+04; use --dtype float32"
    ):
        prepared(tmp_path, out, placement=placement, dtype="float16")
    assert files(out.parent) == {}
    prepared(tmp_path, out, placement=placement)
    assert np.load(out).max() == 65536


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out/clips.npz", r"clips\.npz: expected a file name that ends in \.npy"),
        ("out/clips", r"expected a file name that ends in \.npy"),
        ("absent/clips.npy", r"clips\.npy: expected an existing folder .* found none"),
        ("out/folder.npy", "expected a file name, found a folder"),
    ],
)
def test_places_that_take_no_file(scan, out, tmp_path, name, message):
    (tmp_path / "out/folder.npy").mkdir()
    with pytest.raises(UsageError, match=message):
        prepared(scan, tmp_path / name)
    with pytest.raises(UsageError, match=r"--dtype bfloat16: expected float32 or float16"):
        prepared(scan, out, dtype="bfloat16")
    assert list(files_only(tmp_path / "out")) == []


def files_only(folder: Path):
    return (path for path in folder.iterdir() if path.is_file())


def test_what_is_no_scan(tmp_path, out):
    (tmp_path / "scan.mgz").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"scan\.mgz: expected a NIfTI run \(\.nii, \.nii\.gz\) or a folder of frame_N"
    ):
        prepared(tmp_path / "scan.mgz", out)
    with pytest.raises(InputError, match=r"out: .*a folder"):
        prepared(tmp_path / "out", out)
    assert files(out.parent) == {}


# In Python, on the published grid.


def test_python_windows_are_lazy_and_those_of_the_file(brains, out, tmp_path):
    path = brains.timed(tmp_path / "run.nii.gz", brains.run((30, 40, 30, 26)), 0.72)
    options = {"frames": 2, "warn": lambda _: None}
    with swift_export.open_scan(path, placement="0,-18,18", **options) as scan:
        assert len(scan) == 13
        iterator = iter(scan)
        first = next(iterator)
        assert (first.shape, first.dtype) == ((96, 96, 96, 2), np.float32)
        second = next(iterator)
        last = scan.window(12)
    made = swift_export.prepare(str(path), str(out), placement="0,-18,18", start=0, windows=2, **options)
    assert made.shape == (2, 1, 96, 96, 96, 2)
    np.testing.assert_array_equal(np.load(out)[:, 0], [first, second])
    swift_export.prepare(path, out, placement=CENTRED, start=24, stride=7, dtype="float16", **options)
    np.testing.assert_array_equal(np.load(out)[0, 0], last.astype(np.float16))


def test_python_takes_the_placement_of_a_variant(brains, tmp_path):
    affine = brains.FSL[1]
    values = np.zeros((20, 20, 20, 23), np.int16)
    values[:10] = np.random.default_rng(0).integers(500, 900, (10, 20, 20, 23))
    affine = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), (20, -40, -10))
    path = brains.timed(tmp_path / "run.nii", values, 0.72, affine)
    for variant, name, starts in (("hcp-sex", "hcp", [0]), ("contrastive", "ukb", [0, 3, 6, 9, 12, 15, 18])):
        with swift_export.open_scan(path, variant=variant, frames=3, warn=lambda _: None) as scan:
            assert (scan.facts["placement"], scan.facts["starts"]) == (name, starts)
    with swift_export.open_scan(
        path, variant="hcp-sex", placement="abcd", drop_frames=(1, 2), frames=3, warn=lambda _: None
    ) as scan:
        assert (scan.facts["placement"], scan.facts["orientation"]) == ("abcd", "RAS")
        assert (scan.facts["drop_frames"], scan.facts["total"]) == ([1, 2], 20)
    with pytest.raises(UsageError, match="give a placement or a variant"), swift_export.open_scan(path):
        pass
    with (
        pytest.raises(UsageError, match="expected one of contrastive, hcp-sex"),
        swift_export.open_scan(path, variant="resting"),
    ):
        pass
    with (
        pytest.raises(UsageError, match="--frames 0: expected at least 1"),
        swift_export.open_scan(path, variant="contrastive", frames=0, warn=lambda _: None),
    ):
        pass
