"""Acceptance limits of features: the published numbers, throughput beside pure inference, workers, memory, kills."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from _commands import command, environment, words, workers_of
from _golden_cases import golden_cases, load_recipe, write_golden_bundle
from _kill_bars import kill_bars
from _scan_bars import write_run

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

__all__ = ["feature_bars"]

Bar = tuple[str, str, str, bool]

#: Frames of the run for throughput, of those for workers, and of the longest one.
_FRAMES, _SHORT, _LONG = 400, 300, 1200
_SCANS = 2000
_ROUNDS = 3
_SPACE = "space-MNI152NLin6Asym_res-2"


def feature_bars(scratch: Path) -> Iterator[Bar]:
    """Name, limit, measured value and verdict of each figure."""
    yield _published(scratch)
    artifact = scratch / "artifact"
    command("onnx", "--variant", "contrastive", "--weights", "synthetic", "--no-check", "-o", artifact)
    yield from _throughput(artifact, scratch)
    yield _workers(artifact, scratch)
    yield _memory(artifact, scratch)
    tiny = scratch / "tiny"
    command("onnx", "--weights", GOLDEN / "tiny-full" / "checkpoint.ckpt", "--no-check", "-o", tiny)
    yield _many(tiny, scratch)
    yield from kill_bars(tiny, scratch)


def _published(scratch: Path) -> Bar:
    recipe, errors = load_recipe(), {}
    for name, case, wanted in golden_cases():
        folder = scratch / name
        folder.mkdir()
        write_golden_bundle(case, folder / "bundle")
        how = ["--frames", str(case["frames"]), "--no-check"]
        command("onnx", "--weights", folder / "bundle", *how, "-o", folder / "artifact")
        np.save(folder / "clips.npy", recipe.clip(case))
        out = folder / "features.npz"
        command("run", folder / "artifact", folder / "clips.npy", "-o", out, "--output-kind", "features")
        found = np.load(out)["features"]
        errors[name] = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
        shutil.rmtree(folder)
    text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    # The scores of `sharp` are so large that float32 itself is off by 2e-5 (tests/golden/README.md).
    met = all(error <= (1e-4 if name == "sharp" else 5e-6) for name, error in errors.items())
    return "`run` on the golden clips against the published features", "<= 5e-6 (sharp 1e-4)", text, met


_INFERENCE = """
import sys, time
from pathlib import Path
import numpy as np
import swift_export
from swift_export.features.extractor import find_backbone

artifact, *scans = map(Path, sys.argv[1:])
backbone = find_backbone(artifact)
extractor = backbone.load()
with swift_export.open_scan(scans[0], placement="ukb") as scan:
    clips = np.stack([window[None] for window in scan])
extractor(clips[:1], "features")
pure = 0.0
for clip in clips:
    begun = time.perf_counter()
    extractor.session({"bold": clip[None]})
    pure += time.perf_counter() - begun
print(pure)
del clips, extractor
for scan in scans:
    begun = time.perf_counter()
    swift_export.run(artifact, scan, scan.with_name("features.npz"), output_kind="features")
    print(time.perf_counter() - begun)
"""


def _throughput(artifact: Path, scratch: Path) -> Iterator[Bar]:
    plain, packed = scratch / "run.nii", scratch / "run.nii.gz"
    write_run(plain, _FRAMES)
    write_run(packed, _FRAMES)
    shares = []
    for _ in range(_ROUNDS):
        command = [sys.executable, "-c", _INFERENCE, str(artifact), str(plain), str(packed)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        pure, *whole = map(float, done.stdout.split())
        shares.append([pure / seconds for seconds in whole])
    for (name, limit), share in zip((("nii", 0.9), ("nii.gz", 0.8)), np.median(shares, axis=0).tolist(), strict=True):
        what = f"throughput of `run` on a 91x109x91x{_FRAMES} .{name}, against pure inference of its clips"
        yield what, f">= {limit:.0%}", f"{share:.1%}", share >= limit
    plain.unlink()
    packed.unlink()


def _cohort(root: Path, frames: int, labels: Sequence[str]) -> Path:
    """A data set of one run under several labels."""
    root.mkdir()
    described = {"Name": "fMRIPrep", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (root / "dataset_description.json").write_text(json.dumps(described | {"GeneratedBy": [{"Name": "fMRIPrep"}]}))
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 0.72}')
    run, mask = root.parent / f"{root.name}.nii.gz", root.parent / f"{root.name}-mask.nii.gz"
    write_run(run, frames, mask)
    for label in labels:
        folder = root / f"sub-{label}" / "func"
        folder.mkdir(parents=True)
        base = f"sub-{label}_task-rest_{_SPACE}_desc-"
        os.link(run, folder / f"{base}preproc_bold.nii.gz")
        os.link(mask, folder / f"{base}brain_mask.nii.gz")
    return root


def _workers(artifact: Path, scratch: Path) -> Bar:
    cohort = _cohort(scratch / "short", _SHORT, [f"{number:02}" for number in range(6)])
    ratios = []
    for number in range(_ROUNDS):
        seconds = [
            command(
                "extract", cohort, scratch / f"out-{number}-{n}", "participant", "--artifact", artifact, "--n-cpus", n
            )
            for n in ("1", "2")
        ]
        ratios.append(seconds[0] / seconds[1])
    ratio = float(np.median(ratios))
    what = f"`extract` of {6 * _SHORT // 20} windows of 6 scans, 2 workers of one thread against 1"
    return what, ">= 1.8 times as fast", f"{ratio:.2f} times", ratio >= 1.8


def _memory(artifact: Path, scratch: Path) -> Bar:
    cohort = _cohort(scratch / "long", _LONG, ["01"])
    command = words("extract", cohort, scratch / "out-long", "participant", "--artifact", artifact, "--n-cpus", "2")
    running = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    peak, done = 0, threading.Event()
    while running.poll() is None:
        for worker in workers_of(running.pid):
            peak = max(peak, _peak(worker))
        done.wait(0.05)
    if running.returncode:
        raise SystemExit(f"extract: exit status {running.returncode}")
    found = f"{peak / 1e9:.2f} GB"
    return f"peak memory of a worker on a run of {_LONG} frames", "<= 1.5 GB", found, 0 < peak <= 1.5e9


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _many(artifact: Path, scratch: Path) -> Bar:
    cohort = scratch / "many"
    cohort.mkdir()
    (cohort / "task-rest_bold.json").write_text('{"RepetitionTime": 0.72}')
    for number in range(_SCANS):
        folder = cohort / f"sub-{number:04}" / "func"
        folder.mkdir(parents=True)
        base = f"sub-{number:04}_task-rest_{_SPACE}_desc-"
        (folder / f"{base}preproc_bold.nii.gz").write_bytes(b"x" * 1024)
        (folder / f"{base}brain_mask.nii.gz").write_bytes(b"x" * 1024)
    how: list[str | Path] = ["participant", "--artifact", artifact, "--placement", "ukb"]
    seconds = command("extract", cohort, scratch / "out-many", *how, status=1)
    rows = len((scratch / "out-many/logs/status.tsv").read_text().splitlines()) - 1
    text = f"{seconds:.1f} s, {rows} rows in the table of outcomes"
    return f"`extract` of {_SCANS} damaged scans of 1 KB", "<= 60 s", text, seconds <= 60 and rows == _SCANS
