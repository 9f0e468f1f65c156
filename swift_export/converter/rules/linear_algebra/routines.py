"""LAPACK's routines by the names of jaxlib's custom calls, and their options."""

from __future__ import annotations

import re
from typing import Any

from swift_export.converter.frame import Frame

__all__ = ["lapack_routine", "letters", "note_free_signs"]

_FREE_SIGNS = (
    "eigenvectors and singular vectors may have other signs than JAX's, and other bases for equal values: "
    "compare what does not depend on them"
)


def lapack_routine(target: str) -> str | None:
    """The routine that a custom call names, like ``sgeev``; None if the call is not one of LAPACK's."""
    found = re.fullmatch(r"lapack_([a-z0-9]+?)(_ffi)?", target)
    return found.group(1) if found else None


def letters(frame: Frame, op: Any, **options: str) -> dict[str, str]:
    """The values of a call's options, which are LAPACK's letters; each must be one of those listed."""
    config = op.attributes["mhlo.backend_config"]
    found = {}
    for name, allowed in options.items():
        found[name] = chr(config[name].value)
        if found[name] not in allowed:
            raise frame.error(op, f"{name} = {found[name]!r}: expected one of {', '.join(allowed)}")
    return found


def note_free_signs(frame: Frame) -> None:
    """Note once that vectors are only determined up to their signs."""
    if _FREE_SIGNS not in frame.builder.notes:
        frame.builder.notes.append(_FREE_SIGNS)
