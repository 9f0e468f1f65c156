"""Values of an artifact are compared in the reference's layout."""

import numpy as np
import pytest

from swift_export.parity.locate.axis_order import as_laid_out

VALUE = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "found",
    [VALUE.reshape(6, 4), VALUE.reshape(2, 12), VALUE.transpose(2, 0, 1)],
    ids=["first axes merged", "last axes merged", "axes in another order"],
)
def test_axes_are_put_as_in_the_reference(found: np.ndarray) -> None:
    laid_out = as_laid_out(found, VALUE)
    assert laid_out is not None
    np.testing.assert_array_equal(laid_out, VALUE)


def test_another_shape_is_not_compared() -> None:
    assert as_laid_out(VALUE.reshape(3, 8), VALUE) is None
    assert as_laid_out(VALUE[:1], VALUE) is None
