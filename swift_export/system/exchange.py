"""What a process and a child that works for it in a folder tell each other: one JSON file each way.

Both ends are this package, in one version: nothing is validated here. Light to import, for a child shall hold little
more than what it works with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_answer", "read_request", "write_answer", "write_request"]

_REQUEST, _ANSWER = "request.json", "answer.json"


def write_request(folder: Path, request: Any) -> None:
    """Put plain data into the folder in which a child will work."""
    _write(folder / _REQUEST, request)


def read_request(folder: Path) -> Any:
    """The request in a child's folder."""
    return json.loads((folder / _REQUEST).read_text())


def write_answer(folder: Path, answer: Any) -> None:
    """Put plain data beside the request."""
    _write(folder / _ANSWER, answer)


def read_answer(folder: Path) -> Any:
    """The answer in a child's folder."""
    return json.loads((folder / _ANSWER).read_text())


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
