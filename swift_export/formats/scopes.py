"""Named scopes: the part of the source program that makes a value, from JAX's jaxprs and StableHLO locations.

JAX writes ``jit(f)/encoder/vmap(layers/0)/jit(relu)/max``: scopes, transformations around them and called functions.
"""

from __future__ import annotations

import re

__all__ = ["joined", "scope_in"]

#: A transformation around the next scope; it is empty if there is no such scope.
_TRANSFORMED = re.compile(r"\b(?:vmap|jvp|transpose)\(([^()]*)\)")
_CALL = re.compile(r"\bjit\([^()]*\)")


def scope_in(path: str) -> str:
    """The scopes of a path, without transformations and called functions: ``encoder/layers/0/max``."""
    path = _CALL.sub("", path)
    while path != (path := _TRANSFORMED.sub(r"\1", path)):
        pass
    return "/".join(part for part in path.split("/") if part)


def joined(outer: str, inner: str) -> str:
    """The full scope of ``inner`` in a function called in ``outer``; some functions state the full path inside."""
    if not outer or inner == outer or inner.startswith(f"{outer}/"):
        return inner
    return f"{outer}/{inner}" if inner else outer
