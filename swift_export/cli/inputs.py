"""Files given with ``--input``: what can be said of them at once, and the clips they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swift_export.cli.extras import need_extra
from swift_export.errors import InputError, UsageError

if TYPE_CHECKING:
    from swift_export.backbone.config import SwiFTConfig
    from swift_export.parity.inputs import CheckInput

__all__ = ["InputFiles"]


@dataclass(frozen=True)
class InputFiles:
    """The values of ``--input``, ``--orientation`` and ``--mask``."""

    files: Sequence[Path]
    orientation: str
    mask: Path | None

    def check(self) -> None:
        """Raise UsageError or InputError for what is wrong whatever the model; ask for the extra that reads NIfTI."""
        if self.mask is not None and not self.files:
            raise UsageError(f"--mask {self.mask}: belongs to a NIfTI run given with --input, none was given")
        for file in (*self.files, *([self.mask] if self.mask else [])):
            if not file.is_file():
                raise InputError(f"{file}: no such file")
        scans = [file for file in self.files if file.name.endswith((".nii", ".nii.gz"))]
        if scans:
            need_extra("fmri", f"{scans[0]}: a NIfTI run")

    def load(self, config: SwiFTConfig, frames: int | None) -> list[CheckInput]:
        """Read and prepare them; raises InputError for what does not meet the input contract."""
        from swift_export.fmri.clip import load_clip
        from swift_export.parity.inputs import Given

        return [Given(load_clip(file, config, frames, self.orientation, self.mask)) for file in self.files]
