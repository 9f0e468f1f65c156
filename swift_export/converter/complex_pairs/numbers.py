"""The elements of complex constants, which MLIR's Python binding does not give."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from swift_export.errors import LoweringError

__all__ = ["complex_elements"]

#: A float as MLIR prints it: bits for numbers without an exact decimal form, such as NaN.
_NUMBER = re.compile(r"0x[0-9A-Fa-f]+|-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def complex_elements(op: Any, real: np.dtype) -> np.ndarray:
    """Elements of a ``stablehlo.constant`` of complex type as pairs in the last axis; a splat is one pair.

    They are read from the printed op: parentheses around each number, or the bytes of all as hexadecimal digits.
    """
    text = op.operation.get_asm(print_generic_op_form=True, use_local_scope=True)
    found = re.search(r"value = dense<(.*?)> : ", text, re.DOTALL)
    if found is None:
        raise LoweringError(f"constant {text[:60]}: expected dense elements")
    body = found[1]
    shape = (*op.results[0].type.shape, 2)
    if body.startswith('"0x'):
        pairs = np.frombuffer(bytes.fromhex(body.strip('"')[2:]), real.newbyteorder("<"))
    else:
        pairs = np.asarray([_number(word, real) for word in _NUMBER.findall(body)], real)
    if pairs.size == 2:
        return pairs.reshape(2)
    return pairs.reshape(shape)


def _number(word: str, real: np.dtype) -> Any:
    if word.startswith("0x"):
        return np.asarray(int(word, 16), f"u{real.itemsize}").view(real)
    return float(word)
