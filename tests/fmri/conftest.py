from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fmri_tests_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def brains() -> ModuleType:
    """The module ``brains.py`` of this folder, loaded only by tests that run: it imports nibabel."""
    return _module(HERE / "brains.py")


@pytest.fixture(scope="session")
def torch_file() -> ModuleType:
    """A writer of torch's file format that shares nothing with the reader."""
    return _module(HERE.parent / "weights" / "torch_file.py")
