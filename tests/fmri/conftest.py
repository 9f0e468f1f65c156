from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def brains() -> ModuleType:
    """The module ``brains.py`` of this folder, loaded only by tests that run: it imports nibabel."""
    spec = importlib.util.spec_from_file_location("brains", Path(__file__).parent / "brains.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
