"""How a scan is read: the options that a model or a user decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swift_export.scans.contract import InputContract
from swift_export.scans.placement import Orientation, Placement, check_orientation

__all__ = ["Reading", "reading_for"]


@dataclass(frozen=True)
class Reading:
    """Options for reading scans.

    Attributes:
        placement: the position of their voxels on the grid.
        orientation: the orientation of the windows; None: the placement's.
        drop_frames: frames excluded from statistics and windows, first and last; None: the placement's.
        start: first frame of the first window, counted after dropped frames.
        windows: number of windows; None: all.
        step: frames between the starts of consecutive windows; None: no overlap.
        stride: distance between the frames of a window.
        repetition_time: that of the run in s, if its metadata are not only beside it; None: that of the BIDS sidecar
            beside the run, or of its header.
        resample_tr: target repetition time in s for interpolation; None: that of the run.
        allow_crop: crop voxels that are not background.
        strict: treat warnings as errors.

    """

    placement: Placement
    orientation: Orientation | None = None
    drop_frames: tuple[int, int] | None = None
    start: int = 0
    windows: int | None = None
    step: int | None = None
    stride: int = 1
    repetition_time: float | None = None
    resample_tr: float | None = None
    allow_crop: bool = False
    strict: bool = False

    @property
    def oriented(self) -> Orientation:
        """The effective orientation."""
        return self.orientation or self.placement.orientation

    @property
    def dropped(self) -> tuple[int, int]:
        """The dropped frames of a NIfTI run; for a folder of frames, only ``drop_frames`` applies."""
        return self.placement.drop_frames if self.drop_frames is None else self.drop_frames


def reading_for(
    contract: InputContract,
    placement: Placement | None,
    orientation: str | None,
    drop_frames: tuple[int, int] | None,
    **more: Any,
) -> Reading:
    """The options for a model with this contract; None leaves a choice to it. ``more`` are other fields of `Reading`.

    Raises UsageError if neither the contract nor the caller states the placement.
    """
    # Paddings belong to a stored array, not to a model.
    if placement is None or placement.point is not None:
        placement = contract.changed(placement, orientation, drop_frames).placed()
    return Reading(
        placement=placement,
        orientation=None if orientation is None else check_orientation(orientation),
        drop_frames=drop_frames,
        stride=contract.stride,
        **more,
    )
