from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def web(load_module) -> ModuleType:
    """Servers on 127.0.0.1 that behave, or do not."""
    return load_module(Path(__file__).with_name("web.py"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or touches the user's caches."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SWIFT_EXPORT_CACHE", str(folder))
    monkeypatch.delenv("SWIFT_EXPORT_UPSTREAM", raising=False)
    return folder
