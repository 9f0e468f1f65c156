"""Files of features: ``.safetensors``, ``.npz`` or ``.tsv``, each with a JSON sidecar that states its provenance.

Arrays are named after their kind, such as ``embedding`` (windows, 288), beside ``mean`` and ``std`` (n) over windows.
A table has one row per window, or rows for mean and deviation.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from swift_export._version import __version__
from swift_export.errors import UsageError
from swift_export.features.bids.derivative_files import channel_columns
from swift_export.features.bids.tsv import tsv_text
from swift_export.features.extractor import Extractor
from swift_export.features.output_kinds import OutputKind
from swift_export.features.pipeline import ScanFeatures
from swift_export.scans.sidecar import keep_others_sidecar
from swift_export.system.files import check_output, followed, replaced
from swift_export.system.text import listed

__all__ = [
    "SUFFIXES",
    "Written",
    "check_places",
    "check_table",
    "encode_features",
    "provenance",
    "sidecar_place",
    "write_features",
]

#: The suffixes of files of features. Tables hold only vectors.
SUFFIXES = (".safetensors", ".npz", ".tsv")
_VECTORS: tuple[OutputKind, ...] = ("embedding", "logits")


@dataclass(frozen=True)
class Written:
    """A file of features, its sidecar, the optional picture, and the content of the sidecar."""

    path: Path
    sidecar: Path
    picture: Path | None
    facts: Mapping[str, Any]


def sidecar_place(output: Path) -> Path:
    """Path of the sidecar: beside the file, with the suffix ``.json``."""
    return output.with_suffix(".json")


def check_places(output: Path, kind: OutputKind, picture: Path | None, *sources: Path) -> None:
    """Raise UsageError, before any work, if a file of features and its sidecar cannot be written at ``output``.

    ``sources`` are the files that it is made from.
    """
    if output.suffix not in SUFFIXES:
        raise UsageError(f"{output}: expected a file name that ends in {listed(SUFFIXES)}")
    check_table(output, output.suffix, kind)
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {picture}: expected a file name that ends in .png")
    places = [output, sidecar_place(output), *([picture] if picture else [])]
    for place in places:
        check_output(place)
        for source in sources:
            check_output(place, sources=source)
    if len({followed(place) for place in places}) < len(places):
        raise UsageError(f"{output}: expected separate files for features, sidecar and picture; name another file")
    keep_others_sidecar(sidecar_place(output))


def provenance(found: ScanFeatures, extractor: Extractor, kind: OutputKind, pooled: bool) -> dict[str, Any]:
    """The sidecar's content, plain data: scan, windows, artifact, runtime and versions."""
    info, backbone = extractor.session.info, extractor.backbone
    of_sidecar = found.source.facts if found.source.facts.get("kind") != "npy" else {}
    return {
        "file": found.file.path.name,
        "file_sha256": found.digest,
        **of_sidecar,
        **({"clips": dict(found.source.facts)} if not of_sidecar else {}),
        "output_kind": kind,
        "shape": list(found.values.shape),
        "pooled": pooled,
        "onsets": onsets(found.source.facts, len(found.values)),
        "artifact": dict(backbone.facts),
        "runtime": {
            "name": info.name,
            "version": info.version,
            "device": info.device,
            "arithmetic": info.arithmetic,
            "threads": extractor.threads,
            "at_once": extractor.at_once,
        },
        "versions": {"swift-export": __version__, "numpy": np.__version__},
    }


def onsets(facts: Mapping[str, Any], count: int) -> list[float | None]:
    """Start of each window in seconds from the first frame of the run; None if the repetition time is unknown."""
    time, starts = facts.get("repetition_time"), facts.get("starts")
    if not isinstance(time, Mapping) or not isinstance(starts, list) or len(starts) != count:
        return [None] * count
    seconds = float(time["seconds"])
    step = float(facts.get("resample_tr") or seconds)
    dropped = (facts.get("drop_frames") or [0])[0]
    return [round(dropped * seconds + start * step, 6) for start in starts]


def write_features(
    output: Path,
    found: ScanFeatures,
    kind: OutputKind,
    facts: Mapping[str, Any],
    *,
    pool: bool = False,
    picture: Path | None = None,
    image: Any = None,
) -> Written:
    """Write the features of a scan and their sidecar; both appear complete or not at all.

    With ``pool``, only mean and standard deviation over the windows are written. ``image`` is the picture to save.

    Raises:
        UsageError: a file cannot be written there.
        MachineError: the disk is full.

    """
    sidecar = sidecar_place(output)
    content = encode_features(output.suffix, found.values, kind, facts, pool=pool)
    with replaced(sidecar) as sidecar_draft, replaced(output) as draft:
        draft.write_bytes(content)
        sidecar_draft.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if picture is not None:
            with replaced(picture) as picture_draft:
                image.save(picture_draft, format="PNG")
    return Written(output, sidecar, picture, facts)


def encode_features(
    suffix: str, values: Float32[np.ndarray, "windows ..."], kind: OutputKind, facts: Mapping[str, Any], *, pool: bool
) -> bytes:
    """The content of a file of features; ``facts`` are those of `provenance`.

    Raises UsageError for a table of anything but vectors.
    """
    check_table(f"a {suffix} file", suffix, kind)
    arrays = _arrays(values, kind, pool)
    if suffix == ".tsv":
        return _table(arrays, kind, facts, pool).encode()
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()
    from safetensors.numpy import save

    content: bytes = save(arrays, metadata={"swift_export": json.dumps(_brief(facts), sort_keys=True)})
    return content


def check_table(what: object, suffix: str, kind: OutputKind) -> None:
    """Raise UsageError, which begins with ``what``, for a table of anything but vectors."""
    if suffix == ".tsv" and kind not in _VECTORS:
        raise UsageError(f"{what}: a table holds {listed(_VECTORS)}, not {kind}; write .safetensors or .npz")


def _arrays(values: Float32[np.ndarray, "windows ..."], kind: OutputKind, pool: bool) -> dict[str, np.ndarray]:
    pooled = {
        "mean": values.mean(axis=0, dtype=np.float64).astype(np.float32),
        "std": values.std(axis=0, dtype=np.float64).astype(np.float32),
    }
    return pooled if pool else {kind: np.ascontiguousarray(values), **pooled}


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the array alone must know."""
    artifact = facts["artifact"]
    return {
        "file": facts["file"],
        "file_sha256": facts["file_sha256"],
        "output_kind": facts["output_kind"],
        "artifact_sha256": artifact["sha256"],
        "weights_sha256": artifact["weights_sha256"],
        "synthetic": artifact["synthetic"],
    }


def _table(arrays: Mapping[str, np.ndarray], kind: OutputKind, facts: Mapping[str, Any], pool: bool) -> str:
    source = facts.get("clips", facts)
    starts, dropped = source.get("starts"), (source.get("drop_frames") or [0])[0]
    # After resampling, a window begins between two frames of the file.
    known = starts is not None and source.get("resample_tr") is None
    who = [_participant(facts["file"]), facts["file"]]
    columns = channel_columns("logits" if kind == "logits" else "embedding", arrays["mean"].size)
    # As text: the shortest that is read back as the same float32.
    if pool:
        head = ["participant_id", "scan", "statistic", "windows", *columns]
        rows = [[*who, name, facts["shape"][0], *map(str, arrays[name].ravel())] for name in ("mean", "std")]
    else:
        head = ["participant_id", "scan", "window", "first_frame", "onset", *columns]
        rows = [
            [*who, window, dropped + starts[window] if known else None, onset, *map(str, values.ravel())]
            for window, (values, onset) in enumerate(zip(arrays[kind], facts["onsets"], strict=True))
        ]
    return tsv_text(head, rows)


def _participant(name: str) -> str | None:
    """The participant in a BIDS name, such as ``sub-01``."""
    found = re.match(r"(sub-[A-Za-z0-9]+)_", name)
    return found[1] if found else None
