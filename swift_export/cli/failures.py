"""The report of an error: one line, and the exit status."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from swift_export.errors import SwiftExportError
from swift_export.system.disk import disk_is_full
from swift_export.system.text import shown

if TYPE_CHECKING:
    import typer

__all__ = ["DEBUG", "PROGRAM", "describe"]

PROGRAM = "swift-export"
#: If this environment variable is set, every error shows its traceback.
DEBUG = "SWIFT_EXPORT_DEBUG"


def describe(error: Exception) -> tuple[str, int]:
    """The message and the exit status: 2 for bad usage and bad input, 1 for failures of the machine or the program."""
    import typer

    match error:
        case SwiftExportError():
            return str(error), error.exit_status
        case typer.TyperException():
            return f"{_words(error)} (see {_help_of(error)})", error.exit_code
        case OSError() if error.errno == errno.ENAMETOOLONG:
            return f"{error.filename}: the name is too long for the file system", 2
        case OSError():
            words = "the disk is full" if disk_is_full(error) else error.strerror or str(error)
            return f"{error.filename}: {words}" if error.filename else words, 1
        case MemoryError():
            return "out of memory: try fewer frames, --batch 1 or a machine with more", 1
    reason = shown(f"{type(error).__name__}: {error}".splitlines()[0], 1000)
    return f"internal error ({reason}); {DEBUG}=1 shows the traceback, please report it", 1


def _words(error: typer.TyperException) -> str:
    # For an unknown option, like typer's hint for an unknown command; the nearest comes first.
    if similar := getattr(error, "possibilities", None):
        return f"{error.message}. Did you mean '{similar[0]}'?"
    # typer's errors from pydantic begin with "Value error, ".
    return error.format_message().replace("Value error, ", "")


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else PROGRAM} --help"
