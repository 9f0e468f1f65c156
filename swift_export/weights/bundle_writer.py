"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swift_export._version import __version__
from swift_export.errors import MachineError, SwiftExportError, UsageError
from swift_export.variants import UPSTREAM
from swift_export.weights.bundle import CONFIG, MODEL
from swift_export.weights.model_card import model_card
from swift_export.weights.text import listed, shown
from swift_export.weights.weights import Weights

__all__ = ["write_bundle"]

CARD = "README.md"


def write_bundle(weights: Weights, folder: Path, *, force: bool = False) -> None:
    """Write ``weights`` as a bundle into ``folder``, which appears complete or stays as it was.

    An existing bundle is replaced with ``force`` only, and a folder that holds anything else never.
    Raises UsageError for such folders and for places that cannot be written, MachineError when the disk is full.
    """
    from safetensors.numpy import save

    folder = Path(folder).expanduser().absolute()
    _refuse_existing(folder, force)
    arrays = dict(weights.tensors) | dict(weights.extras)
    contents = {
        # One metadata entry only: safetensors keeps several in no particular order.
        MODEL: save(arrays, metadata={"format": "np"}),
        CONFIG: (json.dumps(_config(weights), indent=2) + "\n").encode(),
        CARD: model_card(weights).encode(),
    }
    try:
        with _replacing(folder) as staging:
            for name, content in contents.items():
                (staging / name).write_bytes(content)
    except OSError as error:
        raise _os_error(folder, error) from None


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


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A staging folder beside ``folder`` that takes its place at the end; after a failure nothing has changed."""
    token = f"{folder.name}.{secrets.token_hex(4)}"
    staging, retired = folder.parent / f".{token}.new", folder.parent / f".{token}.old"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        staging.mkdir()
        yield staging
        if folder.exists():
            folder.rename(retired)
        staging.rename(folder)
    finally:
        if retired.exists() and not folder.exists():
            retired.rename(folder)
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _os_error(folder: Path, error: OSError) -> SwiftExportError:
    name, reason = shown(folder, 4096), error.strerror or os.strerror(error.errno or errno.EIO)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        return MachineError(f"{name}: cannot be written ({reason}); nothing was changed")
    return UsageError(f"{name}: cannot be written ({reason}); give another folder with -o")
