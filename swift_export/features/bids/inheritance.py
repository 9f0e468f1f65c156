"""Metadata of a scan by BIDS' inheritance principle: of the JSON files that apply, the most specific one decides.

https://bids-specification.readthedocs.io/en/stable/common-principles.html#the-inheritance-principle

Names are read by bids2table, but not metadata. Its load_bids_metadata

- lets either file decide where two of one folder apply (bold.json and task-rest_bold.json),
- skips a malformed file for a less specific one,
- goes on above the data set's folder if there is a dot in its name (fmriprep-24.1.1),
- does not reach that folder from a participant's folder that is a link,
- remembers files for the life of the process, and reads them without a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.features.bids.dataset_index import BidsName, parse_name
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.text import shown

__all__ = ["Sidecars", "json_of", "time_in"]


@dataclass(frozen=True)
class Sidecars:
    """JSON files with what their names demand of a scan, from the data set's folder down to the scan's."""

    files: tuple[tuple[Path, BidsName], ...] = ()

    def below(self, folder: Path, names: Iterable[str]) -> Sidecars:
        """These, and the more specific ones in ``folder``, which is one level deeper."""
        return Sidecars((*self.files, *json_of(folder, names)))

    def of(self, scan: BidsName) -> tuple[Path, ...]:
        """The files that apply to a scan, the most specific last."""
        entities = scan.entities.items()
        return tuple(
            path for path, name in self.files if name.suffix == scan.suffix and name.entities.items() <= entities
        )


def json_of(folder: Path, names: Iterable[str]) -> list[tuple[Path, BidsName]]:
    """The JSON files for runs of BOLD data in a folder, those with fewer entities first."""
    found = []
    for name in names:
        if name.endswith("bold.json"):
            # Without any entity, such as /bold.json, it applies to all.
            parsed = BidsName({}, "bold", ".json") if name == "bold.json" else parse_name(name)
            if parsed is not None:
                found.append((folder / name, parsed))
    return sorted(found, key=lambda file: len(file[1].entities))


def time_in(sidecars: Iterable[Path], read: dict[Path, Mapping[str, Any]]) -> float:
    """The repetition time in seconds that sidecars state, the most specific last.

    ``read`` keeps the content of shared files. Raises ValueError with the reason if there is none.
    """
    files = list(sidecars)
    for path in reversed(files):
        if path not in read:
            try:
                read[path] = read_sidecar(path)
            except ValueError as error:
                raise ValueError(f"the sidecar {shown(path.name)} cannot be read ({shown(error)})") from None
        value = read[path].get("RepetitionTime")
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
                raise ValueError(
                    f"expected RepetitionTime in seconds in the sidecar {shown(path.name)}, found {shown(value, 40)}"
                )
            return float(value)
    found = "no sidecar" if not files else f"none in {shown(files[-1].name)}"
    raise ValueError(f"expected RepetitionTime in a JSON sidecar, found {found}")
