"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift_export._version import __version__
from swift_export.errors import UsageError
from swift_export.models.swift.variants import UPSTREAM
from swift_export.models.swift.weights.bundle import CONFIG, MODEL
from swift_export.models.swift.weights.model_card import model_card
from swift_export.models.swift.weights.weights import Weights
from swift_export.system.folders import replaced_folder
from swift_export.system.text import listed, shown

__all__ = ["write_bundle"]

CARD = "README.md"


def write_bundle(weights: Weights, folder: Path, *, force: bool = False) -> None:
    """Write ``weights`` as a bundle into ``folder``, which appears complete or stays as it was.

    An existing bundle is replaced with ``force`` only, and a folder that holds anything else never. Where ``folder`` is
    a link it stays one, and the bundle that it leads to is replaced.
    Raises UsageError for such folders and for places that cannot be written, MachineError when the disk is full.
    """
    from safetensors.numpy import save

    folder = Path(folder).expanduser().absolute()
    with replaced_folder(folder, lambda: _refuse_existing(folder, force)) as draft:
        arrays = dict(weights.tensors) | dict(weights.extras)
        # One metadata entry only: safetensors keeps several in no particular order.
        (draft / MODEL).write_bytes(save(arrays, metadata={"format": "np"}))
        (draft / CONFIG).write_text(json.dumps(_config(weights), indent=2) + "\n", encoding="utf-8")
        (draft / CARD).write_text(model_card(weights), encoding="utf-8")


def _config(weights: Weights) -> dict[str, Any]:
    origin = weights.provenance
    return {
        "_ilex": {
            "architecture": "ilex.models.swift.model.SwiFT",
            "constructor_kwargs": weights.config.to_dict(),
            "format": "ilex",
            "framework_version": f"swift-export {__version__}",
            "origin": f"{UPSTREAM.repository}@{UPSTREAM.commit}" if origin.kind == "published" else origin.name,
            "weights_status": "synthetic" if origin.synthetic else "trained",
        },
        "_swift_export": {
            "variant": weights.variant,
            "weights_digest": weights.digest,
            "input": weights.contract.to_dict(),
            "provenance": origin.to_dict(),
        },
    }


def _refuse_existing(folder: Path, force: bool) -> None:
    name = shown(folder, 4096)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{name}: expected a folder for the bundle, found a file; give another with -o")
    present = {entry.name for entry in folder.iterdir()}
    strangers = sorted(present - {MODEL, CONFIG, CARD})
    if strangers:
        raise UsageError(
            f"{name}: expected a new folder or a bundle, found other files ({listed(map(shown, strangers), most=4)}); "
            "give another with -o"
        )
    if present and not force:
        raise UsageError(f"{name}: a bundle is there already; give another folder with -o, or --force to replace it")
