"""The products of an ONNX graph whose weights may become integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

__all__ = ["CUSTOM", "Product", "find_products"]

#: The domain of ONNX Runtime's own operators.
CUSTOM = "com.microsoft"

_DOMAINS = {"MatMul": "", "Gemm": "", "FusedMatMul": CUSTOM}
#: Operators that pass on elements of their first operand, unchanged.
_MOVES = frozenset(
    ("Cast", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
)


@dataclass(frozen=True, eq=False)
class Product:
    """``factor * (activation @ weight + bias)``, computed by ``node``.

    ``rows`` says that output channels are the rows of the weight, not its columns.
    """

    node: oir.Node
    weight: oir.Value
    rows: bool
    factor: float

    @property
    def activation(self) -> oir.Value:
        """The first operand: a value that replaces it, too."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def bias(self) -> oir.Value | None:
        """The third operand, if there is one."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    @property
    def by_channel(self) -> np.ndarray:
        """The weight, with output channels as rows."""
        assert self.weight.const_value is not None
        array = self.weight.const_value.numpy()
        return np.ascontiguousarray(array if self.rows else array.T)

    @property
    def name(self) -> str:
        """The weight's name."""
        return str(self.weight.name)


def find_products(graph: oir.Graph, *, inner_only: bool = False) -> list[Product]:
    """The products of float32 values with constant matrices, in the order of the graph.

    With ``inner_only``, those of the model's inputs are left out, also if elements are moved before: no calibration
    knows the range of inputs, and the outliers of an image or a scan would coarsen all other elements. Of a matrix that
    is also used transposed, only the first use counts: its steps belong to output channels.
    """
    found, layouts = [], dict[oir.Value, bool]()
    for product in _products(graph):
        if not product.by_channel.size or (inner_only and _is_input(product.activation)):
            continue
        if layouts.setdefault(product.weight, product.rows) == product.rows:
            found.append(product)
    return found


def _products(graph: oir.Graph) -> Iterator[Product]:
    for node in graph:
        if node.op_type not in _DOMAINS or node.domain != _DOMAINS[node.op_type]:
            continue
        activation, weight, *rest = node.inputs
        if activation is None or weight is None or not _is_matrix(weight) or weight is activation:
            continue
        settings = {name: attribute.value for name, attribute in node.attributes.items()}
        if any(settings.get(name) for name in ("transA", "transBatchA", "transBatchB")):
            continue
        factor, bias = float(settings.get("alpha", 1.0)), rest[0] if rest else None
        if bias is not None and float(settings.get("beta", 1.0)) != factor:
            continue
        yield Product(node, weight, bool(settings.get("transB")), factor)


def _is_matrix(value: oir.Value) -> bool:
    tensor = value.const_value
    return (
        value.is_initializer() and tensor is not None and tensor.dtype == oir.DataType.FLOAT and len(tensor.shape) == 2
    )


def _is_input(value: oir.Value) -> bool:
    while (node := value.producer()) is not None:
        if node.op_type not in _MOVES or node.inputs[0] is None:
            return False
        value = node.inputs[0]
    return value.is_graph_input()
