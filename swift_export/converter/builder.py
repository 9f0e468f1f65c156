"""Makes ONNX nodes: shares equal constants, tracks symbolic shapes and the scope of the op being translated."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.dims import Dim, Shape, Size
from swift_export.converter.kernels import NoKernelError, carrier, has_kernel
from swift_export.converter.size_functions import Facts
from swift_export.converter.size_names import SizeNames
from swift_export.converter.size_nodes import SizeNodes
from swift_export.errors import LoweringError

__all__ = ["LOOSE", "NAMED", "SCOPE", "SHORT", "UNNAMED", "Builder", "OpsetError", "broadcast_shapes", "known"]

#: Key of a node's metadata that holds its scope until nodes are named.
SCOPE = "scope"

#: Prefix of the numbered names of constants that the program did not name; and the key of a value's ``meta`` that
#: marks such a name as the program's own.
UNNAMED, NAMED = "constant_", "named"

#: Most bytes of constants that are compared with others at once. A pass merges equal larger ones.
SHARED = 2**16

#: Key of a node's ``meta`` that marks a Cast which no conversion of the program asks for.
LOOSE = "loose"

#: An index out of range for an array of one element.
OUT_OF_RANGE = 2**31

#: On integers, the low bits of the results of these ops depend only on the low bits of their operands.
MODULAR = frozenset(
    {"Add", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CumProd", "CumSum", "Einsum", "MatMul"}
    | {"Mul", "Neg", "Pad", "Sub", "Where"}
)

#: Floats that float32 holds.
SHORT = (oir.DataType.FLOAT16, oir.DataType.BFLOAT16)

#: For ops missing in the default opset: the first opset that has them.
FIRST_OPSETS = {"BitCast": 26, "CumProd": 26}


class OpsetError(LoweringError):
    """An op that is missing in the opset that the caller asked for."""

    def __init__(self, op_type: str, opset: int) -> None:
        super().__init__(
            f"needs ONNX's {op_type}, of opset {FIRST_OPSETS[op_type]}: found --opset {opset}, leave it out"
        )


@dataclass
class Opset:
    """The version of ai.onnx of a graph and its bodies; it may rise unless it is fixed."""

    version: int
    fixed: bool


def known(value: oir.Value) -> np.ndarray | None:
    """The elements of a constant to compute with; None for a named constant, which stays in the file."""
    return None if value.const_value is None or NAMED in value.meta else value.const_value.numpy()


def broadcast_shapes(*shapes: Shape) -> Shape:
    """NumPy's broadcasting rule on symbolic shapes; raises LoweringError if two sizes are neither equal nor 1."""
    rank = max(map(len, shapes))
    out: list[Size] = []
    for sizes in zip(*[(1,) * (rank - len(s)) + s for s in shapes], strict=True):
        wide = {s for s in sizes if s != 1}
        if len(wide) > 1:
            raise LoweringError(f"shapes {', '.join(map(str, shapes))} cannot be broadcast together")
        out.append(wide.pop() if wide else 1)
    return tuple(out)


class Builder:
    """Collects nodes and initializers of one graph.

    Unless ``opset`` is ``fixed``, an op that it lacks raises it to the first opset with that op. With ``native``, ops
    stay on bfloat16 where GPUs have kernels.
    """

    def __init__(self, opset: int, *, fixed: bool = True, native: bool = False) -> None:
        self.native = native
        self._opset = Opset(opset, fixed)
        self.nodes: list[oir.Node] = []
        self.initializers: dict[str, oir.Value] = {}
        self.scope = ""
        self._shapes: dict[oir.Value, Shape] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], oir.Value] = {}
        self._size_names = SizeNames()
        self._size_nodes = SizeNodes()
        self.facts = Facts()
        self.conditions: list[oir.Value] = []
        #: What a reader of the file's results should know.
        self.notes: list[str] = []
        self.is_body = False

    @property
    def opset(self) -> int:
        """The version of ai.onnx that the nodes need so far."""
        return self._opset.version

    def nested(self) -> Builder:
        """A builder for the body of a Loop or If of this graph; the body may read all existing values."""
        inner = copy.copy(self)
        inner.nodes, inner.conditions = [], []
        inner.is_body = True
        return inner

    def input(self, name: str, dtype: oir.DataType, shape: Shape) -> oir.Value:
        """An input of the graph; the symbols in its shape are read from it at run time if needed."""
        value = self._value(name, dtype, shape)
        self._size_nodes.learn(self, value)
        return value

    def hold_sizes(self, inputs: Sequence[oir.Value]) -> None:
        """Require at run time that every size of the inputs agrees with the symbols."""
        self._size_nodes.hold(self, inputs)

    def require(self, condition: oir.Value) -> None:
        """Make a run fail if the condition, one truth value, is false."""
        self.conditions.append(self.reshape(condition, ()))

    def guarded(self, value: oir.Value) -> oir.Value:
        """The same value, if all required conditions are true.

        ONNX has no assertion. Instead, a false condition makes an index out of range, which stops the run.
        """
        # Larger bounds than 1 are required where the program asserts them.
        for name in sorted(self.facts.used):
            if self.facts.asserted[name] == 1:
                self.require(self.truth("Greater", self.sizes([Dim.symbol(name)]), self.integers([0])))
        if not self.conditions:
            return value
        whole = self.conditions[0]
        for condition in self.conditions[1:]:
            whole = self.same_type("And", whole, condition)
        index = self.where(whole, *(self.scalar(i, oir.DataType.INT64) for i in (0, OUT_OF_RANGE)))
        shape = self.shape(value)
        assert value.dtype is not None
        only = self.node("Unsqueeze", [value, self.integers([0])], value.dtype, (1, *shape))
        return self.node("Gather", [only, index], value.dtype, shape, axis=0)

    def initializer(self, name: str, array: np.ndarray) -> oir.Value:
        """A named constant; passes keep its name and elements."""
        value = self._constant(name, array)
        value.meta[NAMED] = True
        return value

    def _constant(self, name: str, array: np.ndarray) -> oir.Value:
        value = self._value(name, oir.DataType.from_numpy(array.dtype), array.shape)
        value.const_value = oir.tensor(array, name=name)
        self.initializers[name] = value
        return value

    def constant(self, array: np.ndarray) -> oir.Value:
        """An unnamed constant; equal small ones are shared."""
        array = np.asarray(array)
        if array.nbytes > SHARED:
            return self._unnamed(array)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._unnamed(array)
        return self._constants[key]

    def _unnamed(self, array: np.ndarray) -> oir.Value:
        numbers = (f"{UNNAMED}{n}" for n in itertools.count(len(self.initializers)))
        return self._constant(next(n for n in numbers if n not in self.initializers), array)

    def integers(self, values: Sequence[int]) -> oir.Value:
        """A vector of int64, as ONNX expects for shapes, axes and the like."""
        return self.constant(np.asarray(values, np.int64))

    def node(
        self,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        dtype: oir.DataType,
        shape: Shape,
        **attributes: Any,
    ) -> oir.Value:
        """One node with one output of the given type and shape."""
        (output,) = self.node_outputs(op_type, inputs, [(dtype, shape)], **attributes)
        return output

    def node_outputs(
        self,
        op_type: str,
        inputs: Sequence[oir.Value | None],
        results: Sequence[tuple[oir.DataType, Shape]],
        **attributes: Any,
    ) -> list[oir.Value]:
        """One node with several outputs of the given types and shapes.

        Raises NoKernelError if ONNX Runtime does not compute the op on elements of this type, and OpsetError if the op
        is missing in the opset that the caller asked for.
        """
        data = inputs[1 if op_type == "Where" else 0] if inputs else None
        if data is not None and data.dtype is not None and not has_kernel(op_type, data.dtype, native=self.native):
            raise NoKernelError(op_type, data.dtype)
        if FIRST_OPSETS.get(op_type, 0) > self.opset:
            if self._opset.fixed:
                raise OpsetError(op_type, self.opset)
            self._opset.version = FIRST_OPSETS[op_type]
        outputs = [self._value(None, *result) for result in results]
        self.nodes.append(
            oir.node(op_type, list(inputs), attributes, outputs=outputs, metadata_props={SCOPE: self.scope})
        )
        return outputs

    def shape(self, value: oir.Value) -> Shape:
        """The symbolic shape of a value of this graph."""
        return self._shapes[value]

    def fresh_symbol(self) -> Dim:
        """An unknown size with a new symbol."""
        return self._size_names.fresh()

    def element_sizes(self, value: oir.Value) -> list[Dim]:
        """The elements of computed integers as sizes."""
        return self._size_nodes.elements(self, value)

    def is_from_data(self, size: Size) -> bool:
        """Whether a size depends on computed integers, which may be negative."""
        return isinstance(size, Dim) and not size.symbols.isdisjoint(self.facts.floors)

    def carrier(self, op_type: str, dtype: oir.DataType) -> oir.DataType:
        """The type in which an op is computed without loss: ``dtype``, or a wider one that has a kernel.

        Raises NoKernelError if there is no such type.
        """
        found = carrier(op_type, dtype, modular=op_type in MODULAR, native=self.native)
        if found is None:
            raise NoKernelError(op_type, dtype)
        return found

    def same_type(self, op_type: str, *inputs: oir.Value, **attributes: Any) -> oir.Value:
        """An elementwise op, computed in its carrier, with a result of the type of its inputs."""
        dtype = inputs[0].dtype
        assert dtype is not None
        if op_type in ("Max", "Min") and dtype == oir.DataType.INT64:
            # ONNX Runtime orders vectors of these wrongly if only their lower halves differ.
            a, b = inputs
            return self.where(self.truth("Greater" if op_type == "Max" else "Less", a, b), a, b)
        kind = self.carrier(op_type, dtype)
        shape = broadcast_shapes(*map(self.shape, inputs))
        carried = [self.cast(v, kind) for v in inputs]
        return self.uncarried(self.node(op_type, carried, kind, shape, **attributes), dtype)

    def truth(self, op_type: str, *inputs: oir.Value) -> oir.Value:
        """An elementwise comparison or test, computed in its operands' carrier."""
        assert inputs[0].dtype is not None
        kind = self.carrier(op_type, inputs[0].dtype)
        shape = broadcast_shapes(*map(self.shape, inputs))
        return self.node(op_type, [self.cast(v, kind) for v in inputs], oir.DataType.BOOL, shape)

    def where(self, condition: oir.Value, a: oir.Value, b: oir.Value) -> oir.Value:
        """Elements of ``a`` where the condition is true, of ``b`` elsewhere."""
        assert a.dtype is not None
        kind = self.carrier("Where", a.dtype)
        shape = broadcast_shapes(*map(self.shape, (condition, a, b)))
        chosen = self.node("Where", [condition, self.cast(a, kind), self.cast(b, kind)], kind, shape)
        return self.uncarried(chosen, a.dtype)

    def opposite(self, condition: oir.Value) -> oir.Value:
        """The opposite truth values, for a `where` with a -0 in its third operand, where ONNX Runtime keeps it.

        It exchanges the operands of a Where to remove a Not, but not for this Equal.
        """
        return self.truth("Equal", condition, self.scalar(False, oir.DataType.BOOL))

    def scalar(self, value: float | bool, dtype: oir.DataType) -> oir.Value:
        """A constant of one element."""
        return self.constant(np.asarray(value, dtype.numpy()))

    def reshape(self, value: oir.Value, shape: Shape) -> oir.Value:
        """Reshape; unknown sizes become -1 or are computed from the inputs at run time."""
        before = self.shape(value)
        if before == shape:
            return value
        assert value.dtype is not None
        if 0 in shape:
            # In ONNX a size of 0 means the operand's size; an empty result needs no elements of it.
            return self.expand(self.scalar(0, value.dtype), shape)
        added = _added_axes(before, shape)
        if added is not None:
            return self.node("Unsqueeze", [value, self.integers(added)], value.dtype, shape)
        if sum(not isinstance(size, int) for size in shape) > 1:
            # Such a size of 0 at run time would otherwise mean the operand's size.
            return self.node("Reshape", [value, self.sizes(shape)], value.dtype, shape, allowzero=1)
        # ONNX infers one size, given as -1. The answer is unique, because the others are positive numbers.
        target = self.integers([size if isinstance(size, int) else -1 for size in shape])
        return self.node("Reshape", [value, target], value.dtype, shape)

    def transpose(self, value: oir.Value, perm: Sequence[int]) -> oir.Value:
        """Transpose; no node if the order stays the same."""
        if list(perm) == list(range(len(perm))):
            return value
        shape = self.shape(value)
        assert value.dtype is not None
        return self.node("Transpose", [value], value.dtype, tuple(shape[p] for p in perm), perm=list(perm))

    def expand(self, value: oir.Value, shape: Shape) -> oir.Value:
        """Repeat along axes of size 1 to the full shape."""
        before = self.shape(value)
        if before == shape:
            return value
        if before and shape == (*(1,) * (len(shape) - len(before)), *before):
            return self.reshape(value, shape)
        assert value.dtype is not None
        kind = self.carrier("Expand", value.dtype)
        full = self.node("Expand", [self.cast(value, kind), self.sizes(shape)], kind, shape)
        return self.uncarried(full, value.dtype)

    def cast(self, value: oir.Value, dtype: oir.DataType) -> oir.Value:
        """Convert elements; no node if they have that type already, or if it is float32 and they are one number."""
        if value.dtype == dtype:
            return value
        elements = known(value)
        if dtype == oir.DataType.FLOAT and value.dtype in SHORT and elements is not None and elements.size == 1:
            return self.constant(elements.astype(np.float32))
        return self.node("Cast", [value], dtype, self.shape(value), to=dtype.value)

    def uncarried(self, value: oir.Value, dtype: oir.DataType) -> oir.Value:
        """An op's result in its own type; a chain of ops on 16-bit floats may keep the digits of the carrier."""
        result = self.cast(value, dtype)
        if result is not value:
            node = result.producer()
            assert node is not None
            node.meta[LOOSE] = True
        return result

    def sizes(self, shape: Sequence[Size]) -> oir.Value:
        """The sizes as a vector of int64; unknown ones are computed at run time."""
        if all(isinstance(s, int) for s in shape):
            return self.integers([int(s) for s in shape if isinstance(s, int)])
        parts = [self._size_nodes.node(self, s) for s in shape]
        if len(parts) == 1:
            return parts[0]
        return self.node("Concat", parts, oir.DataType.INT64, (len(parts),), axis=0)

    def _value(self, name: str | None, dtype: oir.DataType, shape: Shape) -> oir.Value:
        value = oir.val(name, dtype, [self._size_names.of(s) for s in shape])
        self._shapes[value] = tuple(shape)
        return value

    def graph(self, inputs: Sequence[oir.Value], outputs: Mapping[str, oir.Value]) -> oir.Graph:
        """The finished graph, without unused initializers."""
        for name, value in outputs.items():
            value.name = name
        return oir.Graph(
            inputs,
            list(outputs.values()),
            nodes=self.nodes,
            initializers=[v for v in self.initializers.values() if v.uses() or v in set(outputs.values())],
            opset_imports={"": self.opset},
            name="main",
        )

    def body(self, inputs: Sequence[oir.Value], outputs: Sequence[oir.Value], name: str) -> oir.Graph:
        """The finished body of a Loop or If; each output is produced by a separate node inside the body."""
        own = {output for node in self.nodes for output in node.outputs}
        results: list[oir.Value] = []
        for value in outputs:
            if value not in own or value in results:
                value = self.same_type("Identity", value)
            results.append(value)
        return oir.Graph(inputs, results, nodes=self.nodes, name=name)

    def parameter(self, dtype: oir.DataType, shape: Shape) -> oir.Value:
        """An input of a body."""
        return self._value(None, dtype, shape)


def _added_axes(before: Shape, after: Shape) -> list[int] | None:
    """Positions of the axes of size 1 that a reshape adds, if it does nothing else."""
    if len(after) <= len(before) or len(before) == 0:
        return None
    axes, i = [], 0
    for axis, size in enumerate(after):
        if i < len(before) and before[i] == size and len(after) - axis >= len(before) - i:
            i += 1
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return axes if i == len(before) else None
