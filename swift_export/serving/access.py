"""Who may use the server: a bearer token, and the names by which a server of this machine alone is addressed."""

from __future__ import annotations

import hmac
import ipaddress
import os
import ssl
from pathlib import Path

from swift_export.errors import UsageError
from swift_export.serving.refusals import Refusal, Unauthorized
from swift_export.serving.serve_settings import ServeSettings
from swift_export.system.text import error_line, shown

__all__ = ["TOKEN_VARIABLE", "Access", "check_tls", "is_loopback", "read_token"]

TOKEN_VARIABLE = "SWIFT_EXPORT_TOKEN"
#: Shortest token that is not guessed, and longest in a header.
_SHORTEST, _LONGEST = 16, 4096
#: Probes of orchestrators send no token.
_OPEN = ("/v2/health/live", "/v2/health/ready")
#: The page asks for it.
_PAGE = "/page/"


class Access:
    """Lets requests in, or refuses them."""

    def __init__(self, settings: ServeSettings):
        self._token = None if settings.token is None else settings.token.encode()
        # Without a token, a page in a browser of this machine could reach the server under a name of its own.
        self._own_names = self._token is None and is_loopback(settings.host)
        self._host = settings.host.lower()

    def check(self, path: str, authorization: str | None, host: str | None) -> None:
        """Raise Unauthorized without the token, Refusal under a name that is not this machine's."""
        if self._own_names and not self._is_own(host):
            raise Refusal(f"host {shown(host)}: expected localhost or an address of this machine")
        if self._token is None or path in _OPEN or path == "/" or path.startswith(_PAGE):
            return
        kind, _, token = (authorization or "").partition(" ")
        # In the time of a comparison of the whole, whatever the client sent.
        right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token)
        if kind.lower() != "bearer" or not right:
            raise Unauthorized("expected the header Authorization: Bearer TOKEN with the server's token, found another")

    def _is_own(self, host: str | None) -> bool:
        if host is None:  # HTTP/1.0
            return True
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        return name in ("localhost", self._host) or is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A socket for both versions shows the older addresses within the newer.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def read_token(file: Path | None) -> str | None:
    """The token in a file, or else in the environment; None without both.

    Raises UsageError for a file that cannot be read, and for a token that is short or not of printable ASCII.
    """
    if file is None:
        text, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if not text:
            return None
    else:
        where = f"--token-file {file}"
        try:
            with file.open("rb") as opened:
                text = opened.read(_LONGEST + 1).decode("ascii", "replace")
        except OSError as error:
            raise UsageError(f"{where}: {error.strerror}") from None
    token = text.strip()
    if not _SHORTEST <= len(token) <= _LONGEST or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{where}: expected a token of {_SHORTEST} to {_LONGEST} printable ASCII characters, found {len(token)}; "
            "make one with openssl rand -hex 32"
        )
    return token


def check_tls(settings: ServeSettings) -> None:
    """Raise UsageError unless certificate and key can be read and belong together."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    for option, file in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if not file.is_file():
            raise UsageError(f"{option} {file}: expected a file, found none")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_cert, settings.tls_key, password=lambda: ""
        )
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"--tls-cert {settings.tls_cert}: expected a certificate in PEM and its key in {settings.tls_key}, found "
            f"other files ({error_line(error)})"
        ) from None
