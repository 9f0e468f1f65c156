"""The meaning of names in a checkpoint's pickle: an allow-list.

Only the names in ``_MEANINGS`` have a meaning, which is a plain value or a description of a tensor. All other classes
stay inert. Names of Python's standard library that no checkpoint needs (``os.system``, ``builtins.eval``) indicate an
attack and are rejected, although nothing here could call them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from swift_export.formats.checkpoint.unpickle import Global, Inert, PickleError, described, read_pickle
from swift_export.system.text import shown

__all__ = ["StorageRef", "TensorRef", "is_count", "plain", "read_torch_pickle"]

MAX_PLAIN_VALUES = 1_000_000
MAX_PLAIN_DEPTH = 16


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage outside the pickle: the archive's member ``data/<key>`` with ``length`` elements."""

    kind: str
    key: str
    length: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A view of a storage, as claimed by the pickle and not yet checked. Sizes count elements."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def is_count(value: Any) -> bool:
    """Whether this is a size, offset or stride: a non-negative integer of 63 bits."""
    return type(value) is int and 0 <= value < 2**63


def read_torch_pickle(data: bytes) -> Any:
    """The content of a pickle from ``torch.save``: plain data, TensorRef for tensors, Inert for everything unknown.

    Raises PickleError for malformed pickles and for names that only an attack needs.
    """
    return read_pickle(data, call=_call, persistent=_persistent, name=_refuse_dangerous)


def plain(value: Any) -> Any:
    """``value`` as numbers, text, lists and dictionaries with text keys; anything else becomes its description.

    Raises PickleError for values that are nested too deep, or too many (shared parts count each time).
    """
    return _Plain().convert(value, 0)


class _Plain:
    def __init__(self) -> None:
        self.left = MAX_PLAIN_VALUES

    def convert(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MAX_PLAIN_DEPTH:
            raise PickleError(
                f"expected at most {MAX_PLAIN_VALUES} values, nested at most {MAX_PLAIN_DEPTH} deep, found more"
            )
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= 64 else f"<integer of {value.bit_length()} bits>"
        if isinstance(value, str):
            return value if len(value) <= 4096 else shown(value)
        if isinstance(value, (list, tuple)):
            return [self.convert(v, depth + 1) for v in value]
        entries = value if isinstance(value, dict) else _entries(value)
        if entries is not None:
            return {k: self.convert(v, depth + 1) for k, v in entries.items() if isinstance(k, str)}
        return described(value)


def _entries(value: Any) -> Mapping[Any, Any] | None:
    """The entries of an object of a mapping-like class that Lightning uses for hyper-parameters, or None."""
    if not isinstance(value, Inert) or not isinstance(value.origin, Global):
        return None
    if value.origin in _NAMESPACES:
        return value.state if isinstance(value.state, dict) else {}
    if value.origin.name in ("AttributeDict", "defaultdict"):
        return value.entries
    return None


_NAMESPACES = {Global("argparse", "Namespace"), Global("types", "SimpleNamespace")}

#: Modules of the standard library in real checkpoints; their classes are harmless, and inert like all others.
_EXPECTED_MODULES = {
    "_codecs", "abc", "argparse", "array", "collections", "copy_reg", "copyreg", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "itertools", "logging", "math", "numbers", "pathlib", "random", "re", "string",
    "types", "typing", "uuid", "weakref", "zoneinfo",
}  # fmt: skip
_EXPECTED_BUILTINS = {
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "object", "range",
    "set", "slice", "str", "tuple",
}  # fmt: skip


def _refuse_dangerous(name: Global) -> None:
    top = name.module.partition(".")[0]
    if top in ("builtins", "__builtin__"):
        expected = name.name in _EXPECTED_BUILTINS
    else:
        # Python 2's modules that run commands are missing from today's list of the standard library.
        is_standard = top in sys.stdlib_module_names or top in ("commands", "popen2", "nt", "posix")
        expected = not is_standard or top in _EXPECTED_MODULES
    if not expected:
        found = shown(f"{name.module}.{name.name}")
        raise PickleError(f"its pickle refers to {found}, which only an attack needs; nothing was executed")


def _call(origin: Global, args: Any) -> Any:
    meaning = _MEANINGS.get(origin)
    if meaning is not None and isinstance(args, tuple):
        value = meaning(args)
        if value is not None:
            return value
    return Inert(origin, args)


def _persistent(reference: Any) -> Any:
    if isinstance(reference, tuple) and len(reference) >= 5:
        tag, kind, key, _, length = reference[:5]
        if tag == "storage" and isinstance(kind, Global) and isinstance(key, str) and is_count(length):
            return StorageRef(kind.name, key, length)
    raise PickleError("its pickle has an external reference that is not a tensor storage")


# A meaning returns None for arguments that torch or NumPy never write; the call then stays inert.


def _tensor(args: tuple[Any, ...]) -> Any:
    return TensorRef(*args[:4]) if len(args) >= 4 else None


def _first(args: tuple[Any, ...]) -> Any:
    return args[0] if args else None


def _parameter(args: tuple[Any, ...]) -> Any:
    return args[0] if args and isinstance(args[0], TensorRef) else None


def _tensor_with_attributes(args: tuple[Any, ...]) -> Any:
    """A tensor subclass or a tensor with Python attributes: (function, class, arguments, state)."""
    if len(args) >= 3 and isinstance(args[0], Global) and isinstance(args[2], tuple) and args[0] in _TENSORS:
        return _TENSORS[args[0]](args[2])
    return None


def _ordered_dict(args: tuple[Any, ...]) -> Any:
    return {} if not args else None


def _encode(args: tuple[Any, ...]) -> Any:
    """Bytes as protocol 2 spells them. NumPy scalars are short; longer ones stay inert."""
    if len(args) == 2 and isinstance(args[0], str) and len(args[0]) <= 64 and args[1] == "latin1":
        return args[0].encode("latin1") if all(ord(c) < 256 for c in args[0]) else None
    return None


def _numpy_scalar(args: tuple[Any, ...]) -> Any:
    if len(args) != 2 or not isinstance(args[0], Inert) or not isinstance(args[1], bytes):
        return None
    kind, state = args[0].args, args[0].state
    code = kind[0] if isinstance(kind, tuple) and kind else None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
    if code not in _SCALAR_CODES or order not in ("<", ">", "|", "="):
        return None
    dtype = np.dtype(code).newbyteorder(order)
    return np.frombuffer(args[1], dtype)[0].item() if len(args[1]) == dtype.itemsize else None


_SCALAR_CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")

_Meaning = Callable[[tuple[Any, ...]], Any]

_TENSORS: dict[Global, _Meaning] = {
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}

_MEANINGS: dict[Global, _Meaning] = {
    **_TENSORS,
    Global("torch._tensor", "_rebuild_from_type_v2"): _tensor_with_attributes,
    Global("torch", "Size"): _first,
    Global("collections", "OrderedDict"): _ordered_dict,
    Global("_codecs", "encode"): _encode,
    Global("numpy.core.multiarray", "scalar"): _numpy_scalar,
    Global("numpy._core.multiarray", "scalar"): _numpy_scalar,
    Global("builtins", "set"): _first,
    Global("__builtin__", "set"): _first,
    Global("builtins", "frozenset"): _first,
    Global("__builtin__", "frozenset"): _first,
}
