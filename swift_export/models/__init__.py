"""Models: what is exported. Only this package knows a model in particular; every other one takes a `Model`."""

from __future__ import annotations

from swift_export.models.model import Card, CheckInput, Model, Procedure
from swift_export.models.provenance import Provenance

__all__ = ["Card", "CheckInput", "Model", "Procedure", "Provenance"]
