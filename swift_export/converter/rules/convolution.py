"""convolution: Conv and ConvTranspose if ONNX Runtime has kernels, else a matrix product with patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape, Size, exact_quotient, shape_size
from swift_export.converter.frame import Frame, rule
from swift_export.converter.mlir import constant_array
from swift_export.converter.rules.contraction import finish_product, product_type
from swift_export.converter.rules.spacing import Axis, interleaved, padded, reversed_along, taken
from swift_export.formats.mlir_bindings import stablehlo

__all__: list[str] = []

DataType = oir.DataType

#: The most spatial axes that ONNX Runtime's kernels support.
MOST_AXES = 3
#: Larger kernels would make too many nodes.
MOST_PLACES = 1024

ATTRIBUTES = (
    "batch_group_count",
    "dimension_numbers",
    "feature_group_count",
    "lhs_dilation",
    "padding",
    "precision_config",
    "rhs_dilation",
    "window_reversal",
    "window_strides",
)


@rule("stablehlo.convolution", attributes=ATTRIBUTES)
def convolution(frame: Frame, op: Any) -> oir.Value:
    """Convolution with any number of spatial axes, groups, strides, dilations and padding."""
    rank = len(frame.shape(op.operands[0])) - 2
    padding = constant_array(op.attributes["padding"]) if "padding" in op.attributes else np.zeros((), np.int64)
    return _convolution(frame, op, np.broadcast_to(padding, (rank, 2)).tolist())


@rule("stablehlo.dynamic_conv", attributes=ATTRIBUTES)
def dynamic_conv(frame: Frame, op: Any) -> oir.Value:
    """Convolution with computed padding, such as that of SAME for an unknown size."""
    widths = frame.integers(op, op.operands[2], "padding")
    return _convolution(frame, op, list(zip(widths[::2], widths[1::2], strict=True)))


@dataclass(frozen=True)
class _Convolution:
    """A convolution: batch and features first in operand and result, kernel of (outputs, inputs of a group, ...)."""

    builder: Builder
    value: oir.Value
    kernel: oir.Value
    axes: Sequence[Axis]
    groups: int
    shape: Shape

    @property
    def dtype(self) -> oir.DataType:
        """The type in which the convolution is computed."""
        assert self.value.dtype is not None
        return self.value.dtype


def _convolution(frame: Frame, op: Any, padding: Sequence[Sequence[Size]]) -> oir.Value:
    b = frame.builder
    numbers = stablehlo.ConvDimensionNumbers(op.attributes["dimension_numbers"])
    dtype = product_type(frame, op)
    value, kernel = (b.cast(frame.full(v), dtype) for v in op.operands[:2])
    spatial = list(numbers.input_spatial_dimensions)
    value = b.transpose(value, [numbers.input_batch_dimension, numbers.input_feature_dimension, *spatial])
    kernel_spatial = list(numbers.kernel_spatial_dimensions)
    order = [numbers.kernel_output_feature_dimension, numbers.kernel_input_feature_dimension, *kernel_spatial]
    kernel = b.transpose(kernel, order)

    sizes = frame.static(op, b.shape(kernel), "sizes of the kernel")
    axes = _axes(op, sizes[2:], padding)
    reversal = _numbers(op, "window_reversal", 0, len(axes))
    kernel = reversed_along(b, kernel, [2 + axis for axis, turned in enumerate(reversal) if turned])
    batches, groups = op.attributes["batch_group_count"].value, op.attributes["feature_group_count"].value
    if batches > 1:
        value, groups = _batches_as_features(frame, op, value, batches), batches

    counts = [axis.count(size, b.facts) for axis, size in zip(axes, b.shape(value)[2:], strict=True)]
    placed = [numbers.output_batch_dimension, numbers.output_feature_dimension, *numbers.output_spatial_dimensions]
    known = dict(zip(placed, [b.shape(value)[0], sizes[0], *counts], strict=True))
    out = frame.result_shape(op, tuple(known[i] for i in range(len(placed))))
    frame.shapes[op.results[0]] = out
    shape = tuple(out[i] for i in placed)
    if 0 in (*shape, *b.shape(value), *sizes):
        return b.expand(b.scalar(0, frame.dtype(op.results[0])), out)
    result = _computed(frame, op, _Convolution(b, value, kernel, axes, groups, shape))
    result = finish_product(b, result, frame.dtype(op.results[0]))
    return b.transpose(result, [placed.index(i) for i in range(len(placed))])


def _axes(op: Any, sizes: Sequence[int], padding: Sequence[Sequence[Size]]) -> list[Axis]:
    strides, base, window = (
        _numbers(op, name, 1, len(sizes)) for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    return [
        Axis(size, stride, low, high, holes, apart)
        for size, stride, (low, high), holes, apart in zip(sizes, strides, padding, base, window, strict=True)
    ]


def _numbers(op: Any, name: str, default: int, count: int) -> list[int]:
    return [int(n) for n in op.attributes[name]] if name in op.attributes else [default] * count


def _batches_as_features(frame: Frame, op: Any, value: oir.Value, groups: int) -> oir.Value:
    """Concatenate groups of batches along the features, so that each becomes a group of features."""
    b = frame.builder
    batch, features, *spatial = b.shape(value)
    rest = exact_quotient(batch, groups)
    if rest is None:
        raise frame.error(op, f"batch_group_count {groups}: expected a divisor of the batch size, {batch}")
    apart = b.reshape(value, (groups, rest, features, *spatial))
    moved = b.transpose(apart, [1, 0, *range(2, len(spatial) + 3)])
    return b.reshape(moved, (rest, features * groups, *spatial))


def _computed(frame: Frame, op: Any, conv: _Convolution) -> oir.Value:
    has_kernel = conv.dtype in (DataType.FLOAT, DataType.FLOAT16) and 1 <= len(conv.axes) <= MOST_AXES
    widths = [(a.low, a.high) for a in conv.axes if isinstance(a.low, int) and isinstance(a.high, int)]
    fixed = len(widths) == len(conv.axes)
    dilated = any(axis.base_dilation > 1 for axis in conv.axes)
    if has_kernel and fixed and dilated and all(axis.stride == 1 for axis in conv.axes):
        return _transposed(conv, widths)
    b, zero = conv.builder, conv.builder.scalar(0, conv.dtype)
    value = interleaved(b, conv.value, [1, 1, *[axis.base_dilation for axis in conv.axes]], zero)
    if not has_kernel:
        value = padded(b, value, [0, 0, *[a.low for a in conv.axes]], [0, 0, *[a.high for a in conv.axes]], zero)
        return _of_patches(frame, op, conv, value)
    edges: dict[str, Any] = {"auto_pad": "SAME_UPPER"}
    if fixed or not all(axis.is_same(n) for axis, n in zip(conv.axes, b.shape(conv.value)[2:], strict=True)):
        # The op takes widths that are numbers and not negative; others are padded or cropped before.
        low, high = [axis.low for axis in conv.axes], [axis.high for axis in conv.axes]
        pads = [max(width, 0) if isinstance(width, int) else 0 for width in (*low, *high)]
        rest = [width - pad for width, pad in zip((*low, *high), pads, strict=True)]
        value = padded(b, value, [0, 0, *rest[: len(low)]], [0, 0, *rest[len(low) :]], zero)
        edges = {"pads": pads}
    return b.node(
        "Conv",
        [value, conv.kernel],
        conv.dtype,
        conv.shape,
        kernel_shape=[axis.size for axis in conv.axes],
        strides=[axis.stride for axis in conv.axes],
        dilations=[axis.window_dilation for axis in conv.axes],
        group=conv.groups,
        **edges,
    )


def _transposed(conv: _Convolution, widths: Sequence[tuple[int, int]]) -> oir.Value:
    """Holes between the elements and no strides: the transpose of a convolution with strides."""
    b = conv.builder
    outputs, inputs, *places = b.shape(conv.kernel)
    rank = len(places)
    # From (groups, outputs, inputs, ...) to (groups, inputs, outputs, ...).
    apart = b.reshape(conv.kernel, (conv.groups, _part(outputs, conv.groups), inputs, *places))
    swapped = b.transpose(apart, [0, 2, 1, *range(3, rank + 3)])
    kernel = b.reshape(swapped, (inputs * conv.groups, _part(outputs, conv.groups), *places))
    kernel = reversed_along(b, kernel, list(range(2, rank + 2)))
    # The elements that a full transpose has around the result; negative numbers are padded afterwards.
    around = [(a.reach - 1 - low, a.reach - 1 - high) for a, (low, high) in zip(conv.axes, widths, strict=True)]
    pads = [(max(low, 0), max(high, 0)) for low, high in around]
    more = [(max(-low, 0), max(-high, 0)) for low, high in around]
    shape = tuple(n - low - high for n, (low, high) in zip(conv.shape[2:], more, strict=True))
    result = b.node(
        "ConvTranspose",
        [conv.value, kernel],
        conv.dtype,
        (*conv.shape[:2], *shape),
        kernel_shape=[axis.size for axis in conv.axes],
        strides=[axis.base_dilation for axis in conv.axes],
        dilations=[axis.window_dilation for axis in conv.axes],
        pads=[*[low for low, _ in pads], *[high for _, high in pads]],
        group=conv.groups,
    )
    low, high = [0, 0, *[low for low, _ in more]], [0, 0, *[high for _, high in more]]
    return padded(b, result, low, high, b.scalar(0, conv.dtype))


def _of_patches(frame: Frame, op: Any, conv: _Convolution, value: oir.Value) -> oir.Value:
    """The patches of the kernel's places, concatenated along the features, times the kernel as a matrix."""
    b, groups, dtype = conv.builder, conv.groups, conv.dtype
    outputs, inputs, *places = b.shape(conv.kernel)
    count = math.prod(axis.size for axis in conv.axes)
    if count > MOST_PLACES:
        raise frame.error(op, f"{count} places of a kernel of {dtype.name}: the op's rule takes up to {MOST_PLACES}")
    batch, spatial = conv.shape[0], conv.shape[2:]
    seen = []
    for index in itertools.product(*(range(axis.size) for axis in conv.axes)):
        cuts = {2 + i: axis.place(index[i], spatial[i]) for i, axis in enumerate(conv.axes)}
        seen.append(b.reshape(taken(b, value, cuts), (batch, groups, inputs, shape_size(spatial))))
    depth = inputs * count
    patches = seen[0]
    if count > 1:
        patches = b.node("Concat", seen, dtype, (batch, groups, depth, shape_size(spatial)), axis=2)
    kernel = b.transpose(conv.kernel, [0, *range(2, len(places) + 2), 1])
    kernel = b.reshape(kernel, (groups, _part(outputs, groups), depth))
    product = b.node("MatMul", [kernel, patches], dtype, (batch, groups, _part(outputs, groups), shape_size(spatial)))
    return b.reshape(product, conv.shape)


def _part(size: Size, groups: int) -> int:
    assert isinstance(size, int)
    return size // groups
