"""Random arrays of every type."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from swift_export.parity.measure.elements import draw

DTYPES = [
    *(np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")),
    *(np.dtype(name) for name in ("float16", "float32", "float64", ml_dtypes.bfloat16)),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_drawn_of_every_type_and_the_same_for_a_seed(dtype: np.dtype) -> None:
    drawn = draw(np.random.default_rng(3), dtype, (50, 40))
    assert (drawn.dtype, drawn.shape) == (dtype, (50, 40))
    assert len(np.unique(drawn.astype(np.float64))) >= (2 if dtype.kind == "b" else 100)
    np.testing.assert_array_equal(drawn, draw(np.random.default_rng(3), dtype, (50, 40)))
    assert draw(np.random.default_rng(3), dtype, ()).shape == ()
    if dtype.kind in "iu":
        assert ((drawn >= 0) & (drawn < 8)).mean() > 0.4
        assert (drawn < 0).any() == (dtype.kind == "i")
