"""The rows of the table: the file that each runs, and how it is made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

__all__ = ["EXPORTS", "REFERENCE", "ROWS", "Export", "Row", "absent", "select"]


@dataclass(frozen=True)
class Export:
    """Files made by one command in a folder: ``python -m COMMAND --weights BUNDLE --output FOLDER``."""

    command: tuple[str, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: for ``--only`` and the JSON file.
        title: a description of the run.
        engine: the function of ``engines`` that loads it.
        packages: required packages, imported before the load time starts.
        export: the entry of `EXPORTS` that makes its file; None if it needs only the weights.
        path: the file, relative to the folder of the export.
        batched: whether the file accepts more than one clip at once.
        family: the origin of the file: ``jax`` (no file), ``ours`` or ``others``.
        optional: the runtime may reject the file (operators of another runtime). This is reported, but is no failure.
    """

    name: str
    title: str
    engine: str
    packages: tuple[str, ...]
    export: str | None = None
    path: str = ""
    batched: bool = True
    family: str = "ours"
    optional: bool = False


_ONNX = ("swift_export", "onnx", "--no-check", "--quiet")
EXPORTS = {
    "onnx": Export((*_ONNX, "--target", "onnxruntime")),
    "onnx-masked": Export((*_ONNX, "--target", "onnxruntime", "--attention", "masked")),
    "portable": Export((*_ONNX, "--target", "portable")),
    "portable-masked": Export((*_ONNX, "--target", "portable", "--attention", "masked")),
    "stablehlo": Export(("swift_export", "stablehlo", "--no-check", "--quiet")),
    "savedmodel": Export(("swift_export", "savedmodel", "--no-check", "--quiet"), ("tensorflow", "tf2onnx")),
    "jax2onnx": Export(("_bench.jax2onnx_file",), ("jax2onnx",)),
}

_MODEL = "onnx/model.onnx"
_JAX = ("jax", "equinox")
_IREE = ("iree.compiler", "iree.runtime")
_ORT = ("onnxruntime",)
_OPENVINO = ("openvino",)

#: The reference of all ratios comes first.
ROWS = (
    Row("reference", "jax.jit of the plain forward", "reference", _JAX, family="jax"),
    Row("equinox", "jax.jit of the usual Equinox", "equinox_usual", _JAX, family="jax"),
    Row("model.jax", "model.jax in jax.export", "jax_export", _JAX, "stablehlo", "stablehlo/model.jax"),
    Row("model.b1", "model.b1.mlir.bc in XLA", "xla", _JAX, "stablehlo", "stablehlo/model.b1.mlir.bc", False),
    Row("iree", "model.b1.mlir.bc in IREE", "iree", _IREE, "stablehlo", "stablehlo/model.b1.mlir.bc", False),
    Row("savedmodel", "SavedModel in TensorFlow", "tensorflow", ("tensorflow",), "savedmodel", "savedmodel/1"),
    Row("ort", "ONNX (onnxruntime) in ONNX Runtime", "onnxruntime", _ORT, "onnx", _MODEL),
    Row("ort-masked", "ONNX (onnxruntime, masked) in ONNX Runtime", "onnxruntime", _ORT, "onnx-masked", _MODEL),
    Row("ort-portable", "ONNX (portable) in ONNX Runtime", "onnxruntime", _ORT, "portable", _MODEL),
    Row(
        "ort-portable-masked", "ONNX (portable, masked) in ONNX Runtime", "onnxruntime", _ORT, "portable-masked", _MODEL
    ),
    Row("openvino", "ONNX (onnxruntime) in OpenVINO", "openvino", _OPENVINO, "onnx", _MODEL, optional=True),
    Row("openvino-portable", "ONNX (portable) in OpenVINO", "openvino", _OPENVINO, "portable", _MODEL),
    Row("jax2onnx-ort", "jax2onnx's ONNX in ONNX Runtime", "onnxruntime", _ORT, "jax2onnx", _MODEL, False, "others"),
    Row("jax2onnx-openvino", "jax2onnx's ONNX in OpenVINO", "openvino", _OPENVINO, "jax2onnx", _MODEL, False, "others"),
)
REFERENCE = ROWS[0]


def select(names: Collection[str]) -> tuple[Row, ...]:
    """The rows with these names, in the order of the table, always including the reference row."""
    return tuple(row for row in ROWS if row is REFERENCE or not names or row.name in names)


def absent(packages: Sequence[str]) -> str | None:
    """The first of these packages that is not installed, or None."""
    # find_spec imports the parent and raises if it does not exist, so the parent is checked first.
    return next((p for p in packages if find_spec(p.partition(".")[0]) is None or find_spec(p) is None), None)
