"""Bad input, as the command line answers it: one clear line, status 2, nothing written, nothing executed."""

from __future__ import annotations

import io
import os
import pickle
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"
EXPORT = ["onnx", "-o", "out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "--batch 0: expected at least 1"),
        (["--frames", "21"], "expected 1 to 20"),
        (["--frames", "0"], "expected 1 to 20"),
        (["--outputs", "features,stage9"], "--outputs features,stage9"),
        (["--outputs", ""], "--outputs"),
        (["--opset", "7"], "--opset 7: expected 18 to 26"),
        (["--output-kind", "tokens"], "--output-kind"),
        (["--output-kind", "logits"], "--output-kind logits: contrastive was published without a head"),
        (["--head", "absent.safetensors"], "absent.safetensors: expected a probe, found no such file"),
        (["--via", "torch"], "--via"),
        (["--target", "openvino"], "--target"),
        (["--attention", "regions"], "--attention"),
        (["--input", "nowhere.nii.gz"], "nowhere.nii.gz: no such file"),
        (["--mask", "mask.nii.gz"], "--mask mask.nii.gz: expected a NIfTI run that it belongs to"),
        (["--placement", "mni"], "--placement mni: expected hcp, ukb, abcd or a point X,Y,Z of MNI152 in mm"),
        (["--drop-frames", "ten"], "--drop-frames ten: expected two numbers of frames"),
        (["--resample-tr", "-1"], "--resample-tr -1: expected a positive number"),
        (["--start", "-1"], "--start -1: expected a frame number of at least 0"),
        (["--orientation", "LPS"], "--orientation"),
        (["--input", str(TINY), "--no-check"], "--no-check"),
    ],
)
def test_bad_options_are_refused_at_once(refused, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in refused(*EXPORT, "--variant", "contrastive", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", TINY, "--frames", "9"], "expected 1 to 8"),
        (["--weights", TINY, "--outputs", "stage3"], "features, stage0, stage1, stage2"),
        (["--weights", TINY, "--variant", "contrastive"], "embed_dim"),
        (["--weights", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--variant", "swin"], "expected one of contrastive, hcp-sex"),
        ([], "--variant"),
        (["--weights", "synthetic:minus-one"], "synthetic:SEED"),
    ],
)
def test_bad_weights_are_refused(run, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(*EXPORT, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_network_auto_says_so(refused) -> None:
    line = refused(
        *EXPORT, "--variant", "contrastive", HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"
    )
    assert "--weights PATH" in line
    assert "--weights synthetic" in line


def test_a_checkpoint_that_would_run_a_command_is_refused(refused, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {shlex.quote(str(tmp_path / 'executed'))}",)

    stream = io.BytesIO()
    pickle.dump({"state_dict": Attack()}, stream)
    with zipfile.ZipFile(tmp_path / "attack.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
    assert "attack.ckpt" in refused(*EXPORT, "--weights", "attack.ckpt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("size", [0, 1000])
def test_a_truncated_checkpoint_is_refused(refused, tmp_path: Path, size: int) -> None:
    (tmp_path / "cut.ckpt").write_bytes(TINY.read_bytes()[:size])
    assert "cut.ckpt" in refused(*EXPORT, "--weights", "cut.ckpt")


def test_an_output_folder_that_cannot_be_written_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file in the folder's place")
    result = run(*EXPORT, "--weights", TINY)
    assert result.returncode == 2
    assert "out" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "out").read_text() == "a file in the folder's place"


def test_a_clip_of_another_shape_is_refused_before_anything_is_written(run, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.zeros((1, 96, 96, 96, 20), np.float16))
    result = run(*EXPORT, "--weights", TINY, "--input", "clip.npy")
    assert result.returncode == 2
    assert "clip.npy: expected shape (1, 48, 48, 48, frames)" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.requires("fmri")
def test_a_scan_that_is_no_run_is_refused(run, tmp_path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.eye(4)), tmp_path / "scan.nii.gz")
    result = run(*EXPORT, "--weights", TINY, "--input", "scan.nii.gz", "--placement", "hcp")
    assert result.returncode == 2
    assert "scan.nii.gz" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_no_artifact_is_refused(refused, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "broken.onnx").write_bytes(b"\x00" * 100)
    for path in ("notes.txt", "broken.onnx", "absent.onnx"):
        assert path in refused("inspect", path)
        assert path in refused("check", path, "--weights", TINY)
