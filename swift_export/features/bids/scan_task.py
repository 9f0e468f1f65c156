"""One scan of a cohort: paths and facts alone, so that it reaches a worker by pickle or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from swift_export.features.bids.entities import joined

__all__ = ["Task", "link_names"]


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
        dataset: the folder that BIDS URIs of its files count from.
        link: the name of that folder in these URIs.
        refusal: why no features can be computed; None for a good scan. Whoever computes reports it and goes on.

    """

    scan: Path
    entities: Mapping[str, str]
    mask: Path | None = None
    repetition_time: float | None = None
    confounds: Path | None = None
    sidecars: tuple[Path, ...] = ()
    dataset: Path | None = None
    link: str = "scans"
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

    @property
    def uris(self) -> tuple[str, ...]:
        """BIDS URIs of the files that features come from, such as ``bids:fmriprep:sub-01/func/...``.

        Files outside the data set have none.
        """
        files = [file for file in (self.scan, self.mask, self.confounds) if file is not None]
        root = self.dataset
        inside = [file.relative_to(root).as_posix() for file in files if root and file.is_relative_to(root)]
        return tuple(f"bids:{self.link}:{quote(path)}" for path in inside)


def link_names(folders: Iterable[Path]) -> dict[Path, str]:
    """A name for each folder's URIs: the letters and digits of its own, and a number if another has the same."""
    names: dict[Path, str] = {}
    for folder in folders:
        own = re.sub("[^A-Za-z0-9]", "", folder.absolute().name) or "scans"
        taken = set(names.values())
        names[folder] = next(name for n in count(1) if (name := own if n == 1 else f"{own}x{n}") not in taken)
    return names
