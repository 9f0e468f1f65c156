"""Weights of a SwiFT backbone: from checkpoints, bundles, downloads or a random generator; written as bundles."""

from __future__ import annotations

from swift_export.models.swift.weights.bundle_writer import write_bundle
from swift_export.models.swift.weights.source import load_weights
from swift_export.models.swift.weights.synthetic import synthetic_weights
from swift_export.models.swift.weights.weights import Provenance, Weights

__all__ = ["Provenance", "Weights", "load_weights", "synthetic_weights", "write_bundle"]
