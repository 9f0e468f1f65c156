"""The SavedModel artifact, made by jax2tf: the same StableHLO inside one op, with the weights as variables."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift_export.formats.metadata import METADATA_ASSET, SAVEDMODEL_FILE, SIGNATURE
from swift_export.lowering.lower import Lowered, lower_open, named_forward, private_locations
from swift_export.lowering.metadata import essentials
from swift_export.lowering.onnx_settings import OnnxSettings
from swift_export.lowering.portable import portable
from swift_export.lowering.stablehlo import JAX_PLATFORMS
from swift_export.models import Model
from swift_export.system.tensorflow import import_tensorflow, named_parameters

__all__ = ["write_savedmodel"]


def write_savedmodel(
    model: Model, folder: Path, onnx: OnnxSettings | None = None, lowered: Lowered | None = None
) -> None:
    """Write ``savedmodel/1``, TensorFlow Serving's layout, below ``folder``.

    The signature ``serving_default`` has the model's inputs and outputs by name. TensorFlow loads it without jax.
    ``onnx`` is recorded in the files; ``lowered`` is what `lower_open` makes of the model.
    """
    tf = import_tensorflow()
    target = folder / "savedmodel" / "1"
    facts = essentials(model, onnx or OnnxSettings(), (lowered or lower_open(model)).outputs)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        asset = Path(scratch) / METADATA_ASSET
        asset.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
        module = _module(tf, model)
        module.metadata = tf.saved_model.Asset(str(asset))
        # The tf.function itself: a concrete one would store the module a second time.
        with private_locations():
            tf.saved_model.save(module, str(target), signatures={SIGNATURE: module.serve})
    _make_portable(target / SAVEDMODEL_FILE, facts)
    # The fingerprint depends on random ids and on the graph before the change.
    (target / "fingerprint.pb").unlink(missing_ok=True)


def _make_portable(path: Path, facts: Mapping[str, str]) -> None:
    """Convert the inner module to the pinned version of StableHLO: TensorFlow's version is older than jax's."""
    from swift_export.formats.savedmodel import parse, xla_calls

    model = parse(path.read_bytes())
    for call in xla_calls(model.meta_graphs[0].graph_def):
        call.attr["module"].s = portable(call.attr["module"].s, facts, composites=False)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _module(tf: Any, model: Model) -> Any:
    import jax
    from jax.experimental import jax2tf

    shapes = [f"({', '.join(map(str, spec.dims))})" for spec in model.inputs]
    with jax.default_matmul_precision("highest"):
        converted = jax2tf.convert(
            jax.jit(named_forward(model), keep_unused=True),
            polymorphic_shapes=[None, *shapes],
            with_gradient=False,
            native_serialization_platforms=JAX_PLATFORMS,
        )

    module = tf.Module()
    module.tensors = {
        name: tf.Variable(array, trainable=False, name=re.sub(r"[^A-Za-z0-9_]", "_", name))
        for name, array in sorted(model.stored_weights.items())
    }

    def serve(*inputs: Any) -> Any:
        with private_locations(), jax.default_matmul_precision("highest"):
            return converted(dict(module.tensors), *inputs)

    specs = [
        tf.TensorSpec(
            [None if isinstance(dim, str) else dim for dim in spec.dims], tf.as_dtype(spec.dtype), name=spec.name
        )
        for spec in model.inputs
    ]
    named_parameters(serve, [spec.name for spec in model.inputs])
    module.serve = tf.function(serve, autograph=False, input_signature=specs)
    return module
