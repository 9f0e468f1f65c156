"""MLIR contexts in which JAX lowers, made in a fifth of the time: dialects are loaded once a module holds their ops.

JAX loads all of them into every context, those of GPUs too. A test with a small function makes four contexts, which
took a fifth of its time.
"""

from __future__ import annotations

from jax._src.interpreters import mlir

__all__ = ["make_light_contexts"]


class _Context(mlir.JaxIrContext):
    def load_all_available_dialects(self) -> None:
        """Load what JAX builds functions of; parsers and passes load what they need."""
        self.get_dialect_descriptor("func")


def make_light_contexts() -> None:
    """Have JAX make such contexts in this process."""
    mlir.JaxIrContext = _Context
