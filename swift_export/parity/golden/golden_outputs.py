"""Golden outputs: what the reference gave for one phantom clip, kept beside the files that were checked against it.

Of the clip only the recipe is kept, and the digest of its values: a machine whose NumPy draws another one notices.
Nothing here needs JAX or the backbone.
"""

from __future__ import annotations

import hashlib
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from swift_export.artifacts.digests import digest_file
from swift_export.artifacts.layout import FORMATS, MANIFEST, golden_file
from swift_export.artifacts.manifest import Golden, GoldenInput, Manifest
from swift_export.errors import ArchitectureError, ArtifactError, MachineError
from swift_export.models.swift.config import MAX_CLIP_BYTES, SwiFTConfig
from swift_export.parity.measure.inputs import Phantom
from swift_export.parity.measure.tolerances import WIDEST, Tolerance, tolerance

if TYPE_CHECKING:
    from swift_export.lowering.settings import ExportSettings
    from swift_export.parity.results import ParityReport
    from swift_export.runtimes.base import RuntimeInfo

__all__ = ["PHANTOM", "GoldenOutputs", "draw_clip", "golden_outputs", "golden_tolerance", "keep_golden", "read_golden"]

#: The one input that golden outputs are kept for, by its name in a check.
PHANTOM = "phantom"

#: By name, each of one clip: (1, channels, h, w, d, T), or (1, channels).
Outputs = Mapping[str, Float[np.ndarray, "1 ..."]]


@dataclass(frozen=True, eq=False)
class GoldenOutputs:
    """What ``reference`` gave for the first phantom clip of a check.

    ``frames`` and ``output_kind`` are those of the exported function, ``seed`` the phantom's.
    """

    frames: int
    output_kind: str
    seed: int
    clip_sha256: str
    reference: RuntimeInfo
    outputs: Outputs


def golden_outputs(
    config: SwiFTConfig,
    settings: ExportSettings,
    outputs: Outputs,
    clip: str | Path | Float[np.ndarray, "c h w d t"],
    reference: RuntimeInfo,
    seed: int = 0,
) -> GoldenOutputs:
    """What a check hands to the export: ``outputs`` are what ``reference`` gave for ``clip``, alone in its batch.

    ``clip`` is the first of `Phantom` with that ``seed``, as an array or an ``.npy`` file.
    """
    array = np.load(clip, mmap_mode="r") if isinstance(clip, (str, Path)) else clip
    frames = config.frames if settings.frames is None else settings.frames
    return GoldenOutputs(frames, settings.output_kind, seed, _sha256(array), reference, dict(outputs))


def keep_golden(report: ParityReport, format_name: str, settings: ExportSettings, folder: Path) -> Golden | None:
    """Write one format's golden outputs below the artifact folder ``folder``; returns what its manifest says of them.

    The tolerance is the widest that the check allowed the format's files on the phantom in float32; a runtime that
    compares later gets no other. None where the check kept nothing.
    """
    if not report.golden:
        return None
    # Formats that are exported together share settings, and so one reference.
    found, form = report.golden[0], FORMATS[format_name]
    allowed = [
        comparison.allowed
        for artifact in report.artifacts
        if artifact.file in form.units and artifact.info.arithmetic == "float32"
        for comparison in artifact.comparisons
        if comparison.input == PHANTOM
    ]
    widest = max(allowed or [tolerance("float32", "cpu")], key=lambda one: (one.relative_l2, one.relative_max))
    files = {output: golden_file(form, output) for output in settings.outputs}
    (folder / form.golden).mkdir(parents=True)
    for output, path in files.items():
        np.save(folder / path, found.outputs[output])
    return Golden(
        GoldenInput(PHANTOM, found.seed, found.frames, found.clip_sha256),
        {path: digest_file(folder / path) for path in files.values()},
        f"{found.reference.name} {found.reference.version}",
        widest.relative_l2,
        widest.relative_max,
        widest.reason,
    )


def read_golden(folder: Path, manifest: Manifest, format_name: str) -> Outputs:
    """The golden outputs of one format, which must have been verified, by output.

    Raises ArtifactError for files that are not the format's outputs for one clip, or not finite.
    """
    form, artifact = FORMATS[format_name], manifest.artifacts[format_name]
    expected = {golden_file(form, spec.name): spec for spec in artifact.signature.outputs}
    recorded = set(artifact.golden.files) if artifact.golden else set()
    if set(expected) != recorded:
        raise ArtifactError(
            f"{folder / MANIFEST}: expected golden outputs {', '.join(sorted(expected))}, "
            f"found {', '.join(sorted(recorded)) or 'none'}; export again"
        )
    outputs = {}
    for path, spec in expected.items():
        array = _load(folder / path)
        # The first axis is the batch: one clip, whatever the artifact takes.
        if (str(array.dtype), array.shape[:1], array.shape[1:]) != (spec.dtype, (1,), spec.dims[1:]):
            wanted = f"{spec.dtype} (1, {', '.join(map(str, spec.dims[1:]))})"
            raise ArtifactError(f"{folder / path}: expected {wanted}, found {array.dtype} {array.shape}; export again")
        if array.nbytes > MAX_CLIP_BYTES:  # a file with a hole in it takes no room until it is read
            raise ArtifactError(f"{folder / path}: expected at most {MAX_CLIP_BYTES:,} bytes, found {array.nbytes:,}")
        if not np.isfinite(array).all():
            raise ArtifactError(f"{folder / path}: holds values that are not finite; export again")
        outputs[spec.name] = array
    return outputs


def golden_tolerance(golden: Golden, where: Path) -> Tolerance:
    """The tolerance for float32 that ``golden`` records; raises ArtifactError for one that no check allows."""
    allowed = Tolerance(golden.relative_l2, golden.relative_max, golden.reason)
    if not all(0 < value <= WIDEST for value in (allowed.relative_l2, allowed.relative_max)):
        raise ArtifactError(
            f"{where}: golden outputs: expected tolerances up to {WIDEST:g}, "
            f"found {allowed.relative_l2:g} and {allowed.relative_max:g}; export again"
        )
    return allowed


def draw_clip(golden: Golden, config: SwiFTConfig, where: Path) -> Float[np.ndarray, "c h w d t"]:
    """The clip that the outputs belong to.

    Raises ArtifactError for a recipe that no export writes, MachineError where another clip comes out of it.
    """
    recipe = golden.input
    try:
        config.check_frames(recipe.frames)
    except ArchitectureError as error:
        raise ArtifactError(f"{where}: golden input: {error}; export again") from None
    if recipe.kind != PHANTOM or recipe.seed < 0:
        raise ArtifactError(
            f"{where}: golden input: expected a {PHANTOM} and its seed, "
            f"found {recipe.kind[:80]!r}, seed {recipe.seed}; export again"
        )
    (clip,) = Phantom(config, recipe.frames, recipe.seed).at(1)
    if (found := _sha256(clip)) != recipe.sha256:
        raise MachineError(
            f"{where}: NumPy {np.__version__} draws another phantom here than the golden outputs were computed for: "
            f"expected sha256 {recipe.sha256[:16]}..., found {found[:16]}...; check without --quick"
        )
    drawn: np.ndarray = clip
    return drawn


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").data).hexdigest()


def _load(path: Path) -> np.ndarray:
    """An ``.npy`` file's array, mapped: nothing is read before its header has been looked at."""
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, SyntaxError, tokenize.TokenError) as error:
        raise ArtifactError(f"{path}: expected an .npy array, found a damaged file ({error}); export again") from None
    return array
