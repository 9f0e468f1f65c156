"""Names come from scopes and from the graph itself, never from what was made and dropped on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir as oir
import pytest

from swift_export.converter.passes.naming import number_constants

sys.path.insert(0, str(Path(__file__).parent))
from graphs import Sketch, run


def graph_of(seed: int, *, noise: int) -> tuple[Sketch, oir.Model]:
    """A drawn graph with constants; ``noise`` ones were made before each and dropped."""
    sketch = Sketch(seed)
    y = sketch.x(4, 5)
    w = sketch.weight(5)
    for number in range(sketch.size(3, 9)):
        for extra in range(noise):
            sketch.constant(np.full(3, 100 * number + extra, np.float32))
        y = sketch.mixed(["Add", "Mul"][number % 2], y, sketch.number(1.5 + number))
    y = sketch.mixed("Add", y, w)
    used = {v for node in sketch.nodes for v in node.inputs}
    graph = sketch.graph(sketch.inputs, {"y": y})
    for name in [n for n, v in graph.initializers.items() if v not in used]:
        graph.initializers.pop(name)
    return sketch, oir.Model(graph, ir_version=10)


@pytest.mark.parametrize("seed", range(6))
def test_names_of_constants_depend_on_the_graph_alone(seed: int) -> None:
    contents = []
    for noise in (0, 3):
        sketch, model = graph_of(seed, noise=noise)
        before = run(oir.from_proto(oir.to_proto(model)), *sketch.fed)
        number_constants(model.graph)
        np.testing.assert_array_equal(run(model, *sketch.fed)[0], before[0])
        contents.append({n: v.const_value.numpy().tobytes() for n, v in model.graph.initializers.items()})
    assert contents[0] == contents[1]


def test_constants_are_numbered_as_nodes_use_them_and_named_ones_stay() -> None:
    _, model = graph_of(0, noise=2)
    number_constants(model.graph)
    graph = model.graph
    used = list(dict.fromkeys(v.name for node in graph for v in node.inputs if v.is_initializer()))
    unnamed = [name for name in used if name.startswith("constant_")]
    assert unnamed == [f"constant_{i}" for i in range(len(unnamed))]
    assert len(unnamed) >= 3
    assert "w0" in graph.initializers
    for name, value in graph.initializers.items():
        assert value.name == value.const_value.name == name


def test_names_that_were_there_in_another_order_do_not_collide() -> None:
    sketch = Sketch(0)
    x = sketch.x(3)
    first, second = sketch.number(2.0), sketch.number(3.0)
    # Used in the other order than made: each gets the name that the other has.
    y = sketch.same_type("Mul", sketch.same_type("Add", x, second), first)
    model = oir.Model(sketch.graph(sketch.inputs, {"y": y}), ir_version=10)
    number_constants(model.graph)
    stored = {name: float(value.const_value.numpy()) for name, value in model.graph.initializers.items()}
    assert stored == {"constant_0": 3.0, "constant_1": 2.0}
    np.testing.assert_array_equal(run(model, *sketch.fed)[0], (sketch.fed[0] + 3) * 2)


def test_twice_is_once() -> None:
    _, model = graph_of(1, noise=1)
    number_constants(model.graph)
    before = oir.to_proto(model).SerializeToString(deterministic=True)
    number_constants(model.graph)
    assert oir.to_proto(model).SerializeToString(deterministic=True) == before
