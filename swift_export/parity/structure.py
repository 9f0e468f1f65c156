"""What a file says where features cannot tell: LayerNorm epsilons, windows, shifts and masks of every block.

An epsilon of 1e-6 in place of 1e-5 moves the features of the published models by 2.5e-6, a mask of -1e4 in place of
-100 by nothing. So they are read from the graph and held against what the architecture says.

A window is read by sending numbered tokens from a block's LayerNorm to its first matrix product: where each one
arrives tells padding, shift, window and order at once, however the graph moves them. A mask is computed from the file's
own constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir

from swift_export.backbone.config import LAYER_NORM_EPSILON, SwiFTConfig, WindowPlan
from swift_export.parity.subgraph import Unreadable, depends_on, evaluate, nodes_in
from swift_export.parity.windowing import expected_mask, expected_tokens

__all__ = ["Setting", "examine"]


@dataclass(frozen=True)
class Setting:
    """One thing that a file says, at a place in the graph, beside what the weights' architecture says."""

    place: str
    name: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the file says what it should."""
        return self.expected == self.found


def examine(model: oir.Model, config: SwiFTConfig, frames: int | None = None) -> list[Setting]:
    """Read every setting of ``model``, an ONNX graph with the scopes of the backbone in its node names."""
    graph = model.graph
    settings = [_norm_count(graph, config)]
    masks = _Masks(model)
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            scope = f"stage{stage}/block{block}"
            plan = config.window_plan(stage, block, frames)
            settings += [_epsilon(graph, f"{scope}/{norm}") for norm in ("norm1", "norm2")]
            settings += _windows(model, scope, plan, config.dim(stage))
            settings.append(masks.setting(scope, plan))
        if stage < config.stages - 1:
            settings.append(_epsilon(graph, f"stage{stage}/merging"))
    return settings


def _norm_count(graph: oir.Graph, config: SwiFTConfig) -> Setting:
    found = sum(node.op_type == "LayerNormalization" for node in graph)
    expected = 2 * sum(config.depths) + config.stages - 1
    return Setting("graph", "LayerNormalization nodes", str(expected), str(found))


def _epsilon(graph: oir.Graph, scope: str) -> Setting:
    def found() -> str:
        node = _only(graph, scope, "LayerNormalization")
        epsilon = node.attributes.get("epsilon")
        # ONNX's default, which a file may leave out.
        return _number(np.float32(1e-5 if epsilon is None else epsilon.as_float()))

    return _setting(scope, "epsilon", _number(np.float32(LAYER_NORM_EPSILON)), found)


def _windows(model: oir.Model, scope: str, plan: WindowPlan, channels: int) -> Iterator[Setting]:
    tokens = expected_tokens(plan)

    def order() -> str:
        norm = _only(model.graph, f"{scope}/norm1", "LayerNormalization").outputs[0]
        entry = _first_product(model.graph, f"{scope}/attention", norm)
        batch = norm.shape[0] if norm.shape is not None and isinstance(norm.shape[0], int) else 1
        numbered = np.arange(1, 1 + np.prod(plan.grid), dtype=np.float32).reshape(1, *plan.grid, 1)
        sent = np.broadcast_to(numbered, (batch, *plan.grid, channels))
        arrived = evaluate(model, entry, {norm: sent})
        if arrived.size != batch * tokens.size * channels:
            return f"{arrived.size // (batch * channels)} places"
        wrong = arrived.reshape(batch, -1, channels) != tokens.reshape(1, -1, 1)
        return f"{int(wrong.any((0, 2)).sum())} of {tokens.size} tokens elsewhere" if wrong.any() else described

    def size() -> str:
        scores = _only(model.graph, f"{scope}/attention", "Softmax").inputs[0]
        shape = scores.shape if scores is not None else None
        return "unknown" if shape is None else f"{shape[-1]} tokens"

    described = f"window {_axes(plan.window)} shift {_axes(plan.shift)} on {_axes(plan.padded)}"
    yield _setting(scope, "windows", described, order)
    yield _setting(scope, "window size", f"{plan.tokens} tokens", size)


class _Masks:
    """Masks by the value that holds them: all shifted blocks of a stage share one, which can be large."""

    def __init__(self, model: oir.Model):
        self._model = model
        self._last: tuple[oir.Value, np.ndarray] | None = None

    def setting(self, scope: str, plan: WindowPlan) -> Setting:
        expected = expected_mask(plan)
        if expected is None:
            return _setting(scope, "mask", "none", lambda: "none" if self._operand(scope) is None else "a mask")

        def found() -> str:
            mask = self._mask(scope)
            if mask is None:
                return "none"
            if mask.size != expected.size:
                return f"shape {mask.shape}"
            wrong = int((mask.reshape(expected.shape) != expected).sum())
            return f"{wrong} of {expected.size} pairs differ, values {_range(mask)}" if wrong else described

        described = f"values {_range(expected)} by region"
        return _setting(scope, "mask", described, found)

    def _mask(self, scope: str) -> np.ndarray | None:
        operand = self._operand(scope)
        if operand is None:
            return None
        if self._last is None or self._last[0] is not operand:
            self._last = (operand, evaluate(self._model, operand, {}))
        return self._last[1]

    def _operand(self, scope: str) -> oir.Value | None:
        """What is added to the scores before the softmax."""
        scores = _only(self._model.graph, f"{scope}/attention", "Softmax").inputs[0]
        producer = None if scores is None else scores.producer()
        if producer is None or producer.op_type not in ("MatMul", "Add"):
            raise Unreadable(f"scores come from {producer.op_type if producer else 'nowhere'}")
        if producer.op_type == "MatMul":
            return None
        norm = _only(self._model.graph, f"{scope}/norm1", "LayerNormalization").outputs[0]
        added = [value for value in producer.inputs if value is not None and not depends_on(value, norm)]
        if len(added) != 1:
            raise Unreadable(f"{len(added)} constant operands of {producer.name}")
        return added[0]


def _setting(place: str, name: str, expected: str, read: Callable[[], str]) -> Setting:
    try:
        return Setting(place, name, expected, read())
    except Unreadable as error:
        return Setting(place, name, expected, f"unreadable: {error}")


def _only(graph: oir.Graph, scope: str, op_type: str) -> oir.Node:
    nodes = nodes_in(graph, scope, op_type)
    if len(nodes) != 1:
        raise Unreadable(f"{len(nodes)} {op_type} in {scope}")
    return nodes[0]


def _first_product(graph: oir.Graph, scope: str, source: oir.Value) -> oir.Value:
    """The operand, computed from ``source``, of the scope's first matrix product: qkv's input."""
    for node in graph:
        if (node.name or "").startswith(f"{scope}/") and node.op_type in ("Gemm", "MatMul"):
            for value in node.inputs:
                if value is not None and depends_on(value, source):
                    return value
    raise Unreadable(f"no matrix product of {source.name} in {scope}")


def _axes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _range(mask: np.ndarray) -> str:
    return f"{_number(mask.min())} to {_number(mask.max())}"


def _number(value: np.floating) -> str:
    return f"{value:g}"
