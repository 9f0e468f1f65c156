"""The whole job at the published size, by the command line: every format, checked on real and on twofold input."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.full_size,
    pytest.mark.requires("fmri", "savedmodel"),
    pytest.mark.xdist_group("full_size"),
]


#: The command, with the phantom alone beside the inputs that are given. Noise takes as long as each of them, and the
#: wrong layouts that it shows, it shows at any size. Its children need not import TensorFlow again, five times.
PROGRAM = """
import sys
import forkserver
from swift_export.cli import main
from swift_export.models.swift import swift_model
from swift_export.models.swift.check_inputs import Phantom

forkserver.fork_children()
swift_model.standard_inputs = lambda config, frames: (Phantom(config, frames),)
sys.exit(main())
"""
#: Voxels in front of and behind nibabel's real scan, 17x21x3, on the model's grid.
STORED = "40,39,38,37,47,46"


@pytest.fixture(scope="module")
def brains():
    spec = importlib.util.spec_from_file_location("brains", Path(__file__).parent / "scans/brains.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def swift_export(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n{PROGRAM}"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    # As users run it: XLA optimizes, which tests/conftest.py turns off for small models.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "XLA_FLAGS": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def artifact(brains, tmp_path_factory) -> Path:
    """Everything, from synthetic weights, checked on nibabel's real scan: as stored, and masked by a threshold."""
    folder = tmp_path_factory.mktemp("full_size")
    mask = brains.threshold_mask(brains.functional(), folder / "mask.nii.gz", 3700)
    done = swift_export(
        "all", "--variant", "contrastive", "--weights", "synthetic", "-o", folder / "artifact",
        "--input", brains.functional(), "--orientation", "keep", "--placement", STORED, "--mask", mask,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 17 x 21 x 3 voxels are no brain, and 2 s are not the repetition time of the training data.
    assert "warning: " in done.stderr
    return folder / "artifact"


@pytest.fixture(scope="module")
def twins(brains, tmp_path_factory) -> tuple[Path, Path]:
    """One lopsided brain, on FSL's grid and on that of MNI152NLin2009cAsym."""
    return brains.write_lopsided(tmp_path_factory.mktemp("twins"), frames=22)


@pytest.fixture(scope="module")
def clips(twins) -> dict[str, np.ndarray]:
    from swift_export.models.swift.clip import load_clip
    from swift_export.models.swift.variants import VARIANTS

    config = VARIANTS["contrastive"].config
    fsl, asym = twins
    return {
        "fsl": load_clip(fsl, config, placement="ukb").array,
        "asym": load_clip(asym, config, placement="ukb").array,
        "mirrored": load_clip(asym, config, placement="0,-1,-10,-9,0,-1", orientation="keep").array,
    }


def test_every_file_is_checked_on_the_real_scan(artifact):
    parity = json.loads((artifact / "parity.json").read_text())
    assert parity["passed"]
    compared = {found["file"]: found["comparisons"] for found in parity["artifacts"]}
    assert [used["name"] for used in parity["inputs"]] == ["phantom", "functional.nii"]
    assert set(compared) == {
        "stablehlo/model.jax", "stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc", "savedmodel/1",
        "onnx/model.onnx",
    }  # fmt: skip
    for file, comparisons in compared.items():
        real = {found["batch"]: found for found in comparisons if found["input"] == "functional.nii"}
        assert set(real) == ({1} if ".b1." in file else {1, 2})
        assert all(max(found["relative_l2"], found["relative_max"]) <= 1e-5 for found in comparisons)


def test_the_real_scan_is_refused_without_the_words_it_needs(brains, artifact):
    done = swift_export("check", artifact / "onnx/model.onnx", "--input", brains.functional())
    assert done.returncode == 2
    assert "expected voxels of 2 x 2 x 2 mm, found 4 x 4 x 8 mm" in done.stderr
    assert done.stderr.count("\n") == 1


def test_check_takes_both_grids(artifact, twins):
    file = artifact / "onnx/model.onnx"
    more = ("--input", twins[0], "--input", twins[1], "--batch", "1")
    done = swift_export("check", file, "--runtime", "onnxruntime", *more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # The artifact says how its model takes scans.
    assert "placement  ukb: index 48 at (0, -16, 18) mm, LAS" in done.stdout
    for twin in twins:
        rows = [line for line in done.stdout.splitlines() if twin.name in line]
        assert len(rows) == 1
        assert all(row.rstrip().endswith("ok") for row in rows)


def test_one_brain_on_two_grids_has_one_set_of_features(artifact, clips):
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    fsl, asym, mirrored = (session.run(["features"], {"bold": clips[name]})[0] for name in ("fsl", "asym", "mirrored"))
    assert np.linalg.norm(fsl - asym) <= 1e-6 * np.linalg.norm(fsl)
    assert np.abs(fsl - asym).max() <= 1e-6 * np.abs(fsl).max()
    assert np.linalg.norm(fsl - mirrored) > 1e-2 * np.linalg.norm(fsl), "a mirrored brain has to have other features"


def test_a_scan_becomes_a_table(artifact, twins, clips, tmp_path):
    import onnxruntime

    done = swift_export("run", artifact, twins[0], "-o", tmp_path / "sub-01.tsv", "--quiet")
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split("\t") for line in (tmp_path / "sub-01.tsv").read_text().splitlines()]
    assert (len(rows), head[5:7], len(head)) == (1, ["embedding_000", "embedding_001"], 5 + 288)
    session = onnxruntime.InferenceSession(artifact / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"bold": clips["fsl"]})
    found = np.array(rows[0][5:], np.float64)
    wanted = features.mean(axis=(0, 2, 3, 4, 5))
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-6
