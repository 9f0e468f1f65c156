"""What MLIR bytecode says in its first bytes. Light to import: no jax is needed to look at them."""

from __future__ import annotations

__all__ = ["MLIR", "portable_version"]

#: How MLIR bytecode begins.
MLIR = b"ML\xefR"
_PRODUCER = b"StableHLO_v"


def portable_version(data: bytes) -> str | None:
    """The StableHLO version that a portable artifact is written in; None for other bytecode.

    It stands where MLIR bytecode names its producer, behind the magic number and the bytecode's own version.
    """
    start = data.find(_PRODUCER, len(MLIR), len(MLIR) + 16)
    end = data.find(b"\0", start)
    return data[start + len(_PRODUCER) : end].decode(errors="replace") if 0 <= start < end else None
