"""Reads settings that features cannot show: LayerNorm epsilons, windows, shifts and masks of every block.

An epsilon of 1e-6 instead of 1e-5 changes the features of the published models by 2.5e-6, and a mask of -1e4 instead of
-100 does not change them. So these settings are read from the graph and compared with the architecture.

A window is read by sending numbered tokens from a block's LayerNorm to its attention: the tokens that arrive together
show padding, shift, window and order, for any movement in the graph. A mask is computed from the file's own constants.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.models.model import Setting
from swift_export.models.swift.config import LAYER_NORM_EPSILON, MASK_FLOOR, SwiFTConfig, WindowPlan
from swift_export.models.swift.structure.groups import Group, read_groups
from swift_export.models.swift.structure.subgraph import Unreadable, nodes_in
from swift_export.models.swift.structure.window_tokens import expected_mask, expected_regions, expected_tokens

__all__ = ["examine", "examine_graph"]

NORM = "LayerNormalization"


def examine(arguments: Mapping[str, Any], model: oir.Model) -> list[Setting]:
    """`examine_graph` with plain ``arguments``: ``config``, ``frames`` and ``forms``."""
    config = SwiFTConfig.from_hyper_parameters(arguments["config"])
    return examine_graph(model, config, arguments["frames"], arguments["forms"])


def examine_graph(
    model: oir.Model, config: SwiFTConfig, frames: int | None = None, forms: Mapping[str, str] | None = None
) -> list[Setting]:
    """Read every setting of ``model``, an ONNX graph with the scopes of the backbone in its node names.

    ``forms`` states the required attention of shifted blocks, ``masked`` or ``regions``, by ``stageI/blockJ``.
    """
    graph = model.graph
    settings = [_norm_count(graph, config)]
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            scope = f"stage{stage}/block{block}"
            plan = config.window_plan(stage, block, frames)
            settings += [_epsilon(graph, f"{scope}/{norm}") for norm in ("norm1", "norm2")]
            settings += _attention(model, scope, plan, (forms or {}).get(scope, "masked"))
        if stage < config.stages - 1:
            settings.append(_epsilon(graph, f"stage{stage}/merging"))
    return settings


def _norm_count(graph: oir.Graph, config: SwiFTConfig) -> Setting:
    found = sum(node.op_type == NORM for node in graph)
    expected = 2 * sum(config.depths) + config.stages - 1
    return Setting("graph", "LayerNormalization nodes", str(expected), str(found))


def _epsilon(graph: oir.Graph, scope: str) -> Setting:
    def found() -> str:
        node = _only(graph, scope, NORM)
        epsilon = node.attributes.get("epsilon")
        # ONNX's default, which a file may omit.
        return _number(np.float32(1e-5 if epsilon is None else epsilon.as_float()))

    return _setting(scope, "epsilon", _number(np.float32(LAYER_NORM_EPSILON)), found)


def _attention(model: oir.Model, scope: str, plan: WindowPlan, form: str) -> Iterator[Setting]:
    """The tokens that attend together, and the masks on their scores, each with the expected setting."""
    described = f"window {_axes(plan.window)} shift {_axes(plan.shift)} on {_axes(plan.padded)}"
    described += f", {form}" if plan.shifted else ""
    expected, masks = _expected(plan, form)
    ranges = "none" if masks is None else f"values {_range(np.stack(list(masks.values())))} by region"
    try:
        norm = _only(model.graph, f"{scope}/norm1", NORM).outputs[0]
        groups = list(read_groups(model, f"{scope}/attention", norm, math.prod(plan.grid)))
    except Unreadable as error:
        yield Setting(scope, "windows", described, f"unreadable: {error}")
        return
    found = Counter(row.tobytes() for group in groups for row in group.tokens)
    wrong = sum((expected - found).values())
    differ = f"{wrong} of {expected.total()} sets of tokens differ"
    yield Setting(scope, "windows", described, differ if wrong else described)
    yield Setting(scope, "mask", ranges, _masks_found(groups, masks, ranges))
    # The floor is optional: without it, masked scores may make slow denormal numbers, but the result is the same.
    floor = _number(np.float32(MASK_FLOOR)) if masks else "none"
    others = sorted({_number(np.float32(g.floor)) for g in groups if g.floor is not None} - {floor})
    yield Setting(scope, "floor", floor, " ".join(others) or floor)


def _expected(plan: WindowPlan, form: str) -> tuple[Counter[bytes], dict[bytes, np.ndarray] | None]:
    """Sets of tokens that attend together, and their masks where required."""
    windows, regions, masks = expected_tokens(plan), expected_regions(plan), expected_mask(plan)
    if masks is None:
        return Counter(row.tobytes() for row in windows), None
    if form == "regions":
        parts = [row[region == n] for row, region in zip(windows, regions, strict=True) for n in np.unique(region)]
        return Counter(part.tobytes() for part in parts), None
    return Counter(row.tobytes() for row in windows), {
        row.tobytes(): mask for row, mask in zip(windows, masks, strict=True)
    }


def _masks_found(groups: Sequence[Group], masks: Mapping[bytes, np.ndarray] | None, described: str) -> str:
    """``described``, or the number of pairs of tokens with a wrong mask."""
    if masks is None:
        return "a mask" if any(group.mask is not None for group in groups) else "none"
    wrong, pairs = 0, 0
    for group in groups:
        found: np.ndarray | Iterable[None] = repeat(None) if group.mask is None else group.mask
        if group.mask is not None and group.mask.shape[0] == 1:
            found = np.broadcast_to(group.mask, (len(group.tokens), *group.mask.shape[1:]))
        for row, mask in zip(group.tokens, found, strict=False):
            expected = masks.get(row.tobytes())
            if expected is None:
                continue
            pairs += expected.size
            if mask is None:
                wrong += int((expected != 0).sum())
            else:
                wrong += int((mask != expected).sum()) if mask.shape == expected.shape else expected.size
    return f"{wrong} of {pairs} pairs differ" if wrong else described


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


def _axes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _range(mask: np.ndarray) -> str:
    return f"{_number(mask.min())} to {_number(mask.max())}"


def _number(value: np.floating) -> str:
    return f"{value:g}"
