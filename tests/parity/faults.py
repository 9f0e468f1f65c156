"""Faults to plant into one block of a backbone before it is exported, each of a size that can be made larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as oir
from jax import lax

from swift_export.lowering.onnx_file import model_to_onnx
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.savedmodel import write_savedmodel
from swift_export.lowering.stablehlo import write_stablehlo
from swift_export.models import Model
from swift_export.models.swift.backbone.attention import Cut, WindowAttention
from swift_export.models.swift.backbone.blocks import MLP, Block
from swift_export.models.swift.backbone.layers import LayerNorm, Linear
from swift_export.models.swift.backbone.partition import partition
from swift_export.models.swift.backbone.swift import SwiFT
from swift_export.models.swift.check_inputs import Phantom
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.forms import choose_forms
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights
from swift_export.parity.locate.intermediate_values import IntermediateValues
from swift_export.parity.locate.locating import locate
from swift_export.parity.measure.cases import write_cases
from swift_export.parity.measure.running import compare_runs, run_artifact, run_reference
from swift_export.parity.measure.tolerances import tolerance
from swift_export.parity.results import Comparison, Fault
from swift_export.parity.targets import Target
from swift_export.runtimes.registry import RUNTIMES


@dataclass(frozen=True)
class Planted:
    """A kind of fault in one block. A kind is tried in growing sizes until the features notice."""

    kind: str
    stage: int
    block: int
    size: int = 0

    @property
    def place(self) -> str:
        return f"stage{self.stage}/block{self.block}"

    def into(self, model: SwiFT) -> SwiFT:
        def where(model: SwiFT) -> Block:
            return model.stages[self.stage].blocks[self.block]

        return eqx.tree_at(where, model, FAULTS[self.kind](where(model), self.size))


class OtherEpsilon(LayerNorm):
    epsilon: float = eqx.field(static=True)

    def __call__(self, x):
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * lax.rsqrt(variance + self.epsilon) * self.weight + self.bias


class OtherGelu(MLP):
    size: int = eqx.field(static=True)

    def __call__(self, x):
        y = self.linear1(x)
        # The usual approximations, the nearer one first.
        near = jax.nn.gelu(y, approximate=True) if self.size == 0 else y * jax.nn.sigmoid(1.702 * y)
        return self.linear2(near)


class Unscaled(WindowAttention):
    def _projected(self, tokens):
        q, k, v = super()._projected(tokens)
        return q * jnp.float32((tokens.shape[-1] // self.heads) ** 0.5), k, v


class Swapped(WindowAttention):
    def _projected(self, tokens):
        q, k, v = super()._projected(tokens)
        return q, v, k


class Recut(WindowAttention):
    """Attends among other tokens than it should."""

    change: Callable[[Any], Any] = eqx.field(static=True)

    def by_group(self, x, plan, cut):
        return super().by_group(x, plan, self.change(plan))


def _other_attention(kind, block, **fields):
    attention = block.attention
    return eqx.tree_at(lambda b: b.attention, block, kind(attention.qkv, attention.proj, attention.heads, **fields))


def _no_mask(plan):
    found = partition(plan, "masked")
    return Cut(found, (None,) * len(found.groups))


def _reversed(plan):
    return Cut.load(replace(plan, shift=tuple(-n for n in plan.shift)), "regions")


def _grown(linear: Linear, size: int) -> Linear:
    """The middle weight of a layer, off by a part of the largest."""
    chosen = np.zeros(linear.weight.shape, np.float32)
    chosen[tuple(n // 2 for n in chosen.shape)] = 0.003 * 10.0**size
    return eqx.tree_at(lambda layer: layer.weight, linear, linear.weight + chosen * jnp.abs(linear.weight).max())


def _weight_of_mlp(block, size):
    return eqx.tree_at(lambda b: b.mlp.linear1, block, _grown(block.mlp.linear1, size))


def _weight_of_attention(block, size):
    return eqx.tree_at(lambda b: b.attention.proj, block, _grown(block.attention.proj, size))


def _epsilon(norm):
    def plant(block, size):
        right = getattr(block, norm)
        return eqx.tree_at(lambda b: getattr(b, norm), block, OtherEpsilon(right.weight, right.bias, 1e-3 * 10.0**size))

    return plant


def _bias_left_out(block, size):
    return eqx.tree_at(lambda b: b.attention.qkv.bias, block, jnp.zeros_like(block.attention.qkv.bias))


def _gelu(block, size):
    return eqx.tree_at(lambda b: b.mlp, block, OtherGelu(block.mlp.linear1, block.mlp.linear2, size))


#: How each kind changes a block.
FAULTS: dict[str, Callable[[Block, int], Block]] = {
    "a weight of the MLP": _weight_of_mlp,
    "a weight of the attention": _weight_of_attention,
    "epsilon of the first norm": _epsilon("norm1"),
    "epsilon of the second norm": _epsilon("norm2"),
    "mask left out": lambda block, size: _other_attention(Recut, block, change=_no_mask),
    "shift reversed": lambda block, size: _other_attention(Recut, block, change=_reversed),
    "gelu approximated": _gelu,
    "q unscaled": lambda block, size: _other_attention(Unscaled, block),
    "bias of qkv left out": _bias_left_out,
    "keys and values swapped": lambda block, size: _other_attention(Swapped, block),
}
#: What only a block that shifts has.
SHIFTED_ONLY = ("mask left out", "shift reversed")
#: How often a fault may be made larger.
SIZES = 4

ALLOWED = tolerance("float32", "cpu")
#: What a planted fault has to do to the features at least.
VISIBLE = 10 * ALLOWED.relative_l2


def draw(config: SwiFTConfig, count: int, seed: int = 0) -> list[Planted]:
    """Kinds in turn, each in a block drawn by the seed."""
    rng = np.random.default_rng(seed)
    blocks = [(stage, block) for stage, depth in enumerate(config.depths) for block in range(depth)]
    found = []
    for number in range(count):
        kind = list(FAULTS)[number % len(FAULTS)]
        where = [at for at in blocks if kind not in SHIFTED_ONLY or config.window_plan(*at).shifted]
        found.append(Planted(kind, *where[rng.integers(len(where))]))
    return found


def forms_of(model: Model, config: SwiFTConfig) -> Mapping[tuple[int, int], str]:
    """The forms of the blocks in an export."""
    return {place: block.form for place, block in choose_forms(config, model.weights, SwiFTSettings()).items()}


def planted(model: Model, config: SwiFTConfig, forms: Mapping[tuple[int, int], str], fault: Planted) -> Model:
    """The model, its exported function with the fault in it; its reference is as it was."""

    def forward(weights: Any, bold: Any) -> Any:
        return fault.into(SwiFT(config, weights)).named_outputs(bold, model.outputs, forms=forms)

    return replace(model, forward=forward)


@dataclass
class Bench:
    """Faulty exports of the same weights, held against the same reference on one clip."""

    folder: Path
    weights: Weights
    made: int = 0

    def __post_init__(self):
        self.model = swift_model(self.weights)
        self.forms = forms_of(self.model, self.config)
        (self.case,) = write_cases(self.model, [Phantom(self.config)], [{"batch": 1}], self.new_folder())
        _, self.expected = run_reference(self.model, self.case.parts, self.new_folder())
        self.values = IntermediateValues(self.model, "cpu", "float32", (), self.new_folder())
        # Of all places at once: compiled once.
        self.values.expected(self.case, self.values.all_places)

    @property
    def config(self) -> SwiFTConfig:
        return self.weights.config

    def new_folder(self) -> Path:
        self.made += 1
        folder = self.folder / f"step{self.made}"
        folder.mkdir()
        return folder

    def export(self, fault: Planted | None, runtime: str) -> Target:
        folder = self.new_folder()
        made = planted(self.model, self.config, self.forms, fault) if fault else self.model
        if RUNTIMES[runtime].reads == ("savedmodel",):
            write_savedmodel(made, folder)
            path = folder / "savedmodel" / "1"
        elif RUNTIMES[runtime].reads == ("onnx",):
            path = folder / "model.onnx"
            oir.save(model_to_onnx(made, OnnxSettings()), path)
        else:
            write_stablehlo(made, folder)
            path = folder / "stablehlo" / ("model.jax" if runtime == "jax_export" else "model.mlir.bc")
        return Target(path, path.name, RUNTIMES[runtime], self.model)

    def compare(self, target: Target) -> Comparison:
        answer = run_artifact(target.path, target.runtime, "cpu", [self.case], self.new_folder())
        (comparison,) = compare_runs(answer, [self.case], self.expected, self.model.outputs, ALLOWED)
        return comparison

    def locate(self, target: Target, comparison: Comparison) -> Fault:
        return locate(self.values, target, comparison, self.case, ALLOWED)

    def find(self, fault: Planted, runtime: str = "onnxruntime") -> Fault:
        """Where the fault is found, in the smallest size, from its own on, that the features show ten times over."""
        for size in range(fault.size, SIZES):
            target = self.export(Planted(fault.kind, fault.stage, fault.block, size), runtime)
            comparison = self.compare(target)
            if comparison.difference.relative_l2 >= VISIBLE:
                assert not comparison.passed
                return self.locate(target, comparison)
        raise AssertionError(f"{fault} does not show in the features")
