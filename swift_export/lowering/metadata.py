"""The essentials of a model, which are stored in every file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from swift_export._version import __version__
from swift_export.formats.metadata import SETTINGS_KEY, SIGNATURE_KEY, VARIANT_KEY, VERSION_KEY, WEIGHTS_KEY
from swift_export.formats.signature import Signature, TensorSpec
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.models import Model
from swift_export.system.plain_data import encode

__all__ = ["essentials"]


def essentials(model: Model, onnx: OnnxSettings, outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """The essentials as text by name, identical for the same weights, versions and settings.

    ``outputs`` are the lowered module's; with the inputs they provide the names that StableHLO files do not have.
    """
    card = model.card
    facts = {
        VERSION_KEY: __version__,
        VARIANT_KEY: card.variant,
        "swift_export.weights_kind": model.provenance.kind,
        WEIGHTS_KEY: model.digest,
        SETTINGS_KEY: json.dumps({**model.settings, **onnx.to_dict()}, sort_keys=True),
        SIGNATURE_KEY: json.dumps(encode(Signature(model.inputs, tuple(outputs))), sort_keys=True),
        **model.essentials,
    }
    credits = {"licence": card.licence, "copyright": card.copyright, "citation": card.citation}
    return facts | {name: text for name, text in credits.items() if text is not None}
