"""The address for scans, ``/v1/scans``."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import Response

from swift_export._version import __version__
from swift_export.errors import SwiftExportError
from swift_export.features.output_kinds import kinds_from
from swift_export.scans.placement import PLACEMENTS
from swift_export.serving.bodies import Receive
from swift_export.serving.refusals import ClientGone, Refusal, logged, status_of
from swift_export.serving.scan_answer import EVENTS, FORMATS, answer_format
from swift_export.serving.scan_desk import ScanDesk, ScanRequest
from swift_export.serving.scan_models import ScanModel

__all__ = ["add_scans"]


class _Foreign(Refusal):
    """A form of a page from elsewhere, which a browser sends without being asked."""

    http_status = 403


def add_scans(app: FastAPI, desk: ScanDesk) -> None:
    """Add the address for scans."""

    @app.get("/v1/scans")
    async def described() -> dict[str, Any]:
        return {
            "version": __version__,
            "models": [_described(name, found) for name, found in desk.models.by_name.items()],
            "placements": {name: list(placement.point or ()) for name, placement in PLACEMENTS.items()},
            "formats": list(FORMATS),
            "max_bytes": desk.max_bytes,
        }

    @app.post("/v1/scans")
    async def scan(request: Request, model: str | None = None, format: str | None = None) -> Response:
        _check_origin(request)
        accept = request.headers.get("accept", "")
        events = format is None and EVENTS in accept
        form = answer_format(None if events else format, "" if events else accept)
        # For metrics and the log: a name that there is.
        request.state.model = desk.models.find(model).model.name
        view = request.query_params.get("view") == "true"
        asked = ScanRequest(model, form, view, request.receive, request.headers)
        if events:
            return _Events(desk, asked)
        return Response(await desk.answer(asked, _ignore), media_type=FORMATS[form])


def _described(name: str, found: ScanModel | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"name": name, "takes_scans": False, "reason": found}
    backbone, contract = found.backbone, found.backbone.contract
    return {
        "name": name,
        "takes_scans": True,
        "version": found.model.version,
        "grid": list(backbone.size),
        "frames": backbone.frames,
        "channels": backbone.channels,
        "output_kinds": list(kinds_from(backbone.given)),
        "placement": contract.placement,
        "orientation": contract.orientation,
        "drop_frames": None if contract.drop_frames is None else list(contract.drop_frames),
        "synthetic": backbone.synthetic,
    }


def _check_origin(request: Request) -> None:
    """Refuse forms that a page from elsewhere sends: browsers allow that, although it cannot read the answer."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None:  # also right behind a proxy that changes the host
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    if foreign:
        raise _Foreign("origin: expected a request of this server's own page, or of no page")


async def _ignore(_: dict[str, Any]) -> None:
    pass


class _Events(Response):
    """An answer in lines of JSON: ``progress`` while the scan is computed, last ``result`` or ``error``.

    What is refused before the scan has been received has its own status, like every other answer.
    """

    def __init__(self, desk: ScanDesk, asked: ScanRequest):
        super().__init__(None, media_type=EVENTS, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        # The length is not known.
        del self.headers["content-length"]
        self._desk, self._asked = desk, asked

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        began = False

        async def line(text: bytes, more: bool = True) -> None:
            nonlocal began
            if not began:
                began = True
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": text + b"\n", "more_body": more})

        async def tell(event: dict[str, Any]) -> None:
            await line(json.dumps(event).encode())

        try:
            result = await self._desk.answer(self._asked, tell)
        except ClientGone:
            raise
        except SwiftExportError as error:
            if not began:
                raise
            scope["state"]["error"] = logged(error)
            refusal = {"error": str(error), "status": status_of(error)}
            await line(json.dumps(refusal).encode(), more=False)
        except Exception:
            if began:
                await line(json.dumps({"error": "the server failed; its log tells why", "status": 500}).encode(), False)
            raise
        else:
            await line(b'{"result": ' + result + b"}", more=False)
