"""Models to export. Only this package knows particular models; every other package takes a `Model`.

Names are imported on first use: the command line lists variants and must not wait for NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift_export.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from swift_export.models.from_python import as_model
    from swift_export.models.model import Card, CheckInput, Model, Procedure
    from swift_export.models.provenance import Provenance

_HOMES = {
    "Card": "model",
    "CheckInput": "model",
    "Model": "model",
    "Procedure": "model",
    "Provenance": "provenance",
    "as_model": "from_python",
}

__all__ = ["Card", "CheckInput", "Model", "Procedure", "Provenance", "as_model"]

__getattr__ = lazy_names(__name__, _HOMES)
