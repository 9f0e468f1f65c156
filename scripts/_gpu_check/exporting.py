"""The files of one precision, in a separate process: ``python -m _gpu_check.exporting FOLDER``.

The request names the architecture, the precision and the folders to write: ``stablehlo``, ``onnx``, ``onnxruntime``
(ONNX with ONNX Runtime's own operators) and, if TensorFlow is installed, ``savedmodel``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from swift_export.errors import SwiftExportError, UsageError
from swift_export.models import Model
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.variants import TINY, VARIANTS
from swift_export.models.swift.weights import Weights, synthetic_weights
from swift_export.system.exchange import read_request, write_answer
from swift_export.system.text import error_line

__all__ = ["ARCHITECTURES", "HALF_CLIPS", "WIDE", "main", "model_in", "weights_of"]

#: End the names of exports with padded heads, and with inputs and outputs of float16.
WIDE, HALF_CLIPS = "-wide", "-half-clips"

ARCHITECTURES = {"tiny": TINY, "contrastive": VARIANTS["contrastive"].config}


def weights_of(architecture: str) -> Weights:
    """The synthetic weights of every row."""
    return synthetic_weights(ARCHITECTURES[architecture], variant=architecture)


def model_in(architecture: str, precision: str) -> Model:
    """The exported model in a precision; raises UsageError for one that exports do not have.

    A precision that ends in `WIDE` has padded heads, one that ends in `HALF_CLIPS` takes and returns float16.
    """
    name, io_dtype = precision.removesuffix(WIDE), "float32"
    if name.endswith(HALF_CLIPS):
        name, io_dtype = name.removesuffix(HALF_CLIPS), "float16"
    settings = SwiFTSettings(precision=name, io_dtype=io_dtype)
    model = swift_model(weights_of(architecture), settings)
    if not precision.endswith(WIDE):
        return model
    from _gpu_check.wide_heads import wide_model

    return wide_model(model, ARCHITECTURES[architecture], settings)


def main(folder: Path) -> None:
    """Write the requested folders; the answer is the reason for each one that is missing."""
    from swift_export.lowering.lower import keep_off_accelerators
    from swift_export.lowering.onnx_file import write_onnx
    from swift_export.lowering.onnx_settings import OnnxSettings
    from swift_export.lowering.stablehlo import write_stablehlo

    keep_off_accelerators()
    steps: dict[str, Callable[[Model], None]] = {
        "onnxruntime": lambda model: write_onnx(model, folder / "onnxruntime", OnnxSettings(target="onnxruntime")),
        "stablehlo": lambda model: write_stablehlo(model, folder),
        "onnx": lambda model: write_onnx(model, folder),
        "savedmodel": lambda model: _write_savedmodel(model, folder),
    }
    request, missing = read_request(folder), dict[str, str]()
    for name in steps.keys() & set(request["folders"]):
        try:
            steps[name](model_in(request["architecture"], request["precision"]))
        except Exception as error:  # a fault in one format costs only its own rows
            missing[name] = str(error) if isinstance(error, SwiftExportError) else error_line(error)
    write_answer(folder, missing)


def _write_savedmodel(model: Model, folder: Path) -> None:
    if find_spec("tensorflow") is None:
        raise UsageError("TensorFlow is not installed")
    from swift_export.lowering.savedmodel import write_savedmodel

    write_savedmodel(model, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
