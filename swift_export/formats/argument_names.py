"""Names of the inputs and outputs of StableHLO files, whose functions have only positions.

Only the standard library is used: runtimes read them in processes without jax.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swift_export.formats.metadata import SIGNATURE_KEY
from swift_export.formats.signature import Signature, TensorSpec

__all__ = ["argument_names", "plain_path", "result_names", "stated_signature"]


#: A step into a tree of results in jax's notation: ``['key']``, ``["it's"]``, ``[0]`` or ``.field``.
_STEP = re.compile(r"""\[(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]|\[([^\[\]'"]+)\]|\.(\w+)""")


def argument_names(essentials: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Names of the ``count`` arguments of a file with these essentials.

    Files of older versions and of other programs state no names: a single argument is then called ``bold``, several
    ``input0``, ``input1``, ....
    """
    stated = stated_signature(essentials)
    names = tuple(spec.name for spec in stated.inputs) if stated else ()
    if names and len(names) == count == len(set(names)):
        return names
    return ("bold",) if count == 1 else tuple(f"input{number}" for number in range(count))


def result_names(notes: Sequence[str | None]) -> tuple[str, ...]:
    """Names of results from jax's attribute ``jax.result_info``, given in order; None for a missing attribute.

    ``result['features']`` becomes ``features``, ``result['a'][0]`` becomes ``a.0``, an element of a tuple ``output_0``,
    and a single result ``output``. A repeated name gets a number.
    """
    names: list[str] = []
    for number, note in enumerate(notes):
        lonely = "output" if len(notes) == 1 else f"output_{number}"
        name = ".".join(map(_text, _STEP.finditer((note or "").removeprefix("result")))) or lonely
        if name.split(".")[0].isdecimal():
            name = f"output_{name}"
        candidates = (name, *(f"{name}_{k}" for k in range(1, len(notes) + 1)))
        names.append(next(candidate for candidate in candidates if candidate not in names))
    return tuple(names)


def plain_path(path: str) -> str:
    """``params.w.0`` for ``params['w'][0]``, jax's notation of a place in a tree."""
    return _STEP.sub(lambda step: f".{_text(step)}", path)


def stated_signature(essentials: Mapping[str, str]) -> Signature | None:
    """The signature in a file's essentials; None if it is missing, or not in the form that an export writes.

    It is JSON: ``{"inputs": [{"name": "x", "dtype": "float32", "dims": ["batch", 3]}, ...], "outputs": [...]}``.
    """
    try:
        found = json.loads(essentials[SIGNATURE_KEY])
        return Signature(*(tuple(_spec(item) for item in found[side]) for side in ("inputs", "outputs")))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _text(step: re.Match[str]) -> str:
    """A step as a part of a name; keys are in Python's notation."""
    if step["quoted"] is None:
        return str(step[2] or step[3])
    try:
        return str(ast.literal_eval(step["quoted"]))
    except (SyntaxError, ValueError):  # not an escape that Python writes
        return step["quoted"][1:-1]


def _spec(item: Any) -> TensorSpec:
    name, dtype, dims = item["name"], item["dtype"], item["dims"]
    if not (isinstance(name, str) and isinstance(dtype, str) and isinstance(dims, list)):
        raise TypeError("expected a name, an element type and a list of dimensions")
    if not all(isinstance(dim, str) or type(dim) is int for dim in dims):
        raise TypeError("expected sizes and names as dimensions")
    return TensorSpec(name, dtype, tuple(dims))
