"""Places inside the backbone, in the order of computation, with the names of their values in exported files."""

from __future__ import annotations

from swift_export.models.swift.config import LOGITS, SwiFTConfig

__all__ = ["block_of", "is_output", "outline", "place_names"]

#: The values within a block, in the order of computation.
_IN_BLOCK = ("norm1", "attention", "norm2", "mlp", "output")


def place_names(config: SwiFTConfig, kind: str = "features") -> tuple[str, ...]:
    """``patch_embed``, ``stage0/embedding``, ``stage0/block0/norm1``, ...

    ``attention`` includes the residual connection, ``mlp`` does not, and ``output`` is the result of the block. For
    outputs of the kind ``logits``, ``features`` is the mean over all tokens, and ``head`` the result.
    """
    names = ["patch_embed"]
    for stage, depth in enumerate(config.depths):
        names.append(f"stage{stage}/embedding")
        names += [f"stage{stage}/block{block}/{part}" for block in range(depth) for part in _IN_BLOCK]
        if stage < config.stages - 1:
            names.append(f"stage{stage}/merging")
    return (*names, "features", "head") if kind == LOGITS else tuple(names)


def outline(config: SwiFTConfig, kind: str = "features") -> tuple[str, ...]:
    """The places between blocks: `place_names` without those within blocks."""
    return tuple(place for place in place_names(config, kind) if block_of(place) is None or is_output(place))


def is_output(place: str) -> bool:
    """Whether a place is the result of a block."""
    return block_of(place) is not None and place.endswith("/output")


def block_of(place: str) -> str | None:
    """``stageI/blockJ`` for a place in a block, otherwise None."""
    parts = place.split("/")
    return "/".join(parts[:2]) if len(parts) == 3 else None
