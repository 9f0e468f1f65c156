"""A disk that is full under each real writer: one line, status 1, and what was there stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift_export.artifacts import open_artifact, verify
from swift_export.errors import MachineError
from swift_export.exporting import run_export


@pytest.mark.parametrize(
    "name", ["stablehlo", "onnx", pytest.param("savedmodel", marks=pytest.mark.requires("savedmodel"))]
)
def test_a_real_export_onto_a_full_disk(small_disk: Path, exporting, name: str) -> None:
    output = small_disk / "out"
    exporting.export(output, "onnx", text="old")
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(bytes(4096) for _ in range(512))
    with pytest.raises(MachineError, match="the disk is full") as full:
        run_export([name], exporting.model(), output, check=False)
    assert full.value.exit_status == 1
    assert "\n" not in str(full.value)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    verify(output, open_artifact(output))
