"""The family of errors that users see as a single line.

Every message states the file or op, the expected and the found value, and what to do.
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
    """Hyper-parameters that do not describe a SwiFT backbone."""


class ArtifactError(SwiftExportError):
    """An artifact is missing, damaged, tampered with or of a newer schema."""


class WeightsError(SwiftExportError):
    """A checkpoint or bundle is unreadable, unsafe, incomplete or of another architecture."""


class InputError(SwiftExportError):
    """A scan or clip does not meet the model's input contract."""


class LoweringError(SwiftExportError):
    """An op, attribute or type that a lowering cannot translate exactly."""


class CheckFailed(SwiftExportError):  # noqa: N818 - an outcome, not a fault of the program
    """The results of an artifact differ from the reference."""

    exit_status = 1


class MachineError(SwiftExportError):
    """A failure of the machine: a full disk, a crashed runtime, an absent device."""

    exit_status = 1
