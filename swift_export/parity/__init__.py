"""Proves that artifacts compute the same as their model: inputs, tolerances, comparison, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift_export.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from swift_export.parity.checking import check_paths
    from swift_export.parity.checking import check_paths as check
    from swift_export.parity.diff import diff_artifacts
    from swift_export.parity.report import report_files
    from swift_export.parity.results import ParityReport

_HOMES = {
    "ParityReport": "results",
    "check": "checking:check_paths",
    "check_paths": "checking",
    "diff_artifacts": "diff",
    "report_files": "report",
}

__all__ = ["ParityReport", "check", "check_paths", "diff_artifacts", "report_files"]

__getattr__ = lazy_names(__name__, _HOMES)
