"""Finds the scans of a BIDS data set that fMRIPrep has preprocessed: one task a run, with all that belongs to it.

bids2table indexes the files and reads their names; which of them a run is read from is decided here. Nothing is written
into the data set.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swift_export.errors import InputError, UsageError
from swift_export.features.bids.dataset_index import BidsName, index_files, need_bids2table, parse_name
from swift_export.features.bids.entities import joined, number_or_text
from swift_export.features.bids.inheritance import Sidecars, time_in
from swift_export.features.bids.preprocessed import names_in, preprocessed_folders
from swift_export.features.bids.scan_selection import Selection
from swift_export.features.bids.scan_task import Task, link_names
from swift_export.system.text import listed, plural, shown

__all__ = ["discover", "summary"]

_NIFTI = (".nii.gz", ".nii")
_RUNS = ("_bold.nii.gz", "_bold.nii")
#: In which files of one run differ.
_OF_FILES = {"space", "cohort", "res", "den", "desc", "echo"}
_CONFOUNDS = ("desc-confounds_timeseries.tsv", "desc-confounds_regressors.tsv")  # the second before fMRIPrep 20.2
#: What a message lists of the runs that there are.
_LISTED = {"space": "spaces", "task": "tasks", "ses": "sessions", "desc": "desc"}


def discover(bids_dir: Path, selection: Selection | None = None) -> list[Task]:
    """The scans of a data set, one a run, sorted by name.

    A run in several accepted spaces is taken once, in the preferred one. A run that cannot be used is a task with a
    refusal.

    Raises:
        UsageError: a participant that was asked for does not exist, two folders have the same scan, or the library is
            not installed.
        InputError: no scan is in an accepted space, and the message lists what there is; or a folder or a name cannot
            be read.

    """
    search = _Search(selection or Selection())
    # Workers may have another working directory.
    roots = [root.absolute() for root in preprocessed_folders(bids_dir, search.selection.derivatives)]
    need_bids2table(bids_dir)
    participants = [_participants(root) for root in roots]
    known = {label for labels in participants for label in labels}
    _check_participants(roots, known, search.selection)
    tasks: dict[str, Task] = {}
    links = link_names(roots)
    for root, labels in zip(roots, participants, strict=True):
        for task in search.tasks_in(root, labels, links[root]):
            if other := tasks.get(task.name):
                raise UsageError(
                    f"{task.scan}: expected each scan once, found it in {other.scan.parent}, too; choose with "
                    "--derivatives"
                )
            tasks[task.name] = task
    if not search.usable:
        raise InputError(f"{listed(map(str, roots))}: {search.instead(len(known))}")
    return [tasks[name] for name in sorted(tasks)]


def summary(tasks: Sequence[Task]) -> list[str]:
    """Lines that say what was found: scans and participants, spaces, and how many are refused."""
    good = [task for task in tasks if task.refusal is None]
    spaces = Counter(task.entities.get("space", "not stated") for task in good)
    lines = [f"{plural(len(tasks), 'scan')} of {plural(len({task.participant for task in tasks}), 'participant')}"]
    if spaces:
        counted = [f"{space} ({count:,})" for space, count in spaces.most_common()]
        lines.append(f"space {listed(counted)}" + ("; --space takes one" if len(spaces) > 1 else ""))
    if len(good) < len(tasks):
        lines.append(f"{len(tasks) - len(good):,} refused")
    return lines


def _participants(root: Path) -> list[str]:
    # fMRIPrep puts its reports, sub-01.html, beside the folders.
    return [name.removeprefix("sub-") for name in names_in(root) if name.startswith("sub-") and "." not in name]


def _check_participants(roots: Sequence[Path], known: Collection[str], selection: Selection) -> None:
    if missing := [label for label in selection.labels.get("sub", ()) if label not in known]:
        raise UsageError(
            f"--participant-label {listed(missing)}: expected participants of {listed(map(str, roots))}, found "
            f"{listed(map(shown, sorted(known))) or 'none'}; correct the labels"
        )


@dataclass(frozen=True)
class _Folder:
    """A folder of functional data, the names of its files, and the JSON files that apply there."""

    root: Path
    path: Path
    names: frozenset[str]
    sidecars: Sidecars


@dataclass
class _Search:
    """A search for wanted scans; keeps what a message needs if there are none."""

    selection: Selection
    usable: int = 0
    seen: dict[str, set[str]] = field(default_factory=dict)
    read: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    def tasks_in(self, root: Path, labels: Sequence[str], link: str) -> Iterator[Task]:
        """The tasks of the wanted participants among ``labels``; ``link`` names the folder in URIs."""
        top = Sidecars().below(root, names_in(root))
        chosen = self.selection.labels.get("sub")
        wanted = [label for label in labels if (chosen is None or label in chosen) and (root / f"sub-{label}").is_dir()]
        files = index_files(root, wanted)
        for label in wanted:
            for folder in _folders(root, f"sub-{label}", top, files):
                for run in self._runs(folder):
                    yield replace(self._task(folder, run), link=link)

    def instead(self, participants: int) -> str:
        """The message that there is no usable scan."""
        wanted = f"expected runs named *_space-{'|'.join(self.selection.spaces)}_desc-preproc_bold.nii.gz"
        if chosen := {**self.selection.filters, **self.selection.labels}:
            wanted += " of " + ", ".join(f"{key} {'|'.join(map(shown, labels))}" for key, labels in chosen.items())
        if not self.seen:
            return f"{wanted}, found no BOLD run of {participants} participants; give fMRIPrep's output folder"
        found = "; ".join(f"{word} {listed(sorted(self.seen[key]))}" for key, word in _LISTED.items())
        return f"{wanted}, found {found}; choose others, or {_again(self.selection)}"

    def _runs(self, folder: _Folder) -> list[dict[str, BidsName]]:
        """The wanted files of each run, by name."""
        runs: dict[tuple[tuple[str, str], ...], dict[str, BidsName]] = {}
        for name in sorted(folder.names):
            parts = parse_name(name) if name.endswith(_RUNS) else None
            if parts is None or "sub" not in parts.entities:
                continue
            for key in _LISTED:
                self.seen.setdefault(key, set()).add(parts.entities.get(key, "none"))
            if parts.entities.get("desc") == "preproc" and self.selection.accepts(parts):
                runs.setdefault(tuple(_of_run(parts).items()), {})[name] = parts
        return list(runs.values())

    def _task(self, folder: _Folder, run: Mapping[str, BidsName]) -> Task:
        fitting = [name for name, parts in run.items() if _fits(parts, self.selection)]
        self.usable += bool(fitting)
        if not fitting:
            name, reason = min(run), _unfit(list(run.values()), self.selection)
            return Task(folder.path / name, _without_desc(run[name]), dataset=folder.root, refusal=reason)
        ranks = {name: _rank(run[name], self.selection) for name in fitting}
        name = min(fitting, key=lambda name: ranks[name])
        parts = run[name]
        masks = [name.removesuffix(f"preproc_bold{parts.extension}") + f"brain_mask{nifti}" for nifti in _NIFTI]
        confounds = [f"{joined(_of_run(parts))}_{ending}" for ending in _CONFOUNDS]
        task = Task(
            folder.path / name,
            _without_desc(parts),
            mask=_first(folder, masks),
            confounds=_first(folder, confounds),
            sidecars=folder.sidecars.of(parts),
            dataset=folder.root,
        )
        if list(ranks.values()).count(ranks[name]) > 1:
            return replace(task, refusal="expected one file of the run, found .nii and .nii.gz; remove one")
        try:
            task = replace(task, repetition_time=time_in(task.sidecars, self.read))
        except ValueError as error:
            return replace(task, refusal=f"{error}; run fMRIPrep again")
        return replace(task, refusal=_incomplete(task))


def _folders(root: Path, participant: str, top: Sidecars, files: Mapping[str, Collection[str]]) -> Iterator[_Folder]:
    """The folders of functional data of a participant, in sessions or without.

    They are listed for their sidecars, which are not among the ``files``. One that cannot be read is an error here; the
    library skips it.
    """
    path = root / participant
    names = names_in(path)
    sidecars = top.below(path, names)
    places = [(path, sidecars)]
    for name in names:
        if name.startswith("ses-") and (path / name).is_dir():
            places.append((path / name, sidecars.below(path / name, names_in(path / name))))
    for place, inherited in places:
        folder = place / "func"
        if folder.is_dir():
            indexed = files.get(folder.relative_to(root).as_posix(), ())
            yield _Folder(root, folder, frozenset(indexed), inherited.below(folder, names_in(folder)))


def _incomplete(task: Task) -> str | None:
    """The reason to refuse a task whose files are not all there."""
    if task.mask is None:
        return "expected its brain mask, *_desc-brain_mask.nii.gz of the same space, found none; run fMRIPrep again"
    for path in (task.scan, task.mask):
        if not os.path.exists(path):
            return f"expected a file, found a broken link {shown(path.name)}; fetch its content (git annex get)"
    return None


def _fits(parts: BidsName, selection: Selection) -> bool:
    """Whether a file has an accepted space, 2 mm as far as its name tells, and all echoes."""
    entities = parts.entities
    resolution = entities.get("res")
    fine = resolution is None or number_or_text(resolution) == 2
    return entities.get("space") in selection.spaces and fine and "echo" not in entities


def _rank(parts: BidsName, selection: Selection) -> tuple[int, bool, str]:
    """The accepted spaces in their order; in one space, a stated resolution first."""
    entities = parts.entities
    return selection.spaces.index(entities["space"]), "res" not in entities, entities.get("cohort", "")


def _unfit(files: Sequence[BidsName], selection: Selection) -> str:
    """Why no file of a run can be used."""
    in_space = [parts.entities for parts in files if parts.entities.get("space") in selection.spaces]
    if not in_space:
        spaces = sorted({parts.entities.get("space", "native") for parts in files})
        return f"expected space {' or '.join(selection.spaces)}, found {listed(spaces)}; {_again(selection)}"
    whole = [entities for entities in in_space if "echo" not in entities]
    if not whole:
        echoes = sorted({f"echo-{entities['echo']}" for entities in in_space})
        return f"expected the combined echoes of a multi-echo run, found {listed(echoes)}; run fMRIPrep again"
    resolutions = sorted({f"res-{entities['res']}" for entities in whole})
    return f"expected 2 mm voxels (res-2), found {listed(resolutions)}; {_again(selection)}"


def _again(selection: Selection) -> str:
    return f"run fMRIPrep with --output-spaces {selection.spaces[0]}:res-2"


def _of_run(parts: BidsName) -> dict[str, str]:
    return {key: value for key, value in parts.entities.items() if key not in _OF_FILES}


def _without_desc(parts: BidsName) -> dict[str, str]:
    return {key: value for key, value in parts.entities.items() if key != "desc"}


def _first(folder: _Folder, candidates: Sequence[str]) -> Path | None:
    return next((folder.path / name for name in candidates if name in folder.names), None)
