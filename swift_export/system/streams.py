"""The process's streams, below Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["muted_stderr"]


@contextmanager
def muted_stderr() -> Iterator[None]:
    """Discard what native code prints on stderr in the block, such as greetings of libraries; errors are raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
