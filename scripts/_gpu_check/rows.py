"""The rows of the check, in order of worth: with little time left, the last ones are not run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

__all__ = ["PEAKS", "ROWS", "Row", "select"]

#: Clips in a batch, in order of worth; on a CPU, the check only proves that it works.
ALL = (1, 16, 4, 64)
FEW = (1, 16)
ON_CPU = (1, 4)

_JAX, _PORTABLE, _ONNX = "stablehlo/model.jax", "stablehlo/model.mlir.bc", "onnx/model.onnx"
_OWN_OPS = f"onnxruntime/{_ONNX}"


@dataclass(frozen=True)
class Row:
    """One runtime on one file, or one forward pass of another origin, in one precision.

    Attributes:
        name: for ``--only`` and the JSON file.
        title: a description of the run.
        engine: the loader, of `engines.ENGINES` or a runtime of the package.
        precision: number format of matrix products, which determines the tolerance.
        file: the file below the folder of the export in this row's precision; None if only the weights are needed.
        export: the precision of the export, if it differs.
        batches: the timed batch sizes.
        limit_s: the most seconds that the row may take.
        package: a required package, unless it is one of the runtime's.
        devices: where the row can run.
        ours: whether it runs a file of this project without an option; it must then succeed.
    """

    name: str
    title: str
    engine: str
    precision: str
    file: str | None = None
    export: str | None = None
    batches: tuple[int, ...] = ALL
    limit_s: float = 75.0
    package: str | None = None
    devices: tuple[str, ...] = ("gpu", "cpu")
    ours: bool = True

    @property
    def exported(self) -> str | None:
        """The precision of the required export; None without one."""
        return (self.export or self.precision) if self.file else None

    @property
    def folder(self) -> str:
        """The top folder of the file; empty without one."""
        return (self.file or "").partition("/")[0]

    def on(self, device: str) -> Row:
        """The row for a device."""
        return self if device == "gpu" else replace(self, batches=ON_CPU)


def _onnx(precision: str) -> Row:
    title = f"ONNX {precision} (onnxruntime) in ONNX Runtime"
    # On a CPU, ONNX Runtime has neither TF32 nor kernels for bfloat16.
    devices = ("gpu", "cpu") if precision in ("float32", "float16") else ("gpu",)
    return Row(f"ort-{precision}", title, "onnxruntime", precision, _OWN_OPS, devices=devices)


def _graph(precision: str) -> Row:
    title = f"ONNX {precision} (onnxruntime) in ONNX Runtime, CUDA graph"
    return Row(f"ort-{precision}-graph", title, "onnxruntime_graph", precision, _OWN_OPS, ours=False)


def _wide(precision: str) -> Row:
    title = f"ONNX {precision} (onnxruntime, heads padded for kernels) in ONNX Runtime, CUDA graph"
    name, export = f"ort-{precision}-wide", f"{precision}-wide"
    return Row(name, title, "onnxruntime_graph", precision, _OWN_OPS, export=export, ours=False)


def _jax(precision: str) -> Row:
    return Row(f"jax-{precision}", f"model.jax {precision} in jax.export", "jax_export", precision, _JAX)


def _jit(precision: str, batches: tuple[int, ...]) -> Row:
    title, devices = f"jax.jit of the plain forward, {precision}", ("gpu",) if precision == "tf32" else ("gpu", "cpu")
    return Row(f"jit-{precision}", title, "jit", precision, batches=batches, devices=devices, ours=False)


def _flash(precision: str, kernel: str, of: str) -> Row:
    title = f"jax.jit, sets of tokens, attention of {of}, {precision}"
    devices = ("gpu",) if kernel == "cudnn" else ("gpu", "cpu")
    return Row(f"{kernel}-{precision}", title, f"jit_{kernel}", precision, batches=FEW, devices=devices, ours=False)


def _torch(precision: str, compiled: bool) -> Row:
    how = {"float32": "float32", "tf32": "TF32"}.get(precision, f"autocast {precision}")
    name, title = ("torch-compile", "torch.compile") if compiled else ("torch", "PyTorch")
    return Row(
        f"{name}-{precision}",
        f"{title}, {how}",
        name.replace("-", "_"),
        precision,
        batches=FEW if compiled else ALL,
        limit_s=100.0 if compiled else 45.0,
        package="torch",
        devices=("gpu",) if compiled or precision == "tf32" else ("gpu", "cpu"),
        ours=False,
    )


def _tensorrt(precision: str, export: str) -> Row:
    title = f"ONNX {precision} (portable) in ONNX Runtime on TensorRT"
    engine = "onnxruntime_tensorrt"
    return Row(f"tensorrt-{precision}", title, engine, precision, _ONNX, export, FEW, devices=("gpu",), ours=False)


#: What the card can do: matrix products in every precision, and copies.
PEAKS = Row("peaks", "measured peaks of the card", "peaks", "float32", batches=(), ours=False)

ROWS = (
    # The bars: our fastest file, and what it is compared with.
    _onnx("float16"),
    _graph("float16"),
    _wide("float16"),
    _jit("bfloat16", ALL),
    _torch("float16", compiled=True),
    # Parity of all precisions in both formats.
    _onnx("float32"),
    _jax("float32"),
    _jax("float16"),
    replace(_onnx("tf32"), export="float32"),
    Row(
        "stablehlo-tf32",
        "model.mlir.bc float32 on XLA, TF32",
        "portable",
        "tf32",
        _PORTABLE,
        "float32",
        FEW,
        devices=("gpu",),
    ),
    _onnx("bfloat16"),
    _jax("bfloat16"),
    PEAKS,
    # Attention by cuDNN, beside the same forward with XLA's own.
    _flash("bfloat16", "cudnn", "cuDNN"),
    _flash("bfloat16", "xla", "XLA"),
    _torch("float16", compiled=False),
    _torch("bfloat16", compiled=True),
    _jit("float32", FEW),
    _jit("tf32", FEW),
    _torch("float32", compiled=False),
    _torch("tf32", compiled=False),
    _graph("float32"),
    _wide("float32"),
    _flash("float16", "cudnn", "cuDNN"),
    Row(
        "ort-portable-float16", "ONNX float16 (portable) in ONNX Runtime", "onnxruntime", "float16", _ONNX, batches=FEW
    ),
    Row(
        "ort-portable-float32", "ONNX float32 (portable) in ONNX Runtime", "onnxruntime", "float32", _ONNX, batches=FEW
    ),
    Row("stablehlo-float32", "model.mlir.bc float32 on XLA", "portable", "float32", _PORTABLE, batches=FEW),
    replace(
        _onnx("float16"),
        name="ort-float16-half-clips",
        title="ONNX float16 (onnxruntime), clips of float16, in ONNX Runtime",
        export="float16-half-clips",
        batches=FEW,
    ),
    _tensorrt("float16", "float32"),
    _tensorrt("float32", "float32"),
    _torch("bfloat16", compiled=False),
    Row(
        "savedmodel-float32",
        "SavedModel float32 in TensorFlow",
        "tensorflow",
        "float32",
        "savedmodel/1",
        batches=FEW,
        package="tensorflow",
    ),
)


def select(names: Collection[str]) -> tuple[Row, ...]:
    """The rows with these names in the order of the table; all without names."""
    return tuple(row for row in ROWS if not names or row.name in names)
