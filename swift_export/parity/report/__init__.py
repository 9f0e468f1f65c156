"""What a check found, for its readers: on the console, as parity.json, parity.md and parity.html."""

from __future__ import annotations

from swift_export.parity.report.data import SCHEMA_VERSION, to_json
from swift_export.parity.report.files import report_files
from swift_export.parity.report.markdown import table, to_markdown
from swift_export.parity.report.rows import COLUMNS, render, rows
from swift_export.parity.results import Checked, Comparison, ParityReport, RunTime, WeightsTag

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "Checked",
    "Comparison",
    "ParityReport",
    "RunTime",
    "WeightsTag",
    "render",
    "report_files",
    "rows",
    "table",
    "to_json",
    "to_markdown",
]
