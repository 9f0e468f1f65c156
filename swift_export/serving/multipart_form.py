"""Forms with files (multipart/form-data, RFC 7578), written to a folder as they arrive.

Files get names of the server's own. Those of the client are only shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from swift_export.errors import InputError, MachineError
from swift_export.serving.bodies import Body
from swift_export.serving.refusals import TooLarge, TooSlow, Unsupported
from swift_export.system.disk import disk_is_full
from swift_export.system.text import listed, shown

__all__ = ["Form", "Upload", "receive_form"]

_TYPE = "multipart/form-data"
#: Most bytes of a field that is not a file, and characters of a file's name.
_MOST_FIELD, _MOST_NAME = 1000, 200
#: Bytes that are parsed and written at once, in another thread.
_TOGETHER = 2**20
#: Longest silence of a client, in seconds.
_SILENCE_S = 60.0

# The parser logs what it refuses, which is raised too; the server's log is another one.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())
logging.getLogger("python_multipart").propagate = False


@dataclass(frozen=True)
class Upload:
    """A received file; ``name`` is the client's name of it, for messages."""

    path: Path
    name: str


@dataclass(frozen=True)
class Form:
    """The fields of a form by name, and its files."""

    fields: Mapping[str, str]
    files: Mapping[str, Upload]


async def receive_form(
    body: Body, content_type: str | None, folder: Path, files: Mapping[str, str], fields: Collection[str]
) -> Form:
    """Receive a form.

    Args:
        body: the body of the request.
        content_type: its header.
        folder: where files are written.
        files: the names of the fields that are files, and those of their files in the folder.
        fields: the names of all other fields.

    Raises the refusals of bodies, Unsupported for another content type, InputError for a damaged form, a field of
    another name or one that is there twice, and MachineError if the disk is full.
    """
    kind, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if kind != _TYPE.encode() or not 1 <= len(boundary) <= 70:
        raise Unsupported(f"content-type: expected {_TYPE} with a boundary, found {shown(content_type or 'none')}")
    with ExitStack() as stack:
        parts = _Parts(boundary, folder, files, fields, stack)
        pending = bytearray()
        while piece := await _piece(body):
            pending += piece
            if len(pending) >= _TOGETHER:
                await asyncio.to_thread(parts.write, bytes(pending))
                pending.clear()
        await asyncio.to_thread(parts.write, bytes(pending))
        return parts.form()


async def _piece(body: Body) -> memoryview:
    try:
        async with asyncio.timeout(_SILENCE_S):
            return await body.piece()
    except TimeoutError:
        raise TooSlow(f"expected more of the body within {_SILENCE_S:g} seconds, found none") from None


@dataclass
class _Parts:
    """The parts of a form while it arrives: the parser calls the methods that begin with ``on``."""

    boundary: bytes
    folder: Path
    files: Mapping[str, str]
    fields: Collection[str]
    stack: ExitStack
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _name: str = ""
    _file: IO[bytes] | None = None
    _text: bytearray = field(default_factory=bytearray)
    _complete: bool = False
    _found_fields: dict[str, str] = field(default_factory=dict)
    _found_files: dict[str, Upload] = field(default_factory=dict)

    def __post_init__(self) -> None:
        callbacks = {
            "on_part_begin": self._on_part,
            "on_header_begin": self._on_header,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(self.boundary, callbacks)

    def write(self, data: bytes) -> None:
        """Parse more."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InputError(f"expected a form, {_TYPE}, found other data ({shown(error)})") from None
        except OSError as error:
            full = "the disk is full" if disk_is_full(error) else shown(error.strerror)
            raise MachineError(f"the server could not store the upload: {full}") from None

    def form(self) -> Form:
        """The whole form."""
        if not self._complete:
            raise InputError("expected a whole form, found one that breaks off")
        return Form(self._found_fields, self._found_files)

    def _on_part(self) -> None:
        self._headers = {}

    def _on_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _on_header_end(self) -> None:
        name, value = map(bytes, self._header)
        self._headers[name.lower()] = value

    def _on_headers(self) -> None:
        disposition, parameters = parse_options_header(self._headers.get(b"content-disposition"))
        name = parameters.get(b"name", b"").decode("utf-8", "replace").replace("-", "_")
        if disposition != b"form-data" or (name not in self.files and name not in self.fields):
            known = listed([*self.files, *self.fields], 20)
            raise InputError(f"expected the fields {known}, found {shown(name) or 'one without a name'}")
        if name in self._found_files or name in self._found_fields:
            raise InputError(f"{name}: expected it once, found it twice")
        self._name, self._text = name, bytearray()
        if name not in self.files:
            return
        # Browsers send the name alone, other programs may send a path, of Windows too.
        given = parameters.get(b"filename", b"").decode("utf-8", "replace").replace("\\", "/")
        path = self.folder / self.files[name]
        self._found_files[name] = Upload(path, shown(PurePosixPath(given).name or name, _MOST_NAME))
        self._file = self.stack.enter_context(path.open("xb", buffering=0))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            view = memoryview(data)[start:end]
            while view:
                view = view[self._file.write(view) :]
            return
        self._text += data[start:end]
        if len(self._text) > _MOST_FIELD:
            raise TooLarge(f"{self._name}: expected at most {_MOST_FIELD} bytes, found more")

    def _on_part_end(self) -> None:
        if self._file is None:
            self._found_fields[self._name] = self._text.decode("utf-8", "replace")
            return
        self._file.close()
        self._file = None
        # An input of a page without a file is sent as an empty one.
        if not self._found_files[self._name].path.stat().st_size:
            self._found_files.pop(self._name).path.unlink()

    def _on_end(self) -> None:
        self._complete = True
