"""Names of weights, inputs and outputs, from their places in pytrees, and what names every format takes.

TensorFlow keeps dots in the keys of a signature; it tells arguments apart without regard to case, and with ``.`` and
``_`` made one, and wants no Python keyword. ONNX has one space of names for inputs, outputs and weights.
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
#: What functions that TensorFlow makes of a signature call their own first argument.
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
    """The name of a weight: `path_name` with nothing but letters, digits, ``_``, ``-`` and dots.

    Slashes in keys are steps too, and ``~``, which Haiku writes for a module's own, is none.
    """
    parts = [part for key in path for part in part_of(key).split("/") if part.strip("~")]
    return ".".join(re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in parts)


def check_model_name(name: str) -> str:
    """The name of a model; raises UsageError for one that a file cannot have."""
    if not _MODEL.fullmatch(name):
        raise UsageError(
            f"name: expected letters, digits, -, _ and . after a letter or digit; found {shown(name, quoted=True)}"
        )
    return name


def check_dim(name: str, where: str) -> str:
    """The name of an unknown dimension; raises UsageError for one that is no identifier."""
    if not _DIM.fullmatch(name) or name in _OPERATIONS:
        raise UsageError(
            f"{where}: expected dimensions that are sizes or identifiers; found {shown(name, quoted=True)}"
        )
    return name


def check_tensor_names(names: Iterable[str], what: str) -> None:
    """Raise UsageError for names of inputs or outputs that some format does not take."""
    for name in names:
        if not _TENSOR.fullmatch(name):
            raise UsageError(
                f"{what}: found {shown(name, quoted=True)}, which not every format takes; "
                "expected letters, digits and _ after a letter, in parts joined by dots"
            )


def check_input_names(names: Sequence[str]) -> None:
    """`check_tensor_names`, and UsageError for names that TensorFlow's signatures do not take, or take for one."""
    check_tensor_names(names, "inputs")
    seen: dict[str, str] = {}
    for name in names:
        if keyword.iskeyword(name) or name in _TAKEN:
            raise UsageError(f"inputs: found {name}, a word that Python keeps to itself; choose another name")
        other = seen.setdefault(name.replace(".", "_").lower(), name)
        if other != name:
            raise UsageError(
                f"inputs: TensorFlow takes {other} and {name} for one; choose names that differ in more than case"
            )


def check_distinct(groups: Mapping[str, Iterable[str]]) -> None:
    """Raise UsageError where two of all tensors, by what they are, have the same name."""
    seen: dict[Hashable, str] = {}
    twice = []
    for what, names in groups.items():
        for name in names:
            if name in seen:
                twice.append(f"{shown(name)} ({seen[name]} and {what})")
            seen[name] = what
    if twice:
        raise UsageError(f"names: expected each once, found {listed(twice)} twice; choose other names")
