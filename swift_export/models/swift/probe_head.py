"""A probe as the head of a backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from swift_export.errors import WeightsError
from swift_export.formats.probe_file import read_probe
from swift_export.models.swift.head import PROBE, Head
from swift_export.models.swift.head_facts import HeadFacts
from swift_export.models.swift.weights import Weights
from swift_export.models.swift.weights.file_digests import file_digests
from swift_export.models.swift.weights.mapping import as_float32
from swift_export.system.text import shown

__all__ = ["with_probe"]

#: The fact of a probe that identifies the weights whose embeddings it was fitted to.
FITTED_WEIGHTS = "weights_sha256"
#: The placement of the scans that it was fitted to; the exported file states that of the scans to come.
FITTED_PLACEMENT = "placement"


def with_probe(weights: Weights, path: Path) -> Weights:
    """The weights with the probe in a file as their head.

    The standardisation becomes part of the linear layer, computed in float64. Raises WeightsError for another kind of
    file, and for a probe that was fitted to embeddings of another length or of other weights.
    """
    probe, name = read_probe(path), shown(path, 4096)
    channels = probe.weight.shape[1]
    if channels != weights.config.out_dim:
        raise WeightsError(
            f"{name}: expected a probe of the {weights.config.out_dim} channels of {weights.provenance.name}, found "
            f"{channels}; fit it to embeddings of these weights"
        )
    fitted = probe.fitted_to.get(FITTED_WEIGHTS)
    if fitted not in (None, weights.digest):
        raise WeightsError(
            f"{name}: expected a probe of weights {weights.digest[:16]}... ({weights.provenance.name}), found one of "
            f"{shown(fitted, 16)}...; fit it to embeddings of these weights"
        )
    placement, own = probe.fitted_to.get(FITTED_PLACEMENT), weights.contract.placement
    if placement is not None and own is not None and placement != own:
        raise WeightsError(
            f"{name}: expected a probe of embeddings with placement {own}, found one with {shown(placement, 40)}; give "
            f"--placement {shown(placement, 40)}"
        )
    weight, bias = (as_float32(array) for array in probe.folded())
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise WeightsError(f"{name}: expected a scale that float32 can divide by, found a smaller one; fit it again")
    tensors = {f"{PROBE}.head.bias": bias, f"{PROBE}.head.weight": weight}
    facts = HeadFacts(probe.kind, probe.target, probe.classes)
    origin = {
        "file": shown(path.name),
        "sha256": file_digests(path).sha256,
        "fitted_to": dict(probe.fitted_to),
        "made_by": dict(probe.made_by),
    }
    return replace(weights, probe=Head(tensors, facts, origin))
