"""Faults planted in exports of the vision transformer of `door_nets`, and the layer that each of them lies in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import door_nets
import equinox as eqx
import jax
import numpy as np
import onnx
from onnx import numpy_helper

from swift_export.exporting import identified
from swift_export.lowering.onnx_file import write_onnx
from swift_export.models import Model, as_model
from swift_export.parity.checking import check_staged
from swift_export.parity.results import Fault

__all__ = ["Planted", "find", "planted"]


@dataclass(frozen=True)
class Planted:
    """A kind of fault and its place.

    ``edit`` changes the ONNX file, ``swap`` the module that is exported, while the reference keeps the right one.
    """

    kind: str
    place: str
    edit: Callable[[onnx.ModelProto], None] | None = None
    swap: Callable[[door_nets.ViT], door_nets.ViT] | None = None


def planted(layers: int) -> list[Planted]:
    """Ten faults in a network of so many blocks."""
    early, middle, late = 0, layers // 2, layers - 1
    return [
        weight(f"blocks/{middle}/mlp/layers/0"),
        weight(f"blocks/{early}/mlp/layers/1"),
        weight(f"blocks/{late}/attention/query_proj"),
        weight(f"blocks/{middle}/attention/value_proj"),
        weight("head"),
        epsilon(f"blocks/{early}/norms/0"),
        epsilon(f"blocks/{late}/norms/1"),
        epsilon("norm"),
        activation("relu for gelu", early, jax.nn.relu),
        activation("silu for gelu", late, jax.nn.silu),
    ]


def weight(place: str) -> Planted:
    """One weight of a layer is off by half of the largest."""
    name = f"{place.replace('/', '.')}.weight"

    def edit(model: onnx.ModelProto) -> None:
        (initializer,) = (i for i in model.graph.initializer if i.name == name)
        array = numpy_helper.to_array(initializer).copy()
        array[tuple(n // 2 for n in array.shape)] += np.abs(array).max() / 2
        initializer.CopyFrom(numpy_helper.from_array(array, name))

    return Planted("a weight", place, edit)


def epsilon(place: str) -> Planted:
    """A norm is computed with another epsilon."""

    def edit(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if n.name == f"{place}/LayerNormalization")
        (attribute,) = (a for a in node.attribute if a.name == "epsilon")
        attribute.f = 1e-2

    return Planted("epsilon", place, edit)


def activation(kind: str, block: int, function: Callable[[Any], Any]) -> Planted:
    """The MLP of a block has another activation."""

    def swap(net: door_nets.ViT) -> door_nets.ViT:
        return eqx.tree_at(lambda n: n.blocks[block].mlp.activation, net, function)

    return Planted(kind, f"blocks/{block}/mlp", swap=swap)


def find(fault: Planted, size: door_nets.Size, folder: Path) -> Fault | None:
    """Export with the fault into an empty folder, and look where the check finds it; None where it does not."""
    right = door_nets.vit_module(size)
    wrong = fault.swap(right) if fault.swap else right
    model, faulty = (identified(_model(net, size)) for net in (right, wrong))
    write_onnx(faulty, folder)
    if fault.edit is not None:
        path = folder / "onnx/model.onnx"
        proto = onnx.load(path)
        fault.edit(proto)
        onnx.save(proto, path)
    (checked,) = check_staged(folder, replace(model, sizes=({"batch": 3},))).artifacts
    return checked.fault


def _model(net: door_nets.ViT, size: door_nets.Size) -> Model:
    return as_model(eqx.filter_vmap(net), {"image": ("batch", 3, size.pixels, size.pixels)})
