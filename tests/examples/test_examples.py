"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forkserver
import nibabel as nib
import numpy as np
import pytest

import swift_export

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TINY = ROOT / "tests/golden/tiny-full/checkpoint.ckpt"
STANDINS = Path(__file__).parent / "standins"

pytestmark = pytest.mark.requires("fmri")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX of the tiny model, placed as UK Biobank's; not to be changed."""
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    arguments = ["onnx", "--weights", str(TINY), "--placement", "ukb", "--no-check", "-o", str(folder)]
    given = environment()
    command = forkserver.python("swift_export", arguments, given)
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def scan(brains, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A run on FSL's grid, brain only in the middle; and where the brain is."""
    folder = tmp_path_factory.mktemp("scan")
    shape, affine = brains.FSL
    place = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    mask = sum(((p - c) / 15) ** 2 for p, c in zip(place, (45, 55, 45), strict=True)) < 1
    values = np.zeros((*shape, 12), np.float32)
    values[mask] = np.random.default_rng(0).normal(1000, 60, (int(mask.sum()), 12))
    brains.timed(folder / "sub-01_bold.nii", values, 0.8, affine)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), folder / "atlas.nii")
    return folder / "sub-01_bold.nii", mask


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def test_features_are_read_without_this_package(artifact: Path, scan, tmp_path: Path) -> None:
    path, _ = scan
    for name, kind in (("a.tsv", "embedding"), ("b.npz", "tokens"), ("c.safetensors", "features")):
        swift_export.run(artifact, path, tmp_path / name, output_kind=kind, warn=lambda _: None)
    code = (
        "import sys, runpy\n"
        "for name in ('swift_export', 'jax', 'onnx', 'onnxruntime'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    files = [str(tmp_path / name) for name in ("a.tsv", "b.npz", "c.safetensors")]
    command = [sys.executable, "-c", code, str(EXAMPLES / "features/read_features.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "a.tsv: table (1, 48); custom, trained weights",
        "b.npz: tokens (1, 64, 48), mean (64, 48), std (64, 48); custom, trained weights",
        "c.safetensors: features (1, 48, 2, 2, 2, 8), mean (48, 2, 2, 2, 8), std (48, 2, 2, 2, 8); custom, trained "
        "weights",
    ]


def test_an_array_job_and_its_group(artifact: Path, scan, tmp_path: Path) -> None:
    path, _ = scan
    rows = "".join(f"{path}\t{label}\n" for label in ("01", "02", "03"))
    (tmp_path / "scans.tsv").write_text(f"scan\tparticipant_id\n{rows}")
    program = tmp_path / "bin/swift-export"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m swift_export "$@"\n')
    program.chmod(0o755)
    given = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "BIDS_DIR": str(tmp_path / "scans.tsv"),
        "OUTPUT_DIR": str(tmp_path / "out"),
        "ARTIFACT": str(artifact),
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "TMPDIR": str(tmp_path),
    }
    for task in ("1", "2"):
        job = ["bash", str(EXAMPLES / "slurm/extract.sbatch")]
        done = subprocess.run(job, env=environment(**given, SLURM_ARRAY_TASK_ID=task), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "out").glob("sub-*/func/*.tsv"))) == 3
    job = ["bash", str(EXAMPLES / "slurm/group.sbatch")]
    done = subprocess.run(job, env=environment(**given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/group.html").is_file()


PLUGIN = """
import sys
import numpy as np
import torch
from fmri_fm_eval.models import registry
assert registry.plugins() == ["base", "registry", "swift_export"], registry.plugins()
scan, mask = np.load(sys.argv[1]), np.load(sys.argv[2])
series = scan[mask.transpose(2, 1, 0).nonzero()[::-1]].T
mean, std = series.mean(0, keepdims=True), series.std(0, keepdims=True)
transform, model = registry.MODELS["swift_export"](threads=1)
assert model.__space__ == "mni"
batch = []
for frames in (12, 5):
    sample = {"bold": (series - mean) / std, "mean": mean, "std": std, "tr": 0.75}
    sample = {name: torch.from_numpy(value.copy()) if name != "tr" else value for name, value in sample.items()}
    sample["bold"] = sample["bold"][:frames]
    batch.append(transform(sample)["bold"])
found = model({"bold": torch.from_numpy(np.stack(batch))})
assert found.cls_embeds is None and found.reg_embeds is None
np.savez(sys.argv[3], clips=np.stack(batch), tokens=found.patch_embeds)
"""


def test_the_plugin_of_fmri_fm_eval(artifact: Path, scan, tmp_path: Path) -> None:
    path, mask = scan
    np.save(tmp_path / "scan.npy", nib.load(path).get_fdata())
    np.save(tmp_path / "mask.npy", mask)
    paths = os.pathsep.join(map(str, (STANDINS, EXAMPLES / "fmri_fm_eval/src")))
    given = {"PYTHONPATH": paths, "ATLAS": str(path.with_name("atlas.nii"))}
    given["SWIFT_EXPORT_ONNX"] = str(artifact / "onnx/model.onnx")
    command = [sys.executable, "-c", PLUGIN, *(str(tmp_path / name) for name in ("scan.npy", "mask.npy", "out.npz"))]
    done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    swift_export.run(artifact, path, tmp_path / "ours.npz", output_kind="tokens", warn=lambda _: None)
    ours = np.load(tmp_path / "ours.npz")["tokens"]
    np.testing.assert_allclose(found["tokens"][:1], ours, atol=2e-5 * np.abs(ours).max())
    # Five frames become eight: the last one again.
    assert found["clips"].shape == (2, 1, 48, 48, 48, 8)
    np.testing.assert_array_equal(found["clips"][1, ..., 4], found["clips"][1, ..., 7])
