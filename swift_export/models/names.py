"""Names of weights, inputs and outputs from their paths in pytrees, and the names that every format allows.

TensorFlow allows dots in the keys of a signature. It does not distinguish case in names of arguments, nor ``.`` from
``_``, and refuses Python keywords. ONNX has one namespace for inputs, outputs and weights.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from swift_export.errors import UsageError
from swift_export.system.text import listed, shown

__all__ = [
    "check_dim",
    "check_distinct",
    "check_input_names",
    "check_model_name",
    "check_tensor_names",
    "part_of",
    "path_name",
    "weight_name",
]

_TENSOR = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_DIM = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Operations in JAX's expressions of sizes.
_OPERATIONS = frozenset({"floordiv", "max", "min", "mod", "non_negative"})
#: The first argument of functions that TensorFlow makes from a signature.
_TAKEN = frozenset({"self"})


def part_of(key: Any) -> str:
    """A step of a pytree's path: an attribute's name, a key or a number."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def path_name(path: Iterable[Any]) -> str:
    """The steps of a pytree's path joined by dots."""
    return ".".join(map(part_of, path))


def weight_name(path: Iterable[Any]) -> str:
    """The name of a weight: `path_name` with only letters, digits, ``_``, ``-`` and dots.

    Slashes in keys separate steps too; ``~``, Haiku's step for a module itself, is dropped.
    """
    parts = [part for key in path for part in part_of(key).split("/") if part.strip("~")]
    return ".".join(re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in parts)


def check_model_name(name: str) -> str:
    """The name of a model; raises UsageError for a name that files do not allow."""
    if not _MODEL.fullmatch(name):
        raise UsageError(
            f"name: expected letters, digits, -, _ and . after a letter or digit, found {shown(name, quoted=True)}"
        )
    return name


def check_dim(name: str, where: str) -> str:
    """The name of an unknown dimension; raises UsageError unless it is an identifier."""
    if not _DIM.fullmatch(name) or name in _OPERATIONS:
        raise UsageError(f"{where}: expected sizes or identifiers as dimensions, found {shown(name, quoted=True)}")
    return name


def check_tensor_names(names: Iterable[str], what: str) -> None:
    """Raise UsageError for names of inputs or outputs that some format does not allow."""
    for name in names:
        if not _TENSOR.fullmatch(name):
            raise UsageError(
                f"{what}: expected letters, digits and _ after a letter, in parts joined by dots, found "
                f"{shown(name, quoted=True)}"
            )


def check_input_names(names: Sequence[str]) -> None:
    """Run `check_tensor_names`, and raise UsageError for names that TensorFlow refuses or does not distinguish."""
    check_tensor_names(names, "inputs")
    seen: dict[str, str] = {}
    for name in names:
        if keyword.iskeyword(name) or name in _TAKEN:
            raise UsageError(f"inputs: found the Python keyword {name}; choose another name")
        other = seen.setdefault(name.replace(".", "_").lower(), name)
        if other != name:
            raise UsageError(
                f"inputs: TensorFlow does not distinguish {other} from {name}; choose names that differ by letters"
            )


def check_distinct(groups: Mapping[str, Iterable[str]]) -> None:
    """Raise UsageError if two of all tensors, given by kind, have the same name."""
    seen: dict[Hashable, str] = {}
    twice = []
    for what, names in groups.items():
        for name in names:
            if name in seen:
                twice.append(f"{shown(name)} ({seen[name]} and {what})")
            seen[name] = what
    if twice:
        raise UsageError(f"names: expected different names, found {listed(twice)} twice; choose other names")
