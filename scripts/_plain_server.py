"""The session of an artifact behind a plain FastAPI and uvicorn, as one would write it without a server at hand.

Prints its port. ``POST /infer`` takes the bytes of the only input, and answers those of the outputs. The session is
the one of ``swift-export serve``, with its options, so that only the servers differ.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from swift_export.serving.served_model import load_model


def main(artifact: Path) -> None:
    """Serve an artifact until the process is ended."""
    model = load_model(artifact, "plain", golden=False)
    (spec,) = model.inputs
    app = FastAPI()

    async def infer(request: Request) -> Response:
        values = np.frombuffer(await request.body(), spec.dtype).reshape(-1, *spec.dims[1:])
        outputs = await run_in_threadpool(model.infer, {spec.name: values})
        return Response(b"".join(array.tobytes() for array in outputs.values()), media_type="application/octet-stream")

    app.add_api_route("/infer", infer, methods=["POST"])
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
