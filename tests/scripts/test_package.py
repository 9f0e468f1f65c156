"""``pip install .``: what the wheel holds and what it asks for."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(REPOSITORY)], check=True)
    (path,) = folder.glob("swift_export-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "swift_export"], cwd=REPOSITORY, capture_output=True, check=True, text=True
    )
    assert held == set(listed.stdout.split())
    for needed in (
        "py.typed",
        "cli/measured.json",
        "runtimes/tensorflow_c.c",
        "parity/report/parity.schema.json",
        "parity/report/templates/page.html.j2",
    ):
        assert f"swift_export/{needed}" in held


def test_the_wheel_brings_licence_notice_and_command(wheel: zipfile.ZipFile) -> None:
    about = {
        name.partition(".dist-info/")[2]: wheel.read(name).decode() for name in wheel.namelist() if "dist-info" in name
    }
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(about)
    assert "swift-export = swift_export.cli:main" in about["entry_points.txt"]
    extras = [line.split()[1] for line in about["METADATA"].splitlines() if line.startswith("Provides-Extra:")]
    assert sorted(extras) == ["all", "fmri", "gpu", "iree", "openvino", "probe", "savedmodel", "scale", "serve"]
