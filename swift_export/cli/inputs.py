"""Scans given on the command line: the options that say how they are read, and the clips they become."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from swift_export.cli.extras import need_extra
from swift_export.cli.lists import REPEATED
from swift_export.cli.signatures import with_options
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
        help="Orientation that NIfTI runs are brought to; keep: take the array as stored, its affine unread.",
        show_default="the placement's",
        rich_help_panel=_SCANS,
    ),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        metavar="hcp|ukb|abcd|X,Y,Z",
        help="Where scans go on the model's grid: as in that training data set, or the point of MNI152 in mm at index "
        "48; with --orientation keep also six voxel paddings.",
        show_default="the model's",
        autocompletion=lambda: list(PLACEMENTS),
        rich_help_panel=_SCANS,
    ),
]
DropFrames = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST,LAST",
        help="Frames of a run to leave out of statistics and clips, at its beginning and its end.",
        show_default="as in training",
        rich_help_panel=_SCANS,
    ),
]
Masks = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help=f"Brain mask of a NIfTI run, 3D; one for each run, in their order. {REPEATED}",
        rich_help_panel=_SCANS,
    ),
]
Start = Annotated[
    int,
    typer.Option(metavar="N", help="First frame to take, of those that are left.", rich_help_panel=_SCANS),
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
    typer.Option("--allow-crop", help="Cut voxels that lie outside and are not 0.", rich_help_panel=_SCANS),
]
Strict = Annotated[bool, typer.Option("--strict", help="Take warnings about scans for errors.", rich_help_panel=_SCANS)]


@dataclass(frozen=True)
class ScanOptions:
    """How scans are read, as the options say; None where the model decides."""

    placement: PlacementOption = None
    orientation: Orientation = None
    drop_frames: DropFrames = None
    masks: Masks = None
    start: Start = 0
    resample_tr: ResampleTR = None
    allow_crop: AllowCrop = False
    strict: Strict = False

    def check(self) -> None:
        """Raise UsageError for what is wrong whatever the model and the scan."""
        if self.placement is not None:
            parse_placement(self.placement)
        if self.orientation is not None:
            check_orientation(self.orientation)
        if self.drop_frames is not None:
            parse_drop_frames(self.drop_frames)
        if self.start < 0:
            raise UsageError(f"--start {self.start}: expected a frame from 0 on")
        if self.resample_tr is not None:
            check_positive("--resample-tr", self.resample_tr)

    @property
    def dropped(self) -> tuple[int, int] | None:
        """Frames to leave out."""
        return None if self.drop_frames is None else parse_drop_frames(self.drop_frames)

    @property
    def placed(self) -> Placement | None:
        """The placement given."""
        return None if self.placement is None else parse_placement(self.placement)

    def contract(self, contract: InputContract) -> InputContract:
        """A model's contract with what these options say of the model in its place."""
        return contract.changed(self.placed, self.orientation, self.dropped)

    def reading(self, contract: InputContract, **more: Any) -> Reading:
        """How to read scans for a model of this contract; raises UsageError where neither tells the placement."""
        from swift_export.scans.scan import Reading

        # Paddings are those of an array, and no model's.
        padded = self.placed is not None and self.placed.point is None
        return Reading(
            placement=self.placed if self.placed and padded else self.contract(contract).placed(),
            orientation=None if self.orientation is None else check_orientation(self.orientation),
            drop_frames=self.dropped,
            start=self.start,
            stride=contract.stride,
            resample_tr=self.resample_tr,
            allow_crop=self.allow_crop,
            strict=self.strict,
            **more,
        )

    def masks_for(self, files: Sequence[Path]) -> list[Path | None]:
        """The mask of each file, None of those that are no NIfTI runs.

        Raises UsageError unless there is one for each run, or none at all.
        """
        from swift_export.scans.scan import is_nifti

        runs = [file for file in files if is_nifti(file)]
        masks = self.masks or []
        if masks and not runs:
            raise UsageError(f"--mask {masks[0]}: belongs to a NIfTI run, and none was given")
        if masks and len(masks) != len(runs):
            raise UsageError(
                f"--mask: expected one for each of the {len(runs)} NIfTI runs, in their order, found {len(masks)}"
            )
        left = iter(masks)
        return [next(left, None) if is_nifti(file) else None for file in files]


def scan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of `ScanOptions`; it gets them as its argument ``scans``."""
    hints = get_type_hints(ScanOptions, include_extras=True)
    names = {"masks": "mask"}
    options = [
        inspect.Parameter(
            names.get(f.name, f.name), inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields(ScanOptions)
    ]

    def run(**given: Any) -> None:
        values = {f.name: given.pop(names.get(f.name, f.name)) for f in fields(ScanOptions)}
        command(**given, scans=ScanOptions(**values))

    return with_options(run, command, "scans", options)


@dataclass(frozen=True)
class InputFiles:
    """The values of ``--input`` and the options of scans."""

    files: Sequence[Path]
    options: ScanOptions

    def check(self) -> None:
        """Raise UsageError or InputError for what is wrong whatever the model; ask for the extra that reads NIfTI."""
        from swift_export.scans.scan import is_nifti

        self.options.check()
        masks = self.options.masks_for(self.files)
        for file in (*self.files, *(mask for mask in masks if mask)):
            # What a broken link or a folder is, its reader says.
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
        """Read and prepare them for a model; raises InputError for what does not meet the input contract."""
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
