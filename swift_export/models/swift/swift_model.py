"""SwiFT as a `Model`: one exported function of one set of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from swift_export.errors import ArchitectureError, ArtifactError, UsageError
from swift_export.formats.metadata import ARCHITECTURE_KEY, HEAD_KEY, INPUT_KEY, WARNING_KEY
from swift_export.formats.signature import TensorSpec
from swift_export.models.model import Card, Model, Procedure, terms_name
from swift_export.models.provenance import SYNTHETIC_WARNING, Provenance
from swift_export.models.swift.brain_slice import BrainSlice
from swift_export.models.swift.check_inputs import INPUT, Phantom, standard_inputs
from swift_export.models.swift.config import LOGITS, SwiFTConfig
from swift_export.models.swift.forms import by_name, choose_forms, forms_text
from swift_export.models.swift.places import outline, place_names
from swift_export.models.swift.precision import element_types, half_type
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.variants import CITATION, COPYRIGHT, CUSTOM, LICENCE, VARIANTS
from swift_export.models.swift.weights.weights import Weights
from swift_export.system.text import shown

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = ["read_settings", "rebuild", "swift_model"]


def swift_model(weights: Weights, settings: SwiFTSettings | None = None) -> Model:
    """The model for export, with input ``bold`` and the outputs chosen by ``settings``.

    Its reference is the backbone as defined, with every mask. The exported function omits masks if the weights prove
    that they cannot affect the result. Raises UsageError or ArchitectureError for settings that the architecture does
    not allow, WeightsError if the outputs are those of a head and the weights have none.
    """
    settings = settings or SwiFTSettings()
    config, contract = weights.config, weights.contract
    settings.check(config)
    head = weights.head() if settings.output_kind == LOGITS else None
    chosen = choose_forms(config, weights.tensors, settings)
    forms = {place: block.form for place, block in chosen.items()}
    text = forms_text(chosen)
    # Facts common to all published models do not hold for a model of another shape.
    published = any(config == variant.config for variant in VARIANTS.values())
    known = published or contract.placement is not None
    essentials = {
        ARCHITECTURE_KEY: json.dumps(config.to_dict(), sort_keys=True),
        "swift_export.attention": text,
        "swift_export.input_contract": contract.text,
        INPUT_KEY: json.dumps(contract.to_dict(), sort_keys=True),
    }
    if weights.provenance.synthetic:
        essentials[WARNING_KEY] = SYNTHETIC_WARNING
    provenance, details = weights.provenance, {"attention": json.loads(text)}
    description = "SwiFT backbone, 4D Swin transformer for fMRI (arXiv:2307.05916)"
    if head is not None:
        essentials[HEAD_KEY] = json.dumps(head.to_dict(), sort_keys=True)
        provenance, details = provenance.keeping(head.tensors), details | {"head": head.to_dict()}
        description = f"SwiFT, 4D Swin transformer for fMRI (arXiv:2307.05916), with a head: {head.facts.text}"
    graph = {
        "config": config.to_dict(),
        "frames": settings.frames,
        "forms": {name: block.form for name, block in by_name(chosen).items()},
    }
    files = weights.with_head_tensors(head)
    return Model(
        name=f"swift-{weights.variant}",
        forward=_forward(config, settings, forms),
        weights=files,
        inputs=_inputs(config, settings),
        outputs=settings.outputs,
        provenance=provenance,
        card=Card(
            variant=weights.variant,
            architecture=config.to_dict(),
            licence=LICENCE,
            copyright=COPYRIGHT,
            citation=CITATION,
            description=description,
            input=contract,
            input_text=contract.text if known else None,
        ),
        essentials=essentials,
        settings=settings.to_dict(),
        stored=_stored(files, settings),
        details=details,
        packages=("equinox",),
        reference=_reference(config, settings),
        rebuild=Procedure(__name__, {"config": config.to_dict(), "settings": settings.to_dict()}),
        places=place_names(config, settings.output_kind),
        outline=outline(config, settings.output_kind),
        painter=BrainSlice(config),
        check_inputs=standard_inputs(config, settings.frames),
        batched=True,
        golden=Phantom.name,
        sums=_sums(settings),
        structure=Procedure("swift_export.models.swift.structure.examine", graph),
    )


def rebuild(arguments: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Model:
    """The reference of a model that `swift_model` made, in a process that computes it."""
    config = SwiFTConfig.from_hyper_parameters(arguments["config"])
    settings = SwiFTSettings.from_dict(arguments["settings"])
    return Model(
        name="swift",
        forward=_reference(config, settings),
        weights=weights,
        inputs=_inputs(config, settings),
        outputs=settings.outputs,
        provenance=Provenance("rebuilt", "swift"),
        card=Card(CUSTOM, config.to_dict()),
        settings=settings.to_dict(),
        places=place_names(config, settings.output_kind),
        check_inputs=standard_inputs(config, settings.frames),
        batched=True,
        golden=Phantom.name,
    )


def read_settings(recorded: Any, config: SwiFTConfig, where: object) -> SwiFTSettings:
    """The settings recorded by a manifest or a file; raises ArtifactError for settings that no export has."""
    try:
        settings = SwiFTSettings.from_dict(recorded)
        settings.check(config)
    except (KeyError, TypeError, ArchitectureError, UsageError) as error:
        raise ArtifactError(f"{where}: records settings that no export has ({shown(error)}); export again") from None
    return settings


def _inputs(config: SwiFTConfig, settings: SwiFTSettings) -> tuple[TensorSpec, ...]:
    batch = "batch" if settings.batch is None else settings.batch
    return (TensorSpec(INPUT, settings.io_dtype, (batch, *settings.input_shape(config))),)


def _stored(tensors: Mapping[str, np.ndarray], settings: SwiFTSettings) -> dict[str, str]:
    types = element_types(tensors, settings.precision)
    return {name: kind for name, kind in types.items() if kind != "float32"}


def _sums(settings: SwiFTSettings) -> tuple[str, ...]:
    return tuple(name for name in settings.outputs if name == LOGITS)


def _reference(config: SwiFTConfig, settings: SwiFTSettings) -> Any:
    """The backbone as defined, in float32 and with every mask, and the sizes of the terms of `_sums`."""
    settings = replace(settings, precision="float32")
    if not _sums(settings):
        return _forward(config, settings, None)

    def forward(weights: Mapping[str, Array], bold: Float[Array, "batch in H W D T"]) -> dict[str, Array]:
        from swift_export.models.swift.backbone.swift import SwiFT

        backbone, wanted = SwiFT(config, weights), dict.fromkeys((*settings.outputs, "features"))
        found = backbone.named_outputs(bold.astype("float32"), list(wanted), settings.output_kind)
        terms = backbone.head_terms(found["features"])
        return _outputs(found, settings) | {terms_name(LOGITS): terms}

    return forward


def _forward(config: SwiFTConfig, settings: SwiFTSettings, forms: Mapping[tuple[int, int], str] | None) -> Any:
    def forward(weights: Mapping[str, Array], bold: Float[Array, "batch in H W D T"]) -> dict[str, Array]:
        from swift_export.models.swift.backbone.swift import SwiFT  # jax takes seconds to import

        backbone = SwiFT(config, weights, settings.precision)
        clips = bold.astype(half_type(settings.precision) or "float32")
        return _outputs(backbone.named_outputs(clips, settings.outputs, settings.output_kind, forms), settings)

    return forward


def _outputs(found: Mapping[str, Array], settings: SwiFTSettings) -> dict[str, Array]:
    return {name: value.astype(settings.io_dtype) for name, value in found.items()}
