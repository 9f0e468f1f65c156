"""parity.json against its schema, which must let nothing be left out and nothing be added."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest

from swift_export.artifacts.manifest import Artifact, Measurement, new_manifest
from swift_export.formats.signature import Signature
from swift_export.models.swift.swift_model import swift_model
from swift_export.parity.measure.compare import Difference, Worst
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.report import SCHEMA_VERSION, read_schema, report_files, to_json
from swift_export.parity.results import BlockError, Broken, Comparison, Fault, Picture

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
NEAR = Difference(6e-7, 7e-7, 0, cosine=1 - 1e-13, worst=Worst((0, 3, 1), 1.25, 1.2500001))
FAR = Difference(3e-3, 4e-3, 0, cosine=0.99999, worst=Worst((0, 3, 1), 1.25, 1.26))
BROKEN = Difference(math.inf, math.inf, 5, worst=Worst((0, 3, 1), 1.25, None))
EARLIER = Measurement("stablehlo/model.jax", "jax.export 0.9", "cpu", "noise", 1, "features", 5e-7, 5e-7, 1e-5)

#: Objects whose keys are not ours to fix: what is known of an input, a runtime's switches, a model's dimensions.
FREE = ("inputs", "settings", "sizes")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(read_schema())
    return jsonschema.Draft202012Validator(read_schema())


@pytest.fixture(scope="module")
def everything(report_of) -> dict[str, Any]:
    """A report in which nothing is absent."""
    slices = [np.zeros((2, 2), np.float32)] * 3
    report = report_of(
        Comparison("noise", {"batch": 1}, "features", FAR, ALLOWED),
        blocks=(BlockError("stage0/block0", NEAR),),
        fault=Fault("stage0/block1/mlp", "stage0/block1", "stage0/block1/norm2", "noise", {"batch": 1}, FAR),
        picture=Picture("phantom", slices[0], "stage0/block1", slices[1], slices[2]),
    )
    broken = Broken("/somewhere/private/contrastive", "onnx/model.onnx", "OpenVINO", "OpenVINO on model.onnx: crashed")
    return json.loads(to_json(replace(report, broken=(broken,), notes=("a note",)), [EARLIER]))


def objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(item, (*path, key))


def changed(document: dict[str, Any], path: tuple[str | int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy, and the object at ``path`` in it."""
    whole = copy.deepcopy(document)
    part: Any = whole
    for key in path:
        part = part[key]
    return whole, part


def test_the_schema_ships_with_the_package():
    text = files("swift_export.parity.report").joinpath("parity.schema.json").read_text()

    assert json.loads(text) == read_schema()
    assert read_schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_what_is_written_fits_the_schema(validator, everything, full_report):
    validator.validate(everything)
    for report in (full_report(), full_report(3e-3), full_report(math.inf)):
        validator.validate(json.loads(to_json(report)))


def test_the_schema_misses_whatever_is_left_out(validator, everything):
    left_out = 0
    for path, part in objects(everything):
        for key in part:
            if path[-1:] in (("settings",), ("sizes",)) or (path[:1] == ("inputs",) and key != "name"):
                continue
            whole, changed_part = changed(everything, path)
            del changed_part[key]
            assert not validator.is_valid(whole), f"{path}: without {key}"
            left_out += 1
    assert left_out > 80


def test_the_schema_knows_whatever_is_there(validator, everything):
    for path, _ in objects(everything):
        if not set(path[:1] + path[-1:]) & set(FREE):
            whole, part = changed(everything, path)
            part["unheard of"] = 1
            assert not validator.is_valid(whole), path


@pytest.mark.parametrize(
    ("path", "key", "wrong"),
    [
        ((), "schema_version", 1),
        ((), "device", "tpu"),
        (("artifacts", 0), "peak_bytes", "much"),
        (("artifacts", 0, "comparisons", 0), "relative_l2", -1e-7),
        (("artifacts", 0, "comparisons", 0), "batch", 0),
        (("artifacts", 0, "comparisons", 0), "sizes", [1]),
        (("artifacts", 0, "comparisons", 0, "sizes"), "batch", "1"),
        (("artifacts", 0, "comparisons", 0, "allowed"), "reason", ""),
        (("artifacts", 0, "comparisons", 0, "worst"), "index", [0.5]),
        (("artifacts", 0, "info", "settings"), "threads", 2),
    ],
)
def test_the_schema_refuses_wrong_values(validator, everything, path, key, wrong):
    whole, part = changed(everything, path)
    part[key] = wrong

    assert not validator.is_valid(whole)


def test_json_holds_everything_but_no_path_no_pixel_and_no_infinity(report_of):
    comparison = Comparison("phantom", {"batch": 2}, "stage0", BROKEN, ALLOWED)
    blocks = (BlockError("stage0/block0", NEAR),)
    slices = [np.full((2, 2), math.nan)] * 3
    picture = Picture("phantom", slices[0], "stage0/block1", slices[1], slices[2])

    text = to_json(report_of(comparison, blocks=blocks, picture=picture))

    assert "private" not in text
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["passed"] is False
    (artifact,) = found["artifacts"]
    assert (artifact["root"], artifact["passed"]) == ("contrastive", False)
    assert artifact["comparisons"] == [
        {
            "input": "phantom",
            "batch": 2,
            "sizes": {"batch": 2},
            "output": "stage0",
            "relative_l2": None,
            "relative_max": None,
            "cosine": None,
            "worst": {"index": [0, 3, 1], "expected": 1.25, "found": None},
            "non_finite": 5,
            "mismatch": None,
            "allowed": {"relative_l2": 1e-5, "relative_max": 1e-5, "reason": "a reason in words"},
            "passed": False,
        }
    ]
    assert artifact["settings"] == [
        {"place": "stage0/block0/norm1", "name": "epsilon", "expected": "1e-05", "found": "1e-05"}
    ]
    assert artifact["blocks"][0]["block"] == "stage0/block0"
    assert artifact["blocks"][0]["cosine"] == 1 - 1e-13
    assert artifact["times"] == [
        {"input": "noise", "batch": 1, "sizes": {"batch": 1}, "first_s": 1.0, "call_s": [], "compute_s": []}
    ]
    assert artifact["picture"] == {"input": "phantom", "value": "stage0/block1"}


def test_measurements_of_other_files_and_runtimes_are_carried_over(weights, report_of):
    def earlier(file, runtime):
        return Measurement(file, runtime, "cpu", "noise", 1, "features", 5e-7, 5e-7, 1e-5)

    def artifact(*measured):
        return Artifact({}, {}, Signature((), ()), {}, {}, measured)

    # What this check ran, in an older version, gives way to it; what another runtime did with the same file stays.
    onnx = [earlier("onnx/model.onnx", runtime) for runtime in ("ONNX Runtime 1.31", "OpenVINO 2026.4.1")]
    manifest = new_manifest(
        swift_model(weights),
        {"stablehlo": artifact(earlier("stablehlo/model.jax", "jax.export 0.9")), "onnx": artifact(*onnx)},
    )

    found = report_files(manifest, report_of(Comparison("noise", {"batch": 1}, "features", NEAR, ALLOWED)))

    assert list(found) == ["parity.json", "parity.md", "parity.html"]
    carried = json.loads(found["parity.json"])["earlier_measurements"]
    assert [(measured["file"], measured["runtime"]) for measured in carried] == [
        ("stablehlo/model.jax", "jax.export 0.9"),
        ("onnx/model.onnx", "OpenVINO 2026.4.1"),
    ]
    _, _, after = found["parity.md"].partition("## From earlier checks")
    assert (
        "| stablehlo/model.jax | jax.export 0.9 | noise | batch 1 | features | 5.0e-07 | 5.0e-07 | 1e-05 |  | ok |"
        in after
    )
    assert "| ONNX Runtime 1.31 |" not in after
    assert "OpenVINO 2026.4.1" in found["parity.html"]


def test_what_broke_is_told_without_the_folder_it_lay_in(everything):
    assert everything["broken"] == [
        {
            "root": "contrastive",
            "file": "onnx/model.onnx",
            "runtime": "OpenVINO",
            "reason": "OpenVINO on model.onnx: crashed",
        }
    ]
    assert everything["passed"] is False
    assert "OpenVINO on model.onnx: crashed" in everything["failures"]
