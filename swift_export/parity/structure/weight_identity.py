"""Compares a file's weights bit for bit: a changed one may alter outputs by less than any tolerance."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as oir

from swift_export.models.model import Setting
from swift_export.quantization.restoring import Rounded
from swift_export.system.arrays import little_endian, load_array

__all__ = ["digests", "weight_identity"]

#: The lowering's name in ONNX for rows of a split tensor: ``NAME[0:36]``.
_ROWS = re.compile(r"(?P<name>.+)\[(?P<start>\d+):\d+\]")


def digests(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The SHA-256 of each tensor's element type and elements, by name."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def weight_identity(
    path: Path,
    expected: Mapping[str, str],
    rounded: Mapping[str, Rounded] | None = None,
    tensors: Mapping[str, str] | None = None,
) -> Setting:
    """Whether the file at ``path`` contains every tensor of ``expected``, their `digests`.

    If the file has a tensor of this name, as ONNX files do, that one must match; otherwise, any tensor may. A tensor in
    ``rounded`` must be what rounding gives of the model's, which is in a file of ``tensors``.
    """
    if rounded and tensors:
        return _rounded_identity(path, expected, rounded, tensors)
    if path.suffix == ".onnx":
        named = digests(dict(_whole(_initializers(path))))
        found = set(named.values())
    else:
        named, found = {}, {_digest(tensor) for tensor in (_variables(path) if path.is_dir() else _constants(path))}
    missing = [name for name, digest in expected.items() if named.get(name, digest) != digest or digest not in found]
    wanted = f"the {len(expected)} of the model, bit for bit"
    differ = f"{len(missing)} differ or are absent, such as {missing[0]}" if missing else wanted
    return Setting("weights", "tensors", wanted, differ)


def _rounded_identity(
    path: Path, expected: Mapping[str, str], rounded: Mapping[str, Rounded], tensors: Mapping[str, str]
) -> Setting:
    numbers, steps = (
        dict(_whole((name, getattr(tensor, part)) for name, tensor in rounded.items())) for part in ("numbers", "steps")
    )
    bits = max(tensor.bits for tensor in rounded.values())
    exact = {name: digest for name, digest in expected.items() if name not in numbers}
    named = digests(dict(_whole(_initializers(path))))
    found = set(named.values())
    wrong = [name for name, digest in exact.items() if named.get(name, digest) != digest or digest not in found]
    wrong += [
        name
        for name, array in numbers.items()
        if name not in tensors or not Rounded(array, steps[name], bits).is_of(load_array(tensors[name]))
    ]
    wanted = f"the {len(expected)} of the model, {len(numbers)} to half a step, the others bit for bit"
    differ = f"{len(wrong)} differ or are absent, such as {wrong[0]}" if wrong else wanted
    return Setting("weights", "tensors", wanted, differ)


def _initializers(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for value in oir.load(path).graph.initializers.values():
        if value.const_value is not None:
            yield str(value.name), value.const_value.numpy()


def _whole(tensors: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors joined from their separately named rows."""
    parts: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for name, tensor in tensors:
        if rows := _ROWS.fullmatch(name):
            parts[rows["name"]][int(rows["start"])] = tensor
        else:
            yield name, tensor
    for name, rows_of in parts.items():
        yield name, np.concatenate([rows_of[start] for start in sorted(rows_of)])


def _constants(path: Path) -> Iterator[np.ndarray]:
    from swift_export.converter.mlir import constant_array, has_equivalent, read_module, static_shape, walk
    from swift_export.formats.stablehlo import module_in

    module = read_module(module_in(path)[0])
    for op in walk(module.operation):
        if op.operation.name == "stablehlo.constant" and has_equivalent(op.results[0].type):
            # A constant tensor is stored as one number.
            shape = [n or 0 for n in static_shape(op.results[0])]
            yield np.broadcast_to(constant_array(op.attributes["value"]), shape)


def _variables(path: Path) -> Iterator[np.ndarray]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    for name in reader.get_variable_to_dtype_map():
        # A tensor without axes is a number. TensorFlow also stores the structure of objects, as bytes.
        array = np.asarray(reader.get_tensor(name))
        if array.dtype.kind not in "OSU":
            yield array


def _digest(tensor: np.ndarray) -> str:
    digest = hashlib.sha256(f"{tensor.dtype.name} {tensor.shape}".encode())
    digest.update(little_endian(tensor).tobytes())
    return digest.hexdigest()
