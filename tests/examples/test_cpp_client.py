"""The client in C++ computes what ONNX Runtime does in Python, and refuses anything else in one line."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

pytestmark = pytest.mark.requires("onnxruntime-headers")

SOURCES = Path(__file__).parents[2] / "examples/clients/cpp"
HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"


@dataclass
class Client:
    """The compiled program, a model, and a clip that it takes."""

    program: Path
    model: Path
    clip: np.ndarray

    def run(self, *files: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.program, *files], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def client(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = Path(shutil.copytree(SOURCES, tmp_path_factory.mktemp("client") / "cpp"))
    (library,) = (Path(ort.__file__).parent / "capi").glob("libonnxruntime.so.1.*")
    settings = [f"INCLUDE={sys.prefix}/include/onnxruntime", f"LIBRARY={library}", "CXXFLAGS=-O1 -Wall -Wextra"]
    made = subprocess.run(["make", "-C", folder, *settings], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    model = artifact / "onnx" / "model.onnx"
    (bold,) = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()
    clip = np.random.default_rng(0).standard_normal([2, *bold.shape[1:]]).astype(np.float32)
    return Client(folder / "features", model, clip)


def test_features(client: Client, tmp_path: Path) -> None:
    clip, target = tmp_path / "clip.npy", tmp_path / "features.npy"
    np.save(clip, client.clip)
    target.write_bytes(b"an older file")
    done = client.run(client.model, clip, target)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: synthetic weights")
    assert "\nexpects: MNI152-registered, brain-masked BOLD" in done.stdout
    session = ort.InferenceSession(str(client.model), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["features"], {"bold": client.clip})
    np.testing.assert_array_equal(np.load(target), expected)
    assert f"\nfeatures: {target} {expected.shape}, loaded in " in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"clip.npy", "features.npy"}


def test_warning(client: Client, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", client.clip)
    model = onnx.load(client.model)
    (warning,) = (entry for entry in model.metadata_props if entry.key == "swift_export.warning")
    warning.value = "means nothing\x1b[2J\nreally\x9bé"
    onnx.save(model, tmp_path / "model.onnx")
    done = client.run(tmp_path / "model.onnx", tmp_path / "clip.npy", tmp_path / "features.npy")
    assert (done.returncode, done.stderr) == (0, "warning: means nothing [2J really??é\n")


def small_model(path: Path, inputs: dict[str, int], nan: bool = False) -> Path:
    """y = x, or x / 0, for inputs by name with their element types."""
    values = [onnx.helper.make_tensor_value_info(name, kind, ["n", 2, "n"]) for name, kind in inputs.items()]
    zero = onnx.helper.make_tensor("zero", onnx.TensorProto.FLOAT, [], [0.0])
    node = onnx.helper.make_node(*(("Div", ["x", "zero"]) if nan else ("Identity", ["x"])), ["y"])
    output = onnx.helper.make_tensor_value_info("y", inputs["x"], ["n", 2, "n"])
    graph = onnx.helper.make_graph([node], "small", values, [output], [zero])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def npy(shape: str, data: bytes, header: str = HEADER) -> bytes:
    text = (header % shape).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


#: Files that are not the clip, from its array: each with the words that say so.
DAMAGED: dict[str, Callable[[np.ndarray], bytes]] = {
    "expected a file that numpy.save wrote, found another": lambda clip: b"scan",
    "expected a header of NumPy, found a damaged one": lambda clip: b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "expected a header of NumPy, found a part of it": lambda clip: saved(clip)[:40],
    "expected float32 values, found {'descr': '<f8'": lambda clip: saved(clip.astype(float)),
    "expected float32 values, found {'descr': '>f4'": lambda clip: saved(clip.astype(">f4")),
    "expected float32 values, found {'descr': '|O'": lambda clip: npy("", b"cos\nsystem", HEADER.replace("<f4", "|O")),
    "expected C order, found Fortran's": lambda clip: saved(np.asfortranarray(clip)),
    "numpy.save writes it, found {'descr': '<f4', 'fortran_order': False, 'shape': (2 3)": lambda clip: npy("2 3", b""),
    "found {'descr': '<f4', 'fortran_order': False, 'shape': (-1,)": lambda clip: npy("-1,", b""),
    "found {'descr': '<f4', 'fortran_order': False, 'shape': (%s,)" % ("9" * 20): lambda clip: npy("9" * 20 + ",", b""),
    "float32 values of (4611686018427387904, 4, 1), found a file of": lambda clip: npy(f"{1 << 62}, 4, 1", b""),
    "float32 values of (0, 4), found a file of": lambda clip: npy("0, 4", b""),
    "float32 values of (2, 1, 48, 48, 48, 8), found a file of 7078015 bytes": lambda clip: saved(clip)[:-1],
    "found a file of 7078017 bytes": lambda clip: saved(clip) + b"\0",
    ", 8), found (1, 48, 48, 48, 8): make it with swift-export prepare": lambda clip: saved(clip[0]),
    ", 8), found (2, 1, 48, 48, 48, 2): make it with swift-export prepare": lambda clip: saved(clip[..., :2].copy()),
    "expected finite values, found NaN or infinity": lambda clip: saved(np.where(clip == clip.max(), np.inf, clip)),
}


def test_damaged_clips(client: Client, tmp_path: Path) -> None:
    clip, target = tmp_path / "clip.npy", tmp_path / "features.npy"
    for words, damaged in DAMAGED.items():
        clip.write_bytes(damaged(client.clip))
        refused(client, 2, words, client.model, clip, target)
    refused(client, 2, "expected a file, found No such file", client.model, tmp_path / "absent\x1b[2J.npy", target)
    refused(client, 2, "expected a file, found none, or a folder", client.model, tmp_path, target)
    refused(client, 2, "expected a file, found none, or a folder or device", client.model, "/dev/zero", target)


def test_bad_usage_and_models(client: Client, tmp_path: Path) -> None:
    clip, square, target = tmp_path / "clip.npy", tmp_path / "square.npy", tmp_path / "features.npy"
    np.save(clip, client.clip)
    np.save(square, np.ones((3, 2, 3), np.float32))
    floats, doubles = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    model = small_model(tmp_path / "small.onnx", {"x": floats})
    done = client.run(model, square, target)
    assert (done.returncode, np.load(target).shape) == (0, (3, 2, 3))
    assert "small.onnx was not written by swift-export" in done.stderr
    target.unlink()
    refused(client, 2, "expected x float32 (n, 2, n), found (2, 1, ", model, clip, target)
    np.save(square, np.ones((3, 2, 4), np.float32))
    refused(client, 2, "expected x float32 (n, 2, n), found (3, 2, 4)", model, square, target)
    refused(client, 2, "expected three files", client.model, clip)
    refused(client, 2, "expected another file for the features", client.model, clip, clip)
    refused(client, 2, "expected a model that ONNX Runtime 1.", clip, clip, target)
    refused(client, 2, "absent.onnx: expected a model", tmp_path / "absent.onnx", clip, target)
    refused(client, 1, "cannot be written: No such file", client.model, clip, tmp_path / "absent" / "features.npy")
    two = small_model(tmp_path / "two.onnx", {"x": floats, "z": floats})
    refused(client, 2, "expected one input and an output, found 2 and 1", two, clip, target)
    double = small_model(tmp_path / "double.onnx", {"x": doubles})
    refused(client, 2, "expected x to be float32, found ONNX's type 11", double, clip, target)
    nan = small_model(tmp_path / "nan.onnx", {"x": floats}, nan=True)
    np.save(square, np.zeros((3, 2, 3), np.float32))
    refused(client, 1, "expected finite y, computed NaN", nan, square, target)


def refused(client: Client, status: int, words: str, *files: str | Path) -> None:
    done = client.run(*files)
    (*warnings, line) = done.stderr.removesuffix("\n").split("\n")
    assert done.returncode == status, line
    assert line.startswith("features: ")
    assert words in line
    assert line.isprintable()
    assert all(warning.startswith("warning: ") for warning in warnings)
    assert not [path.name for path in Path(files[-1]).parent.glob("features.npy*")]
