"""The cases of JAX's primitive harness, and which of them count.

The harness is private to jax (``jax._src.internal_test_util.test_harnesses``): it is data for this measurement, and no
part of the package depends on it. Its cases depend on whether jax has 64-bit types enabled.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Case", "read_cases"]

#: Groups that ONNX has nothing for, by what they are.
OUTSIDE = {
    "linear algebra": {
        "svd", "eig", "eigh", "qr", "lu", "cholesky", "triangular_solve", "tridiagonal_solve", "custom_linear_solve",
    },
    "fft": {"fft"},
    "random bits": {
        "random_categorical", "random_gamma", "random_randint", "random_split", "random_uniform", "rng_bit_generator",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One use of one primitive."""

    name: str
    primitive: str
    dtype: str
    harness: Any

    @property
    def outside(self) -> str | None:
        """Why the case does not count, if it does not."""
        for what, groups in OUTSIDE.items():
            if self.primitive in groups:
                return what
        return "complex numbers" if np.dtype(self.dtype).kind == "c" else None

    @property
    def tolerance(self) -> float | None:
        """Where JAX's own test of these cases (tests/export_harnesses_multi_platform_test.py) has one of its own."""
        return 1e-4 if "conv_general_dilated" in self.name and self.dtype == "float32" else None

    @property
    def unimplemented(self) -> bool:
        """Whether jax says that it does not implement this on a CPU."""
        return not self.harness.filter("cpu")

    def arguments(self) -> Sequence[Any]:
        """The same arguments on every run: they depend on the case's name alone."""
        return list(self.harness.dyn_args_maker(np.random.RandomState(zlib.crc32(self.name.encode()))))

    def function(self, *arguments: Any) -> Any:
        """What the case computes."""
        return self.harness.dyn_fun(*arguments)


def read_cases() -> list[Case]:
    """All cases, by name. Set ``jax_enable_x64`` before the first call."""
    import ml_dtypes  # noqa: F401 - numpy then knows bfloat16 by name
    from jax._src.internal_test_util import test_harnesses

    return [Case(h.fullname, h.group_name, np.dtype(h.dtype).name, h) for h in test_harnesses.all_harnesses]
