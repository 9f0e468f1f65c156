"""Expressions of constants are computed in time proportional to their nodes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch

from swift_export.converter.passes.constants import evaluated


def test_what_an_expression_has_several_times_is_computed_once() -> None:
    sketch = Sketch(0)
    y = sketch.constant(np.asarray([1, 3], np.float32))
    for _ in range(100):
        y = sketch.same_type("Add", y, y)
    sketch.graph([], {"y": y})
    np.testing.assert_array_equal(evaluated(y), np.ldexp([1.0, 3.0], 100))
