"""The clients without this package agree with a layout, and say so if they do not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"


@pytest.fixture(scope="module")
def layout(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from swift_export.serving.layouts.layout_folder import write_layout

    return write_layout("ovms", artifact, tmp_path_factory.mktemp("layout") / "tiny", name="tiny").folder


@pytest.fixture(scope="module")
def wrong(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout with expected outputs that no runtime gives."""
    folder = Path(shutil.copytree(layout, tmp_path_factory.mktemp("wrong") / "tiny"))
    output = folder / "smoke" / "output0"
    (np.fromfile(output, np.float32) * np.float32(1.0001)).tofile(output)
    return folder


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript clients, compiled."""
    folder = tmp_path_factory.mktemp("clients") / "typescript"
    shutil.copytree(CLIENTS / "typescript", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(CLIENTS / "typescript" / "node_modules")
    subprocess.run(["node", "node_modules/typescript/bin/tsc"], cwd=folder, check=True, timeout=120)
    return folder


def told(*command: str | Path, status: int) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def agreement(layout: Path, wrong: Path, *command: str | Path) -> None:
    assert "\nagrees with the outputs of ONNX Runtime" in told(*command, layout, status=0)
    assert "\ndoes not agree with" in told(*command, wrong, status=1)


def test_python(layout: Path, wrong: Path) -> None:
    # Isolated: this package is not importable there.
    agreement(layout, wrong, sys.executable, "-I", CLIENTS / "python_onnxruntime.py")


@pytest.mark.requires("npm")
def test_node(layout: Path, wrong: Path, typescript: Path) -> None:
    agreement(layout, wrong, "node", typescript / "dist" / "node.mjs")


@pytest.mark.requires("npm", "chromium")
def test_browser(layout: Path, wrong: Path, typescript: Path) -> None:
    agreement(layout, wrong, sys.executable, typescript / "serve.py", "--headless", "--port", "0", "--wait", "100")
