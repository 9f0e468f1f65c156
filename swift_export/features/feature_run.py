"""``run``: features of all windows of scans, one file per scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swift_export.features.extractor import Backbone, find_backbone
from swift_export.features.feature_files import Written, check_places, provenance, write_features
from swift_export.features.output_kinds import OutputKind
from swift_export.features.pipeline import Pipeline, ScanFeatures, ScanFile
from swift_export.scans.placement import Placement, parse_placement
from swift_export.scans.plausibility import Warn
from swift_export.scans.read_options import Reading, reading_for
from swift_export.system.progress import Progress, ignore_line

__all__ = ["Job", "default_kind", "run", "run_jobs"]


def run(
    artifact: str | Path,
    scan: str | Path,
    output: str | Path,
    *,
    output_kind: str | None = None,
    pool: bool = False,
    picture: str | Path | None = None,
    runtime: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    placement: str | Placement | None = None,
    orientation: str | None = None,
    drop_frames: tuple[int, int] | None = None,
    mask: str | Path | None = None,
    start: int = 0,
    windows: int | None = None,
    stride: int | None = None,
    resample_tr: float | None = None,
    allow_crop: bool = False,
    strict: bool = False,
    warn: Warn | None = None,
) -> Written:
    """Write the features of all windows of a scan, with a sidecar that states their provenance.

        swift_export.run("artifacts/contrastive", "sub-01_bold.nii.gz", "sub-01.tsv", mask="sub-01_mask.nii.gz")

    Args:
        artifact: an artifact folder, one of its files, or a separate file.
        scan: a NIfTI run, a folder of the authors' ``frame_N.pt``, or prepared clips, ``.npy``.
        output: the file to write: ``.tsv``, ``.safetensors`` or ``.npz``.
        output_kind: ``features``, ``tokens``, ``embedding`` or ``logits``; None: ``embedding`` or, of an artifact with
            a head, ``logits``.
        pool: write only mean and standard deviation over the windows.
        picture: path of a PNG of the scan, its windows and their embeddings.
        runtime: ``onnxruntime``, ``openvino``, ``tensorflow`` or ``jax``; None: the artifact's.
        device: ``cpu`` or ``gpu``.
        threads: threads of the runtime; None: one per processor.
        batch: windows in a batch.
        placement, orientation, drop_frames: None: those of the artifact's training data.
        mask, start, windows, stride, resample_tr, allow_crop, strict, warn: as in `open_scan`; of prepared clips, all
            are computed.

    Raises:
        ArtifactError: the artifact is missing, damaged, or changed since its export.
        InputError: the scan does not meet the input contract.
        UsageError: an option is invalid, or the output cannot be written.
        MachineError: the runtime failed, or the disk is full.

    """
    backbone = find_backbone(Path(artifact), runtime, device)
    kind = backbone.kind(output_kind or default_kind(backbone))
    scan = Path(scan)
    reading = None
    if scan.suffix != ".npy":
        reading = reading_for(
            backbone.contract,
            parse_placement(placement) if isinstance(placement, str) else placement,
            orientation,
            drop_frames,
            start=start,
            windows=windows,
            step=stride,
            resample_tr=resample_tr,
            allow_crop=allow_crop,
            strict=strict,
        )
    drawn = None if picture is None else Path(picture)
    job = Job(ScanFile(scan, None if mask is None else Path(mask)), Path(output), drawn)
    (written,) = run_jobs(
        backbone, [job], reading, kind, pool=pool, batch=batch, threads=threads, strict=strict, warn=warn
    )
    return written


def default_kind(backbone: Backbone) -> OutputKind:
    """The kind that most users need: one vector per window."""
    return "embedding" if backbone.given == "features" else backbone.given


@dataclass(frozen=True)
class Job:
    """One scan, its output, and the optional picture."""

    scan: ScanFile
    output: Path
    picture: Path | None = None


def run_jobs(
    backbone: Backbone,
    jobs: Sequence[Job],
    reading: Reading | None,
    kind: OutputKind,
    *,
    pool: bool = False,
    batch: int = 1,
    threads: int | None = None,
    strict: bool = False,
    warn: Warn | None = None,
    on_progress: Progress = ignore_line,
    on_loaded: Callable[[Pipeline], None] = lambda _: None,
) -> Iterator[Written]:
    """Write the features of every scan, in order; yield each file as soon as it is complete.

    ``on_loaded`` is called once the artifact is loaded. The other arguments are those of `Pipeline` and
    `write_features`.

    Raises:
        InputError: a scan does not meet the input contract; those before it have been written.
        UsageError: an output cannot be written, or an option does not apply to a scan.
        MachineError: the runtime failed, or the disk is full.

    """
    for job in jobs:
        sources = [path for path in (job.scan.path, job.scan.mask) if path is not None]
        check_places(job.output, kind, job.picture, *sources)
    pipeline = Pipeline(
        backbone,
        reading,
        kind,
        batch=batch,
        threads=threads,
        spool=jobs[0].output.parent if jobs else None,
        strict=strict,
        warn=warn,
        on_progress=on_progress,
    )
    for job, found in zip(jobs, pipeline([job.scan for job in jobs]), strict=True):
        on_loaded(pipeline)
        on_progress(f"writing {job.output.name}")
        facts = provenance(found, pipeline.extractor, kind, pool)
        image = None if job.picture is None else _drawn(found, kind)
        yield write_features(job.output, found, kind, facts, pool=pool, picture=job.picture, image=image)


def _drawn(found: ScanFeatures, kind: OutputKind) -> object:
    from swift_export.features.feature_picture import draw_features

    return draw_features(found, kind)
