"""What is measured: every row of the table, the file it runs, and how that file is made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

__all__ = ["EXPORTS", "REFERENCE", "ROWS", "Export", "Row", "absent", "select"]


@dataclass(frozen=True)
class Export:
    """Files that one command makes in a folder: ``python -m COMMAND --weights BUNDLE --output FOLDER``."""

    command: tuple[str, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: for ``--only`` and the JSON file.
        title: what is run, in words.
        engine: the function of ``engines`` that loads it.
        packages: what must be importable; imported before the clock of loading starts.
        export: the entry of `EXPORTS` that makes its file, None where the weights are all it takes.
        path: the file below the export's folder.
        batched: whether the file takes more than one clip at once.
        family: whose work the file is: ``jax`` (no file at all), ``ours`` or ``others``.
        optional: the runtime may refuse the file (operators of another runtime): said, but no failure.
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

#: The denominator of all ratios comes first.
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
    """The rows of these names, in the table's order; the denominator is always among them."""
    return tuple(row for row in ROWS if row is REFERENCE or not names or row.name in names)


def absent(packages: Sequence[str]) -> str | None:
    """The first of these packages that is not installed."""
    # The parent is looked for first: find_spec imports it, and raises where it does not exist.
    return next((p for p in packages if find_spec(p.partition(".")[0]) is None or find_spec(p) is None), None)
