"""The runtimes by name: who reads what, what is missing and what brings it, what may be asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from swift_export.errors import UsageError
from swift_export.runtimes.base import AbsentDevice
from swift_export.runtimes.registry import (
    RUNTIMES,
    check_ability,
    find_runtime,
    kind_of,
    missing,
    readers,
    remedy,
    require,
)

ABSENT = replace(RUNTIMES["openvino"], packages=("no_such_package",))


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("stablehlo/model.jax", "jax"),
        ("stablehlo/model.mlir.bc", "stablehlo"),
        ("stablehlo/model.b1.mlir.bc", "stablehlo"),
        ("savedmodel/1", "savedmodel"),
        ("onnx/model.onnx", "onnx"),
    ],
)
def test_the_end_of_a_name_tells_the_kind(file, kind):
    assert kind_of(file) == kind


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("jax", ["jax_export"]),
        ("stablehlo", ["portable", "iree"]),
        ("savedmodel", ["tensorflow", "tensorflow_c", "tensorflow_serving"]),
        ("onnx", ["onnxruntime", "onnxruntime_tensorrt", "openvino"]),
    ],
)
def test_a_formats_own_runtime_reads_it_first(kind, names):
    assert [runtime.name for runtime in readers(kind)] == names


def test_users_may_write_hyphens():
    assert find_runtime("tensorflow-c") is find_runtime("tensorflow_c") is RUNTIMES["tensorflow_c"]


@pytest.mark.parametrize("name", ["torch", "reference", "ONNXRUNTIME", ""])
def test_an_unknown_runtime_is_answered_with_the_known_ones(name):
    message = rf"^--runtime {name}: expected one of jax_export, portable, .*openvino$"
    with pytest.raises(UsageError, match=message) as told:
        find_runtime(name)
    assert "reference" not in str(told.value).removeprefix(f"--runtime {name}")


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.inner", "xml.no_such_package"])
def test_a_missing_package_is_named_with_its_extra(package):
    runtime = replace(ABSENT, packages=("json", package))

    assert missing(runtime) == (package,)
    assert not runtime.installed
    message = rf"^OpenVINO is not installed \({package} not found\): pip install 'swift-export\[openvino\]', or leave"
    with pytest.raises(UsageError, match=message):
        require(runtime)


def test_a_missing_core_package_is_named_itself():
    assert remedy(replace(ABSENT, extra=None)) == "pip install no_such_package"


def test_a_missing_file_of_a_package_is_named():
    runtime = replace(ABSENT, packages=("json",), libraries=("decoder.p*", "no_such_library*"))

    assert missing(runtime) == ("json/no_such_library*",)
    assert remedy(runtime) == "pip install 'swift-export[openvino]'"


def test_missing_programs_are_named_in_words(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    compiled = replace(RUNTIMES["tensorflow_c"], packages=("json",), libraries=())

    with pytest.raises(UsageError, match=r"^TensorFlow C API is not installed \(cc not found\): install a C compiler"):
        require(compiled)
    (tmp_path / "cc").touch(mode=0o755)
    require(compiled)


def test_several_steps_are_all_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    served = replace(RUNTIMES["tensorflow_serving"], packages=("no_such_package", "tensorflow_serving"))
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)

    assert remedy(served).startswith(
        "pip install 'swift-export[savedmodel]' and pip install --no-deps tensorflow-serving-api and install TensorFlow"
    )


def test_what_is_here_needs_no_remedy():
    assert missing(RUNTIMES["onnxruntime"]) == ()
    assert remedy(RUNTIMES["onnxruntime"]) == ""
    require(RUNTIMES["onnxruntime"])


def test_nothing_is_imported_to_look():
    program = (
        "import sys\n"
        "from swift_export.runtimes.registry import RUNTIMES, missing\n"
        "[missing(runtime) for runtime in RUNTIMES.values()]\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not set(done.stdout.split()) & {"jax", "tensorflow", "onnxruntime", "openvino", "equinox"}


def test_a_device_that_a_runtime_cannot_use_is_an_error():
    with pytest.raises(AbsentDevice, match=r"^--device gpu: IREE runs only on the cpu; use --device cpu$"):
        check_ability(RUNTIMES["iree"], "gpu", "float32")
    with pytest.raises(AbsentDevice, match=r"^--device cpu: ONNX Runtime on TensorRT runs only on the gpu"):
        check_ability(RUNTIMES["onnxruntime_tensorrt"], "cpu", "float32")


def test_a_precision_that_a_runtime_cannot_grant_is_an_error():
    check_ability(RUNTIMES["onnxruntime"], "gpu", "tf32")
    with pytest.raises(UsageError, match=r"^--precision tf32: ONNX Runtime on the cpu computes in float32$"):
        check_ability(RUNTIMES["onnxruntime"], "cpu", "tf32")
    with pytest.raises(UsageError, match=r"^--precision tf32: OpenVINO on the cpu computes in float32 or bfloat16 or"):
        check_ability(RUNTIMES["openvino"], "cpu", "tf32")


def test_a_runtime_is_registered_once():
    from swift_export.runtimes.registry import REFERENCE, RUNTIMES, _by_name

    assert _by_name(*RUNTIMES.values()) == RUNTIMES
    with pytest.raises(ValueError, match="runtime reference: registered twice, as JAX already"):
        _by_name(*RUNTIMES.values(), REFERENCE)
