"""Export JAX models to StableHLO, SavedModel and ONNX, and prove that the files compute the same as the model.

This module offers the commands as functions. Names are imported on first use, because jax and TensorFlow take seconds.
"""

from __future__ import annotations

from swift_export._version import __version__
from swift_export.system.lazy_names import lazy_names

# As in typing, whose import is most of this module's: `swift-export` cannot handle an interrupt before it is done.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from swift_export.conversion import convert
    from swift_export.converter import stablehlo_to_onnx, tf2onnx_handlers
    from swift_export.errors import SwiftExportError
    from swift_export.exporting import export, to_onnx
    from swift_export.exporting_swift import export_onnx, export_savedmodel, export_stablehlo, load_backbone
    from swift_export.features.feature_run import run
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.config import SwiFTConfig
    from swift_export.models.swift.scan_functions import open_scan, prepare
    from swift_export.models.swift.weights import load_weights
    from swift_export.parity import check
    from swift_export.quantizing import quantize
    from swift_export.scans.plausibility import ScanWarning
    from swift_export.serving.server import serve

_HOMES = {
    "ScanWarning": "scans.plausibility",
    "SwiFT": "models.swift.backbone.swift",
    "SwiFTConfig": "models.swift.config",
    "SwiftExportError": "errors",
    "check": "parity",
    "convert": "conversion",
    "export": "exporting",
    "export_onnx": "exporting_swift",
    "export_savedmodel": "exporting_swift",
    "export_stablehlo": "exporting_swift",
    "load_backbone": "exporting_swift",
    "load_weights": "models.swift.weights",
    "open_scan": "models.swift.scan_functions",
    "prepare": "models.swift.scan_functions",
    "quantize": "quantizing",
    "run": "features.feature_run",
    "serve": "serving.server",
    "stablehlo_to_onnx": "converter",
    "tf2onnx_handlers": "converter",
    "to_onnx": "exporting",
}

__all__ = [
    "ScanWarning",
    "SwiFT",
    "SwiFTConfig",
    "SwiftExportError",
    "__version__",
    "check",
    "convert",
    "export",
    "export_onnx",
    "export_savedmodel",
    "export_stablehlo",
    "load_backbone",
    "load_weights",
    "open_scan",
    "prepare",
    "quantize",
    "run",
    "serve",
    "stablehlo_to_onnx",
    "tf2onnx_handlers",
    "to_onnx",
]

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
