"""Atomic writing of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift_export._version import __version__
from swift_export.errors import UsageError, WeightsError
from swift_export.models.swift.head import Head
from swift_export.models.swift.variants import UPSTREAM
from swift_export.models.swift.weights.bundle import CONFIG, MODEL
from swift_export.models.swift.weights.model_card import model_card
from swift_export.models.swift.weights.weights import Weights
from swift_export.system.folders import replaced_folder
from swift_export.system.text import listed, shown

__all__ = ["write_bundle"]

CARD = "README.md"


def write_bundle(weights: Weights, folder: Path, *, force: bool = False) -> None:
    """Write ``weights`` as a bundle into ``folder``, which appears complete or stays unchanged.

    A head that can be exported is kept; any other is left out, as training code is.

    An existing bundle is replaced only with ``force``, and a folder with other files never. A link stays a link, and
    the bundle that it points to is replaced.

    Raises:
        UsageError: the folder must not be replaced, or cannot be written.
        MachineError: the disk is full.

    """
    from safetensors.numpy import save

    folder = Path(folder).expanduser().absolute()
    with replaced_folder(folder, lambda: _refuse_existing(folder, force)) as draft:
        head = _head(weights)
        arrays = dict(weights.with_head_tensors(head)) | dict(weights.extras)
        # Only one metadata entry, because safetensors does not keep their order.
        (draft / MODEL).write_bytes(save(arrays, metadata={"format": "np"}))
        (draft / CONFIG).write_text(json.dumps(_config(weights, head), indent=2) + "\n", encoding="utf-8")
        (draft / CARD).write_text(model_card(weights, head), encoding="utf-8")


def _head(weights: Weights) -> Head | None:
    try:
        return weights.head()
    except WeightsError:
        return None


def _config(weights: Weights, head: Head | None) -> dict[str, Any]:
    origin = weights.provenance.keeping(head.tensors if head else ())
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
            **({} if head is None else {"head": head.facts.to_dict() | {"digest": head.digest}}),
        },
    }


def _refuse_existing(folder: Path, force: bool) -> None:
    name = shown(folder, 4096)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{name}: expected a folder for the bundle, found a file; choose another with -o")
    present = {entry.name for entry in folder.iterdir()}
    strangers = sorted(present - {MODEL, CONFIG, CARD})
    if strangers:
        raise UsageError(
            f"{name}: expected a new folder or a bundle, found other files ({listed(map(shown, strangers), most=4)}); "
            "choose another with -o"
        )
    if present and not force:
        raise UsageError(
            f"{name}: expected a new folder, found a bundle; choose another with -o, or use --force to replace it"
        )
