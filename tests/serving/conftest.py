"""The models of these tests, and a server of both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from embedded import Running, mix, pair, serving


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    return {"mix": mix(folder / "mix.onnx"), "pair": pair(folder / "pair.onnx")}


@pytest.fixture(scope="session")
def server(files: dict[str, Path]) -> Iterator[Running]:
    """A server of both, for tests that leave it as it is."""
    with serving(files, timeout_s=5.0) as found:
        yield found
