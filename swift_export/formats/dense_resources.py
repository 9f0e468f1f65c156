"""Constants whose elements lie beside the ops of a module, in its resources: they become plain constants."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from swift_export.errors import LoweringError
from swift_export.formats.mlir_bindings import ir

__all__ = ["inline_resources"]

#: A constant's handle, and an entry of the resources in a module's text: its bytes after the alignment of four bytes.
_HANDLE = re.compile(r'dense_resource<(?:"([^"]*)"|([^>]*))>')
_ENTRY = re.compile(r'^ +(?:"([^"]*)"|([\w.$-]+)): "0x[0-9A-Fa-f]{8}([0-9A-Fa-f]*)"', re.MULTILINE)


def inline_resources(module: Any, ops: Iterable[Any]) -> None:
    """Give the constants among ``ops`` their elements from the module's resources.

    MLIR's Python binding has no access to resources but the module's text. Raises LoweringError if a constant's
    elements are absent or of another size.
    """
    constants = [op for op in ops if op.operation.name == "stablehlo.constant"]
    found = [op for op in constants if not _is_plain(op)]
    handles = {op: match for op in found if (match := _HANDLE.match(str(op.attributes["value"])))}
    if not handles:
        return
    # Elements inside of attributes are left out of the text.
    text = module.operation.get_asm(large_elements_limit=1, enable_debug_info=False)
    resources = {quoted or plain: digits for quoted, plain, digits in _ENTRY.findall(text)}
    for op, match in handles.items():
        name, kind = match[1] or match[2], op.attributes["value"].type
        digits = resources.get(name)
        expected = math.prod(kind.shape) * _bytes(kind.element_type)
        if digits is None or len(digits) != 2 * expected:
            size = "none" if digits is None else f"{len(digits) // 2}"
            raise LoweringError(f"constant dense_resource<{name}> : {kind}: expected {expected} bytes, found {size}")
        elements = f'"0x{digits}"' if expected else ""
        op.attributes["value"] = ir.Attribute.parse(f"dense<{elements}> : {kind}", module.context)


def _is_plain(op: Any) -> bool:
    try:
        return isinstance(op.attributes["value"], ir.DenseElementsAttr)
    except TypeError:  # complex numbers, of which the binding has no class
        return True


def _bytes(kind: Any) -> int:
    """Bytes of an element: at least one."""
    if isinstance(kind, ir.ComplexType):
        return 2 * _bytes(kind.element_type)
    return max(1, int(kind.width) // 8)
