"""Settings of SwiFT's exported function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swift_export.errors import UsageError
from swift_export.models.swift.config import LOGITS, OUTPUT_KINDS, SwiFTConfig
from swift_export.models.swift.precision import IO_DTYPES, PRECISIONS
from swift_export.system.text import shown

__all__ = ["ATTENTION", "SwiFTSettings", "kind_of_output"]

#: The attention of shifted blocks: without masks if the weights allow it, or always masked.
ATTENTION = ("auto", "masked")
#: Size limit of a fixed batch in float32: the check must hold one in memory.
MAX_BATCH_BYTES = 2**34

_DEFAULT_OUTPUTS = ("features",)
#: Settings that files state only where they differ from float32.
_TYPES = ("precision", "io_dtype")


@dataclass(frozen=True)
class SwiFTSettings:
    """Frames of a clip (None: the model's), batch size (None: dynamic), outputs and their kind.

    With the kind ``logits``, the only output by default is ``logits``; ``features`` beside it is the embedding.

    ``attention`` is ``auto``, which omits masks if the weights prove that they cannot affect the result, or ``masked``.

    ``precision`` is that of the computation (see `swift.precision`), ``io_dtype`` the element type of inputs and
    outputs.
    """

    frames: int | None = None
    batch: int | None = None
    outputs: tuple[str, ...] = _DEFAULT_OUTPUTS
    output_kind: str = "features"
    attention: str = ATTENTION[0]
    precision: str = PRECISIONS[0]
    io_dtype: str = IO_DTYPES[0]

    def __post_init__(self) -> None:
        if self.output_kind == LOGITS and self.outputs == _DEFAULT_OUTPUTS:
            object.__setattr__(self, "outputs", (LOGITS,))

    def check(self, config: SwiFTConfig) -> None:
        """Raise UsageError or ArchitectureError for settings that the architecture does not allow."""
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch {self.batch}: expected at least 1")
        if self.frames is not None:
            config.check_frames(self.frames)
        most = MAX_BATCH_BYTES // config.clip_bytes(self.frames)
        if self.batch is not None and self.batch > most:
            raise UsageError(f"--batch {self.batch}: expected at most {most} clips of this size")
        if self.output_kind not in OUTPUT_KINDS:
            raise UsageError(f"--output-kind {self.output_kind}: expected one of {', '.join(OUTPUT_KINDS)}")
        known = config.output_names(self.output_kind)
        unknown = [name for name in self.outputs if name not in known]
        if unknown or not self.outputs or len(set(self.outputs)) != len(self.outputs):
            raise UsageError(f"--outputs {','.join(self.outputs)}: expected different names from {', '.join(known)}")
        if self.output_kind == LOGITS and LOGITS not in self.outputs:
            raise UsageError(f"--outputs {','.join(self.outputs)}: expected {LOGITS} among them, as --output-kind asks")
        if self.attention not in ATTENTION:
            raise UsageError(f"--attention {self.attention}: expected {' or '.join(ATTENTION)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}")
        if self.io_dtype not in IO_DTYPES:
            raise UsageError(f"--io-dtype {self.io_dtype}: expected {' or '.join(IO_DTYPES)}")

    def input_shape(self, config: SwiFTConfig) -> tuple[int, int, int, int, int]:
        """(channels, H, W, D, T) of one clip."""
        return config.input_shape(self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; element types only where they differ from float32, as in files of older versions."""
        found = asdict(self) | {"outputs": list(self.outputs)}
        return {key: value for key, value in found.items() if key not in _TYPES or value != "float32"}

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> SwiFTSettings:
        """Read `to_dict`'s data; raises KeyError or TypeError for other data. Unknown keys are ignored."""
        for name in ("frames", "batch"):
            if recorded[name] is not None and type(recorded[name]) is not int:
                raise TypeError(f"{name} {shown(recorded[name])}")
        return cls(
            frames=recorded["frames"],
            batch=recorded["batch"],
            outputs=tuple(recorded["outputs"]),
            output_kind=recorded["output_kind"],
            attention=recorded["attention"],
            **{key: recorded[key] for key in _TYPES if key in recorded},
        )


def kind_of_output(kind: str | None, probe: object) -> str:
    """The kind of output: ``kind``, or what follows from a ``probe``; raises UsageError if they clash."""
    if probe is None:
        return kind or "features"
    if kind not in (None, LOGITS):
        raise UsageError(f"--output-kind {kind}: cannot be combined with --head, whose output is {LOGITS}; omit one")
    return LOGITS
