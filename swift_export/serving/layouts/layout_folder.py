"""Writes the folder for a server: its own files, a README, and a smoke test with known outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swift_export._version import __version__
from swift_export.artifacts.digests import digest_file
from swift_export.errors import ArtifactError, UsageError
from swift_export.serving.layouts import kserve, ovms, tfserving, triton
from swift_export.serving.layouts.servable import Batching, Servable, find_servable
from swift_export.serving.layouts.server_layout import (
    SMOKE,
    ServerLayout,
    flat_input,
    oip_request,
    rendered,
)
from swift_export.system.arrays import little_endian
from swift_export.system.folders import replaced_folder
from swift_export.system.plain_data import dumps
from swift_export.system.progress import Progress, ignore_line
from swift_export.system.text import listed, shown

__all__ = ["LAYOUTS", "Written", "write_layout"]

LAYOUTS = {layout.name: layout for layout in (triton.LAYOUT, tfserving.LAYOUT, kserve.LAYOUT, ovms.LAYOUT)}
#: What identifies a folder as a layout; it lists the other files.
_RECORD = "layout.json"
_SCRIPT = "smoke_test.py"


@dataclass(frozen=True, eq=False)
class Written:
    """A written layout."""

    folder: Path
    layout: ServerLayout
    servable: Servable


def write_layout(
    kind: str,
    artifact: str | Path,
    output: str | Path,
    *,
    name: str | None = None,
    batching: Batching | None = None,
    instances: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write the folder ``output`` for a server; it appears complete or stays unchanged.

    Args:
        kind: a name in `LAYOUTS`.
        artifact: an artifact folder with the format that the server takes.
        output: a new or empty folder or, with ``force``, a layout to replace.
        name: the model's name in the server, by default the artifact's.
        batching: how the server combines requests, unless the model forbids it.
        instances: how many requests, or batches of them, are computed at once.
        force: whether to replace a layout.
        progress: called with a short text at each step.

    Raises:
        UsageError: the artifact lacks the format, or has types that the server does not take; ``output`` cannot be
            written, or holds anything else than a layout.
        ArtifactError: missing, damaged or changed files.
        MachineError: the disk is full, or NumPy draws another golden input.

    """
    if kind not in LAYOUTS:
        raise UsageError(f"layout {shown(kind)}: expected one of {', '.join(LAYOUTS)}")
    layout, folder = LAYOUTS[kind], Path(output).expanduser().absolute()
    on_progress = progress or ignore_line
    _refuse_existing(folder, force)
    servable = find_servable(
        Path(artifact),
        layout.format_name,
        layout.title,
        name=name,
        batching=batching or Batching(),
        instances=instances,
        on_progress=on_progress,
    )
    _refuse_types(servable, layout)
    on_progress(f"writing {folder}")
    if folder.is_relative_to(servable.root.absolute()):
        raise UsageError(f"{folder}: expected a folder outside of the artifact {servable.root}; choose another with -o")
    with replaced_folder(folder, lambda: _refuse_existing(folder, force)) as draft:
        layout.write(servable, draft)
        _verify_copies(servable, draft)
        (draft / SMOKE).mkdir()
        smoke_test = _smoke_test(servable, layout, draft)
        shutil.copyfile(Path(__file__).with_name(_SCRIPT), draft / _SCRIPT)
        _write_readme(servable, layout, draft)
        files = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
        record = {
            "layout": layout.name,
            "tool": f"swift-export {__version__}",
            "model": servable.name,
            "weights": servable.manifest.weights.digest,
            "smoke_test": smoke_test,
            "files": {path: digest_file(draft / path) for path in files},
        }
        (draft / _RECORD).write_text(dumps(record), encoding="utf-8")
    return Written(folder, layout, servable)


def _refuse_types(servable: Servable, layout: ServerLayout) -> None:
    for spec in (*servable.signature.inputs, *servable.signature.outputs):
        if spec.dtype not in layout.types:
            raise UsageError(
                f"{servable.root}: {layout.title} takes no {shown(spec.dtype)}, the type of {spec.name}; "
                "export a model that converts it inside"
            )


def _verify_copies(servable: Servable, draft: Path) -> None:
    """Verify what was copied: the artifact may have been replaced meanwhile."""
    copied = {digest_file(path).sha256 for path in draft.rglob("*") if path.is_file()}
    for path, file in servable.artifact.files.items():
        if file.sha256 not in copied:
            raise ArtifactError(f"{servable.root / path}: changed while it was copied; try again")


def _smoke_test(servable: Servable, layout: ServerLayout, draft: Path) -> dict[str, Any]:
    """Write the arrays of the smoke test; return its description for the client."""
    case = servable.case
    inputs = {name: f"{layout.inputs(servable)}/{flat_input(n)}" for n, name in enumerate(case.inputs)}
    outputs = {name: f"{SMOKE}/output{n}" for n, name in enumerate(case.outputs)}
    if "http" in layout.urls:
        (draft / SMOKE / "request.json").write_text(json.dumps(oip_request(servable, layout)), encoding="utf-8")
    return {
        "model": servable.name,
        "protocol": next(iter(layout.urls)),
        "urls": dict(layout.urls),
        "clients": {protocol: layout.clients[protocol] for protocol in layout.urls},
        "inputs": _arrays(servable, layout, draft, case.inputs, inputs),
        "outputs": _arrays(servable, layout, draft, case.outputs, outputs),
        "relative_l2": case.allowed.relative_l2,
        "relative_max": case.allowed.relative_max,
        "reason": case.allowed.reason,
        "computed_by": case.computed_by,
    }


def _arrays(
    servable: Servable, layout: ServerLayout, draft: Path, arrays: Mapping[str, np.ndarray], files: Mapping[str, str]
) -> list[dict[str, Any]]:
    described = []
    for name, array in arrays.items():
        path = draft / files[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        little_endian(array).tofile(path)
        shape = layout.shape(array.shape, servable.batching is not None)
        described.append({"name": name, "dtype": array.dtype.name, "shape": list(shape), "file": files[name]})
    return described


def _write_readme(servable: Servable, layout: ServerLayout, draft: Path) -> None:
    manifest = servable.manifest
    inputs = [f"{layout.inputs(servable)}/{flat_input(number)}" for number in range(len(servable.case.inputs))]
    request = draft / SMOKE / "request.json"
    facts: dict[str, Any] = {
        "title": layout.title,
        "model": servable.name,
        "variant": shown(manifest.model.variant),
        "licence": shown(manifest.model.licence) if manifest.model.licence else None,
        "weights": shown(manifest.weights.name),
        "digest": manifest.weights.digest,
        "note": shown(manifest.weights.note) if manifest.weights.note else None,
        "contract": shown(manifest.input_contract, 2000) if manifest.input_contract else None,
        "signature": servable.signature,
        "batching": servable.batching,
        "apart": servable.apart,
        "instances": servable.instances,
        "clients": layout.clients,
        "computed_by": servable.case.computed_by,
        "allowed": servable.case.allowed,
        "inputs": inputs,
        "head_bytes": request.stat().st_size if request.exists() else 0,
        "json_outputs": all(spec.dtype != "float16" for spec in servable.signature.outputs),
        "tool": f"swift-export {__version__}",
    }
    text = rendered(f"{layout.name}/README.md.j2", **{**facts, **layout.facts(servable)})
    (draft / "README.md").write_text(text, encoding="utf-8")


def _refuse_existing(folder: Path, force: bool) -> None:
    """Refuse to replace anything but a layout: what it does not list is someone else's."""
    name = shown(folder, 4096)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{name}: expected a folder, found a file; choose another with -o")
    present = {entry.name for entry in folder.iterdir()}
    if not present:
        return
    if _RECORD in present:  # any other folder may hold a whole disk
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    strangers = sorted(present - {_RECORD, *_recorded(folder)})
    if strangers:
        raise UsageError(
            f"{name}: expected a new folder or a layout, found other files ({listed(map(shown, strangers), most=4)}); "
            "choose another with -o"
        )
    if not force:
        raise UsageError(
            f"{name}: expected a new folder, found a layout; choose another with -o, or use --force to replace it"
        )


def _recorded(folder: Path) -> set[str]:
    try:
        with (folder / _RECORD).open("rb") as file:
            record = json.loads(file.read(2**20))
        return set(record["files"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()
