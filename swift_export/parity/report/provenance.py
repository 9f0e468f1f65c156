"""Where a report's numbers come from: who computed, on what, and what was allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import Checked, ParityReport, WeightsTag
from swift_export.runtimes.base import RuntimeInfo

__all__ = ["allowances", "computers", "facts", "settings_read", "weights_tags"]


def weights_tags(report: ParityReport) -> list[WeightsTag]:
    """The weights of all artifacts, each once."""
    return list(dict.fromkeys(artifact.weights for artifact in report.artifacts))


def computers(report: ParityReport) -> list[RuntimeInfo]:
    """The reference, then every runtime, each once."""
    infos = (report.reference, *(artifact.info for artifact in report.artifacts))
    return list({repr(info): info for info in infos}.values())


def allowances(report: ParityReport) -> list[tuple[str, Tolerance]]:
    """What is allowed, by the arithmetic that it is for, each once."""
    return list(dict.fromkeys((a.info.arithmetic, c.allowed) for a in report.artifacts for c in a.comparisons))


def facts(described: Mapping[str, Any]) -> dict[str, str]:
    """What is known of an input, as text."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}


def settings_read(artifact: Checked) -> str:
    """How many settings were read from a file, and whether they hold."""
    if not artifact.settings:
        return "none read"
    wrong, count = len(artifact.wrong_settings), len(artifact.settings)
    return f"{wrong} of {count} are wrong" if wrong else f"all {count} as they should be"
