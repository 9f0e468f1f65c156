"""Refining in a separate process, for a runtime without dynamic shapes whose process must not contain jax.

The process is ``python -m swift_export.runtimes._refining_apart FOLDER``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from swift_export.system.processes import Child

__all__ = ["refined_apart"]

_SOURCE, _SHAPES, _REFINED = "dynamic.mlir.bc", "shapes.json", "static.mlir.bc"


def refined_apart(path: Path, shapes: Sequence[tuple[int, ...]]) -> bytes:
    """The portable artifact at ``path`` for one shape of each argument; raises MachineError on failure."""
    with tempfile.TemporaryDirectory(prefix="swift-export-") as name:
        folder = Path(name)
        shutil.copyfile(path, folder / _SOURCE)
        folder.joinpath(_SHAPES).write_text(json.dumps(shapes))
        listed = ", ".join(map(str, shapes))
        with Child(__name__, folder, f"{path.name} for the shape{'s' if len(shapes) > 1 else ''} {listed}") as child:
            child.wait()
        return folder.joinpath(_REFINED).read_bytes()


def _main(folder: Path) -> None:
    from swift_export.runtimes._refining import refine_portable

    shapes = json.loads(folder.joinpath(_SHAPES).read_text())
    refined = refine_portable(folder.joinpath(_SOURCE).read_bytes(), shapes)
    folder.joinpath(_REFINED).write_bytes(refined)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
