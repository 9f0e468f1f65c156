"""The addresses by which clients register shared memory, as in Triton."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request

from swift_export.errors import InputError
from swift_export.serving.bodies import Body
from swift_export.serving.shared_memory import Regions
from swift_export.system.text import shown

__all__ = ["add_regions"]

_ROOT = "/v2/systemsharedmemory"
#: Most bytes of a registration.
_MOST = 2**16


def add_regions(app: FastAPI, regions: Regions, timeout_s: float) -> None:
    """Add the addresses of ``regions`` to ``app``."""

    def allow(request: Request) -> None:
        regions.allow(None if request.client is None else request.client.host)

    @app.get(f"{_ROOT}/status")
    @app.get(f"{_ROOT}/region/{{name}}/status")
    async def region_status(request: Request, name: str = "") -> list[dict[str, Any]]:
        allow(request)
        return regions.status(name)

    @app.post(f"{_ROOT}/region/{{name}}/register")
    async def register_region(request: Request, name: str) -> dict[str, Any]:
        allow(request)
        where = f"region {shown(name)}"
        body = Body(request.receive, request.headers, _MOST, asyncio.get_running_loop().time() + timeout_s, where)
        try:
            asked = json.loads((await body.rest(_MOST)).decode())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: expected JSON, found other text ({shown(error)})") from None
        if not isinstance(asked, dict):
            raise InputError(f"{where}: expected an object, found {shown(asked)}")
        regions.register(name, asked.get("key"), asked.get("offset", 0), asked.get("byte_size"))
        return {}

    @app.post(f"{_ROOT}/unregister")
    @app.post(f"{_ROOT}/region/{{name}}/unregister")
    async def unregister_region(request: Request, name: str = "") -> dict[str, Any]:
        allow(request)
        regions.unregister(name)
        return {}
