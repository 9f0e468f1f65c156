"""Every adapter computes what its file says, and refuses what the file does not take."""

from __future__ import annotations

import numpy as np
import pytest

from swift_export.errors import InputError, UsageError
from swift_export.runtimes.base import AbsentDevice, check_device, check_precision
from swift_export.runtimes.registry import RUNTIMES

# What a caller may get wrong: rank, layout (channels last), number of channels, dtype, an empty batch.
WRONG = {
    "unbatched": lambda bold: bold[0],
    "channels last": lambda bold: np.moveaxis(bold, 1, -1),
    "channels": lambda bold: bold[:, :1],
    "float64": lambda bold: bold.astype(np.float64),
    "float16": lambda bold: bold.astype(np.float16),
    "int16": lambda bold: bold.astype(np.int16),
    "empty": lambda bold: bold[:0],
}


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_are_those_of_the_function(toys, runtime, batch):
    bold = toys.clips(batch)

    outputs = toys.session(runtime)({"bold": bold})

    expected = toys.expected(bold)
    assert sorted(outputs) == sorted(expected)
    for key, value in expected.items():
        assert outputs[key].dtype == np.float32
        np.testing.assert_allclose(outputs[key], value, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["portable", pytest.param("iree", marks=pytest.mark.requires("iree"))])
def test_bytecode_of_one_batch_size_takes_no_other(toys, name):
    session = RUNTIMES[name].adapter().load(toys.artifact("fixed"), "cpu")

    bold = toys.clips(1)
    np.testing.assert_allclose(session({"bold": bold})["stage0"], np.tanh(bold), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"model\.b1\.mlir\.bc: bold: expected float32 \(1, 2, .*found .*\(2, 2,"):
        session({"bold": toys.clips(2)})


def test_the_signature_is_read_from_the_file(toys, runtime):
    (bold,) = toys.session(runtime).inputs

    assert (bold.name, bold.dtype, bold.shape) == ("bold", "float32", (None, 2, 4, 6, 4, 3))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_input_is_an_error(toys, runtime, wrong):
    with pytest.raises(InputError, match=r"bold: expected float32 \(any, 2, 4, 6, 4, 3\), found "):
        toys.session(runtime)({"bold": WRONG[wrong](toys.clips(2))})


def test_a_wrong_name_is_an_error(toys, runtime):
    with pytest.raises(InputError, match="expected the inputs bold, found image"):
        toys.session(runtime)({"image": toys.clips(1)})


def test_a_placed_computation_runs_again_and_again(toys, runtime):
    compute = toys.session(runtime).place({"bold": toys.clips(2)})

    for _ in range(2):
        compute()


def test_who_computed_is_told(toys, runtime):
    info = toys.session(runtime).info

    assert (info.name, info.arithmetic) == (RUNTIMES[runtime].title, "float32")
    assert info.version[0].isdigit()
    assert "cpu" in info.device.lower()
    assert any("cpu" in provider.lower() for provider in info.providers)


@pytest.mark.parametrize("name", ["jax_export", "portable"])
def test_the_precision_in_the_file_is_told(toys, name):
    assert toys.session(name).info.settings["dot precision in the file"] == "HIGHEST"


def test_bytecode_in_tf32_has_products_of_the_default_precision(toys):
    session = RUNTIMES["portable"].adapter().load(toys.artifact("stablehlo"), "cpu", "tf32")

    assert session.info.settings["dot precision in the file"] == "DEFAULT"
    bold = toys.clips(2)
    np.testing.assert_allclose(
        session({"bold": bold})["features"], toys.expected(bold)["features"], rtol=1e-5, atol=1e-4
    )


def test_plain_float32_dots_are_tf32_on_a_gpu_only():
    from swift_export.runtimes._xla import arithmetic

    assert arithmetic("cpu", ("DEFAULT",)) == "float32"
    assert arithmetic("gpu", ("HIGHEST",)) == "float32"
    assert arithmetic("gpu", ("DEFAULT",)) == "tf32"
    assert arithmetic("gpu", ("DEFAULT", "HIGHEST")) == "tf32"


@pytest.mark.parametrize(
    "name",
    ["jax_export", "portable", pytest.param("tensorflow", marks=pytest.mark.requires("savedmodel")), "onnxruntime"],
)
def test_an_absent_gpu_is_an_error(toys, name):
    if gpu_present(name):
        pytest.skip(f"{name} has a GPU here")
    with pytest.raises(AbsentDevice, match=r"--device gpu: .* has no CUDA GPU, only "):
        RUNTIMES[name].adapter().load(toys.path(name), "gpu")


def gpu_present(runtime):
    if runtime == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if runtime == "onnxruntime":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    import jax

    return any(device.platform == "gpu" for device in jax.devices())


def test_an_unknown_device_is_a_usage_error():
    with pytest.raises(UsageError, match="--device tpu: expected cpu or gpu"):
        check_device("tpu")


def test_an_unknown_precision_is_a_usage_error():
    with pytest.raises(UsageError, match="--precision int8: expected float32 or tf32 or float16 or bfloat16"):
        check_precision("int8")
