"""A report as data: parity.json, described by parity.schema.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift_export.artifacts.manifest import Measurement
from swift_export.parity.measure.compare import Difference
from swift_export.parity.report.figures import TOOL
from swift_export.parity.results import Checked, Comparison, Fault, ParityReport
from swift_export.system.plain_data import dumps

if TYPE_CHECKING:
    from swift_export.parity.converted import ConvertedReport
    from swift_export.parity.diff import DiffReport

__all__ = ["SCHEMA_VERSION", "converted_to_dict", "diff_to_dict", "read_schema", "to_dict", "to_json"]

#: The version of parity.json. 2: one entry per file and runtime, with cosine similarity, worst element, blocks and
#: fault. 3: sizes of every unknown dimension.
SCHEMA_VERSION = 3


def read_schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of the current version."""
    text = files(__package__).joinpath("parity.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def to_json(report: ParityReport, carried: Sequence[Measurement] = ()) -> str:
    """The text of parity.json; ``carried`` are still valid measurements of earlier checks.

    Numbers that are not finite are null. Pictures are described, without their pixels.
    """
    return dumps(to_dict(report, carried))


def to_dict(report: ParityReport, carried: Sequence[Measurement] = ()) -> dict[str, Any]:
    """The contents of parity.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": TOOL,
        "device": report.device,
        "reference": asdict(report.reference),
        "inputs": list(report.inputs),
        "passed": report.passed,
        "failures": report.failures,
        "artifacts": [_artifact(artifact) for artifact in report.artifacts],
        "broken": [asdict(broken) | {"root": Path(broken.root).name} for broken in report.broken],
        "notes": list(report.notes),
        "earlier_measurements": [_earlier(measurement) for measurement in carried],
    }


def diff_to_dict(report: DiffReport) -> dict[str, Any]:
    """The measurements of a comparison of two artifacts, with figures as in parity.json."""
    return {
        "same_weights": report.same_weights,
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "first_info": asdict(pair.first_info),
                "second_info": asdict(pair.second_info),
                "comparisons": [_comparison(comparison) for comparison in pair.comparisons],
            }
            for pair in report.pairs
        ],
    }


def converted_to_dict(report: ConvertedReport) -> dict[str, Any]:
    """The measurements of a conversion's check, with figures as in parity.json."""
    return {
        "runtime": report.runtime,
        "reference": report.reference,
        "comparisons": [
            {
                "output": compared.output,
                "sizes": dict(compared.sizes),
                **_difference(compared.difference),
                "allowed": asdict(compared.allowed),
                "passed": compared.passed,
            }
            for compared in report.compared
        ],
    }


def _artifact(artifact: Checked) -> dict[str, Any]:
    picture = artifact.picture
    return {
        # Only the folder's name: a report may be copied, and must not reveal paths of the machine.
        "root": Path(artifact.root).name,
        "file": artifact.file,
        "weights": asdict(artifact.weights),
        "info": asdict(artifact.info),
        "load_s": artifact.load_s,
        "peak_bytes": artifact.peak_bytes,
        "passed": artifact.passed,
        "times": [{"batch": time.sizes.get("batch"), **asdict(time)} for time in artifact.times],
        "comparisons": [_comparison(comparison) for comparison in artifact.comparisons],
        "settings": [asdict(setting) for setting in artifact.settings],
        "blocks": [{"block": block.block, **_difference(block.difference)} for block in artifact.blocks],
        "fault": None if artifact.fault is None else _fault(artifact.fault),
        "picture": None if picture is None else {"input": picture.input, "value": picture.value},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "input": comparison.input,
        "batch": comparison.sizes.get("batch"),
        "sizes": dict(comparison.sizes),
        "output": comparison.output,
        **_difference(comparison.difference),
        "allowed": asdict(comparison.allowed),
        "passed": comparison.passed,
    }


def _fault(fault: Fault) -> dict[str, Any]:
    return {
        "place": fault.place,
        "block": fault.block,
        "before": fault.before,
        "input": fault.input,
        "batch": fault.sizes.get("batch"),
        "sizes": dict(fault.sizes),
        **_difference(fault.difference),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    worst = difference.worst
    return {
        "relative_l2": _finite(difference.relative_l2),
        "relative_max": _finite(difference.relative_max),
        "cosine": _finite(difference.cosine),
        "worst": None
        if worst is None
        else {"index": worst.index, "expected": _finite(worst.expected), "found": _finite(worst.found)},
        "non_finite": difference.non_finite,
        "mismatch": difference.mismatch,
    }


def _earlier(measurement: Measurement) -> dict[str, Any]:
    figures = {"relative_l2": _finite(measurement.relative_l2), "relative_max": _finite(measurement.relative_max)}
    return asdict(measurement) | figures


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
