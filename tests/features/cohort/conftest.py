"""A cohort of small scans, as fMRIPrep leaves them, and an artifact of the tiny model for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swift_export.exporting import run_export
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import load_weights

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
SHAPE = (9, 11, 7, 18)
SPACE = "space-MNI152NLin6Asym_res-2"
#: Voxel n // 2 of the scans lies here.
HERE = "0,-18,18"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX of a golden case; not to be changed."""
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    run_export(["onnx"], swift_model(load_weights(str(GOLDEN / "tiny-full" / "checkpoint.ckpt"))), folder, check=False)
    return folder


@pytest.fixture(scope="session")
def cohort(brains, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scans with masks and confounds: two windows each, after one dummy frame; not to be changed."""
    root = tmp_path_factory.mktemp("cohort") / "fmriprep"
    root.mkdir()
    described = {"Name": "fMRIPrep", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (root / "dataset_description.json").write_text(json.dumps(described | {"GeneratedBy": [{"Name": "fMRIPrep"}]}))
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 0.8}')
    for number in range(8):
        add(root, brains, f"{number + 1:02}", number)
    return root


def add(root: Path, brains, label: str, seed: int) -> Path:
    folder = root / f"sub-{label}" / "func"
    folder.mkdir(parents=True)
    name = f"sub-{label}_task-rest"
    values = brains.run(SHAPE, seed=seed)
    scan = brains.timed(folder / f"{name}_{SPACE}_desc-preproc_bold.nii", values, 0.8)
    brains.write(folder / f"{name}_{SPACE}_desc-brain_mask.nii", (values[..., 0] != 0).astype(np.uint8))
    rows = [("n/a" if frame == 0 else f"{0.01 * frame:.2f}", int(frame == 0)) for frame in range(SHAPE[3])]
    table = "".join(f"{moved}\t{flag}\n" for moved, flag in rows)
    (folder / f"{name}_desc-confounds_timeseries.tsv").write_text(
        f"framewise_displacement\tnon_steady_state_outlier00\n{table}"
    )
    return scan


@pytest.fixture
def arguments(tiny: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line that computes a cohort into ``tmp_path/out``."""

    def arguments(cohort: Path, *more: str | Path, out: str = "out") -> list[str]:
        command = [sys.executable, "-P", "-m", "swift_export", "extract", cohort, tmp_path / out, "participant"]
        return [*map(str, command), "--artifact", str(tiny), "--placement", HERE, "--quiet", *map(str, more)]

    return arguments


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def extract(arguments, environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Computes a cohort into ``tmp_path/out``, in a process of its own."""

    def extract(cohort: Path, *more: str | Path, out: str = "out") -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments(cohort, *more, out=out), env=environment, capture_output=True, text=True)

    return extract


def digests(folder: Path) -> dict[str, str]:
    """Every file of results; the table of outcomes has times, and drafts are those of killed writers."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and not path.name.startswith(".swift-export-")
    }
