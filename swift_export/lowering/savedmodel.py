"""The SavedModel artifact, by jax2tf: the same StableHLO inside one op, the weights as variables."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift_export.formats.metadata import METADATA_ASSET, SIGNATURE
from swift_export.lowering.hub import forward, private_locations
from swift_export.lowering.metadata import essentials
from swift_export.lowering.portable import portable
from swift_export.lowering.settings import ExportSettings
from swift_export.lowering.stablehlo import JAX_PLATFORMS
from swift_export.models.swift.config import parameter_shapes
from swift_export.models.swift.forms import Forms, choose_forms
from swift_export.system.tensorflow import import_tensorflow

if TYPE_CHECKING:
    from swift_export.models.swift.weights import Weights

__all__ = ["write_savedmodel"]


def write_savedmodel(weights: Weights, settings: ExportSettings, folder: Path) -> None:
    """Write ``savedmodel/1``, TensorFlow Serving's layout, below ``folder``.

    Signature ``serving_default``: ``bold`` -> the outputs by name. Loads in TensorFlow without jax.
    """
    settings.check(weights.config)
    tf = import_tensorflow()
    target = folder / "savedmodel" / "1"
    forms = choose_forms(weights.config, weights.tensors, settings)
    facts = essentials(weights, settings, forms)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        asset = Path(scratch) / METADATA_ASSET
        asset.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
        module = _module(tf, weights, settings, forms)
        module.metadata = tf.saved_model.Asset(str(asset))
        # The tf.function itself, not a concrete one: that would store the module a second time.
        with private_locations():
            tf.saved_model.save(module, str(target), signatures={SIGNATURE: module.serve})
    _make_portable(target / "saved_model.pb", facts)
    # A fingerprint of random ids, and of the graph as it was before.
    (target / "fingerprint.pb").unlink(missing_ok=True)


def _make_portable(path: Path, facts: Mapping[str, str]) -> None:
    """Put the module inside into the pinned version of StableHLO: TensorFlow's own is older than jax's."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    graph = model.meta_graphs[0].graph_def
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        if node.op == "XlaCallModule":
            node.attr["module"].s = portable(node.attr["module"].s, facts, composites=False)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _module(tf: Any, weights: Weights, settings: ExportSettings, forms: Forms) -> Any:
    import jax
    from jax.experimental import jax2tf

    config = weights.config
    batch = "batch" if settings.batch is None else str(settings.batch)
    clip = ", ".join([batch, *map(str, settings.input_shape(config))])
    with jax.default_matmul_precision("highest"):
        converted = jax2tf.convert(
            forward(config, settings, forms),
            polymorphic_shapes=[None, f"({clip})"],
            with_gradient=False,
            native_serialization_platforms=JAX_PLATFORMS,
        )

    module = tf.Module()
    module.tensors = {
        name: tf.Variable(weights.tensors[name], trainable=False, name=name.replace(".", "_"))
        for name in sorted(parameter_shapes(config))
    }

    def serve(bold: Any) -> Any:
        with private_locations(), jax.default_matmul_precision("highest"):
            return converted(dict(module.tensors), bold)

    signature = tf.TensorSpec([settings.batch, *settings.input_shape(config)], tf.float32, name="bold")
    module.serve = tf.function(serve, autograph=False, input_signature=[signature])
    return module
