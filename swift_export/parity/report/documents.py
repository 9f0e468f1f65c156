"""The report files of an artifact folder."""

from __future__ import annotations

from swift_export.artifacts.manifest import Manifest, Measurement
from swift_export.parity.report.data import to_json
from swift_export.parity.report.markdown import to_markdown
from swift_export.parity.report.page import to_html
from swift_export.parity.results import ParityReport

__all__ = ["carried_over", "report_files"]


def report_files(manifest: Manifest, report: ParityReport) -> dict[str, str]:
    """Texts by name: this check, and the ``manifest``'s records of other files and runtimes."""
    carried = carried_over(manifest, report)
    return {
        "parity.json": to_json(report, carried),
        "parity.md": to_markdown(report, carried),
        "parity.html": to_html(report, carried),
    }


def carried_over(manifest: Manifest, report: ParityReport) -> tuple[Measurement, ...]:
    """The manifest's records of files and runtimes, of any version, that are not in ``report``."""
    fresh = {(artifact.file, artifact.info.name) for artifact in report.artifacts}
    recorded = [measured for artifact in manifest.artifacts.values() for measured in artifact.parity or ()]
    return tuple(measured for measured in recorded if (measured.file, _name(measured.runtime)) not in fresh)


def _name(runtime: str) -> str:
    """A runtime without its version."""
    return runtime.rpartition(" ")[0]
