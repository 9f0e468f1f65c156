"""Missing extras: named by the bare command, asked of the launcher where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swift_export.cli.extras import EXTRAS, Extra

REPOSITORY = Path(__file__).parents[2]
# What a machine without the extra sees: the import system finds no such package.
WITHOUT = """
import sys
for name in ("tensorflow", "nibabel"):
    sys.modules[name] = None
from swift_export.cli import main
sys.exit(main())
"""
SAVEDMODEL = ["savedmodel", "--variant", "contrastive", "--weights", "synthetic", "-o", "out"]
NIFTI = ["onnx", "--variant", "contrastive", "--weights", "synthetic", "-o", "out", "--input", "scan.nii.gz"]


def run_without(arguments: list[str], cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | settings
    command = [sys.executable, "-P", "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (SAVEDMODEL, "savedmodel"),
        (["all", *SAVEDMODEL[1:]], "savedmodel"),
        (["onnx", *SAVEDMODEL[1:], "--via", "savedmodel"], "savedmodel"),
        (NIFTI, "fmri"),
        (["convert", "saved", "-o", "out"], "savedmodel"),
    ],
)
def test_the_bare_command_names_the_extra(tmp_path: Path, arguments: list[str], extra: str) -> None:
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"XlaCallModule")
    result = run_without(arguments, tmp_path)
    assert result.returncode == 2
    assert f"pip install 'swift-export[{extra}]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_under_the_launcher_the_command_goes_back_to_it_for_the_extra(tmp_path: Path) -> None:
    launcher = tmp_path / "a launcher"
    launcher.write_text('#!/bin/sh\necho "$SWIFT_EXPORT_EXTRAS:"; for argument in "$@"; do echo "$argument"; done\n')
    launcher.chmod(0o755)
    result = run_without(SAVEDMODEL, tmp_path, SWIFT_EXPORT_LAUNCHER=str(launcher), SWIFT_EXPORT_EXTRAS="fmri")
    assert (result.returncode, result.stdout.split("\n")) == (0, ["fmri savedmodel:", *SAVEDMODEL, ""])


def test_an_extra_that_is_installed_and_yet_absent_is_not_asked_for_twice(tmp_path: Path) -> None:
    settings = {"SWIFT_EXPORT_LAUNCHER": "/bin/false", "SWIFT_EXPORT_EXTRAS": "savedmodel"}
    result = run_without(SAVEDMODEL, tmp_path, **settings)
    assert result.returncode == 2
    assert "swift-export[savedmodel]" in result.stderr


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_declared_is_what_is_named(extra: str) -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert extra in declared
    # And scripts/swift-export can install it on demand; a GPU's packages differ by machine.
    assert (REPOSITORY / "locks" / f"{extra}.txt").is_file() == (extra != "gpu")


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.inner"])
def test_absent_packages_are_named(package: str) -> None:
    assert Extra(("json", package), "").absent() == [package]
