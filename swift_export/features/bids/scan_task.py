"""One scan of a cohort: paths and facts alone, so that it reaches a worker by pickle or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from swift_export.features.bids.entities import joined

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One scan, and all that belongs to it.

    Attributes:
        scan: the run, ``.nii`` or ``.nii.gz``.
        entities: BIDS entities of the scan in the order of its name, without ``desc``; ``sub`` is always there.
        mask: its brain mask; None if there is none.
        repetition_time: seconds, from its sidecars; None if none states it, which leaves it to the scan's header.
        confounds: fMRIPrep's table of confounds of the run; None if there is none.
        sidecars: the JSON files that apply to the scan, the most specific last (BIDS' inheritance principle).
        dataset: the folder that URIs of its files count from; None for scans that belong to no data set.
        refusal: why no features can be computed; None for a good scan. Whoever computes reports it and goes on.

    """

    scan: Path
    entities: Mapping[str, str]
    mask: Path | None = None
    repetition_time: float | None = None
    confounds: Path | None = None
    sidecars: tuple[Path, ...] = ()
    dataset: Path | None = None
    refusal: str | None = None

    @property
    def name(self) -> str:
        """What identifies the scan in its cohort: ``sub-01_ses-1_task-rest_space-MNI152NLin6Asym``."""
        return joined(self.entities)

    @property
    def participant(self) -> str:
        """The participant, ``sub-01``."""
        return f"sub-{self.entities['sub']}"

    @property
    def folder(self) -> PurePosixPath:
        """The folder of its results in the output folder: ``sub-01/ses-1/func``."""
        session = (f"ses-{self.entities['ses']}",) if "ses" in self.entities else ()
        return PurePosixPath(self.participant, *session, "func")

    def result(self, ending: str) -> PurePosixPath:
        """A file of its results in the output folder, by its ending, such as ``desc-swift_embeddings.tsv``."""
        return self.folder / f"{self.name}_{ending}"
