"""The authors' own arithmetic for each data set, written out as slices and pads, on random volumes of the real size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from swift_export.scans.placement import PLACEMENTS
from swift_export.scans.scan import Reading, open_scan

pytestmark = pytest.mark.requires("fmri")

SIZE = (96, 96, 96)
WINDOW = 2


@dataclass(frozen=True)
class Book:
    """What the published code does to a data set's stored volumes; see the head of ``placement.py``."""

    shape: tuple[int, int, int]
    first_voxel: tuple[float, float, float]
    orientation: str
    crop: tuple[slice, slice, slice]
    pads: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    dropped: tuple[int, int]

    def affine(self, stored: str) -> np.ndarray:
        affine = np.diag([-2.0 if stored == "LAS" else 2.0, 2, 2, 1])
        affine[:3, 3] = self.first_voxel
        if stored != self.orientation:
            affine[0, 3] -= affine[0, 0] * (self.shape[0] - 1)
        return affine

    def clip(self, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first window, in z values and before; background is the smallest z value, and 0."""
        values = self.crop_of(run).astype(np.float64)
        values = values[..., self.dropped[0] : values.shape[3] - self.dropped[1]]
        background = values == 0
        z = (values - values[~background].mean()) / values[~background].std(ddof=1)
        smallest = z[~background].min()
        z[background] = smallest
        return self.pad(z[..., :WINDOW], smallest), self.pad(values[..., :WINDOW], 0)

    def crop_of(self, run: np.ndarray) -> np.ndarray:
        return run[self.crop]

    def pad(self, values: np.ndarray, background: float) -> np.ndarray:
        """As torch's ``pad``, whose negative widths cut."""
        for axis, (front, behind) in enumerate(self.pads):
            cut = [slice(None)] * 4
            cut[axis] = slice(max(-front, 0), values.shape[axis] - max(-behind, 0))
            values = values[tuple(cut)]
        widths = [(max(front, 0), max(behind, 0)) for front, behind in self.pads]
        return np.pad(values, [*widths, (0, 0)], constant_values=background)


BOOKS = {
    "hcp": Book(
        (91, 109, 91), (90, -126, -72), "LAS",
        (slice(8, -8), slice(8, -8), slice(0, -10)), ((11, 10), (2, 1), (8, 7)), (10, 10),
    ),
    "ukb": Book(
        (91, 109, 91), (90, -126, -72), "LAS",
        (slice(None), slice(None), slice(None)), ((3, 2), (-7, -6), (3, 2)), (0, 0),
    ),
    "abcd": Book(
        (99, 117, 95), (-98, -134, -72), "RAS",
        (slice(10, -10), slice(10, -10), slice(0, -10)), ((9, 8), (0, -1), (6, 5)), (20, 0),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs() -> dict[str, np.ndarray]:
    """Random values in two fifths of the grid, the same voxels in no two frames; as the authors' arrays are stored."""
    made = {}
    for name, book in BOOKS.items():
        rng = np.random.default_rng(len(made))
        run = rng.integers(1, 3000, (*book.shape, sum(book.dropped) + WINDOW + 1), np.int16)
        run[rng.random(run.shape, np.float32) > 0.4] = 0
        made[name] = run
    return made


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("stored", ["LAS", "RAS"])
@pytest.mark.parametrize("name", BOOKS)
def test_a_run_becomes_what_the_authors_made_of_it(brains, tmp_path, runs, name, stored, masked):
    book, run = BOOKS[name], runs[name]
    affine, turned = book.affine(stored), stored != book.orientation
    path = brains.write(tmp_path / "run.nii", run[::-1] if turned else run, affine)
    mask = None
    if masked:
        inside = np.random.default_rng(9).random(book.shape) < 0.5
        mask = brains.write(tmp_path / "mask.nii", (inside[::-1] if turned else inside).astype(np.uint8), affine)
        run = run * inside[..., None]
    z, before = book.clip(run)
    reading = Reading(PLACEMENTS[name], allow_crop=True)
    with open_scan(path, reading, SIZE, WINDOW, mask=mask, warn=lambda _: None) as scan:
        clip, facts = scan.window(0), scan.facts
    assert facts["starts"] == [0]
    np.testing.assert_allclose(clip, z, rtol=0, atol=1e-6)
    # Before the conversion to z, to the bit: the same values and the same background at the same places.
    made = ((before - facts["mean"]) / facts["deviation"]).astype(np.float32)
    np.testing.assert_array_equal(clip, np.where(before == 0, np.float32(facts["background"]), made))
    if not turned:
        keep = Reading(PLACEMENTS[name], orientation="keep", allow_crop=True)
        with open_scan(path, keep, SIZE, WINDOW, mask=mask, warn=lambda _: None) as scan:
            np.testing.assert_array_equal(scan.window(0), clip)
            assert {k: v for k, v in scan.facts.items() if k not in ("affine", "orientation", "warnings")} == {
                k: v for k, v in facts.items() if k not in ("affine", "orientation", "warnings")
            }
