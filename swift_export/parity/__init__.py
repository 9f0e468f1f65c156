"""The proof that every artifact computes what the backbone computes: inputs, tolerances, comparison, reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swift_export.parity.checking import check_paths
    from swift_export.parity.checking import check_paths as check
    from swift_export.parity.diff import diff_artifacts
    from swift_export.parity.report import report_files
    from swift_export.parity.results import ParityReport

_HOMES = {
    "ParityReport": ("results", "ParityReport"),
    "check": ("checking", "check_paths"),
    "check_paths": ("checking", "check_paths"),
    "diff_artifacts": ("diff", "diff_artifacts"),
    "report_files": ("report", "report_files"),
}

__all__ = ["ParityReport", "check", "check_paths", "diff_artifacts", "report_files"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
