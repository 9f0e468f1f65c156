"""Files of probes: written and read back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from swift_export.formats.probe_file import Probe, read_probe, write_probe

Refused = Callable[..., AbstractContextManager[None]]

ABOUT = {"version": 1, "kind": "regression", "target": "age", "classes": [], "fitted_to": {}, "made_by": {}}
KEY = "swift_export.probe"


def tensors(outputs: int = 1, channels: int = 3) -> dict[str, np.ndarray]:
    ramp = np.arange(1, channels + 1, dtype=np.float32)
    return {
        "weight": np.stack([ramp] * outputs),
        "bias": np.full(outputs, 0.5, np.float32),
        "mean": ramp * 2,
        "scale": ramp,
    }


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    probe = Probe(**tensors(3), kind="classification", target="site", classes=("a", "b", "c"), fitted_to={"x": "y"})
    write_probe(probe, tmp_path / "p.safetensors")
    found = read_probe(tmp_path / "p.safetensors")
    assert {n: v for n, v in vars(found).items() if not isinstance(v, np.ndarray)} == {
        n: v for n, v in vars(probe).items() if not isinstance(v, np.ndarray)
    }
    assert all((getattr(found, name) == value).all() for name, value in tensors(3).items())
    write_probe(found, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "p.safetensors").read_bytes()
    # (x - 2 ramp) / ramp * ramp summed, and the bias.
    np.testing.assert_allclose(found.outputs(np.array([[1.0, 2.0, 4.0]])), [[7 - 12 + 0.5] * 3])


@pytest.mark.parametrize(
    ("changes", "about", "told"),
    [
        ({}, None, "found a safetensors file without swift_export.probe in its header"),
        ({}, "[", "expected what swift-export writes, found ["),
        ({}, {"version": 9}, "expected a probe of version 1, found 9, written by a newer version"),
        ({}, {"kind": "other"}, "expected kind in the form that swift-export writes, found other"),
        ({}, {"kind": "classification"}, "expected classes in the form"),
        ({}, {"classes": ["a"]}, "expected classes in the form"),
        ({}, {"target": 3}, "expected target in the form"),
        (
            {},
            {"kind": "classification", "classes": ["a", "b", "c"]},
            "expected 3 outputs for its classification, found 1",
        ),
        ({"bias": np.zeros(2, np.float32)}, {}, "expected float32 weight (outputs, channels)"),
        ({"weight": np.zeros(3, np.float32)}, {}, "found bias float32 (1), "),
        ({"mean": np.zeros(3)}, {}, "mean float64 (3)"),
        ({"more": np.zeros(3, np.float32)}, {}, "more float32 (3)"),
        (
            {"mean": np.full(3, np.nan, np.float32)},
            {},
            "expected finite values and a scale above 0, found others in mean",
        ),
        ({"scale": np.zeros(3, np.float32)}, {}, "found others in scale"),
    ],
)
def test_other_files_are_refused(changes: Any, about: Any, told: str, tmp_path: Path, refused: Refused) -> None:
    text = about if isinstance(about, str) else json.dumps(ABOUT | (about or {}))
    save_file(tensors() | changes, tmp_path / "p.safetensors", None if about is None else {KEY: text})
    with refused("p.safetensors: ", told):
        read_probe(tmp_path / "p.safetensors")


def test_damaged_files_are_refused(tmp_path: Path, refused: Refused) -> None:
    with refused("absent.safetensors: expected a probe, found no such file"):
        read_probe(tmp_path / "absent.safetensors")
    save_file(tensors(), tmp_path / "p.safetensors", {KEY: json.dumps(ABOUT)})
    whole = (tmp_path / "p.safetensors").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "p.safetensors").write_bytes(whole[:length])
        with refused("p.safetensors: "):
            read_probe(tmp_path / "p.safetensors")
