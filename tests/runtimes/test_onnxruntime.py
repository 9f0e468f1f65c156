"""ONNX Runtime: the providers that were asked for, with the options that were asked for, or an error."""

from __future__ import annotations

import numpy as np
import pytest

from swift_export.errors import MachineError
from swift_export.runtimes.base import AbsentDevice
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.onnxruntime import CPU, CUDA, OnnxSession, cuda_options
from swift_export.runtimes.process import run_worker
from swift_export.runtimes.registry import RUNTIMES


def test_an_option_that_is_not_granted_is_an_error(toys):
    with pytest.raises(MachineError, match=rf"^A title [\d.]+: asked {CPU} for use_tf32 0, granted nothing$"):
        OnnxSession(toys.artifact("onnx"), "A title", "float32", {CPU: cuda_options("float32")})


def test_a_provider_that_this_build_lacks_is_an_absent_gpu(toys):
    with pytest.raises(AbsentDevice, match=r"^--device gpu: A title [\d.]+ has no CUDA GPU, only .*CPUExecution"):
        OnnxSession(toys.artifact("onnx"), "A title", "float32", {"NoExecutionProvider": {}})


def test_tf32_is_allowed_where_it_is_asked_for():
    assert (cuda_options("float32"), cuda_options("tf32")) == ({"use_tf32": "0"}, {"use_tf32": "1"})


def test_threads_are_those_of_the_session(toys):
    from swift_export.system.machine import processors

    assert toys.session("onnxruntime").info.settings == {"threads": str(processors())}


@pytest.mark.requires("gpu")
@pytest.mark.parametrize(
    ("name", "precision", "near"),
    [
        ("onnxruntime", "float32", 1e-6),
        ("onnxruntime", "tf32", 5e-3),
        ("onnxruntime_tensorrt", "float32", 1e-6),
        ("onnxruntime_tensorrt", "tf32", 5e-3),
        ("onnxruntime_tensorrt", "float16", 5e-3),
    ],
)
def test_a_gpu_computes_in_the_precision_that_was_asked_for(toys, tmp_path, name, precision, near):
    if not RUNTIMES[name].installed:
        pytest.skip(f"{name} is not installed")
    bold = toys.clips(2)
    files = tuple(str(tmp_path / f"{i}.npy") for i in range(2))
    for i, file in enumerate(files):
        np.save(file, bold[i : i + 1])

    path = str(toys.artifact("onnx"))
    answer = run_worker(Request(name, path, "gpu", (Run({"bold": files}),), precision=precision), tmp_path)

    assert answer.info.arithmetic == precision
    assert answer.info.settings["TF32"] == ("on" if precision == "tf32" else "off")
    assert CUDA in answer.info.providers[:2]
    expected = toys.expected(bold)["features"]
    found = np.load(answer.runs[0].outputs["features"])
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < near
