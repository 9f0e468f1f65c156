from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from swift_export.errors import SwiftExportError, WeightsError

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"weights_tests_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def torch_file() -> ModuleType:
    """A writer of torch's file format that shares nothing with the reader, and that can also lie."""
    return _module(HERE / "torch_file.py")


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """The golden recipe: what the checkpoints in ``tests/golden`` hold."""
    return _module(GOLDEN / "recipe.py")


@pytest.fixture(scope="session")
def web() -> ModuleType:
    """Servers on 127.0.0.1 that behave, or do not."""
    return _module(HERE / "web.py")


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def lightning() -> Path:
    """The folder with files that PyTorch-Lightning itself wrote; see its README."""
    return HERE / "data"


Refused = Callable[..., AbstractContextManager[pytest.ExceptionInfo[SwiftExportError]]]


@pytest.fixture(scope="session")
def refused() -> Refused:
    """``with refused("told", ...) as caught:`` the block raises a user's error, in one line that tells all of these."""

    @contextmanager
    def block(
        *told: str, error: type[SwiftExportError] = WeightsError, status: int = 2
    ) -> Iterator[pytest.ExceptionInfo[SwiftExportError]]:
        with pytest.raises(error) as caught:
            yield caught
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        assert message.isprintable()
        assert len(message) < 8000
        assert [part for part in told if part not in message] == [], message
        assert caught.value.exit_status == status

    return block


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or touches the user's caches."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SWIFT_EXPORT_CACHE", str(folder))
    monkeypatch.delenv("SWIFT_EXPORT_UPSTREAM", raising=False)
    return folder
