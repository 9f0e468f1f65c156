"""Bundles: ``model.safetensors``, ``config.json`` and a model card in one folder.

``config.json`` follows the layout of ilex's bundles on the hub as far as it is public: a table ``_ilex`` with the
architecture in ``constructor_kwargs``. The additions of this project (variant, provenance, digest) are in the optional
table ``_swift_export``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift_export.errors import WeightsError
from swift_export.formats.tensor_file import TensorOnDisk, open_tensors
from swift_export.models.swift.head_facts import HeadFacts
from swift_export.scans.contract import InputContract
from swift_export.system.text import shown

__all__ = ["CONFIG", "MODEL", "About", "Bundle", "bundle_paths", "read_bundle"]

MODEL = "model.safetensors"
CONFIG = "config.json"
MAX_CONFIG = 2**20


@dataclass(frozen=True)
class About:
    """The table ``_swift_export``: variant, digest of the tensors, earlier provenance, input contract, and the head.

    Older bundles lack the input contract and the head; bundles of a checkpoint without a head lack the latter.
    """

    variant: str | None = None
    digest: str | None = None
    seed: int | None = None
    assumed: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contract: InputContract | None = None
    head: HeadFacts | None = None
    head_digest: str | None = None


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle: the tensors in the file ``model``, not yet read, and the values of ``config.json``."""

    model: Path
    state: Mapping[str, TensorOnDisk]
    hyper_parameters: Mapping[str, Any]
    about: About


def bundle_paths(path: Path) -> tuple[Path, Path]:
    """The tensor and the architecture file of a bundle, which is a folder, or a safetensors file beside its config."""
    if path.is_dir():
        return path / MODEL, path / CONFIG
    return path, path.parent / CONFIG


def read_bundle(path: Path) -> Bundle:
    """Open a bundle folder or ``.safetensors`` file; raises WeightsError if a part is missing, damaged or oversized."""
    model, config = bundle_paths(path)
    for file in (model, config):
        if not file.is_file():
            raise WeightsError(
                f"{shown(path, 4096)}: expected a bundle with {model.name} and {CONFIG}, found no {file.name}; "
                "make one with: swift-export bundle --weights PATH.ckpt -o FOLDER"
            )
    table = _read_config(config)
    kwargs = _table(_table(table, "_ilex", config), "constructor_kwargs", config)
    about = _about(_table(table, "_swift_export", config), config) if "_swift_export" in table else About()
    return Bundle(model, open_tensors(model).tensors, kwargs, about)


def _about(table: Mapping[str, Any], file: Path) -> About:
    origin = _table(table, "provenance", file)

    head = _table(table, "head", file) if "head" in table else {}

    def checked(parent: Mapping[str, Any], key: str, *kinds: type) -> Any:
        value = parent.get(key)
        if type(value) not in kinds or (isinstance(value, list) and not all(isinstance(v, str) for v in value)):
            raise WeightsError(
                f"{shown(file, 4096)}: _swift_export: expected {key} in the form that swift-export writes, found "
                f"{shown(value)}"
            )
        return value

    kind, name, sha256 = (checked(origin, key, str, type(None)) for key in ("kind", "name", "sha256"))
    made_from = f"bundled from {shown(kind)} {shown(name)}" + (f" (sha256 {shown(sha256)})" if sha256 else "")
    return About(
        variant=checked(table, "variant", str),
        digest=checked(table, "weights_digest", str),
        seed=checked(origin, "seed", int, type(None)),
        assumed=checked(origin, "assumed", dict),
        dropped=tuple(checked(origin, "dropped", list)),
        notes=(*checked(origin, "notes", list), made_from),
        contract=_contract(_table(table, "input", file), file) if "input" in table else None,
        head=_head(head, file) if head else None,
        head_digest=checked(head, "digest", str) if head else None,
    )


def _contract(table: Mapping[str, Any], file: Path) -> InputContract:
    try:
        return InputContract.from_dict(table)
    except ValueError as error:
        raise WeightsError(
            f"{shown(file, 4096)}: _swift_export.input: expected an input contract: {shown(error, 400)}; bundle the "
            "weights again"
        ) from None


def _head(table: Mapping[str, Any], file: Path) -> HeadFacts:
    try:
        return HeadFacts.from_dict(table)
    except ValueError as error:
        raise WeightsError(
            f"{shown(file, 4096)}: _swift_export.head: expected what swift-export writes, found {error}; bundle the "
            "weights again"
        ) from None


def _read_config(file: Path) -> Mapping[str, Any]:
    name = shown(file, 4096)
    size = file.stat().st_size
    if size > MAX_CONFIG:
        raise WeightsError(f"{name}: expected at most {MAX_CONFIG} bytes of JSON, found {size}")
    try:
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{name}: expected JSON, found other data ({shown(error)})") from None
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror})") from None
    if not isinstance(table, dict):
        raise WeightsError(f"{name}: expected a JSON object, found a {type(table).__name__}")
    return table


def _table(parent: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise WeightsError(
            f"{shown(file, 4096)}: expected a JSON object {key}, found {shown(value) if key in parent else 'none'}; "
            "a bundle's config.json holds the architecture in _ilex.constructor_kwargs"
        )
    return value
