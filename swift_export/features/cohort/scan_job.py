"""One scan of a cohort: read, computed and written, or found finished by an earlier run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from swift_export._version import __version__
from swift_export.errors import InputError, SwiftExportError
from swift_export.features.bids.confounds import Confounds, read_confounds
from swift_export.features.bids.derivative_files import read_record, write_scan
from swift_export.features.bids.scan_table import ScanTable, windows_in_run
from swift_export.features.bids.scan_task import Task
from swift_export.features.cohort.plan import Outcome, Plan, Status
from swift_export.features.extractor import Backbone, Extractor, find_backbone
from swift_export.features.output_kinds import OutputKind, as_kind
from swift_export.features.pipeline import Pipeline, ScanFile
from swift_export.scans.placement import parse_placement
from swift_export.scans.read_options import Reading, reading_for
from swift_export.system.text import error_line

__all__ = ["ScanJobs"]


class ScanJobs:
    """Computes scans by one plan; the artifact is loaded once, for the first scan that needs it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @cached_property
    def _backbone(self) -> Backbone:
        return find_backbone(Path(self._plan.artifact), self._plan.runtime, self._plan.device)

    @cached_property
    def _extractor(self) -> Extractor:
        return self._backbone.load(self._plan.threads)

    def do(self, task: Task) -> Outcome:
        """Compute a scan; an error is its outcome."""
        begun = time.perf_counter()

        def outcome(status: Status, windows: int | None = None, reason: str | None = None) -> Outcome:
            seconds = round(time.perf_counter() - begun, 3)
            return Outcome(task.participant, task.name, status, windows, seconds, reason)

        if task.refusal is not None:
            return outcome("refused", reason=task.refusal)
        try:
            depends = self._depends(task)
            if (windows := self._finished(task, depends)) is not None:
                return outcome("kept", windows)
            table = self._computed(task, depends)
        except SwiftExportError as error:
            return outcome("failed", reason=str(error))
        except OSError as error:  # the scan vanished, or its disk failed
            return outcome("failed", reason=f"{task.scan}: {error_line(error)}")
        except MemoryError:
            return outcome(
                "failed", reason=f"{task.scan}: expected memory for it, found too little; use fewer --n-cpus"
            )
        try:
            write_scan(Path(self._plan.output), table)
        except (SwiftExportError, OSError) as error:
            # Every other scan would meet a full or read-only disk, too.
            return outcome("stopped", reason=str(error) if isinstance(error, SwiftExportError) else error_line(error))
        return outcome("done", len(table.windows))

    def _depends(self, task: Task) -> dict[str, str]:
        """The digests of all files that the results depend on."""
        files = {"Scan": task.scan, "Mask": task.mask, "Confounds": task.confounds}
        found = {name: _digest(path) for name, path in files.items() if path is not None}
        facts = self._backbone.facts
        return {**found, "Artifact": facts["sha256"], "Weights": facts["weights_sha256"]}

    def _finished(self, task: Task, depends: Mapping[str, str]) -> int | None:
        """The number of windows if an earlier run finished the same computation; else None."""
        record = read_record(Path(self._plan.output), task, self._plan.vector)
        if record is None or record.get("SHA256") != depends:
            return None
        provenance, windows = record.get("Provenance"), record.get("Windows")
        same = isinstance(provenance, Mapping) and provenance.get("Settings") == self._settings(task)
        return windows if same and isinstance(windows, int) else None

    def _settings(self, task: Task) -> dict[str, Any]:
        # The time is read from metadata that may be elsewhere in the data set.
        return {**self._plan.settings(), "repetition_time": task.repetition_time}

    def _computed(self, task: Task, depends: Mapping[str, str]) -> ScanTable:
        plan, backbone = self._plan, self._backbone
        confounds = None if task.confounds is None else read_confounds(task.confounds)
        kind = backbone.kind(plan.kind)
        reading = self._reading(task, confounds)
        work = None if plan.work is None else Path(plan.work)
        warned: list[str] = []
        pipeline = Pipeline(
            backbone, reading, kind, batch=plan.batch, spool=work, warn=warned.append, loaded=self._extractor
        )
        (found,) = pipeline([ScanFile(task.scan, task.mask)])
        facts = found.source.facts
        frames = int(facts["grid"][3])
        if confounds is not None and confounds.frames != frames:
            raise InputError(
                f"{task.confounds}: expected one row for each of {frames} frames, found {confounds.frames}; run "
                "fMRIPrep again"
            )
        dropped, total = facts["drop_frames"], facts["total"]
        seconds = (facts["repetition_time"] or {}).get("seconds")
        windows = windows_in_run(
            facts["starts"],
            facts["frames"] * facts["stride"],
            dropped=dropped[0],
            scale=(frames - sum(dropped)) / total,
            repetition_time=seconds,
            confounds=confounds,
        )
        return ScanTable(
            replace(task, repetition_time=seconds),
            windows,
            _vectors(found.values, kind),
            facts["placement"],
            kind=self._plan.vector,
            digests=depends,
            facts=self._provenance(task, facts, warned),
            arrays={kind: found.values} if kind in ("tokens", "features") else {},
        )

    def _reading(self, task: Task, confounds: Confounds | None) -> Reading:
        plan = self._plan
        reading = reading_for(
            self._backbone.contract,
            None if plan.placement is None else parse_placement(plan.placement),
            plan.orientation,
            None if plan.drop_frames is None else (plan.drop_frames[0], plan.drop_frames[-1]),
            start=plan.start,
            windows=plan.windows,
            step=plan.step,
            repetition_time=task.repetition_time,
            resample_tr=plan.resample_tr,
            allow_crop=plan.allow_crop,
            strict=plan.strict,
        )
        first, last = reading.dropped
        if plan.dummy_scans != "auto":
            dummies = int(plan.dummy_scans)
        else:
            dummies = 0 if confounds is None else confounds.dummy_frames
        return replace(reading, drop_frames=(max(first, dummies), last))

    def _provenance(self, task: Task, facts: Mapping[str, Any], warned: list[str]) -> dict[str, Any]:
        info, stated = self._extractor.session.info, dict(facts)
        # Stated by the rows of the table, or by the record itself.
        for name in ("affine", "starts", "mask", "placement", "warnings"):
            stated.pop(name, None)
        return {
            "Settings": self._settings(task),
            "Scan": stated,
            "Artifact": self._backbone.facts,
            "Runtime": {"name": info.name, "version": info.version, "device": info.device},
            "Warnings": [line.removeprefix(f"{task.scan}: ") for line in warned],
            "Versions": {"swift-export": __version__, "numpy": np.__version__},
        }


def _vectors(values: np.ndarray, kind: OutputKind) -> np.ndarray:
    """The rows of the table: the mean over tokens of features or tokens."""
    if kind == "features":
        return as_kind(values, "features", "embedding")
    if kind == "tokens":
        mean: np.ndarray = values.mean(axis=1, dtype=np.float64).astype(np.float32)
        return mean
    return values


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
