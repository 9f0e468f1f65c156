"""Probes of ONNX files: graph outputs are intermediate values, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as oir
from onnx_ir.passes import common

from swift_export.formats.onnx_writing import write_model
from swift_export.models.model import value_name

__all__ = ["places_in", "write_probe"]


def places_in(path: Path, places: Sequence[str]) -> list[str]:
    """The places of ``places`` with a value of this name in the file."""
    values = _values(oir.load(path))
    return [place for place in places if place in values]


def write_probe(path: Path, places: Sequence[str], _: Sequence[Sequence[int]], out: Path) -> list[str]:
    """Write the model with those values of ``places`` that it computes as its outputs, and no more than they take.

    Returns their places.
    """
    model = oir.load(path)
    values = _values(model)
    known = [place for place in places if place in values]
    if not known:
        return known
    model.graph.outputs.clear()
    for number, place in enumerate(known):
        value = values[place]
        output = oir.Value(name=value_name(number), shape=value.shape, type=value.type)
        # The value keeps its name, and a runtime optimises the graph around it as without a probe.
        model.graph.append(oir.Node("", "Identity", [value], outputs=[output]))
        model.graph.outputs.append(output)
    common.RemoveUnusedNodesPass()(model)
    write_model(model, out)
    return known


def _values(model: oir.Model) -> dict[str, oir.Value]:
    """Values by the scopes in their names.

    The name of an output is independent, and may equal a scope by chance, so the scope of its node is used.
    """
    outputs = set(model.graph.outputs)
    made = [(node, value) for node in model.graph for value in node.outputs]
    values = {str(value.name): value for _, value in made if value not in outputs}
    for node, value in made:
        scope = str(node.name).rpartition("/")[0]
        if value in outputs and scope and value.dtype is not None and value.dtype.is_floating_point():
            values.setdefault(scope, value)
    return values
