"""The package's surface: every name is there, and importing the layout brings nothing else along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import swift_export.artifacts as package
from swift_export.artifacts import FORMATS, find_format
from swift_export.artifacts.layout import format_of, is_inside


def test_every_public_name_is_there() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'surprise'"):
        package.surprise  # noqa: B018


def test_the_layout_is_light() -> None:
    program = "import sys, swift_export.artifacts.layout; print(*(m for m in sys.modules if m.startswith('swift_'))) "
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(found) == [
        "swift_export",
        "swift_export._version",
        "swift_export.artifacts",
        "swift_export.artifacts.layout",
        "swift_export.errors",
        "swift_export.system",
        "swift_export.system.lazy_names",
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("onnx/model.onnx", "onnx"),
        ("savedmodel/1/variables/variables.index", "savedmodel"),
        ("savedmodel/2/saved_model.pb", None),
        ("stablehlo/deep/er", "stablehlo"),
        ("manifest.json", None),
        ("onnx/../stablehlo/model.jax", None),
    ],
)
def test_the_format_of_a_path(path: str, expected: str | None) -> None:
    assert format_of(path) == expected


def test_every_unit_lies_in_its_formats_folder() -> None:
    for name, form in FORMATS.items():
        assert find_format(name) is form
        for unit in form.units:
            assert unit == form.folder or is_inside(unit, form.folder)
            assert form.unit_of(unit) == unit
