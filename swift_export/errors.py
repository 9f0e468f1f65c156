"""The one family of errors that a user sees as a single line.

Every message names the file or op, what was expected, what was found and what to do about it.
The command line prints the message and exits with ``exit_status``; nothing else of the family is shown.
"""

from __future__ import annotations

__all__ = [
    "ArchitectureError",
    "ArtifactError",
    "CheckFailed",
    "InputError",
    "LoweringError",
    "MachineError",
    "SwiftExportError",
    "UsageError",
    "WeightsError",
]


class SwiftExportError(Exception):
    """Base of all errors raised on purpose. ``exit_status`` follows the command line's contract."""

    exit_status = 2


class UsageError(SwiftExportError):
    """An option, a name or a combination of them that the tool does not accept."""


class ArchitectureError(SwiftExportError):
    """Hyper-parameters that describe no SwiFT backbone."""


class ArtifactError(SwiftExportError):
    """An artifact that is missing, damaged, tampered with or of a newer schema."""


class WeightsError(SwiftExportError):
    """A checkpoint or bundle that is unreadable, unsafe, incomplete or of another architecture."""


class InputError(SwiftExportError):
    """A scan or clip that does not meet the model's input contract."""


class LoweringError(SwiftExportError):
    """An op, attribute or type that a lowering cannot translate exactly."""


class CheckFailed(SwiftExportError):  # noqa: N818 - an outcome, not a fault of the program
    """An artifact does not compute what the reference computes."""

    exit_status = 1


class MachineError(SwiftExportError):
    """The machine could not do it: disk full, a runtime that crashed, a device that is absent."""

    exit_status = 1
