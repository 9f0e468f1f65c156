"""Reads the first bytes of MLIR bytecode. Light to import, without jax."""

from __future__ import annotations

__all__ = ["MLIR", "portable_version"]

#: The first bytes of MLIR bytecode.
MLIR = b"ML\xefR"
_PRODUCER = b"StableHLO_v"


def portable_version(data: bytes) -> str | None:
    """The StableHLO version of a portable artifact; None for other bytecode.

    It is in MLIR bytecode's field for the producer, after the magic number and the bytecode's own version.
    """
    start = data.find(_PRODUCER, len(MLIR), len(MLIR) + 16)
    end = data.find(b"\0", start)
    return data[start + len(_PRODUCER) : end].decode(errors="replace") if 0 <= start < end else None
