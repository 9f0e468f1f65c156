"""Makes probes.

All probes except those of ONNX files are made in a separate process,
``python -m swift_export.parity.locate.probes.making FOLDER``.

Reading StableHLO needs jax and reading a SavedModel TensorFlow; the caller is kept free of both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from swift_export.runtimes.registry import Kind, kind_of
from swift_export.system.exchange import read_answer, read_request, write_answer, write_request
from swift_export.system.processes import WITHOUT_GPU, Child

__all__ = ["Probe", "find_places", "main", "make_probe"]

#: The modules that make probes, by kind of artifact.
_MAKERS: dict[Kind, str] = {
    "onnx": "onnx_probe",
    "jax": "stablehlo_probe",
    "stablehlo": "stablehlo_probe",
    "savedmodel": "savedmodel_probe",
}


@dataclass(frozen=True)
class Probe:
    """A file whose outputs are the values at ``places``, in this order."""

    path: Path
    places: tuple[str, ...]


def find_places(artifact: Path, places: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The places of ``places`` whose values ``artifact`` computes; ``folder`` is an empty working folder.

    Raises MachineError if the process broke.
    """
    _ask({"artifact": str(artifact), "find": list(places)}, f"looking into {artifact.name}", folder)
    return tuple(read_answer(folder))


def make_probe(artifact: Path, places: Sequence[str], shapes: Sequence[Sequence[int]], folder: Path) -> Probe:
    """Write a probe of ``artifact``, for inputs of these shapes, into ``folder``, an empty one.

    Its outputs are the values at those of ``places`` that `find_places` finds, named by `value_name`; where it finds
    none, no file is written. Raises MachineError when the process broke.
    """
    request = {"artifact": str(artifact), "probe": list(places), "shapes": [list(shape) for shape in shapes]}
    _ask(request, f"making a probe of {artifact.name}", folder)
    return Probe(_probe_of(artifact, folder), tuple(read_answer(folder)))


def _ask(request: Mapping[str, Any], what: str, folder: Path) -> None:
    write_request(folder, request)
    if kind_of(request["artifact"]) == "onnx":
        main(folder)
        return
    with Child(__name__, folder, what, WITHOUT_GPU) as child:
        child.wait()


def main(folder: Path) -> None:
    """Answer the request in ``folder``."""
    request = read_request(folder)
    artifact = Path(request["artifact"])
    maker = _maker(artifact)
    if "find" in request:
        write_answer(folder, maker.places_in(artifact, request["find"]))
    else:
        written = maker.write_probe(artifact, request["probe"], request["shapes"], _probe_of(artifact, folder))
        write_answer(folder, written)


def _maker(artifact: Path) -> Any:
    return import_module(f"swift_export.parity.locate.probes.{_MAKERS[kind_of(artifact.name)]}")


def _probe_of(artifact: Path, folder: Path) -> Path:
    # With the same name, because runtimes recognise files by it. A path may end in `..`, which is not a name.
    name = Path(os.path.abspath(artifact)).name
    return folder / "probe" / name if artifact.is_dir() else folder / name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
