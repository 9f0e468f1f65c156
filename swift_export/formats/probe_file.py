"""Probes in files: a linear layer on standardised embeddings, and what it predicts.

A safetensors file with ``weight`` (outputs, channels), ``bias`` (outputs), ``mean`` and ``scale`` (channels), float32.
The outputs are ``weight @ ((x - mean) / scale) + bias``. The header's entry ``swift_export.probe`` describes them:

    {"version": 1, "kind": "classification", "target": "sex", "classes": ["F", "M"], ...}

With two classes, there is one output, the logit of the second. ``fitted_to`` states whose embeddings were used, as far
as known, and ``made_by`` the versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from swift_export.errors import WeightsError
from swift_export.formats.tensor_file import TensorOnDisk, open_tensors
from swift_export.system.text import listed, shape_text, shown

__all__ = ["PROBE_KINDS", "Probe", "read_probe", "write_probe"]

PROBE_KINDS = ("classification", "regression")
VERSION = 1
MAX_OUTPUTS, MAX_CHANNELS = 4096, 2**16

_KEY = "swift_export.probe"
_TENSORS = ("bias", "mean", "scale", "weight")


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe; ``fitted_to`` and ``made_by`` are plain data for JSON."""

    weight: Float32[np.ndarray, "outputs channels"]
    bias: Float32[np.ndarray, " outputs"]
    mean: Float32[np.ndarray, " channels"]
    scale: Float32[np.ndarray, " channels"]
    kind: str
    target: str
    classes: tuple[str, ...] = ()
    fitted_to: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def folded(self) -> tuple[Float64[np.ndarray, "outputs channels"], Float64[np.ndarray, " outputs"]]:
        """Weight and bias of one linear layer on embeddings as they are."""
        weight = self.weight.astype(np.float64) / self.scale
        return weight, self.bias - weight @ self.mean.astype(np.float64)

    def outputs(self, embeddings: Float64[np.ndarray, "rows channels"]) -> Float64[np.ndarray, "rows outputs"]:
        """The outputs for embeddings, in float64."""
        weight, bias = self.folded()
        made: np.ndarray = embeddings @ weight.T + bias
        return made


def write_probe(probe: Probe, path: Path) -> None:
    """Write a probe; the same probe gives the same bytes."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(getattr(probe, name), np.float32) for name in _TENSORS}
    about = {
        "version": VERSION,
        "kind": probe.kind,
        "target": probe.target,
        "classes": list(probe.classes),
        "fitted_to": dict(probe.fitted_to),
        "made_by": dict(probe.made_by),
    }
    path.write_bytes(save(arrays, metadata={_KEY: json.dumps(about, sort_keys=True, allow_nan=False)}))


def read_probe(path: Path) -> Probe:
    """Read a probe; raises WeightsError for a file of another kind, a damaged one, or values that are not finite."""
    name = shown(path, 4096)
    if not path.is_file():
        raise WeightsError(f"{name}: expected a probe, found no such file; make one with: swift-export probe fit")
    opened = open_tensors(path)
    about = _about(opened.metadata.get(_KEY), name)
    tensors = _checked(opened.tensors, name)
    classes = tuple(about["classes"])
    outputs = len(tensors["weight"])
    expected = 1 if about["kind"] == "regression" or len(classes) == 2 else len(classes)
    if outputs != expected:
        raise WeightsError(
            f"{name}: expected {expected} outputs for its {about['kind']}, found {outputs}; fit it again"
        )
    return Probe(
        **tensors,
        kind=about["kind"],
        target=about["target"],
        classes=classes,
        fitted_to=about["fitted_to"],
        made_by=about["made_by"],
    )


def _about(text: str | None, name: str) -> Mapping[str, Any]:
    if text is None:
        raise WeightsError(
            f"{name}: expected a probe, found a safetensors file without {_KEY} in its header; make one with: "
            "swift-export probe fit"
        )
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    forms = {"kind": str, "target": str, "classes": list, "fitted_to": dict, "made_by": dict}
    if not isinstance(about, dict) or type(about.get("version")) is not int:
        raise WeightsError(f"{name}: {_KEY}: expected what swift-export writes, found {shown(text)}; fit it again")
    if about["version"] > VERSION:
        raise WeightsError(
            f"{name}: expected a probe of version {VERSION}, found {about['version']}, written by a newer version: "
            "upgrade swift-export"
        )
    wrong = [key for key, form in forms.items() if not isinstance(about.get(key), form)]
    if not wrong:
        strings = all(isinstance(label, str) for label in about["classes"])
        counted = len(about["classes"]) >= 2 if about["kind"] == "classification" else not about["classes"]
        wrong = [] if strings and counted else ["classes"]
        wrong += [] if about["kind"] in PROBE_KINDS else ["kind"]
    if wrong:
        raise WeightsError(
            f"{name}: {_KEY}: expected {listed(wrong)} in the form that swift-export writes, found "
            f"{listed(shown(about.get(key)) for key in wrong)}; fit it again"
        )
    return about


def _checked(tensors: Mapping[str, TensorOnDisk], name: str) -> dict[str, np.ndarray]:
    outputs, channels = tensors["weight"].shape if "weight" in tensors and len(tensors["weight"].shape) == 2 else (0, 0)
    shapes = {"bias": (outputs,), "mean": (channels,), "scale": (channels,), "weight": (outputs, channels)}
    sized = 1 <= outputs <= MAX_OUTPUTS and 1 <= channels <= MAX_CHANNELS
    found = {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
    if not sized or found != {key: ("float32", shape) for key, shape in shapes.items()}:
        described = listed(f"{shown(key)} {shown(kind)} {shape_text(shape)}" for key, (kind, shape) in found.items())
        raise WeightsError(
            f"{name}: expected float32 weight (outputs, channels), bias, mean and scale, found {described or 'none'}; "
            "fit it again"
        )
    arrays = {key: tensor.read() for key, tensor in tensors.items()}
    wrong = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if wrong or not (arrays["scale"] > 0).all():
        raise WeightsError(
            f"{name}: expected finite values and a scale above 0, found others in {listed(wrong or ['scale'])}; fit it "
            "again"
        )
    return arrays
