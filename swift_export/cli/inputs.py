"""Scans on the command line: the options for reading them, and the resulting clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from swift_export.cli.extras import need_extra
from swift_export.cli.lists import REPEATED
from swift_export.cli.signatures import dataclass_options
from swift_export.errors import InputError, UsageError
from swift_export.scans.contract import InputContract
from swift_export.scans.placement import (
    PLACEMENTS,
    Placement,
    check_orientation,
    check_positive,
    parse_drop_frames,
    parse_placement,
)

if TYPE_CHECKING:
    from swift_export.cli.console import Console
    from swift_export.models import CheckInput
    from swift_export.models.swift.config import SwiFTConfig
    from swift_export.scans.scan import Reading

__all__ = ["InputFiles", "ScanOptions", "scan_options"]

_SCANS = "Scans"

Orientation = Annotated[
    Literal["LAS", "RAS", "keep"] | None,
    typer.Option(
        help="Orientation of the clips. keep: take the array as stored and ignore its affine.",
        show_default="the placement's",
        rich_help_panel=_SCANS,
    ),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        metavar="hcp|ukb|abcd|X,Y,Z",
        help="Placement of scans on the model's grid: as in a training data set, or the point of MNI152 in mm at index "
        "48. With --orientation keep, also six voxel paddings.",
        show_default="the model's",
        autocompletion=lambda: list(PLACEMENTS),
        rich_help_panel=_SCANS,
    ),
]
DropFrames = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST,LAST",
        help="Frames to exclude from statistics and clips, at the beginning and at the end of a run.",
        show_default="as in training",
        rich_help_panel=_SCANS,
    ),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help=f"3D brain mask of a NIfTI run; one per run, in the same order. {REPEATED}",
        rich_help_panel=_SCANS,
    ),
]
Start = Annotated[
    int,
    typer.Option(
        metavar="N", help="First frame of the first clip, counted after dropped frames.", rich_help_panel=_SCANS
    ),
]
ResampleTR = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Interpolate runs linearly to this repetition time, after normalisation.",
        rich_help_panel=_SCANS,
    ),
]
AllowCrop = Annotated[
    bool,
    typer.Option("--allow-crop", help="Crop non-zero voxels outside the grid.", rich_help_panel=_SCANS),
]
Strict = Annotated[bool, typer.Option("--strict", help="Treat warnings about scans as errors.", rich_help_panel=_SCANS)]


@dataclass(frozen=True)
class ScanOptions:
    """The options for reading scans; None leaves the choice to the model."""

    placement: PlacementOption = None
    orientation: Orientation = None
    drop_frames: DropFrames = None
    masks: Masks = None
    start: Start = 0
    resample_tr: ResampleTR = None
    allow_crop: AllowCrop = False
    strict: Strict = False

    def check(self) -> None:
        """Raise UsageError for values that are invalid for every model and scan."""
        if self.placement is not None:
            parse_placement(self.placement)
        if self.orientation is not None:
            check_orientation(self.orientation)
        if self.drop_frames is not None:
            parse_drop_frames(self.drop_frames)
        if self.start < 0:
            raise UsageError(f"--start {self.start}: expected a frame number of at least 0")
        if self.resample_tr is not None:
            check_positive("--resample-tr", self.resample_tr)

    @property
    def dropped(self) -> tuple[int, int] | None:
        """Frames to drop at the beginning and at the end."""
        return None if self.drop_frames is None else parse_drop_frames(self.drop_frames)

    @property
    def placed(self) -> Placement | None:
        """The placement given."""
        return None if self.placement is None else parse_placement(self.placement)

    def contract(self, contract: InputContract) -> InputContract:
        """The contract of a model, with the values of these options."""
        return contract.changed(self.placed, self.orientation, self.dropped)

    def reading(self, contract: InputContract, **more: Any) -> Reading:
        """How to read scans for a model with this contract; raises UsageError if neither states the placement."""
        from swift_export.scans.read_options import reading_for

        return reading_for(
            contract,
            self.placed,
            self.orientation,
            self.dropped,
            start=self.start,
            resample_tr=self.resample_tr,
            allow_crop=self.allow_crop,
            strict=self.strict,
            **more,
        )

    def masks_for(self, files: Sequence[Path]) -> list[Path | None]:
        """The mask of each file; None for files other than NIfTI runs.

        Raises UsageError unless each run has a mask, or none has.
        """
        from swift_export.scans.scan import is_nifti

        runs = [file for file in files if is_nifti(file)]
        masks = self.masks or []
        if masks and not runs:
            raise UsageError(f"--mask {masks[0]}: expected a NIfTI run that it belongs to, found none")
        if masks and len(masks) != len(runs):
            raise UsageError(
                f"--mask: expected one for each of the {len(runs)} NIfTI runs, in the same order, found {len(masks)}"
            )
        left = iter(masks)
        return [next(left, None) if is_nifti(file) else None for file in files]


#: Adds all options of `ScanOptions` to a command, which receives them as its argument ``scans``.
scan_options = dataclass_options(ScanOptions, "scans", {"masks": "mask"})


@dataclass(frozen=True)
class InputFiles:
    """The values of ``--input``, and the scan options."""

    files: Sequence[Path]
    options: ScanOptions

    def check(self) -> None:
        """Raise UsageError or InputError for input that is invalid for every model; require the extra for NIfTI."""
        from swift_export.scans.scan import is_nifti

        self.options.check()
        masks = self.options.masks_for(self.files)
        for file in (*self.files, *(mask for mask in masks if mask)):
            # Broken links and folders are reported by the reader.
            if not os.path.lexists(file):
                raise InputError(f"{file}: no such file")
        scans = [file for file in self.files if is_nifti(file)]
        if scans:
            need_extra("fmri", f"{scans[0]}: a NIfTI run")

    def load(
        self,
        config: SwiFTConfig,
        frames: int | None,
        contract: InputContract,
        console: Console,
        most: int | None = None,
    ) -> list[CheckInput]:
        """Read and prepare the files for a model; raises InputError for those that do not meet the input contract."""
        from swift_export.models.swift.check_inputs import Given
        from swift_export.models.swift.clip import load_clip
        from swift_export.scans.scan import is_nifti

        if not self.files:
            return []
        masks = self.options.masks_for(self.files)
        settings: dict[str, Any] = {
            "placement": self.options.placement or contract.placement,
            "start": self.options.start,
            "strict": self.options.strict,
            "most": most,
            "warn": console.warning,
        }
        if any(file.suffix != ".npy" for file in self.files):
            reading = self.options.reading(contract)
            console.placement(reading, self.options.contract(contract), any(is_nifti(file) for file in self.files))
            settings |= {
                "placement": reading.placement,
                "orientation": reading.orientation,
                "drop_frames": reading.drop_frames,
                "stride": reading.stride,
                "resample_tr": reading.resample_tr,
                "allow_crop": reading.allow_crop,
            }
        return [
            Given(load_clip(file, config, frames, mask=mask, **settings))
            for file, mask in zip(self.files, masks, strict=True)
        ]
