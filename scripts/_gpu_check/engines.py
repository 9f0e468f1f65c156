"""How a row's forward pass is loaded: a session of a runtime of the package, or one with the same interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from _gpu_check.outcomes import Request
from swift_export.errors import MachineError
from swift_export.models.swift.config import SwiFTConfig
from swift_export.runtimes.base import AbsentDevice, Session, check_device, check_precision
from swift_export.runtimes.reference_file import read_reference
from swift_export.runtimes.registry import RUNTIMES, require

__all__ = ["ENGINES", "load"]

Engine = Callable[[Request], Session]


def load(request: Request) -> tuple[Session, str]:
    """The session of a row, and a reason why the row fails although it can be measured, or none."""
    if request.engine in ENGINES:
        return ENGINES[request.engine](request), ""
    assert request.path is not None
    runtime, path = RUNTIMES[request.engine], Path(request.path)
    require(runtime)
    device, precision = check_device(request.device), check_precision(request.precision)
    try:
        return runtime.adapter().load(path, device, precision), ""
    except AbsentDevice:
        raise
    except MachineError as refusal:
        if request.engine != "onnxruntime":
            raise
        from _gpu_check.onnx_sessions import MixedSession, nodes_on_cpu

        # What lacks a kernel, and what it costs, is worth more than the refusal alone.
        return MixedSession(path, precision), f"{refusal}; {nodes_on_cpu(path, precision)}"


def _config(request: Request) -> tuple[SwiFTConfig, dict[str, object]]:
    reference = read_reference(Path(request.weights))
    return SwiFTConfig.from_hyper_parameters(reference.rebuild.arguments["config"]), dict(reference.weights)


def _jit(request: Request) -> Session:
    from _gpu_check.jax_sessions import plain_session

    return plain_session(*_config(request), request.precision, request.device)


def _jit_cudnn(request: Request) -> Session:
    from _gpu_check.jax_sessions import sets_session

    return sets_session(*_config(request), request.precision, request.device, "cudnn")


def _jit_xla(request: Request) -> Session:
    from _gpu_check.jax_sessions import sets_session

    return sets_session(*_config(request), request.precision, request.device, "xla")


def _onnxruntime_graph(request: Request) -> Session:
    from _gpu_check.onnx_sessions import GraphSession

    assert request.path is not None
    return GraphSession(Path(request.path), check_precision(request.precision), check_device(request.device))


def _torch(request: Request) -> Session:
    from _gpu_check.torch_session import TorchSession

    return TorchSession(*_config(request), request.precision, request.device, compiled=False)


def _torch_compile(request: Request) -> Session:
    from _gpu_check.torch_session import TorchSession

    return TorchSession(*_config(request), request.precision, request.device, compiled=True)


ENGINES: dict[str, Engine] = {
    "jit": _jit,
    "jit_cudnn": _jit_cudnn,
    "jit_xla": _jit_xla,
    "onnxruntime_graph": _onnxruntime_graph,
    "torch": _torch,
    "torch_compile": _torch_compile,
}
