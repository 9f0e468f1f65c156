"""Named scopes for the layers of modules without scopes, like those of Equinox and Flax NNX.

During tracing, every call of a layer runs in a scope with the layer's name in the tree, such as ``layers/0/attention``.
Python looks up ``__call__`` in the class, so the classes of the layers are changed temporarily and restored afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

__all__ = ["named_layers"]

#: The change of a class affects all threads.
_LOCK = threading.RLock()


#: The layers in a module and their names, paths joined by ``/``; the module's own name is ``""``.
Find = Callable[[Any], Iterable[tuple[str, Any]]]


@contextmanager
def named_layers(module: Any, find: Find, plain: Callable[[Any], Any] = lambda call: call) -> Iterator[None]:
    """Name the layers of a module while the block runs.

    ``plain`` turns a layer's call into one without the class's own scope. ``jit`` and ``vmap`` call a copy of a layer;
    it is identified by its class, if the calling layer has only one layer of this class.
    """
    names = _Names(module, find)
    classes = {base for cls in names.by_class for base in cls.__mro__ if "__call__" in vars(base)}
    own = {cls: vars(cls)["__call__"] for cls in classes}
    with _LOCK:
        try:
            for cls in classes:
                type.__setattr__(cls, "__call__", _scoped(cls, plain(own[cls]), names))
            yield
        finally:
            for cls in classes:
                type.__setattr__(cls, "__call__", own[cls])


class _Names:
    """The names of layers, and of the layers whose calls are running."""

    def __init__(self, module: Any, find: Find) -> None:
        self.find = find
        self.by_class: dict[type, list[str]] = {}
        self.by_id: dict[int, str] = {}
        #: By the objects' ids, which are valid as long as the objects live.
        self.alive: list[Any] = []
        self.under_way: list[tuple[int, str]] = [(0, "")]
        self.add("", module)
        for name, layer in find(module):
            self.by_class.setdefault(type(layer), []).append(name)

    def add(self, name: str, layer: Any) -> None:
        """Register the layers in a layer or in its copy."""
        for inner, found in self.find(layer):
            self.by_id[id(found)] = "/".join(filter(None, (name, inner)))
            self.alive.append(found)

    def of(self, layer: Any) -> str | None:
        """The name of a called layer."""
        if id(layer) in self.by_id:
            return self.by_id[id(layer)]
        _, caller = self.under_way[-1]
        candidates = [name for name in self.by_class.get(type(layer), ()) if _below(name, caller)]
        if len(candidates) != 1:
            return None
        self.add(candidates[0], layer)
        return candidates[0]


def _scoped(cls: type, own: Any, names: _Names) -> Callable[..., Any]:
    def call(self: Any, /, *arguments: Any, **keywords: Any) -> Any:
        # A decorated call, for example by filter_jit, may be an object that binds itself.
        bound = own.__get__(self, cls) if hasattr(own, "__get__") else own
        return bound(*arguments, **keywords)

    def scoped(self: Any, /, *arguments: Any, **keywords: Any) -> Any:
        name, (caller_id, caller) = names.of(self), names.under_way[-1]
        # The same layer again: a class calls its base class.
        if name is None or caller_id == id(self):
            return call(self, *arguments, **keywords)
        names.under_way.append((id(self), name))
        try:
            scope = name[len(caller) :].lstrip("/") if _below(name, caller) else name
            if not scope:
                return call(self, *arguments, **keywords)
            with jax.named_scope(scope):
                return call(self, *arguments, **keywords)
        finally:
            names.under_way.pop()

    # Readers of the signature, such as Equinox, see the layer's own.
    scoped.__name__, scoped.__qualname__, scoped.__doc__ = "__call__", f"{cls.__qualname__}.__call__", own.__doc__
    scoped.__wrapped__ = own  # type: ignore[attr-defined]
    return scoped


def _below(name: str, caller: str) -> bool:
    return not caller or name == caller or name.startswith(f"{caller}/")
