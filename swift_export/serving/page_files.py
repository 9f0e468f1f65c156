"""The page for people, at ``/``: files of this package, under a policy that allows nothing else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import Response

from swift_export.serving.refusals import Unknown
from swift_export.system.text import shown

__all__ = ["POLICY", "add_page"]

#: Scripts, styles and requests of this server alone; pictures are drawn by the page itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_INDEX = "index.html"


def add_page(app: FastAPI) -> None:
    """Add the page and its files, read once."""
    folder = files(__package__).joinpath("page")
    contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    index = contents.pop(_INDEX)

    @app.get("/")
    async def page() -> Response:
        return Response(index, media_type="text/html; charset=utf-8", headers=_HEADERS)

    @app.get("/page/{name}")
    async def part(name: str) -> Response:
        media = next((media for suffix, media in _TYPES.items() if name.endswith(suffix)), None)
        if name not in contents or media is None:
            raise Unknown(f"/page/{shown(name)}: expected a file of the page, found none")
        return Response(contents[name], media_type=f"{media}; charset=utf-8", headers=_HEADERS)
