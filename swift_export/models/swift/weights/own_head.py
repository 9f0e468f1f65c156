"""Reads the head of a checkpoint or bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from swift_export.errors import WeightsError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.head import HEAD_NAMES, MAX_OUTPUTS, PROBE, Head
from swift_export.models.swift.head_facts import INSTEAD, SCALINGS, HeadFacts
from swift_export.models.swift.weights.mapping import FLOATING, TensorInFile, as_float32
from swift_export.system.text import listed, shape_text, shown

__all__ = ["head_facts", "read_head"]

#: The widest hidden layer; the authors' has four times the channels of the features.
_MAX_HIDDEN = 2**16
#: Regressions by name in the authors' code.
_REGRESSIONS = ("age", "int_total", "int_fluid")
#: Values of targets, as the authors' data loader codes them, by data set and target.
_CODED = {("S1200", "sex"): ("F", "M")}
_OTHERS = {
    "emb_mlp.": "emb_mlp, the projector of contrastive pre-training",
    "output_head.fc1.": "output_head.fc1, the projector of contrastive pre-training",
    "model.head.": "model.head, which no forward pass applies",
}


def head_facts(values: Mapping[str, Any], fallback: HeadFacts | None, name: str) -> HeadFacts:
    """What the outputs of the head ``name`` mean, by the hyper-parameters of a checkpoint, or else ``fallback``."""
    task, kind = values.get("downstream_task"), values.get("downstream_task_type")
    target = shown(task, 60) if isinstance(task, str) and task else None
    if name == "reg" or (name != "clf" and (kind == "regression" or task in _REGRESSIONS)):
        # The default of the authors' command line.
        scaling = values.get("label_scaling_method", "standardization")
        return HeadFacts("regression", target, scaling=scaling if scaling in SCALINGS else "standardization")
    if name == "clf" or kind == "classification" or task == "sex":
        return HeadFacts("classification", target, _CODED.get((str(values.get("dataset_name")), str(task)), ()))
    return fallback or HeadFacts(None, target)


def read_head(
    state: Mapping[str, TensorInFile], config: SwiFTConfig, facts: Callable[[str], HeadFacts], file: str
) -> Head:
    """The head among the tensors of a file; ``facts`` tells its meaning by its name.

    Raises WeightsError if there is none or more than one, or if it is not the authors' linear head.
    """
    name = _name(state, file)
    tensors = {key: state[key] for key in sorted(state) if key.startswith(f"{name}.")}
    expected = _expected_shapes(tensors, name, config, file)
    wrong = [
        f"{shown(key)} {shown(tensor.dtype)} {shape_text(tensor.shape)}"
        for key, tensor in tensors.items()
        if expected.get(key) != tensor.shape or tensor.dtype not in FLOATING
    ]
    missing = [key for key in expected if key not in tensors]
    if wrong or missing:
        wanted = ", ".join(f"{key} {shape_text(shape)}" for key, shape in expected.items())
        found = listed(wrong) if wrong else f"no {listed(missing)}"
        raise WeightsError(f"{file}: its head: expected {wanted} and nothing else, found {found}; {INSTEAD}")
    arrays = {key: as_float32(tensor.read()) for key, tensor in tensors.items()}
    infinite = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if infinite:
        raise WeightsError(f"{file}: its head: expected finite values, found others in {listed(infinite)}; {INSTEAD}")
    return Head(arrays, facts(name))


def _name(state: Mapping[str, TensorInFile], file: str) -> str:
    heads = [name for name in HEAD_NAMES if name != PROBE and f"{name}.head.weight" in state]
    if len(heads) > 1:
        raise WeightsError(f"{file}: expected one head, found {' and '.join(heads)}; {INSTEAD}")
    if not heads:
        others = [words for start, words in _OTHERS.items() if any(key.startswith(start) for key in state)]
        raise WeightsError(
            f"{file}: expected a head (output_head.head, clf.head or reg.head), found "
            f"{'only ' + ' and '.join(others) if others else 'none'}; {INSTEAD}"
        )
    return heads[0]


def _expected_shapes(
    tensors: Mapping[str, TensorInFile], name: str, config: SwiFTConfig, file: str
) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of the head: the sizes that the file chooses are those of its own last layer."""
    last, hidden = tensors[f"{name}.head.weight"].shape, f"{name}.hidden.weight" in tensors
    outputs, inside = last if len(last) == 2 else (0, 0)
    if not 1 <= outputs <= MAX_OUTPUTS or not 1 <= inside <= _MAX_HIDDEN:
        raise WeightsError(
            f"{file}: {name}.head.weight: expected (outputs, channels) with up to {MAX_OUTPUTS} outputs, found "
            f"{shape_text(last)}; {INSTEAD}"
        )
    channels = config.out_dim
    shapes: dict[str, tuple[int, ...]] = {}
    if hidden:
        shapes |= {f"{name}.hidden.weight": (inside, channels), f"{name}.hidden.bias": (inside,)}
        channels = inside
    return shapes | {f"{name}.head.weight": (outputs, channels), f"{name}.head.bias": (outputs,)}
