"""Annotations and collectives of partitioned programs: a file runs as one process, where they change no value."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import constant_array, static_shape

__all__: list[str] = []

#: Shardy's names of custom calls, in the forms in which JAX and XLA serialise them.
_SHARDY = [
    f"@{prefix}xla.sdy.{name}"
    for prefix in ("", "local_")
    for name in ("FuncResultSharding", "GlobalToLocalShape", "LocalToGlobalShape", "PropagationBarrier")
]

#: Custom calls that say where a value lives and how it is laid out there.
PLACEMENTS = (
    *("@Sharding", "@SPMDFullToShardShape", "@SPMDShardToFullShape", "@LayoutConstraint"),
    *("@MoveToHost", "@MoveToDevice", "@annotate_device_placement", *_SHARDY),
)


#: Sizes in a mesh's text, ``<["data"=2, "model"=4]>``.
_AXIS_SIZES = re.compile(r'"=(\d+)')


def unchanged(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The operands as results."""
    return frame.take(op, frame, list(op.operands))


@rule("stablehlo.optimization_barrier")
def optimization_barrier(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The identity: it only prevents a compiler from moving code."""
    return unchanged(frame, op)


@rule(
    *("sdy.sharding_constraint", "sdy.reshard", "sdy.propagation_barrier", "sdy.data_flow_edge"),
    attributes=["sharding", "allowed_direction"],
)
def annotation(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The identity, on any number of devices: the module is the program of the whole arrays."""
    return unchanged(frame, op)


@rule("sdy.sharding_group", "@xla.sdy.ShardingGroup", "@local_xla.sdy.ShardingGroup", attributes=["group_id"])
def sharding_group(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """Nothing: its only result is a constraint on other values."""
    return []


@rule("sdy.named_computation", attributes=["name", "in_shardings", "out_shardings"])
def named_computation(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The body, in place."""
    return _in_place(frame, op)


@rule("sdy.manual_computation", attributes=["in_shardings", "out_shardings", "manual_axes"])
def manual_computation(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The body, in place, if one partition holds the whole arrays.

    With more, the body's own collectives or its smaller shapes say so; arrays that every partition holds whole are the
    same in each.
    """
    outer = [*op.operands, *op.results]
    body = op.regions[0].blocks[0]
    inner = [*body.arguments, *list(body.operations)[-1].operands]
    for whole, part in zip(outer, inner, strict=True):
        _same_shape(frame, op, whole, part)
    return _in_place(frame, op)


def _in_place(frame: Frame, op: Any) -> Sequence[oir.Value]:
    for parameter, operand in zip(op.regions[0].blocks[0].arguments, op.operands, strict=True):
        frame.bind(parameter, frame, operand)
    return frame.take(op, frame, frame.run(op.regions[0]))


def _same_shape(frame: Frame, op: Any, whole: Any, part: Any) -> None:
    if static_shape(whole) != static_shape(part):
        raise frame.error(
            op, f"an array of {whole.type} has a part of {part.type}: the file runs as one, not in several partitions"
        )


@rule(*PLACEMENTS)
def placement(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The operand; the others are sizes of the result."""
    operands = list(op.operands)[: len(op.results)]
    for operand, result in zip(operands, op.results, strict=True):
        _same_shape(frame, op, operand, result)
    return frame.take(op, frame, operands)


@rule("stablehlo.partition_id")
def partition_id(frame: Frame, op: Any) -> oir.Value:
    """0, of one partition."""
    return _identifier(frame, op, "partitions")


@rule("stablehlo.replica_id")
def replica_id(frame: Frame, op: Any) -> oir.Value:
    """0, of one replica."""
    return _identifier(frame, op, "replicas")


def _identifier(frame: Frame, op: Any, kind: str) -> oir.Value:
    count = _count(op, kind)
    if count != 1:
        raise frame.error(op, f"one of {count} {kind}: the file runs as one")
    return frame.builder.constant(np.zeros((), np.uint32))


@rule(
    *("stablehlo.all_reduce", "stablehlo.all_gather", "stablehlo.reduce_scatter", "stablehlo.all_to_all"),
    *("stablehlo.collective_broadcast", "stablehlo.cross-replica-sum"),
    attributes=[
        *("replica_groups", "channel_handle", "channel_id", "use_global_device_ids", "all_gather_dim"),
        *("scatter_dimension", "split_dimension", "concat_dimension", "split_count"),
    ],
)
def collective(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The operands: one participant combines and exchanges them with no other."""
    count = _participants(frame, op)
    if count != 1:
        raise frame.error(op, f"over {count} participants: the file runs as one")
    return unchanged(frame, op)


@rule("stablehlo.collective_permute", attributes=["source_target_pairs", "channel_handle", "channel_id"])
def collective_permute(frame: Frame, op: Any) -> Sequence[oir.Value]:
    """The operand, sent from the only participant to itself; zeros if it gets nothing."""
    pairs = {tuple(pair) for pair in _numbers(frame, op, "source_target_pairs").tolist()}
    across = "partitions" if _channel(op) else "replicas"
    if pairs - {(0, 0)} or _count(op, across) != 1:
        count = max(_count(op, across), *(1 + max(pair) for pair in pairs), 1)
        raise frame.error(op, f"over {count} participants: the file runs as one")
    if pairs:
        return unchanged(frame, op)
    frame.shapes[op.results[0]] = frame.shape(op.operands[0])
    return [frame.builder.scalar(0, frame.dtype(op.results[0]))]


def _participants(frame: Frame, op: Any) -> int:
    """How many processes the largest group has."""
    groups = _numbers(frame, op, "replica_groups")
    reduces = op.operation.name.removeprefix("stablehlo.") in ("all_reduce", "all_gather", "reduce_scatter")
    # These count processes of all replicas and partitions; otherwise the groups are of one kind.
    flat = "use_global_device_ids" in op.attributes
    across = "partitions" if _channel(op) and not reduces else "replicas"
    size = max((groups >= 0).sum(axis=1)) if groups.size else _count(op, across)
    return int(size) * (_count(op, "partitions") if _channel(op) and reduces and not flat else 1)


def _channel(op: Any) -> int:
    """The number of the channel between partitions; 0 without one."""
    if "channel_id" in op.attributes:
        return int(op.attributes["channel_id"].value)
    text = str(op.attributes["channel_handle"]) if "channel_handle" in op.attributes else "handle = 0,"
    return int(text.partition("handle = ")[2].partition(",")[0])


def _numbers(frame: Frame, op: Any, name: str) -> np.ndarray:
    """A matrix of participants."""
    attribute = op.attributes[name]
    kind = getattr(attribute, "type", None)
    if kind is None or len(kind.shape) != 2:
        raise frame.error(op, f"{name} {attribute}: expected a matrix of numbers")
    return np.broadcast_to(constant_array(attribute), tuple(kind.shape))


def _count(op: Any, kind: str) -> int:
    """How many partitions or replicas the module is for, by its own number and by its largest mesh of devices."""
    module = op.operation
    while module.parent is not None:
        module = module.parent.operation
    name = f"mhlo.num_{kind}"
    counts = [int(module.attributes[name].value) if name in module.attributes else 1]
    if kind == "partitions":
        meshes = [o for o in module.regions[0].blocks[0].operations if o.operation.name == "sdy.mesh"]
        counts += [math.prod(map(int, _AXIS_SIZES.findall(str(mesh.attributes["mesh"])))) for mesh in meshes]
    return max(counts)
