"""Scans that are no BIDS data set: a glob, a folder of NIfTI files, or a TSV of scans, masks and participants."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.entities import entities_of, label_of
from swift_export.features.bids.scan_task import Task, link_names
from swift_export.features.bids.tsv import read_tsv
from swift_export.scans.sidecar import stem
from swift_export.system.text import listed, shown

__all__ = ["discover_files"]

_NIFTI = (".nii", ".nii.gz")
_COLUMNS = ("scan", "mask", "participant_id")
#: What is no scan of a folder: the partner of one.
_MASK = re.compile(r"[_-]mask\.nii(\.gz)?", re.IGNORECASE)


def discover_files(source: str | Path) -> list[Task]:
    """The scans of a TSV, of a folder, or of a pattern such as ``data/*/bold.nii.gz``, sorted by name.

    A TSV has the columns ``scan`` and, if wanted, ``mask`` and ``participant_id``; its paths count from its folder.
    Elsewhere, a mask is the file beside the scan whose name ends in ``_mask`` instead of ``_bold``, or after it. A scan
    without a mask is taken to be masked.

    A scan with a BIDS name keeps its entities. Another is named by its participant, or else by its own name:
    ``sub-<letters and digits of the name>``. The header states the repetition time.

    Raises:
        UsageError: two scans would have the same name.
        InputError: there is no scan, or the TSV is malformed.

    """
    path = Path(source)
    if path.suffix.lower() == ".tsv":
        found = list(_rows(path))
    elif path.is_dir():
        found = [_paired(file, {}) for file in sorted(path.iterdir()) if _is_scan(file)]
    else:
        found = [_paired(Path(name), {}) for name in sorted(glob.glob(str(source), recursive=True)) if _is_scan(name)]
    if not found:
        raise InputError(f"{source}: expected NIfTI files, found {_instead(path)}; correct the path")
    tasks: dict[str, Task] = {}
    for task in found:
        if other := tasks.get(task.name):
            raise UsageError(
                f"{task.scan}: expected a name that differs from that of {other.scan}, found {task.name} for both; "
                "list them in a TSV with the columns scan and participant_id"
            )
        tasks[task.name] = task
    root = Path(
        os.path.commonpath([file.absolute().parent for task in found for file in (task.scan, task.mask) if file])
    )
    link = link_names([root])[root]
    return [_in_dataset(tasks[name], root, link) for name in sorted(tasks)]


def _in_dataset(task: Task, root: Path, link: str) -> Task:
    mask = task.mask and task.mask.absolute()
    return replace(task, scan=task.scan.absolute(), mask=mask, dataset=root, link=link)


def _is_scan(path: str | Path) -> bool:
    name = os.path.basename(path)
    return name.lower().endswith(_NIFTI) and not _MASK.search(name) and not name.startswith(".")


def _instead(path: Path) -> str:
    if not path.is_dir():
        return "none"
    names = sorted(os.listdir(path))
    return listed([shown(name, 60) for name in names], 6) if names else "an empty folder"


def _paired(scan: Path, given: Mapping[str, str]) -> Task:
    """The task of a scan with the mask beside it."""
    name = stem(scan.name)
    bases = (name.removesuffix("_bold"), name.removesuffix("_desc-preproc_bold") + "_desc-brain", name)
    candidates = [scan.with_name(f"{base}_mask{nifti}") for base in bases for nifti in reversed(_NIFTI)]
    mask = next((path for path in candidates if path.is_file()), None)
    return _task(scan, mask, given)


def _rows(path: Path) -> Iterator[Task]:
    table = read_tsv(path)
    if "scan" not in table.columns:
        raise InputError(
            f"{path}: expected the columns {', '.join(_COLUMNS)}, found {listed(map(shown, table.columns))}; add scan"
        )
    for row in table.rows(_COLUMNS):
        scan = row["scan"]
        if scan is None:
            raise InputError(f"{path}: expected a scan in each row, found n/a; remove the row")
        mask = row["mask"]
        given = {} if row["participant_id"] is None else {"participant_id": row["participant_id"]}
        task = _task(path.parent / scan, None if mask is None else path.parent / mask, given)
        missing = [file for file in (task.scan, task.mask) if file is not None and not file.is_file()]
        if missing and task.refusal is None:
            task = replace(task, refusal=f"{missing[0]}: no such file; correct it in {path.name}")
        yield task


def _task(scan: Path, mask: Path | None, given: Mapping[str, str]) -> Task:
    own = re.sub("[^A-Za-z0-9]", "", stem(scan.name)) or "scan"
    entities = {key: value for key, value in (entities_of(scan.name) or {}).items() if key != "desc"}
    participant = given.get("participant_id")
    if participant is None:
        return Task(scan, entities if "sub" in entities else {"sub": own[:64], **entities}, mask)
    label = label_of(participant, "sub")
    if label is None:
        reason = f"expected a participant_id of letters and digits, found {shown(participant)}; correct it"
        return Task(scan, {"sub": own[:64]}, mask, refusal=reason)
    # Without entities of its own, the name tells the scans of one participant apart.
    rest = {key: value for key, value in entities.items() if key != "sub"} or {"acq": own[:64]}
    return Task(scan, {"sub": label, **rest}, mask)
