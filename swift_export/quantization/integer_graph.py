"""Rewrites the products of an ONNX graph with integer weights, in place.

int8            int8 weights with a step for each output channel, activations of 7 bits: QuantizeLinear and
                DequantizeLinear of ai.onnx around the product. Runtimes compute such a product in integers.
weights-int8    MatMulNBits with 8 or 4 bits and a step for each block of 32 weights. Activations stay float32.
weights-int4

Activations have 128 levels, because on processors without VNNI the sums of two products of 8 bits with 8 bits exceed
the 16 bits in which they are collected, and come out wrong; 127 * 127 * 2 does not. Levels above 127 stay in reserve
for activations beyond the calibrated range, up to twice as large.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as oir

from swift_export.errors import UsageError
from swift_export.quantization.levels import block_levels, channel_levels, pack
from swift_export.quantization.products import CUSTOM, Product, find_products
from swift_export.quantization.record import BITS

__all__ = ["BLOCK", "TURNED", "Range", "integer_products", "products_for"]

#: Weights that share a step in MatMulNBits. ONNX Runtime takes powers of 2 from 16 to 256.
BLOCK = 32
#: What a weight's name is followed by if it is stored transposed.
TURNED = ".T"
#: The highest level of a calibrated activation.
_TOP = 127

#: The smallest and the largest element of an activation.
Range = tuple[float, float]


def products_for(method: str, graph: oir.Graph) -> list[Product]:
    """The products that a method quantizes; raises UsageError if there are none."""
    found = find_products(graph, inner_only=method == "int8")
    if not found:
        what = "products of inner values with" if method == "int8" else "products with"
        raise UsageError(
            f"--method {method}: expected {what} constant float32 matrices, found none; nothing to quantize"
        )
    return found


def integer_products(model: oir.Model, method: str, ranges: Mapping[str, Range]) -> None:
    """Rewrite all `products_for` a method; ``ranges`` are those of activations by name, for int8."""
    graph = model.graph
    products = products_for(method, graph)
    rewriter = _Static(graph, ranges) if method == "int8" else _WeightOnly(graph, BITS[method])
    for product in products:
        _finish(rewriter, product, rewriter.computed(product))
    if method != "int8":
        graph.opset_imports.setdefault(CUSTOM, 1)
    for weight in {product.weight for product in products}:
        if not weight.uses() and not weight.is_graph_output():
            del graph.initializers[str(weight.name)]


class _Rewriter(ABC):
    """Adds nodes in front of a product's, and constants."""

    def __init__(self, graph: oir.Graph) -> None:
        self._graph = graph

    def constant(self, name: str, array: np.ndarray | np.generic) -> oir.Value:
        """A constant of this name, which exists once."""
        if name not in self._graph.initializers:
            tensor = oir.tensor(np.asarray(array), name=name)
            shape = oir.Shape(tensor.shape.numpy())
            value = oir.Value(name=name, shape=shape, type=oir.TensorType(tensor.dtype), const_value=tensor)
            self._graph.register_initializer(value)
        return self._graph.initializers[name]

    def node(
        self,
        before: oir.Node,
        op_type: str,
        inputs: Sequence[oir.Value],
        name: str,
        like: oir.Value | None = None,
        settings: Mapping[str, int] | None = None,
        domain: str = "",
    ) -> oir.Value:
        """The result of a new node, which has the node's name, and the type and shape of ``like``."""
        output = oir.Value(name=name, shape=like.shape if like else None, type=like.type if like else None)
        properties = dict(before.metadata_props)
        self._graph.insert_before(
            before,
            oir.node(
                op_type,
                inputs,
                dict(settings or {}),
                domain=domain,
                outputs=[output],
                name=name,
                metadata_props=properties,
            ),
        )
        return output

    @abstractmethod
    def computed(self, product: Product) -> oir.Value:
        """``activation @ weight`` in integers."""


class _Static(_Rewriter):
    def __init__(self, graph: oir.Graph, ranges: Mapping[str, Range]) -> None:
        super().__init__(graph)
        self._ranges = ranges
        self._rounded: dict[oir.Value, oir.Value] = {}
        self._weights: dict[str, oir.Value] = {}

    def computed(self, product: Product) -> oir.Value:
        node = product.node
        # A Gemm of two dimensions takes the weight in either layout, a MatMul of more needs the output channels last.
        turned = product.rows and node.op_type != "Gemm"
        operands = [self._activation(product), self._weight(product, turned)]
        transposed = {"transB": 1} if product.rows and not turned else {}
        op_type = "Gemm" if node.op_type == "Gemm" else "MatMul"
        return self.node(node, op_type, operands, f"{node.outputs[0].name}/product", node.outputs[0], transposed)

    def _activation(self, product: Product) -> oir.Value:
        value = product.activation
        if value not in self._rounded:
            low, high = self._ranges[str(value.name)]
            low, high = min(low, 0.0), max(high, 0.0)
            step = np.float32((high - low) / _TOP) or np.float32(1)
            zero = np.uint8(np.clip(np.rint(-low / step), 0, _TOP))
            scaling = [
                self.constant(f"{value.name}.activation_step", step),
                self.constant(f"{value.name}.activation_zero", zero),
            ]
            levels = self.node(product.node, "QuantizeLinear", [value, *scaling], f"{value.name}/levels")
            self._rounded[value] = self.node(
                product.node, "DequantizeLinear", [levels, *scaling], f"{value.name}/rounded", value
            )
        return self._rounded[value]

    def _weight(self, product: Product, turned: bool) -> oir.Value:
        name = product.name + (TURNED if turned else "")
        if name not in self._weights:
            levels = channel_levels(product.by_channel)
            rows = product.rows and not turned
            stored = levels.integers if rows else np.ascontiguousarray(levels.integers.T)
            # Without the zero points, which ONNX would add by itself, ONNX Runtime multiplies in float32.
            operands = [
                self.constant(f"{name}.int8", stored),
                self.constant(f"{name}.steps", levels.steps),
                self.constant(f"{name}.zeros", np.zeros(len(levels.steps), np.int8)),
            ]
            axis = {"axis": 0 if rows else 1}
            self._weights[name] = self.node(product.node, "DequantizeLinear", operands, f"{name}.rounded", None, axis)
        return self._weights[name]


class _WeightOnly(_Rewriter):
    def __init__(self, graph: oir.Graph, bits: int) -> None:
        super().__init__(graph)
        self._bits = bits

    def computed(self, product: Product) -> oir.Value:
        node, bits = product.node, self._bits
        weights = product.by_channel
        name = product.name + ("" if product.rows else TURNED)
        levels = block_levels(weights, bits, BLOCK)
        operands = [
            product.activation,
            self.constant(f"{name}.int{bits}", pack(levels, bits)),
            self.constant(f"{name}.steps", levels.steps),
        ]
        sizes = {"N": weights.shape[0], "K": weights.shape[1], "bits": bits, "block_size": BLOCK}
        label = f"{node.outputs[0].name}/product"
        return self.node(node, "MatMulNBits", operands, label, node.outputs[0], sizes, CUSTOM)


def _finish(rewriter: _Rewriter, product: Product, value: oir.Value) -> None:
    """Add bias and factor, and let the result take the place of the product's."""
    node, output = product.node, product.node.outputs[0]
    if product.bias is not None:
        value = rewriter.node(node, "Add", [value, product.bias], f"{output.name}/biased", output)
    if product.factor != 1:
        factor = rewriter.constant(f"{output.name}/factor", np.float32(product.factor))
        value = rewriter.node(node, "Mul", [value, factor], f"{output.name}/scaled", output)
    name, output.name = output.name, None
    value.name = name
    output.replace_all_uses_with(value, replace_graph_outputs=True)
    made = value.producer()
    assert made is not None
    made.name, node.name = node.name, None
    node.graph.remove(node, safe=True)  # type: ignore[union-attr]
