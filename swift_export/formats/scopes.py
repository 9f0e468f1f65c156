"""Named scopes: where in its source program a value is made, as JAX writes it into jaxprs and StableHLO locations.

JAX writes ``jit(f)/encoder/vmap(layers/0)/jit(relu)/max``: scopes, what transforms them, the functions called in them.
"""

from __future__ import annotations

import re

__all__ = ["joined", "scope_in"]

#: A transformation around the scope that was opened next; around nothing where there was none.
_TRANSFORMED = re.compile(r"\b(?:vmap|jvp|transpose)\(([^()]*)\)")
_CALL = re.compile(r"\bjit\([^()]*\)")


def scope_in(path: str) -> str:
    """The scopes of a path, without transformations and without functions called: ``encoder/layers/0/max``."""
    path = _CALL.sub("", path)
    while path != (path := _TRANSFORMED.sub(r"\1", path)):
        pass
    return "/".join(part for part in path.split("/") if part)


def joined(outer: str, inner: str) -> str:
    """The scope of what a function does in scope ``inner``, called in ``outer``: some state the whole path inside."""
    if not outer or inner == outer or inner.startswith(f"{outer}/"):
        return inner
    return f"{outer}/{inner}" if inner else outer
