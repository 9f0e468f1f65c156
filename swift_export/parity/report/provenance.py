"""The provenance of a report's numbers: runtimes, devices and tolerances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Checked, ParityReport, WeightsTag
from swift_export.runtimes.base import RuntimeInfo

__all__ = ["allowances", "computers", "facts", "settings_read", "weights_tags"]


def weights_tags(report: ParityReport) -> list[WeightsTag]:
    """The weights of all artifacts, without repetition."""
    return list(dict.fromkeys(artifact.weights for artifact in report.artifacts))


def computers(report: ParityReport) -> list[RuntimeInfo]:
    """The reference, then every runtime, without repetition."""
    infos = (report.reference, *(artifact.info for artifact in report.artifacts))
    return list({repr(info): info for info in infos}.values())


def allowances(report: ParityReport) -> list[tuple[str, Tolerance]]:
    """The tolerances by arithmetic, without repetition."""
    return list(dict.fromkeys((a.info.arithmetic, c.allowed) for a in report.artifacts for c in a.comparisons))


def facts(described: Mapping[str, Any]) -> dict[str, str]:
    """The known facts about an input, as text."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}


def settings_read(artifact: Checked) -> str:
    """The number of settings read from a file, and whether they are correct."""
    if not artifact.settings:
        return "none read"
    wrong, count = len(artifact.wrong_settings), len(artifact.settings)
    return f"{wrong} of {count} are wrong" if wrong else f"all {count} are correct"
