"""``scripts/gpu_check`` on the road that every machine has, and what it says of what is absent."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path

import forkserver
import pytest

from swift_export.cli.gpu_check import unpacked

SCRIPT = Path(__file__).parents[2] / "scripts/gpu_check"


@pytest.fixture
def gpu_check(tmp_path):
    shim = forkserver.write_shim(tmp_path / "python")

    def gpu_check(*arguments):
        return subprocess.run(
            [SCRIPT, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHON": str(shim)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return gpu_check


def test_the_cpu_road_checks_times_and_reports(gpu_check, tmp_path):
    report = tmp_path / "report.md"

    done = gpu_check("--device", "cpu", "--architecture", "tiny", "--repeat", "2", "--report", report)

    assert done.returncode == 0, done.stderr
    text = report.read_text()
    for file in ("stablehlo/model.jax", "stablehlo/model.mlir.bc", "onnx/model.onnx", "the Equinox model"):
        assert re.search(rf"\| {re.escape(file)} \| \S.* \| phantom \| batch 4 \| features \| .* \| ok \|", text)
        assert re.search(rf"\| {re.escape(file)} \| \S.* \| batch 4 \| \d+\.\d\d \| \d+\.\d\d \|", text)
    assert "FAILED" not in text
    assert re.search(r"- versions: Python \d.*, jax \d", text)
    assert str(tmp_path) not in text.replace(str(report), "")
    assert re.fullmatch(r"largest relative L2 \S+; absent: .*; failed: nothing", done.stdout.splitlines()[-1])


def test_without_a_gpu_one_line_names_what_is_absent(gpu_check, tmp_path):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")

    done = gpu_check("--architecture", "tiny")

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gpu_check: nothing here computes on gpu: ")
    for who in ("stablehlo/model.jax: --device gpu: JAX", "onnx/model.onnx: --device gpu: ONNX Runtime"):
        assert who in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "docs").exists()


def test_a_wheel_is_unpacked_where_it_can_be_imported(tmp_path):
    with zipfile.ZipFile(tmp_path / "onnxruntime_gpu-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("onnxruntime/__init__.py", "__version__ = '9.9'")
    (tmp_path / "work").mkdir()

    from_folder = unpacked(tmp_path, tmp_path / "work")

    assert (from_folder / "onnxruntime/__init__.py").read_text() == "__version__ = '9.9'"
    assert unpacked(from_folder, tmp_path / "unused") == from_folder


def test_a_path_that_holds_no_wheel_is_an_error(gpu_check, tmp_path):
    done = gpu_check("--device", "cpu", "--architecture", "tiny", "--ort-gpu", tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "expected an onnxruntime-gpu wheel, or a folder with it or its contents"
    )
