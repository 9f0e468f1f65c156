"""LAPACK's routines by the names of jaxlib's custom calls, and their options."""

from __future__ import annotations

import re
from typing import Any

from swift_export.converter import mlir
from swift_export.converter.frame import Frame

__all__ = ["calls", "is_complex", "is_read", "lapack_routine", "letters", "note", "note_free_signs"]

_FREE_SIGNS = (
    "eigenvectors and singular vectors may have other signs than JAX's, and other bases for equal values: "
    "compare what does not depend on them"
)


def calls(*names: str, types: str = "sdcz") -> list[str]:
    """The custom calls of routines for LAPACK's letters of types: float32, float64, and complex numbers of these."""
    return [f"@lapack_{kind}{name}_ffi" for name in names for kind in types]


def lapack_routine(target: str) -> str | None:
    """The routine that a custom call names, like ``sgeev``; None if the call is not one of LAPACK's."""
    found = re.fullmatch(r"lapack_([a-z0-9]+?)(_ffi)?", target)
    return found.group(1) if found else None


def is_complex(op: Any) -> bool:
    """Whether a routine's matrices are complex: each has two operands, its real and its imaginary part."""
    name = op.operation.name
    if name == "stablehlo.custom_call":
        name = f"swift_export.{lapack_routine(op.attributes['call_target_name'].value)}"
        return name.startswith(("swift_export.c", "swift_export.z"))
    return bool(name.startswith("swift_export."))


def is_read(value: Any) -> bool:
    """Whether a result is more than an operand of ops that nothing reads, in the callers of its function, too."""
    seen, waiting = set(), [value]
    while waiting:
        for use in waiting.pop().uses:
            results = _readers(use)
            if results is None:
                return True
            waiting += [result for result in results if result not in seen]
            seen.update(results)
    return False


def _readers(use: Any) -> list[Any] | None:
    """The values that depend on a use of another one; None if that is the end of a body or of the program."""
    if use.owner.name != "func.return":
        return list(use.owner.results) or None
    function = use.owner.parent
    if "sym_visibility" not in function.attributes or function.attributes["sym_visibility"].value != "private":
        return None
    name = function.attributes["sym_name"].value
    return [op.results[use.operand_number] for op in mlir.walk(function.parent) if _callee(op) == name]


def _callee(op: Any) -> str | None:
    return next((op.attributes[key].value for key in ("callee", "decomposition") if key in op.attributes), None)


def letters(frame: Frame, op: Any, **options: str) -> dict[str, str]:
    """The values of a call's options, which are LAPACK's letters; each must be one of those listed."""
    config = op.attributes["mhlo.backend_config"]
    found = {}
    for name, allowed in options.items():
        found[name] = chr(config[name].value)
        if found[name] not in allowed:
            raise frame.error(op, f"{name} = {found[name]!r}: expected one of {', '.join(allowed)}")
    return found


def note(frame: Frame, text: str) -> None:
    """Note once what a reader of the results should know."""
    if text not in frame.builder.notes:
        frame.builder.notes.append(text)


def note_free_signs(frame: Frame) -> None:
    """Note that vectors are only determined up to their signs."""
    note(frame, _FREE_SIGNS)
