"""The cases of JAX's primitive harness, and which of them are applicable.

The harness is private to jax (``jax._src.internal_test_util.test_harnesses``). It is data for this measurement only; no
part of the package depends on it. Its cases depend on whether 64-bit types are enabled in jax.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Case", "read_cases"]

#: Primitives whose results no other program can give, with the reason.
OUTSIDE = {
    "eig": "without symmetry, eigenvalues have no order but that in which LAPACK's QR algorithm finds them",
}


@dataclass(frozen=True)
class Case:
    """One use of one primitive."""

    name: str
    primitive: str
    dtype: str
    harness: Any

    @property
    def outside(self) -> str | None:
        """The reason why the case is not applicable, or None."""
        return OUTSIDE.get(self.primitive)

    @property
    def tolerance(self) -> float | None:
        """The tolerance of this case, if JAX's tests/export_harnesses_multi_platform_test.py has a special one."""
        return 1e-4 if "conv_general_dilated" in self.name and self.dtype == "float32" else None

    @property
    def unimplemented(self) -> bool:
        """Whether jax does not implement the case on a CPU, according to the harness."""
        return not self.harness.filter("cpu")

    def arguments(self) -> Sequence[Any]:
        """The arguments, which depend only on the name of the case: every run has the same."""
        return list(self.harness.dyn_args_maker(np.random.RandomState(zlib.crc32(self.name.encode()))))

    def function(self, *arguments: Any) -> Any:
        """Compute the case."""
        return self.harness.dyn_fun(*arguments)


def read_cases() -> list[Case]:
    """All cases, by name. Set ``jax_enable_x64`` before the first call."""
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    from jax._src.internal_test_util import test_harnesses

    return [Case(h.fullname, h.group_name, np.dtype(h.dtype).name, h) for h in test_harnesses.all_harnesses]
