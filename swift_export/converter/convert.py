"""Converts a StableHLO module to an ONNX model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export._version import __version__
from swift_export.converter import mlir, rules
from swift_export.converter.builder import Builder
from swift_export.converter.complex_pairs import split_complex
from swift_export.converter.complex_pairs.boundary import describe, joined, parted
from swift_export.converter.dims import Dim, Shape, Size
from swift_export.converter.entry_signature import unique
from swift_export.converter.frame import Frame
from swift_export.converter.narrow_types import EIGHT_BITS, EIGHT_BITS_OPSET
from swift_export.converter.opsets import DEFAULT_OPSET, OPSETS, check_target, ir_version
from swift_export.converter.passes import run_passes
from swift_export.errors import LoweringError, UsageError
from swift_export.formats.mlir_bindings import ir
from swift_export.system.arrays import as_pairs
from swift_export.system.items import as_items

__all__ = ["stablehlo_to_onnx"]

assert rules, "importing the rules registers them"


def stablehlo_to_onnx(
    source: bytes | str | ir.Module,
    *,
    constants: Mapping[str, np.ndarray] | None = None,
    argument_names: str | Sequence[str] | None = None,
    result_names: str | Sequence[str] | None = None,
    dim_names: Mapping[str, str | Sequence[str | Size | None]] | None = None,
    opset: int | None = None,
    fuse: bool = True,
    target: str = "portable",
    native: bool = False,
) -> oir.Model:
    """Translate a StableHLO module to an ONNX model, of portable ops unless ``target`` is "onnxruntime".

    Args:
        source: MLIR text, bytecode or a portable artifact with a function ``@main``; or such a module as read by
            `read_module`, which is used up.
        constants: arrays by argument; these arguments become initializers with the argument's name.
        argument_names: names of all arguments of ``@main``, in order; by default the framework's names, else
            ``arg0``, ....
        result_names: names of all results, in order: any text, such as a path. By default the framework's names, else
            ``output`` for a single result, ``output_0``, ... for several.
        dim_names: unknown dimensions by argument: names (equal names mean equal sizes), numbers, or polynomials like
            ``2*b``. The file refuses inputs of other sizes. The dimensions of outputs are expressed in these names.
        opset: the file's opset; by default `DEFAULT_OPSET`, or a later one if an op needs it.
        fuse: whether to fuse patterns into larger ops, such as attention.
        target: "portable" (only ai.onnx ops) or "onnxruntime".
        native: keep products, sums, norms and softmax on bfloat16, as GPUs compute them. ONNX Runtime on a CPU has no
            kernels for these; by default, they are computed in float32.

    Raises LoweringError, with op and source location, for anything that ONNX cannot express exactly.
    """
    if opset is not None and opset not in OPSETS:
        raise UsageError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}")
    check_target(target)
    module = mlir.read_module(source) if isinstance(source, (bytes, str)) else source
    main = mlir.main_function(module)
    builder = Builder(opset or DEFAULT_OPSET, fixed=opset is not None, native=native)
    frame = Frame(builder, mlir.functions(module))
    constants, dim_names = constants or {}, dim_names or {}

    arguments = list(main.regions[0].blocks[0].arguments)
    names = list(
        as_items(argument_names) if argument_names else (mlir.argument_name(a, i) for i, a in enumerate(arguments))
    )
    if len(names) != len(arguments) or len(set(names)) != len(names):
        raise UsageError(f"argument names: expected {len(arguments)} different ones, found {', '.join(names)}")
    if not all(names):
        raise UsageError(f"argument names: expected text, found none for argument {names.index('')}")
    if unknown := set(constants) - set(names):
        raise UsageError(f"constants: the module has no argument {', '.join(sorted(unknown))}")

    if unknown := set(dim_names) - set(names):
        raise UsageError(f"dimension names: the module has no argument {', '.join(sorted(unknown))}")

    labels = {name: [_read_label(label) for label in as_items(given)] for name, given in dim_names.items()}
    symbols = [s for sizes in labels.values() for size in sizes if isinstance(size, Dim) for s in size.symbols]
    results = as_items(result_names) if result_names else unique(mlir.names_of_results(main), names)
    # The platform's number, which selects one of several programs.
    numbers = [bool(mlir.attribute_of(main, "arg_attrs", i, "jax.global_constant")) for i in range(len(arguments))]
    pairs = split_complex(module)

    inputs = []
    parameters = iter(main.regions[0].blocks[0].arguments)
    for index, name in enumerate(names):
        parts = [next(parameters) for _ in range(2 if index in pairs.arguments else 1)]
        if name in constants:
            value = _constant(frame, parts, name, constants[name])
            if numbers[index]:
                frame.known[parts[0]] = constants[name].astype(object)
        else:
            dtype = _interface_type(builder, f"argument {name}", parts[0].type)
            shape = _input_shape(name, parts[0], labels.get(name), symbols)
            value = builder.input(name, dtype, (*shape, 2) if len(parts) == 2 else shape)
            describe(value, pairs.arguments.get(index))
            inputs.append(value)
        for parameter, part in zip(parts, [value] if len(parts) == 1 else parted(builder, value), strict=True):
            frame.values[parameter] = builder.cast(part, mlir.element_type(parameter.type))
            frame.shapes[parameter] = builder.shape(part)

    builder.hold_sizes(inputs)
    returned = frame.flat(frame.run(main.regions[0]))
    if not returned:
        raise LoweringError("function @main: expected at least one result, found none; return a value")
    parts_of_results = iter(returned)
    grouped = [
        [next(parts_of_results) for _ in range(2 if index in pairs.results else 1)]
        for index in range(len(returned) - len(pairs.results))
    ]
    outputs = _outputs(frame, grouped, results, inputs, constants)
    for index, value in enumerate(outputs.values()):
        describe(value, pairs.results.get(index))
    model = oir.Model(
        builder.graph(inputs, outputs),
        ir_version=ir_version(builder.opset),
        producer_name="swift-export",
        producer_version=__version__,
    )
    model.meta["notes"] = tuple(builder.notes)
    run_passes(model, fuse=fuse, target=target)
    return model


def _interface_type(builder: Builder, what: str, kind: Any) -> oir.DataType:
    """ONNX's type of an input or output of an MLIR type; inside, a wider type carries eight-bit floats."""
    if mlir.has_equivalent(kind):
        return mlir.element_type(kind)
    name = mlir.narrow_type(kind) if isinstance(kind, ir.RankedTensorType) else None
    if name not in EIGHT_BITS:
        raise LoweringError(f"{what}: type {kind}: ONNX has no equivalent")
    if builder.opset < EIGHT_BITS_OPSET:
        raise LoweringError(
            f"{what}: needs {name}, of opset {EIGHT_BITS_OPSET}: found --opset {builder.opset}, leave it out"
        )
    return EIGHT_BITS[name]


def _constant(frame: Frame, parts: Sequence[Any], name: str, array: np.ndarray) -> oir.Value:
    """An initializer with the name of an argument; complex numbers are pairs."""
    kind, shape = parts[0].type, mlir.static_shape(parts[0])
    dtype = _interface_type(frame.builder, f"argument {name}", kind)
    found, real = array.shape, array.real if len(parts) == 2 else array
    is_pair = np.iscomplexobj(array)
    if found != shape or is_pair != (len(parts) == 2) or oir.DataType.from_numpy(real.dtype) != dtype:
        expected = f"complex numbers of parts {kind}" if len(parts) == 2 else kind
        raise LoweringError(f"argument {name}: expected {expected}, found {array.dtype} {array.shape}")
    return frame.builder.initializer(name, as_pairs(array))


def _read_label(label: str | Size | None) -> Size | None:
    """A dimension's size; None keeps the default."""
    if isinstance(label, str):
        return Dim.parse(label) if label else None
    return label


def _input_shape(name: str, argument: Any, labels: Sequence[Size | None] | None, symbols: Sequence[str]) -> Shape:
    """The shape of an input; ``labels`` are its unknown sizes, ``symbols`` what all labels name."""
    static = mlir.static_shape(argument)
    labels = [None] * len(static) if labels is None else labels
    if len(labels) != len(static):
        raise UsageError(f"dimension names: {name} has {len(static)} axes, found names for {len(labels)}")
    shape: list[Size] = []
    for axis, (size, label) in enumerate(zip(static, labels, strict=True)):
        named = Dim.symbol(unique([f"{name}_dim{axis}"], symbols)[0]) if label is None else label
        shape.append(named if size is None else size)
    return tuple(shape)


def _outputs(
    frame: Frame,
    returned: Sequence[Sequence[Any]],
    names: Sequence[str],
    inputs: Sequence[oir.Value],
    constants: Collection[str],
) -> dict[str, oir.Value]:
    if len(names) != len(returned) or len(set(names)) != len(names):
        raise UsageError(f"result names: expected {len(returned)} different ones, found {', '.join(names)}")
    if not all(names):
        raise UsageError(f"result names: expected text, found none for result {list(names).index('')}")
    for what, others in (("inputs", {v.name for v in inputs}), ("constants", set(constants))):
        if clash := set(names) & others:
            raise UsageError(f"result names: {', '.join(sorted(clash))} are names of {what} too")
    b = frame.builder
    outputs: dict[str, oir.Value] = {}
    dtypes: dict[str, oir.DataType] = {}
    for name, result in zip(names, returned, strict=True):
        dtypes[name] = _interface_type(b, f"result {name}", result[0].type)
        parts = [frame.full(part) for part in result]
        value = parts[0] if len(parts) == 1 else joined(b, *parts)
        # A separate node must produce each output: an input, an initializer or another output cannot serve.
        if value.producer() is None or value in outputs.values():
            value = b.same_type("Identity", value)
        outputs[name] = value
    if outputs:
        first = next(iter(outputs))
        outputs[first] = b.guarded(outputs[first])
    for name, dtype in dtypes.items():
        if outputs[name].dtype != dtype:
            # The carried elements are of that type, infinity included, which would become the largest number.
            shape = b.shape(outputs[name])
            outputs[name] = b.node("Cast", [outputs[name]], dtype, shape, to=dtype.value, saturate=0)
    return outputs
