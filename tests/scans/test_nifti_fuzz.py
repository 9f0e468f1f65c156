"""Damage anywhere in a file ends in its values or in one line: no traceback, no warning, no memory that it claims."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import SwiftExportError
from swift_export.scans.mask import read_mask
from swift_export.scans.nifti import open_nifti

pytestmark = pytest.mark.requires("fmri")

SHAPE = (6, 7, 5, 4)


def damage(content: bytes, rng: np.random.Generator, within: int) -> bytes:
    """A copy with up to a dozen bytes changed, mostly near the front, and at times cut, doubled or drawn apart."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 12)):
        place = rng.integers(within) if rng.random() < 0.8 else rng.integers(len(changed))
        changed[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256), changed[place] ^ (1 << rng.integers(8))])
    at = int(rng.integers(len(changed)))
    match rng.integers(8):
        case 0:
            del changed[at:]
        case 1:
            changed[at:at] = rng.bytes(rng.integers(1, 40))
        case 2:
            changed += changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("name", ["run.nii", "nifti2.nii"])
@pytest.mark.parametrize("where", ["plain", "within gzip", "gzip"])
def test_damaged_files_end_in_values_or_in_one_line(brains, tmp_path, name, where):
    fuzz(brains, tmp_path, name, where, tries=80, seed=0)


def fuzz(brains, folder: Path, name: str, where: str, tries: int, seed: int) -> None:
    whole = brains.write(folder / name, brains.run(SHAPE)).read_bytes()
    scan = open_nifti(folder / name)
    packed = gzip.compress(whole, 6)
    path = folder / "damaged.nii.gz"
    rng = np.random.default_rng(seed)
    lines = []
    tracemalloc.start()
    for _ in range(tries):
        if where == "gzip":
            path.write_bytes(damage(packed, rng, len(packed)))
        else:
            content = damage(whole, rng, 360 if name == "run.nii" else 552)
            path.write_bytes(gzip.compress(content, 1) if where == "within gzip" else content)
        for use in (lambda: list(open_nifti(path).volumes()), lambda: read_mask(path, scan)):
            try:
                use()
            except SwiftExportError as error:
                lines.append(str(error))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert lines, "damage that is never found would test nothing"
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)
