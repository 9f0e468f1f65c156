"""NVIDIA's clients of a server, each with the limit of its time beyond inference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["Send", "stock_clients"]

#: Sends a clip, and returns when its features are there.
Send = Callable[[np.ndarray], None]

_SECONDS = 300


@contextmanager
def stock_clients(
    port: int, grpc_port: int, name: str, clip: np.ndarray, features: tuple[int, ...]
) -> Iterator[dict[str, tuple[float, Send]]]:
    """The clients of model ``name``, for clips like ``clip``: over HTTP, over gRPC, and in shared memory."""
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http
    import tritonclient.utils.shared_memory as memory

    http = over_http.InferenceServerClient(f"127.0.0.1:{port}", connection_timeout=_SECONDS, network_timeout=_SECONDS)
    grpc = over_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}")
    room = 4 * int(np.prod(features))
    key = f"/swift-export-bars-{os.getpid()}"
    region = memory.create_shared_memory_region("clip", key, clip.nbytes + room)

    def by_http(clip: np.ndarray) -> None:
        bold = over_http.InferInput("bold", list(clip.shape), "FP32")
        bold.set_data_from_numpy(clip)
        http.infer(name, [bold])

    def by_grpc(clip: np.ndarray) -> None:
        bold = over_grpc.InferInput("bold", list(clip.shape), "FP32")
        bold.set_data_from_numpy(clip)
        grpc.infer(name, [bold], client_timeout=_SECONDS)

    def by_memory(clip: np.ndarray) -> None:
        """The clip lies there already, as a client's own code would have made it there."""
        bold = over_grpc.InferInput("bold", list(clip.shape), "FP32")
        bold.set_shared_memory("clip", clip.nbytes)
        wanted = over_grpc.InferRequestedOutput("features")
        wanted.set_shared_memory("clip", room, offset=clip.nbytes)
        grpc.infer(name, [bold], outputs=[wanted], client_timeout=_SECONDS)

    try:
        memory.set_shared_memory_region(region, [clip])
        grpc.register_system_shared_memory("clip", key, clip.nbytes + room)
        yield {
            "tritonclient over HTTP": (0.25, by_http),
            "tritonclient over gRPC": (0.30, by_grpc),
            "tritonclient in shared memory": (0.03, by_memory),
        }
        grpc.unregister_system_shared_memory("clip")
    finally:
        memory.destroy_shared_memory_region(region)
        grpc.close()
        http.close()
