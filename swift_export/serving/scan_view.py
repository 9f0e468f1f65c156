"""What the page draws of a scan: its mean volume in grey on the model's grid, and the mean of every frame."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from swift_export.features.pipeline import Windowed
from swift_export.scans.grid import VOXEL_SIZE
from swift_export.scans.picture.anatomy import Anatomy, anatomy_of_run, codes_of
from swift_export.scans.picture.slices import grey_levels
from swift_export.scans.scan import Scan

__all__ = ["view_of"]

#: Voxels around the model's grid that are shown.
_AROUND = 12


def view_of(scan: Windowed) -> dict[str, Any] | None:
    """Plain data for JSON; None for anything but a NIfTI run.

    ``grey`` are the voxels of a box in base64, one byte each, the first axis fastest; 0 is background. All other
    numbers are indices on the model's grid. ``kept`` is what the model sees of the scan, ``cut`` the number of brain
    voxels elsewhere.
    """
    if not isinstance(scan, Scan) or scan.run is None:
        return None
    anatomy = anatomy_of_run(scan.run, scan.size)
    grey, box = _shown(anatomy)
    means = [round(mean, 6) if math.isfinite(mean) else None for mean in scan.run.statistics.frame_means]
    return {
        "grey": base64.b64encode(grey.tobytes("F")).decode("ascii"),
        "box": box,
        "size": list(anatomy.size),
        "covered": [list(span) for span in anatomy.covered],
        "scan": [list(span) for span in anatomy.scan],
        "kept": [list(span) for span in anatomy.kept],
        "cut": anatomy.cut,
        "codes": codes_of(scan),
        "point": scan.facts["point"],
        "voxel_mm": VOXEL_SIZE,
        "frame_means": means,
    }


def _shown(anatomy: Anatomy) -> tuple[np.ndarray, list[list[int]]]:
    """Grey levels of the volume within reach of the grid, and their box."""
    spans = [
        (max(start, -_AROUND), min(stop, size + _AROUND))
        for (start, stop), size in zip(anatomy.scan, anatomy.size, strict=True)
    ]
    part = tuple(
        slice(start - front, max(stop, start) - front)
        for (start, stop), front in zip(spans, anatomy.front, strict=True)
    )
    return grey_levels(anatomy)[part], [[start, max(stop, start)] for start, stop in spans]
