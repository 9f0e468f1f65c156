"""SwiFT's files are those of the version before models of other kinds were exported, but for facts that are named here.

Where files change on purpose: ``python tests/test_unchanged_files.py FOLDER`` records those of an export of
``golden/tiny-windowed`` to ONNX and StableHLO in FOLDER.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import pytest
from jax import export
from jax.extend.mlir import serialize_portable_artifact

from swift_export._version import __version__
from swift_export.formats.metadata import METADATA_ATTRIBUTE
from swift_export.formats.stablehlo_module import read_module
from swift_export.lowering.portable import PORTABLE_VERSION

GOLDEN = Path(__file__).parent / "golden"
RECORDED = GOLDEN / "unchanged-files.json"
#: Their lowering and serialization decide the bytes.
PACKAGES = ("jax", "jaxlib", "onnx", "onnx_ir")
#: Facts in the files' metadata that are new.
CHANGED = {"swift_export.signature"}
#: A fact that every release changes.
VERSION = "swift_export.version"
MODULES = ("model.jax", "model.mlir.bc", "model.b1.mlir.bc")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def onnx_content(path: Path) -> tuple[bytes, dict[str, str]]:
    """The file without its metadata, and the metadata."""
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True), facts


def stablehlo_content(path: Path) -> tuple[bytes, dict[str, str]]:
    """The module as bytecode without its metadata, and the metadata; with all else that ``model.jax`` says."""
    content = path.read_bytes()
    around = b""
    if path.suffix == ".jax":
        exported = export.deserialize(bytearray(content))
        content = exported.mlir_module_serialized
        said = (
            *(exported.fun_name, exported.in_tree, exported.in_avals, exported.out_tree, exported.out_avals),
            *(exported.platforms, exported.calling_convention_version, exported.nr_devices),
            *(exported.module_kept_var_idx, exported.uses_global_constants),
        )
        around = repr(said).encode()
    module = read_module(content)
    facts = json.loads(module.operation.attributes[METADATA_ATTRIBUTE].value)
    del module.operation.attributes[METADATA_ATTRIBUTE]
    with module.context:
        return bytes(serialize_portable_artifact(module, PORTABLE_VERSION)) + around, facts


def recorded_of(folder: Path) -> dict[str, Any]:
    """Digests of the files in an artifact folder, and of each of their facts."""
    contents = {"onnx/model.onnx": onnx_content(folder / "onnx/model.onnx")}
    contents |= {f"stablehlo/{name}": stablehlo_content(folder / "stablehlo" / name) for name in MODULES}
    return {
        "packages": {name: version(name) for name in PACKAGES},
        "files": {
            file: {"content": sha256(content), "facts": {key: sha256(facts[key].encode()) for key in sorted(facts)}}
            for file, (content, facts) in contents.items()
        },
    }


def test_swifts_files_are_what_they_were(tmp_path: Path, write) -> None:
    from swift_export.models.swift.weights import load_weights

    before = json.loads(RECORDED.read_text())
    found = {name: version(name) for name in PACKAGES}
    if found != before["packages"]:
        told = ", ".join(f"{name} {number}" for name, number in before["packages"].items())
        pytest.skip(f"needs the versions whose files are recorded, {told}")

    write(load_weights(GOLDEN / "tiny-windowed/checkpoint.ckpt"), tmp_path, "onnx", "stablehlo")
    after = recorded_of(tmp_path)

    for file, was in before["files"].items():
        now = after["files"][file]
        assert now["content"] == was["content"], file
        assert now["facts"].pop(VERSION) == sha256(__version__.encode())
        del was["facts"][VERSION]
        changed = {key for key, _ in was["facts"].items() ^ now["facts"].items()}
        assert changed == CHANGED, file


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(recorded_of(Path(sys.argv[1])), indent=2) + "\n")
