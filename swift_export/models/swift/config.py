"""The architecture of a SwiFT backbone, defined by its hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from swift_export.errors import ArchitectureError
from swift_export.system.text import shown

__all__ = [
    "LAYER_NORM_EPSILON",
    "LOGITS",
    "MASK_FLOOR",
    "MASK_VALUE",
    "MAX_ARRAY_BYTES",
    "MAX_BLOCKS",
    "MAX_CLIP_BYTES",
    "MAX_PARAMETER_BYTES",
    "OUTPUT_KINDS",
    "SHAPE_INVISIBLE",
    "SwiFTConfig",
    "WindowPlan",
    "parameter_shapes",
]

Axes = tuple[int, int, int, int]

LAYER_NORM_EPSILON = 1e-5
#: Added in a shifted block to the score of two tokens from different regions.
MASK_VALUE = -100.0
#: Largest distance of a masked score below the token's score with itself, if windows are split into groups. Lower
#: scores have no weight in either case (256 e^-50 is below 2^-53), but their exponentials are denormal numbers, which
#: make some runtimes ten times slower.
MASK_FLOOR = 50.0
#: The output of a head.
LOGITS = "logits"
#: ``features`` as the map of the last stage, or as its mean over all tokens; or the outputs of a head, which takes the
#: latter.
OUTPUT_KINDS = ("features", "embedding", LOGITS)
#: Settings that affect no tensor shape: a wrong value loads without an error and gives wrong features.
SHAPE_INVISIBLE = ("window_size", "first_window_size", "last_layer_full_MSA")

#: Limits of a model's size in float32. The architecture comes from untrusted files, and determines the memory of
#: weights, clips and masks. In the published models, the parameters have 17 MB, a clip has 71 MB, and the largest array
#: computed from one (the scores of the first stage) has 252 MB.
MAX_BLOCKS = 1000
MAX_PARAMETER_BYTES = 2**32
MAX_CLIP_BYTES = 2**31
MAX_ARRAY_BYTES = 2**34


@dataclass(frozen=True)
class WindowPlan:
    """The division of a block's grid (h, w, d, t) into windows.

    ``window`` and ``shift`` are the effective values. ``grid`` is the grid of the block, and ``padded`` is the grid
    after zero padding at the end of each axis to a multiple of the window.
    """

    grid: Axes
    window: Axes
    shift: Axes

    @property
    def padded(self) -> Axes:
        """The padded grid, which the windows tile."""
        h, w, d, t = (-(-n // w) * w for n, w in zip(self.grid, self.window, strict=True))
        return h, w, d, t

    @property
    def counts(self) -> Axes:
        """Number of windows along each axis."""
        h, w, d, t = (n // w for n, w in zip(self.padded, self.window, strict=True))
        return h, w, d, t

    @property
    def tokens(self) -> int:
        """Number of tokens in a window."""
        return math.prod(self.window)

    @property
    def shifted(self) -> bool:
        """Whether the windows are shifted along any axis."""
        return any(self.shift)


@dataclass(frozen=True)
class SwiFTConfig:
    """Hyper-parameters of SwiFT (arXiv:2307.05916), with the names in upstream checkpoints.

    Grid axes are (h, w, d, t); ``img_size`` is in voxels and frames, windows are in tokens.
    Raises ArchitectureError for values that the published forward pass does not define, and for models that exceed the
    size limits of this module.
    """

    img_size: Axes
    in_chans: int
    embed_dim: int
    window_size: Axes
    first_window_size: Axes
    patch_size: Axes
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    c_multiplier: int
    last_layer_full_MSA: bool  # noqa: N815 - the name in the checkpoints

    def __post_init__(self) -> None:
        for name in ("img_size", "window_size", "first_window_size", "patch_size"):
            object.__setattr__(self, name, _integers(name, getattr(self, name), length=4))
        for name in ("depths", "num_heads"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        for name in ("in_chans", "embed_dim", "c_multiplier"):
            object.__setattr__(self, name, _integer(name, getattr(self, name)))
        full: Any = self.last_layer_full_MSA
        if not isinstance(full, bool):
            raise ArchitectureError(
                f"last_layer_full_MSA: expected true or false, found {shown(full, 200, quoted=True)}"
            )
        if len(self.depths) != len(self.num_heads):
            raise ArchitectureError(
                f"depths and num_heads: expected one entry per stage each, found {len(self.depths)} and "
                f"{len(self.num_heads)}"
            )
        if self.patch_size[3] != 1:
            raise ArchitectureError(f"patch_size: expected 1 frame per patch, found {self.patch_size[3]}")
        for axis, n, p in zip("HWD", self.img_size, self.patch_size, strict=False):
            if n % p:
                raise ArchitectureError(f"img_size: expected {axis} as a multiple of the patch size {p}, found {n}")
        for stage in range(self.stages - 1):
            odd = [axis for axis, n in zip("hwd", self.grid(stage), strict=False) if n % 2]
            if odd:
                raise ArchitectureError(
                    f"img_size: the grid of stage {stage}, {self.grid(stage)[:3]}, must be even on every spatial "
                    f"axis to be merged; odd on {', '.join(odd)}"
                )
        for stage, heads in enumerate(self.num_heads):
            if self.dim(stage) % heads:
                raise ArchitectureError(
                    f"num_heads: stage {stage} has {self.dim(stage)} channels, not divisible by {heads} heads"
                )
        self._check_size()

    def _check_size(self) -> None:
        if sum(self.depths) > MAX_BLOCKS:  # before all their parameters are listed
            raise ArchitectureError(f"depths: expected at most {MAX_BLOCKS} blocks, found {sum(self.depths)}")
        sizes = {
            "parameters": (4 * sum(map(math.prod, parameter_shapes(self).values())), MAX_PARAMETER_BYTES),
            "clips": (self.clip_bytes(), MAX_CLIP_BYTES),
            "arrays of one clip": (4 * max(map(self._largest_array, range(self.stages))), MAX_ARRAY_BYTES),
        }
        for part, (size, limit) in sizes.items():
            if size > limit:
                raise ArchitectureError(
                    f"architecture: expected {part} of at most {limit:,} bytes in float32, found {size:,}"
                )

    def _largest_array(self, stage: int) -> int:
        """Number of elements in the largest array of a stage for one clip: attention scores or MLP."""
        plans = [self.window_plan(stage, block) for block in range(min(2, self.depths[stage]))]
        width = max(self.num_heads[stage] * max(plan.tokens for plan in plans), 4 * self.dim(stage))
        return width * max(math.prod(plan.padded) for plan in plans)

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> SwiFTConfig:
        """Build from a mapping that may contain other entries; raises ArchitectureError if one is missing."""
        missing = [f.name for f in fields(cls) if f.name not in values]
        if missing:
            raise ArchitectureError(f"hyper-parameters: missing {', '.join(missing)}")
        return cls(**{f.name: values[f.name] for f in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: tuples become lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.depths)

    def output_names(self, kind: str) -> tuple[str, ...]:
        """All available outputs of a kind: ``features`` and the map after each stage, and those of a head."""
        head = (LOGITS,) if kind == LOGITS else ()
        return (*head, "features", *(f"stage{i}" for i in range(self.stages)))

    @property
    def frames(self) -> int:
        """The most frames a clip may have: the length of the time embedding."""
        return self.img_size[3]

    @property
    def out_dim(self) -> int:
        """Channels of the features."""
        return self.dim(self.stages - 1)

    def dim(self, stage: int) -> int:
        """Channels of the tokens in a stage."""
        return self.embed_dim * int(self.c_multiplier**stage)

    def grid(self, stage: int, frames: int | None = None) -> Axes:
        """Number of tokens along (h, w, d, t) in a stage."""
        h, w, d = (n // p // 2**stage for n, p in zip(self.img_size[:3], self.patch_size[:3], strict=True))
        return h, w, d, self.frames if frames is None else frames

    def input_shape(self, frames: int | None = None) -> tuple[int, int, int, int, int]:
        """(channels, H, W, D, T) of one clip."""
        h, w, d, t = self.img_size
        return self.in_chans, h, w, d, t if frames is None else frames

    def clip_bytes(self, frames: int | None = None) -> int:
        """Size of one clip in float32, in bytes."""
        return 4 * math.prod(self.input_shape(frames))

    def output_shape(self, frames: int | None = None) -> tuple[int, int, int, int, int]:
        """(channels, h, w, d, T) of the features of one clip."""
        return self.out_dim, *self.grid(self.stages - 1, frames)

    def check_frames(self, frames: int) -> None:
        """Raise ArchitectureError unless a clip of ``frames`` frames can be embedded."""
        if not 1 <= frames <= self.frames:
            raise ArchitectureError(
                f"frames: expected 1 to {self.frames} (the length of the time embedding), found {frames}"
            )

    def window_plan(self, stage: int, block: int, frames: int | None = None) -> WindowPlan:
        """The effective window and shift of a block, from its grid and the parity of its index."""
        grid = self.grid(stage, frames)
        if self.last_layer_full_MSA and stage == self.stages - 1:
            wanted: tuple[int, ...] = (*grid[:3], self.window_size[3])
            may_shift = False
        else:
            wanted = self.first_window_size if stage == 0 else self.window_size
            may_shift = block % 2 == 1
        fits = [n <= w for n, w in zip(grid, wanted, strict=True)]
        h, w, d, t = (n if f else v for n, v, f in zip(grid, wanted, fits, strict=True))
        sh, sw, sd, st = (v // 2 if may_shift and not f else 0 for v, f in zip(wanted, fits, strict=True))
        return WindowPlan(grid, (h, w, d, t), (sh, sw, sd, st))


def _integer(name: str, value: Any) -> int:
    # A bool is an int in Python, but not a valid value here; NumPy integers are.
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= int(value) <= 2**20:
        raise ArchitectureError(f"{name}: expected a positive integer, found {shown(value, 200, quoted=True)}")
    return int(value)


def _integers(name: str, values: Any, length: int | None = None) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or not values or (length and len(values) != length):
        wanted = f"{length} positive integers" if length else "a list of positive integers"
        raise ArchitectureError(f"{name}: expected {wanted}, found {shown(values, 200, quoted=True)}")
    if len(values) > 64:
        raise ArchitectureError(f"{name}: expected at most 64 entries, found {len(values)}")
    return tuple(_integer(name, v) for v in values)


def parameter_shapes(config: SwiFTConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors in the forward pass, by their names in the published checkpoints."""
    dim = config.embed_dim
    kh, kw, kd, kt = config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "model.patch_embed.fc.weight": (dim, kh * kw * kd * kt * config.in_chans),
        "model.patch_embed.fc.bias": (dim,),
    }
    for stage, depth in enumerate(config.depths):
        dim = config.dim(stage)
        h, w, d, t = config.grid(stage)
        shapes[f"model.pos_embeds.{stage}.pos_embed"] = (1, dim, h, w, d, 1)
        shapes[f"model.pos_embeds.{stage}.time_embed"] = (1, dim, 1, 1, 1, t)
        for block in range(depth):
            prefix = f"model.layers.{stage}.blocks.{block}."
            for norm in ("norm1", "norm2"):
                shapes[f"{prefix}{norm}.weight"] = shapes[f"{prefix}{norm}.bias"] = (dim,)
            for name, out, inner in (
                ("attn.qkv", 3 * dim, dim),
                ("attn.proj", dim, dim),
                ("mlp.linear1", 4 * dim, dim),
                ("mlp.linear2", dim, 4 * dim),
            ):
                shapes[f"{prefix}{name}.weight"] = (out, inner)
                shapes[f"{prefix}{name}.bias"] = (out,)
        if stage < config.stages - 1:
            prefix = f"model.layers.{stage}.downsample."
            shapes[f"{prefix}norm.weight"] = shapes[f"{prefix}norm.bias"] = (8 * dim,)
            shapes[f"{prefix}reduction.weight"] = (config.c_multiplier * dim, 8 * dim)
    return shapes
