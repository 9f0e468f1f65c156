"""How each runtime loads a file: with the documented settings for the best speed of one model on N threads.

Every function takes the file, the clips and the number of threads, and returns a call that computes the features.
Before the first call, the clips are in the runtime's memory and compilation is complete, so that a call is one
inference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["ENGINES", "Call", "Engine"]

Clips = Float[np.ndarray, "batch c h w d t"]
Call = Callable[[], np.ndarray]
Engine = Callable[[Path, Clips, int], Call]


def reference(path: Path, clips: Clips, threads: int) -> Call:
    """``swift_export.SwiFT``; ``path`` is a bundle of weights."""
    from swift_export.models.swift.backbone.swift import SwiFT
    from swift_export.models.swift.weights import load_weights

    return _compiled(SwiFT.from_weights(load_weights(path)), clips)


def equinox_usual(path: Path, clips: Clips, threads: int) -> Call:
    """The same model, as usually written in Equinox."""
    from _plain_swift import PlainSwiFT

    from swift_export.models.swift.weights import load_weights

    weights = load_weights(path)
    return _compiled(PlainSwiFT(weights.config, weights.tensors), clips)


def _compiled(model: Any, clips: Clips) -> Call:
    import jax

    bold = jax.device_put(clips)
    run = jax.jit(lambda model, bold: model(bold)).lower(model, bold).compile()
    return lambda: np.asarray(run(model, bold))


def jax_export(path: Path, clips: Clips, threads: int) -> Call:
    """A file serialised by ``jax.export``."""
    import jax
    from jax import export

    bold = jax.device_put(clips)
    run = jax.jit(export.deserialize(bytearray(path.read_bytes())).call).lower(bold).compile()
    return lambda: np.asarray(run(bold)["features"])


def xla(path: Path, clips: Clips, threads: int) -> Call:
    """Portable StableHLO, compiled by XLA without jax's tracing."""
    from swift_export.runtimes.portable import load

    compute: Callable[[], Any] = load(path, "cpu").place({"bold": clips})
    compute()  # compiles
    return lambda: np.asarray(compute()["features"])


def iree(path: Path, clips: Clips, threads: int) -> Call:
    """Portable StableHLO, compiled by IREE for this processor."""
    from iree import runtime
    from iree.compiler.tools import compile_file

    host = ["--iree-llvmcpu-target-cpu=host"]
    binary = compile_file(str(path), input_type="stablehlo", target_backends=["llvm-cpu"], extra_args=host)
    runtime.flags.parse_flags(f"--task_topology_max_group_count={threads}")
    config = runtime.Config("local-task")
    main = runtime.load_vm_module(runtime.VmModule.copy_buffer(config.vm_instance, binary), config).main
    bold = runtime.asdevicearray(config.device, clips)
    return lambda: np.asarray(main(bold))


def tensorflow(path: Path, clips: Clips, threads: int) -> Call:
    """A SavedModel's serving signature."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = tf.saved_model.load(str(path))
    bold = tf.identity(tf.constant(clips))

    # The closure keeps the model, because its variables live only as long as it does.
    def call() -> np.ndarray:
        return np.asarray(model.signatures["serving_default"](bold=bold)["features"])

    call()  # compiles
    return call


def onnxruntime(path: Path, clips: Clips, threads: int) -> Call:
    """ONNX Runtime's CPU provider with default settings, except that idle threads do not spin during other rows."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(["features"], {"bold": clips})[0])


def openvino(path: Path, clips: Clips, threads: int) -> Call:
    """OpenVINO's CPU plug-in in float32, compiled for the shape of the clips."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape({"bold": list(clips.shape)})
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call() -> np.ndarray:
        request.infer({"bold": clips}, share_inputs=True)
        return np.array(request.get_tensor("features").data)

    return call


ENGINES: dict[str, Engine] = {
    engine.__name__: engine
    for engine in (reference, equinox_usual, jax_export, xla, iree, tensorflow, onnxruntime, openvino)
}
