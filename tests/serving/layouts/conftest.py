"""Small models of the door, their artifacts, and the layouts of these, each written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import swift_export

WEIGHTS = {
    "embedding": np.linspace(-1, 1, 40, dtype=np.float32).reshape(8, 5),
    "mix": np.linspace(1, 2, 15, dtype=np.float32).reshape(5, 3),
}


def pooled(weights, tokens, x, bias):
    """Several inputs and outputs, two types, two unknown dimensions, scalars per item."""
    mean = weights["embedding"][tokens].mean(1)
    score = jnp.tanh(mean @ weights["mix"]) * x
    return score, mean.argmax(1), score.sum(1) + bias


def centred(weights, x):
    """Items of a batch affect each other."""
    return x - x.mean(0)


def fixed(weights, x, k):
    """Fixed sizes, a scalar in and out, float16."""
    return x * k, (x * k).sum()


MODELS = {
    "pooled": (
        pooled,
        {"tokens": (("batch", "length"), "int32"), "x": ("batch", 3), "bias": ("batch",)},
        ("score", "best", "total"),
    ),
    "centred": (centred, {"x": ("batch", 3)}, ("output",)),
    "fixed": (fixed, {"x": (2, 3), "k": ((), "float16")}, ("y", "sum")),
}
#: The one with golden outputs; the others are exported unchecked.
CHECKED = "pooled"


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[str], Path]:
    """The artifact of a model by name, with ONNX; not to be changed."""

    @cache
    def exported(name: str, format_name: str = "onnx") -> Path:
        function, inputs, outputs = MODELS[name]
        folder = tmp_path_factory.mktemp(name) / name
        weights = WEIGHTS if name == "pooled" else {}
        check = name == CHECKED and format_name == "onnx"
        swift_export.export(
            function, inputs, folder, weights=weights, outputs=outputs, formats=format_name, check=check
        )
        return folder

    return exported


@pytest.fixture(scope="session")
def laid_out(exported, tmp_path_factory) -> Callable[[str, str], Path]:
    """The layout for a server of a model by name; not to be changed."""
    from swift_export.serving.layouts.layout_folder import write_layout

    @cache
    def laid_out(server: str, name: str = "pooled") -> Path:
        folder = tmp_path_factory.mktemp(server) / name
        artifact = exported(name, "savedmodel" if server == "tfserving" else "onnx")
        write_layout(server, artifact, folder)
        return folder

    return laid_out
