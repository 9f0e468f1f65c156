"""The places of the essentials in each format, and their parsing. Light to import."""

from __future__ import annotations

import json

__all__ = [
    "ARCHITECTURE_KEY",
    "HEAD_KEY",
    "INPUT_KEY",
    "METADATA_ASSET",
    "METADATA_ATTRIBUTE",
    "PRECISION_KEY",
    "QUANTIZATION_KEY",
    "RESULT_NOTE",
    "SAVEDMODEL_FILE",
    "SETTINGS_KEY",
    "SIGNATURE",
    "SIGNATURE_KEY",
    "TAG",
    "VARIANT_KEY",
    "VERSION_KEY",
    "WARNING_KEY",
    "WEIGHTS_KEY",
    "XLA_CALL",
    "essentials_in",
]

#: The StableHLO modules' attribute with the essentials as JSON.
METADATA_ATTRIBUTE = "swift_export.metadata"
#: The SavedModels' asset with the essentials.
METADATA_ASSET = "swift_export.json"
#: The tag and the signature for serving a SavedModel.
TAG, SIGNATURE = "serve", "serving_default"
#: The essentials by name: the tool's version, the model's variant, its weights' digest, the settings and the
#: architecture as JSON, the input contract as JSON.
VERSION_KEY = "swift_export.version"
VARIANT_KEY = "swift_export.variant"
WEIGHTS_KEY = "swift_export.weights_sha256"
SETTINGS_KEY = "swift_export.settings"
ARCHITECTURE_KEY = "swift_export.architecture"
INPUT_KEY = "swift_export.input"
#: The essential that says that the outputs of synthetic weights mean nothing.
WARNING_KEY = "swift_export.warning"
#: The essential that says what the outputs of a head mean, as JSON.
HEAD_KEY = "swift_export.head"
#: The essential that names the precision of a file that is not float32.
PRECISION_KEY = "swift_export.precision"
#: The essential that says how integers took the place of float32 weights, as JSON.
QUANTIZATION_KEY = "swift_export.quantization"
#: The essential with the model's signature as JSON: StableHLO has no names of arguments and dimensions.
SIGNATURE_KEY = "swift_export.signature"
#: jax's attribute of a StableHLO function's results, with the place of each in the returned tree.
RESULT_NOTE = "jax.result_info"
#: The file that identifies a folder as a SavedModel.
SAVEDMODEL_FILE = "saved_model.pb"
#: TensorFlow's operator that contains StableHLO.
XLA_CALL = "XlaCallModule"


def essentials_in(text: str | bytes) -> dict[str, str]:
    """The essentials from a file's JSON; empty unless an export wrote them."""
    try:
        found = json.loads(text)
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    except (ValueError, RecursionError):
        return {}
