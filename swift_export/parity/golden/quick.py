"""The quick check: artifacts in their runtimes against the golden outputs that lie beside them.

For a machine that serves an artifact: it needs the artifact's runtime, and neither JAX nor the weights nor the
backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swift_export.artifacts.inspect import locate
from swift_export.artifacts.layout import FORMATS, MANIFEST
from swift_export.artifacts.manifest import Golden, GoldenInput, Manifest
from swift_export.errors import UsageError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.parity.golden.golden_outputs import PHANTOM, Outputs, draw_clip, golden_tolerance, read_golden
from swift_export.parity.measure.running import artifact_request, compare_runs
from swift_export.parity.measure.scratch import new_folder, scratch_folder
from swift_export.parity.measure.tolerances import Tolerance, tolerance
from swift_export.parity.results import Checked, ParityReport, RunTime, WeightsTag
from swift_export.parity.targets import Choice, Target, find_artifacts
from swift_export.runtimes.base import RuntimeInfo, check_device
from swift_export.runtimes.messages import Answer, Request
from swift_export.runtimes.process import run_workers
from swift_export.runtimes.registry import remedy

__all__ = ["QuickCheck", "check_quick"]

#: Processes side by side: importing and compiling leave cores idle, but each process may want a gigabyte or two.
_AT_ONCE = 2


@dataclass(frozen=True)
class QuickCheck:
    """What was found, as any check finds it, and a line for everything that was left out."""

    report: ParityReport
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    """One artifact in one runtime, and what should come out for every clip of its batch, which are all the same."""

    folder: Path
    manifest: Manifest
    target: Target
    golden: Golden
    allowed: Tolerance
    expected: Outputs
    recorded_by: str

    @property
    def batch(self) -> int:
        return self.target.batch or 1

    @property
    def clip(self) -> tuple[SwiFTConfig, GoldenInput]:
        return self.manifest.config, self.golden.input


def check_quick(
    paths: Sequence[str | Path],
    *,
    runtimes: Sequence[str] | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> QuickCheck:
    """Run artifacts on the clip that their golden outputs were computed for, and compare.

    Args:
        paths: artifact folders or parts of them.
        runtimes: names of runtimes, each tried on every file that it reads. Default: of each format one file, in the
            format's own runtime. The StableHLO files hold one module and XLA compiles each: the first stands for all.
        device: ``cpu`` or ``gpu``.
        progress: is told what is being done.

    Float32 is held to the tolerance that the check at the export allowed, any other arithmetic to its own. Artifacts
    without golden outputs are left out, and so are those whose runtime is not installed.

    Raises UsageError where nothing is left, a path lies in no artifact folder or a named runtime is not installed,
    ArtifactError for what is missing, damaged or changed, MachineError where NumPy draws another clip, a GPU is absent
    or a process breaks.
    """
    tell = progress or (lambda what: None)
    choice = Choice(names=tuple(runtimes or ()), device=check_device(device))
    choice.check()
    tell("verifying digests")
    found = [job for path in paths for job in _jobs(Path(path), choice)]
    skipped = tuple(job for job in found if isinstance(job, str))
    jobs = [job for job in found if isinstance(job, _Job)]
    if not jobs:
        places, names = ", ".join(map(str, paths)) or "no path", ", ".join(choice.names)
        raise UsageError("; ".join(skipped) or f"{places}: holds nothing that {names or 'any runtime'} reads")
    with scratch_folder() as scratch:
        tell("drawing the clip")
        clips = _draw(jobs, scratch)
        tell(f"running {', '.join(job.target.file for job in jobs)}")
        asked = [(_request(job, clips[job.clip], device), new_folder(scratch / str(i))) for i, job in enumerate(jobs)]
        answers = run_workers(asked, _AT_ONCE)
        checked = tuple(_checked(job, answer, device) for job, answer in zip(jobs, answers, strict=True))
    recipes = dict.fromkeys(job.golden.input for job in jobs)
    inputs = [{"name": r.kind, "seed": r.seed, "frames": r.frames, "sha256": r.sha256} for r in recipes]
    return QuickCheck(ParityReport(device, _recorder(jobs[0]), checked, tuple(inputs)), skipped)


def _jobs(path: Path, choice: Choice) -> Iterator[_Job | str]:
    """What is to be run at ``path``, and a line for everything that is not."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if locate(path) is None:
        raise UsageError(f"{path}: lies in no artifact folder, where golden outputs are; check it without --quick")
    found = find_artifacts(path, choice)
    assert found.manifest, "what lies in an artifact folder has its manifest"
    folder = Path(found.root)
    for name, artifact in found.manifest.artifacts.items():
        units = FORMATS[name].units
        targets = sorted((t for t in found.targets if t.file in units), key=lambda t: units.index(t.file))
        if targets and artifact.golden is None:
            yield (
                f"{folder}: has no golden outputs of {name}, exported with --no-check or by an older version; "
                "check it without --quick, or export it again"
            )
            continue
        for target in targets if choice.names else targets[:1]:
            if not target.runtime.installed:
                yield f"{folder / target.file}: {target.runtime.title} is not installed: {remedy(target.runtime)}"
                continue
            assert artifact.golden
            allowed = golden_tolerance(artifact.golden, folder / MANIFEST)
            expected = read_golden(folder, found.manifest, name)
            version = artifact.versions.get("swift-export", "of unknown version")
            yield _Job(folder, found.manifest, target, artifact.golden, allowed, expected, version)


def _draw(jobs: Sequence[_Job], scratch: Path) -> dict[tuple[SwiFTConfig, GoldenInput], str]:
    """A file for each clip: formats that were exported together share theirs."""
    clips: dict[tuple[SwiFTConfig, GoldenInput], str] = {}
    for job in jobs:
        if job.clip not in clips:
            clips[job.clip] = str(scratch / f"clip{len(clips)}.npy")
            np.save(clips[job.clip], draw_clip(job.golden, job.manifest.config, job.folder / MANIFEST))
    return clips


def _request(job: _Job, clip: str, device: str) -> Request:
    return artifact_request(job.target.path, job.target.runtime, device, (job.batch,), {PHANTOM: (clip,) * job.batch})


def _checked(job: _Job, answer: Answer, device: str) -> Checked:
    arithmetic, weights = answer.info.arithmetic, job.manifest.weights
    allowed = job.allowed if arithmetic == "float32" else tolerance(arithmetic, device)
    expected = {PHANTOM: [job.expected] * job.batch}
    (run,) = answer.runs
    return Checked(
        root=str(job.folder),
        file=job.target.file,
        weights=WeightsTag(job.manifest.model.variant, weights.digest, weights.synthetic),
        info=answer.info,
        load_s=answer.load_s,
        peak_bytes=answer.peak_bytes,
        times=(RunTime(PHANTOM, job.batch, run.first_s, run.call_s, run.compute_s),),
        comparisons=compare_runs(answer, (job.batch,), expected, list(job.expected), allowed),
        settings=(),
    )


def _recorder(job: _Job) -> RuntimeInfo:
    """Who computed the golden outputs, as far as the manifest says."""
    return RuntimeInfo(
        name="golden output",
        version=job.recorded_by,
        device="the exporting machine",
        arithmetic="float32",
        settings={"reference": job.golden.reference},
        providers=(),
    )
