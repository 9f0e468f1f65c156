"""The server process: listens, serves until it is told to end, and answers what it has accepted."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from swift_export.errors import UsageError
from swift_export.serving.access import check_tls, is_loopback, read_token
from swift_export.serving.guarded_http import GuardedHttp
from swift_export.serving.repository import Repository, sources_of
from swift_export.serving.serve_log import ServeLog, log_libraries
from swift_export.serving.serve_settings import ServeSettings
from swift_export.serving.web import Service, create_app
from swift_export.system.items import as_items

if TYPE_CHECKING:
    from swift_export.serving.grpc_server import GrpcServer

__all__ = ["Server", "listen", "serve", "server_for", "start_server"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
#: Seconds between the signal to end and the end of listening, in which balancers see that the server is not ready.
_NOTICE_S = 0.2


class Server(uvicorn.Server):
    """Ends in order: not ready, then no new requests, then the end once all accepted ones are answered."""

    def __init__(self, config: uvicorn.Config, service: Service, grpc: GrpcServer | None = None):
        super().__init__(config)
        self.service, self.grpc = service, grpc
        self._told: float | None = None
        #: Called once requests are accepted.
        self.on_started: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; raises UsageError if another program has begun to, on the same port."""
        for bound in sockets or ():
            # Two programs can bind a port while neither listens, as each does while it loads its models.
            try:
                bound.listen(self.config.backlog)
            except OSError as error:
                where = f"--port {bound.getsockname()[1]}"
                raise UsageError(f"{where}: cannot listen there any more: {error.strerror}") from None
        if self.grpc is not None:
            await self.grpc.start()
        await super().startup(sockets)
        if self.started and self.on_started is not None:
            self.on_started()

    def stop(self) -> None:
        """End when the accepted requests are answered; told again, at once."""
        if self._told is None:
            self._told = time.monotonic()
            self.service.draining = True
            self.service.log.event("stopping")
        else:
            self.force_exit = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more; end once what was accepted is answered."""
        if self.grpc is not None:
            await self.grpc.stop()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end, asked ten times a second."""
        if self._told is not None:
            waited = time.monotonic() - self._told
            if waited >= _NOTICE_S and (self.service.batcher.idle or waited > 2 * self.service.settings.timeout_s):
                self.should_exit = True
        return bool(await super().on_tick(counter))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal. Unlike uvicorn's, it is not raised again: a server that was told to end has done well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._told_by) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _told_by(self, number: int, frame: FrameType | None) -> None:
        self.stop()


def start_server(
    artifacts: Sequence[Path], settings: ServeSettings, names: Sequence[str] = (), log: ServeLog | None = None
) -> tuple[Server, socket.socket]:
    """Load the models, and return a server that is ready to run, with its socket.

    Raises UsageError for settings that cannot be, and the errors of loading.
    """
    settings.check()
    check_tls(settings)
    if not is_loopback(settings.host) and settings.token is None and not settings.no_token:
        raise UsageError(
            f"--host {settings.host}: expected a token, as other machines can reach it, found none; give one with "
            "--token-file, or allow everybody with --no-token"
        )
    sources = sources_of(artifacts, names)
    listening = listen(settings.host, settings.port)
    for_grpc: socket.socket | None = None
    try:
        if settings.grpc_port is not None:
            for_grpc = listen(settings.host, settings.grpc_port, "--grpc-port")
        repository = Repository(sources, settings)
        repository.load()
        return server_for(repository, settings, log, for_grpc), listening
    except BaseException:
        listening.close()
        if for_grpc is not None:
            for_grpc.close()
        raise


def server_for(
    repository: Repository,
    settings: ServeSettings,
    log: ServeLog | None = None,
    for_grpc: socket.socket | None = None,
) -> Server:
    """A server for loaded models; ``for_grpc`` is a bound socket, if it also serves gRPC."""
    app = create_app(repository, settings, log)
    config = uvicorn.Config(
        app,
        http=GuardedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=math.ceil(settings.timeout_s),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    return Server(config, app.state.service, None if for_grpc is None else _grpc(app.state.service, for_grpc))


def _grpc(service: Service, reserved: socket.socket) -> GrpcServer:
    # Else gRPC writes lines of its own to stderr, among those of the log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from swift_export.serving.grpc_server import GrpcServer  # takes time to import

    return GrpcServer(service, reserved)


def serve(
    artifacts: str | Path | Sequence[str | Path],
    *,
    names: str | Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | Path | None = None,
    log: ServeLog | None = None,
    on_ready: Callable[[str, Repository], None] | None = None,
    **settings: Any,
) -> None:
    """Serve artifacts by the Open Inference Protocol until SIGTERM or an interrupt.

        swift_export.serve("artifacts/contrastive", port=8000)

    Args:
        artifacts: artifact folders, or ``.onnx`` files.
        names: the models' names for clients; by default those of the folders and files.
        host: address to listen on; another than this machine's own needs a token.
        port: port; 0: any free one.
        token_file: a file with the token that clients have to send; by default, SWIFT_EXPORT_TOKEN of the environment.
        log: where events are written; by default stderr.
        on_ready: called with the server's address and its models once it accepts requests.
        settings: any others of `ServeSettings`.

    """
    log = log or ServeLog()
    log_libraries(log)
    token = read_token(None if token_file is None else Path(token_file))
    chosen = ServeSettings(host=host, port=port, token=token, **settings)
    given: Sequence[str | Path] = as_items(artifacts)
    server, listening = start_server([Path(path) for path in given], chosen, as_items(names), log)
    address = _address(listening, chosen)

    def started() -> None:
        grpc = {} if server.grpc is None else {"grpc": server.grpc.address}
        log.event("serving", address=address, **grpc, models=list(server.service.repository.models))
        if on_ready is not None:
            on_ready(address, server.service.repository)

    server.on_started = started
    server.run(sockets=[listening])
    log.event("stopped")


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket on an address, bound before models are loaded; raises UsageError if that is not possible."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--host {host}: expected an address of this machine, found none ({error.strerror})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        listening.close()
        raise UsageError(f"--host {host} {option} {port}: cannot listen there: {error.strerror}") from None
    return listening


def _address(listening: socket.socket, settings: ServeSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{listening.getsockname()[1]}"
