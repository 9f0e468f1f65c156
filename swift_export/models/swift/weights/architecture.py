"""The architecture described by the hyper-parameters of a file, optionally compared with a published variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from swift_export.errors import ArchitectureError, WeightsError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.variants import VARIANTS, Variant
from swift_export.models.swift.weights.weights import Training
from swift_export.scans.contract import MAX_STRIDE
from swift_export.system.text import shown

__all__ = ["read_training", "resolve_architecture"]


def resolve_architecture(
    values: Mapping[str, Any], variant: Variant | None, file: str
) -> tuple[SwiFTConfig, dict[str, Any]]:
    """The architecture, and the hyper-parameters that were assumed.

    The values in the file have priority. Missing (or null) values come from the variant. Without a variant, the file
    must state all.

    Raises:
        WeightsError: values are missing, or file and variant differ; the message lists each hyper-parameter.
        ArchitectureError: the hyper-parameters do not describe a backbone; the message names the file.

    """
    names = [field.name for field in fields(SwiFTConfig)]
    stated = {name: values[name] for name in names if values.get(name) is not None}
    lacking = [name for name in names if name not in stated]
    if lacking and variant is None:
        raise WeightsError(
            f"{file}: its hyper-parameters lack {', '.join(lacking)}; give --variant ({', '.join(VARIANTS)}) to "
            "use the published values, which are then recorded as assumed"
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
                "omit --variant to use the values in the file"
            )
    return config, assumed


def read_training(values: Mapping[str, Any], file: str) -> Training:
    """The properties of the training clips that the hyper-parameters state.

    Raises WeightsError for a model with ``with_voxel_norm``, which adds two volumes to each clip: this tool cannot
    prepare such clips.
    """
    if values.get("with_voxel_norm") not in (None, False):
        raise WeightsError(
            f"{file}: expected a model trained without with_voxel_norm, found {shown(values['with_voxel_norm'])}; its "
            "clips contain the mean and deviation of each voxel, which this tool does not prepare"
        )
    stride, dataset = values.get("stride_within_seq"), values.get("dataset_name")
    stride = 1 if stride is None else stride
    if isinstance(stride, float) and stride.is_integer():
        stride = int(stride)
    if isinstance(stride, bool) or not isinstance(stride, int) or not 1 <= stride <= MAX_STRIDE:
        raise WeightsError(f"{file}: stride_within_seq: expected 1 to {MAX_STRIDE} frames, found {shown(stride)}")
    return Training(shown(dataset, 60) if isinstance(dataset, str) else None, stride)
