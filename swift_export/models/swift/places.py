"""Places inside the backbone, in the order of computation, by the names that exported files give to their values."""

from __future__ import annotations

from swift_export.models.swift.config import SwiFTConfig

__all__ = ["block_of", "is_output", "outline", "place_names"]

#: What is computed within a block, one after the other.
_IN_BLOCK = ("norm1", "attention", "norm2", "mlp", "output")


def place_names(config: SwiFTConfig) -> tuple[str, ...]:
    """``patch_embed``, ``stage0/embedding``, ``stage0/block0/norm1``, ...: ``attention`` is with its residual
    connection, ``mlp`` without, ``output`` the block's result.
    """
    names = ["patch_embed"]
    for stage, depth in enumerate(config.depths):
        names.append(f"stage{stage}/embedding")
        names += [f"stage{stage}/block{block}/{part}" for block in range(depth) for part in _IN_BLOCK]
        if stage < config.stages - 1:
            names.append(f"stage{stage}/merging")
    return tuple(names)


def outline(config: SwiFTConfig) -> tuple[str, ...]:
    """The places between blocks: `place_names` but for what lies within one."""
    return tuple(place for place in place_names(config) if block_of(place) is None or is_output(place))


def is_output(place: str) -> bool:
    """Whether a place is a block's result."""
    return block_of(place) is not None and place.endswith("/output")


def block_of(place: str) -> str | None:
    """``stageI/blockJ`` where a place lies in a block."""
    parts = place.split("/")
    return "/".join(parts[:2]) if len(parts) == 3 else None
