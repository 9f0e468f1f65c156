"""The messages between a process and its child, which works in a folder: one JSON file in each direction.

Both ends belong to the same version of this package, so nothing is validated. Light to import, so that a child
contains little more than it needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_answer", "read_request", "write_answer", "write_request"]

_REQUEST, _ANSWER = "request.json", "answer.json"


def write_request(folder: Path, request: Any) -> None:
    """Write the request, plain data, to a child's folder."""
    _write(folder / _REQUEST, request)


def read_request(folder: Path) -> Any:
    """The request in a child's folder."""
    return json.loads((folder / _REQUEST).read_text())


def write_answer(folder: Path, answer: Any) -> None:
    """Write the answer, plain data, beside the request."""
    _write(folder / _ANSWER, answer)


def read_answer(folder: Path) -> Any:
    """The answer in a child's folder."""
    return json.loads((folder / _ANSWER).read_text())


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
