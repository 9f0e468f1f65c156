"""The port for gRPC, beside that for HTTP in the same event loop."""

from __future__ import annotations

import socket

import grpc

from swift_export.errors import UsageError
from swift_export.serving.grpc_service import GrpcService
from swift_export.serving.inference import body_limit
from swift_export.serving.web import Service

__all__ = ["GrpcServer"]


class GrpcServer:
    """Serves the models of ``service`` on the address of ``reserved``, a bound socket, which it takes the place of."""

    def __init__(self, service: Service, reserved: socket.socket):
        self._service, self._reserved = service, reserved
        self._port: int = reserved.getsockname()[1]
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        host = self._service.settings.host
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    async def start(self) -> None:
        """Listen, in the running event loop; raises UsageError if that is not possible."""
        settings, models = self._service.settings, self._service.repository.models.values()
        largest = max((body_limit(model, settings.max_batch) for model in models), default=0)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would each get some of the calls.
                ("grpc.so_reuseport", 0),
                # Only identity: a small compressed message can hold gigabytes.
                ("grpc.compression_enabled_algorithms_bitset", 1),
            ]
        )
        server.add_generic_rpc_handlers((GrpcService(self._service),))
        address = self.address
        self._reserved.close()
        try:
            if settings.tls_cert is None or settings.tls_key is None:
                server.add_insecure_port(address)
            else:
                pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
                server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError:
            raise UsageError(f"--grpc-port {self._port}: cannot listen on {address}") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Accept nothing more, and return once what was accepted is answered."""
        if self._server is not None:
            await self._server.stop(self._service.settings.timeout_s)
