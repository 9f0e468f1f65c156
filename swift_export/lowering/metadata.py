"""What travels inside every file: which model, from which weights, under which licence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from swift_export._version import __version__
from swift_export.lowering.settings import ExportSettings
from swift_export.models.swift.forms import Forms, forms_text
from swift_export.models.swift.variants import CITATION, COPYRIGHT, LICENCE

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["SYNTHETIC_WARNING", "essentials"]

SYNTHETIC_WARNING = "synthetic weights: the features mean nothing"


def essentials(weights: Weights, settings: ExportSettings, forms: Forms) -> dict[str, str]:
    """The manifest's essentials as text by name: the same for the same weights, versions and settings."""
    facts = {
        "swift_export.version": __version__,
        "swift_export.variant": weights.variant,
        "swift_export.architecture": json.dumps(weights.config.to_dict(), sort_keys=True),
        "swift_export.weights_kind": weights.provenance.kind,
        "swift_export.weights_sha256": weights.digest,
        "swift_export.settings": json.dumps(settings.to_dict(), sort_keys=True),
        "swift_export.attention": forms_text(forms),
        "swift_export.input_contract": weights.contract.text,
        "swift_export.input": json.dumps(weights.contract.to_dict(), sort_keys=True),
        "licence": LICENCE,
        "copyright": COPYRIGHT,
        "citation": CITATION,
    }
    if weights.provenance.synthetic:
        facts["swift_export.warning"] = SYNTHETIC_WARNING
    return facts
