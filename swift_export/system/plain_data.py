"""Strict conversion of dataclasses to JSON and back: an error names the location of a value of the wrong type."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["MAX_BYTES", "SchemaError", "decode", "dumps", "encode", "loads"]

#: Largest JSON file. A manifest of all formats with a full check has about 30 kB.
MAX_BYTES = 4 * 2**20
#: Deepest nesting of objects and lists; a manifest has eight levels.
MAX_DEPTH = 64

T = TypeVar("T")


class SchemaError(ValueError):
    """JSON that does not fit the dataclass; the message names the location."""


def encode(value: Any) -> Any:
    """Convert to plain data: dataclasses and mappings become dicts, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """JSON with sorted keys; raises ValueError for a number that JSON cannot represent."""
    return json.dumps(encode(value), sort_keys=True, indent=2, allow_nan=False) + "\n"


def loads(data: bytes, limit: int = MAX_BYTES) -> Any:
    """Parse JSON; raises SchemaError if it is malformed, longer than ``limit``, too deep or ambiguous."""
    if len(data) > limit:
        raise SchemaError(f"expected at most {limit} bytes")
    try:
        found = json.loads(data, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except SchemaError:
        raise
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"malformed JSON ({error})") from None
    _refuse_depth(found)
    return found


def decode(kind: type[T], value: Any, where: str = "") -> T:
    """Build the dataclass ``kind`` from plain data; raises SchemaError at the first mismatch."""
    return typing.cast(T, _decode(kind, value, where))


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_fields(typing.cast(type, kind), value, where)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            if _fits(option, value):
                return _decode(option, value, where)
    elif origin is tuple and isinstance(value, list):
        return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is Mapping and isinstance(value, dict):
        return {key: _decode(arguments[1], item, _join(where, key)) for key, item in value.items()}
    elif origin is None and _fits(kind, value):
        return float(value) if kind is float else value
    wanted = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise SchemaError(f"{where}: expected {wanted}, found {_short(value)}")


def _decode_fields(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SchemaError(f"{where or 'top level'}: expected an object, found {_short(value)}")
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    # Fields that older schemas lack have a default.
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    for label, keys in (("missing", needed - set(value)), ("unexpected", set(value) - {f.name for f in fields})):
        if keys:
            raise SchemaError(f"{where or 'top level'}: {label} {', '.join(map(_short, sorted(keys)))}")
    return kind(**{name: _decode(hints[name], value[name], _join(where, name)) for name in hints if name in value})


def _fits(kind: Any, value: Any) -> bool:
    """Whether the outermost type of ``value`` is the JSON type of ``kind``."""
    if isinstance(value, bool):  # a bool is an int in Python, but not in JSON
        return kind is bool
    if kind is float:  # excludes ints that are too large for a float
        return isinstance(value, (int, float)) and -sys.float_info.max <= value <= sys.float_info.max
    outer = typing.get_origin(kind) or (dict if dataclasses.is_dataclass(kind) else kind)
    return isinstance(value, list if outer is tuple else outer)


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise SchemaError(f"malformed JSON (objects and lists nested more than {MAX_DEPTH} deep)")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SchemaError("malformed JSON (a key appears twice in one object)")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SchemaError(f"malformed JSON ({text} is not a finite number)")
    return value
