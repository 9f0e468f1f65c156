"""Reports of a check: on the console, and as parity.json, parity.md and parity.html."""

from __future__ import annotations

from swift_export.parity.report.data import (
    SCHEMA_VERSION,
    converted_to_dict,
    diff_to_dict,
    read_schema,
    to_dict,
    to_json,
)
from swift_export.parity.report.documents import report_files
from swift_export.parity.report.markdown import table, to_markdown
from swift_export.parity.report.page import to_html
from swift_export.parity.report.rows import COLUMNS, render, rows
from swift_export.parity.report.verdict import Verdict, judge

__all__ = [
    "COLUMNS",
    "SCHEMA_VERSION",
    "Verdict",
    "converted_to_dict",
    "diff_to_dict",
    "judge",
    "read_schema",
    "render",
    "report_files",
    "rows",
    "table",
    "to_dict",
    "to_html",
    "to_json",
    "to_markdown",
]
