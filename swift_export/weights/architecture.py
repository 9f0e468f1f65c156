"""Which architecture a file's hyper-parameters describe, with or without a published variant to hold them against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from swift_export.backbone.config import SwiFTConfig
from swift_export.errors import ArchitectureError, WeightsError
from swift_export.system.text import shown
from swift_export.variants import VARIANTS, Variant

__all__ = ["resolve_architecture"]


def resolve_architecture(
    values: Mapping[str, Any], variant: Variant | None, file: str
) -> tuple[SwiFTConfig, dict[str, Any]]:
    """The architecture, and the hyper-parameters that had to be assumed.

    What the file states decides. What it lacks (or states as null) is taken from the variant; where the two differ,
    WeightsError lists every hyper-parameter. Without a variant, the file must state all.
    Raises ArchitectureError, naming the file, for hyper-parameters that describe no backbone.
    """
    names = [field.name for field in fields(SwiFTConfig)]
    stated = {name: values[name] for name in names if values.get(name) is not None}
    lacking = [name for name in names if name not in stated]
    if lacking and variant is None:
        raise WeightsError(
            f"{file}: its hyper-parameters lack {', '.join(lacking)}; give --variant ({', '.join(VARIANTS)}) to "
            "take the published values, which will be recorded as assumed"
        )
    assumed = {name: getattr(variant.config, name) for name in lacking} if variant is not None else {}
    try:
        config = SwiFTConfig.from_hyper_parameters(stated | assumed)
    except ArchitectureError as error:
        raise ArchitectureError(f"{file}: {shown(str(error), 400)}") from None
    if variant is not None:
        differing = [
            f"{name} (file {getattr(config, name)}, variant {getattr(variant.config, name)})"
            for name in names
            if getattr(config, name) != getattr(variant.config, name)
        ]
        if differing:
            raise WeightsError(
                f"{file}: differs from --variant {variant.name} in {shown(', '.join(differing), 1000)}; "
                "leave --variant out to take what the file says"
            )
    return config, assumed
