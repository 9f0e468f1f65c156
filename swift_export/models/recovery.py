"""Restores models from an artifact's records: with their weights, or without, as far as the records describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swift_export.errors import ArchitectureError, ArtifactError, UsageError
from swift_export.formats.signature import Signature
from swift_export.models.drawing import RandomInputs
from swift_export.models.model import Card, CheckInput, Model, weights_digest
from swift_export.models.provenance import Provenance
from swift_export.models.swift.check_inputs import Phantom
from swift_export.models.swift.config import LOGITS, SwiFTConfig
from swift_export.models.swift.head import PROBE
from swift_export.models.swift.swift_model import read_settings, rebuild, swift_model
from swift_export.models.swift.weights import Weights, load_weights, synthetic_weights
from swift_export.scans.contract import InputContract
from swift_export.system.text import shown

__all__ = ["Original", "Recorded", "Source", "golden_input", "probe_in", "recorded_model", "source_again", "source_of"]


@dataclass(frozen=True)
class Recorded:
    """An artifact's records of its model; ``where`` is the artifact's name in messages.

    ``signature`` is None if this machine cannot read it; ``input`` is the input contract, None if it is not stated.
    ``probe`` is the file of the probe that is its head, None for any other head and for none.
    """

    variant: str
    architecture: Mapping[str, Any]
    settings: Mapping[str, Any]
    signature: Signature | None
    where: str
    input: InputContract | None = None
    probe: str | None = None

    @property
    def from_python(self) -> bool:
        """Whether the model comes from a Python program, which alone can make it again."""
        return self.swift is None

    @property
    def swift(self) -> SwiFTConfig | None:
        """The architecture of a SwiFT; None for another model. Raises ArtifactError for an invalid architecture."""
        if "embed_dim" not in self.architecture:
            return None
        try:
            return SwiFTConfig.from_hyper_parameters(self.architecture)
        except ArchitectureError as error:
            raise ArtifactError(f"{self.where}: {error}; export again") from None


@dataclass(frozen=True)
class Source:
    """Weights and their models: one for each set of settings recorded by an artifact.

    ``weights`` are SwiFT's, None for another model.
    """

    name: str
    digest: str
    make: Callable[[Recorded], Model]
    weights: Weights | None = None
    _made: dict[str, Model] = field(default_factory=dict)

    def digest_of(self, recorded: Recorded) -> str:
        """The digest of an artifact's weights if it was made from these: with the head, if it has one.

        Raises UsageError if it has a probe and these weights are given without, WeightsError for weights without a
        head.
        """
        if self.weights is None or recorded.settings.get("output_kind") != LOGITS:
            return self.digest
        if recorded.probe is not None and self.weights.probe is None:
            raise UsageError(
                f"{recorded.where}: expected the probe that is its head, {recorded.probe}; give it with --head"
            )
        return weights_digest(self.weights.with_head_tensors(self.weights.head()))

    def model(self, recorded: Recorded) -> Model:
        """The model of an artifact; raises ArtifactError if the settings do not belong to this model."""
        # Opset and target are settings of a file, not of the function in it.
        key = repr(
            sorted((name, value) for name, value in recorded.settings.items() if name not in ("opset", "target"))
        )
        if key not in self._made:
            self._made[key] = self.make(recorded)
        return self._made[key]


#: What artifacts were made from, in any form that a caller may have it.
Original = Model | Weights | Source


def source_of(given: Original) -> Source:
    """The caller's weights or model, to be checked against."""
    if isinstance(given, Source):
        return given
    if isinstance(given, Weights):
        weights = given
        return Source(
            weights.provenance.name,
            weights.digest,
            lambda recorded: swift_model(weights, read_settings(recorded.settings, weights.config, recorded.where)),
            weights,
        )
    model = given
    return Source(model.provenance.name, model.digest, lambda recorded: _as_recorded(model, recorded))


def _as_recorded(model: Model, recorded: Recorded) -> Model:
    """The model in the precision of the artifact."""
    precision = recorded.settings.get("precision", "float32")
    if precision == model.settings.get("precision", "float32") or "precision" in model.settings:
        return model
    from swift_export.models.half_precision import in_precision

    return in_precision(model, str(precision))


def source_again(recorded: Recorded, kind: str, name: str, seed: int | None) -> Source | None:
    """The weights of an artifact, loaded again if possible; None for those of a Python program.

    Raises UsageError for weights that only the user can give.
    """
    config = recorded.swift
    if config is None:
        return None
    if seed is not None:
        return source_of(synthetic_weights(config, seed, recorded.variant))
    if kind == "published":
        return source_of(load_weights("auto", variant=recorded.variant))
    raise UsageError(f"{recorded.where}: expected the {kind} that it was made from, {name}; give it with --weights")


def probe_in(head: Any) -> str | None:
    """The file of a probe, from an artifact's record of its head; None for another head."""
    return shown(head.get("file")) if isinstance(head, Mapping) and head.get("name") == PROBE else None


def recorded_model(recorded: Recorded) -> Model:
    """The model as far as its artifact describes it: inputs, outputs and check inputs. It cannot be computed.

    Raises ArtifactError for records in another form than an export's.
    """
    if (config := recorded.swift) is not None:
        settings = read_settings(recorded.settings, config, recorded.where)
        arguments = {"config": config.to_dict(), "settings": settings.to_dict()}
        return rebuild(arguments, {})
    if recorded.signature is None:
        raise ArtifactError(
            f"{recorded.where}: its signature needs TensorFlow to be read: install the extra savedmodel"
        )
    return Model(
        name=recorded.variant,
        forward=_cannot_compute,
        weights={},
        inputs=recorded.signature.inputs,
        outputs=tuple(spec.name for spec in recorded.signature.outputs),
        provenance=Provenance("recorded", recorded.variant),
        card=Card(recorded.variant, recorded.architecture),
        settings=recorded.settings,
        check_inputs=(RandomInputs(recorded.signature.inputs),),
    )


def golden_input(
    recorded: Recorded, kind: str, seed: int, frames: int | None, ranges: Mapping[str, tuple[int, ...]]
) -> CheckInput:
    """The check input of golden outputs; raises ArtifactError for a recipe in another form than an export's."""
    where = recorded.where
    if seed < 0:
        raise ArtifactError(f"{where}: golden input: expected a seed of at least 0, found {seed}; export again")
    config = recorded.swift
    if config is not None and kind == Phantom.name and frames is not None:
        try:
            config.check_frames(frames)
        except ArchitectureError as error:
            raise ArtifactError(f"{where}: golden input: {error}; export again") from None
        return Phantom(config, frames, seed)
    if config is None and kind == RandomInputs.name and recorded.signature is not None:
        return RandomInputs(recorded.signature.inputs, _pairs(ranges), seed)
    expected = Phantom.name if config is not None else RandomInputs.name
    raise ArtifactError(
        f"{where}: golden input: expected a {expected} and its seed, found {kind[:80]!r}, seed {seed}; export again"
    )


def _pairs(ranges: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    return {name: (ends[0], ends[-1]) for name, ends in ranges.items() if ends}


def _cannot_compute(*_: Any) -> Any:
    raise UsageError("model: expected its function, found only an artifact's records; give the model")
