"""A report as rows, text and data, from findings made by hand."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from swift_export.artifacts.manifest import Artifact, Measurement, Signature, new_manifest
from swift_export.errors import CheckFailed
from swift_export.parity.compare import Difference
from swift_export.parity.report import render, report_files, rows, to_json, to_markdown
from swift_export.parity.results import Checked, Comparison, ParityReport, RunTime, WeightsTag
from swift_export.parity.structure import Setting
from swift_export.parity.tolerances import Tolerance
from swift_export.runtimes.base import RuntimeInfo

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
RIGHT = Comparison("noise", 1, "features", Difference(6e-7, 7e-7, 0), ALLOWED)
FAR = Comparison("phantom", 2, "features", Difference(3e-3, 4e-3, 0), ALLOWED)
BROKEN = Comparison("phantom", 2, "stage0", Difference(math.inf, math.inf, 5), ALLOWED)
HOLDS = Setting("stage0/block0/norm1", "epsilon", "1e-05", "1e-05")
WRONG = Setting("stage0/block1", "mask", "values -100 to 0 by region", "none")


def report(*comparisons: Comparison, settings: tuple[Setting, ...] = (HOLDS,)) -> ParityReport:
    info = RuntimeInfo("ONNX Runtime", "1.99", "cpu", "float32", {}, ("CPUExecutionProvider",))
    checked = Checked(
        root="/somewhere/private/contrastive",
        file="onnx/model.onnx",
        weights=WeightsTag("contrastive", "ab" * 32, synthetic=False),
        info=info,
        load_s=0.2,
        peak_bytes=10**9,
        times=(RunTime("noise", 1, 1.0, (), ()),),
        comparisons=comparisons,
        settings=settings,
    )
    reference = RuntimeInfo("Equinox", "0.13", "cpu", "float32", {}, ("cpu",))
    return ParityReport("cpu", reference, (checked,))


def test_what_holds_passes():
    right = report(RIGHT)

    assert right.passed
    right.raise_for_failures()
    assert [row[-1] for row in rows(right)] == ["ok", "ok"]


def test_the_first_failure_is_named_with_its_figures():
    with pytest.raises(CheckFailed) as caught:
        report(RIGHT, FAR, BROKEN).raise_for_failures()

    assert str(caught.value) == (
        "onnx/model.onnx: ONNX Runtime 1.99 on cpu: input phantom, batch 2, output features: relative L2 0.003, "
        "largest 0.004 (allowed 1e-05 and 1e-05); and 1 more"
    )


def test_a_wrong_setting_fails_on_its_own():
    wrong = report(RIGHT, settings=(HOLDS, WRONG))

    assert wrong.failures == ["onnx/model.onnx: stage0/block1: mask: expected values -100 to 0 by region, found none"]
    assert rows(wrong)[-1][-1] == "1 WRONG"


def test_the_table_shows_every_row():
    out = io.StringIO()

    render(report(RIGHT, FAR), Console(file=out, width=160))

    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 2 + 1
    assert lines[0].split()[:3] == ["artifact", "runtime", "input"]
    assert lines[1].split()[-4:] == ["6.0e-07", "7.0e-07", "1e-05", "ok"]
    assert lines[2].split()[-1] == "FAILED"
    assert lines[3].split()[-1] == "ok"


def test_files_of_two_folders_are_told_apart():
    one = report(RIGHT)
    other = replace(one.artifacts[0], root="/elsewhere/hcp-sex")

    both = rows(replace(one, artifacts=(*one.artifacts, other)))

    assert [row[0] for row in both[::2]] == ["contrastive/onnx/model.onnx", "hcp-sex/onnx/model.onnx"]


def test_json_holds_everything_but_no_path_and_no_infinity():
    text = to_json(report(RIGHT, BROKEN))

    assert "private" not in text
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["passed"] is False
    (artifact,) = found["artifacts"]
    assert artifact["root"] == "contrastive"
    assert artifact["comparisons"][1] == {
        "input": "phantom",
        "batch": 2,
        "output": "stage0",
        "relative_l2": None,
        "relative_max": None,
        "cosine": None,
        "worst": None,
        "non_finite": 5,
        "mismatch": None,
        "allowed": {"relative_l2": 1e-5, "relative_max": 1e-5, "reason": "a reason in words"},
        "passed": False,
    }
    assert artifact["settings"] == [
        {"place": "stage0/block0/norm1", "name": "epsilon", "expected": "1e-05", "found": "1e-05"}
    ]


def test_markdown_tells_result_reason_and_failures():
    text = to_markdown(report(RIGHT, FAR))

    assert "Result: FAILED." in text
    assert "- onnx/model.onnx: ONNX Runtime 1.99 on cpu: input phantom, batch 2" in text
    assert "Allowed for float32: 1e-05 and 1e-05.\nReason: a reason in words." in text
    assert (
        "| onnx/model.onnx | ONNX Runtime 1.99 | phantom | 2 | features | 3.0e-03 | 4.0e-03 | 1e-05 | FAILED |" in text
    )


def test_measurements_of_other_files_and_runtimes_are_carried_over(weights):
    def earlier(file, runtime):
        return Measurement(file, runtime, "cpu", "noise", 1, "features", 5e-7, 5e-7, 1e-5)

    def artifact(*measured):
        return Artifact({}, {}, Signature((), ()), {}, {}, measured)

    # What this check ran, in an older version, gives way to it; what another runtime did with the same file stays.
    onnx = [earlier("onnx/model.onnx", runtime) for runtime in ("ONNX Runtime 1.31", "OpenVINO 2026.4.1")]
    manifest = new_manifest(
        weights, {"stablehlo": artifact(earlier("stablehlo/model.jax", "jax.export 0.9")), "onnx": artifact(*onnx)}
    )

    files = report_files(manifest, report(RIGHT))

    assert set(files) == {"parity.json", "parity.md"}
    carried = json.loads(files["parity.json"])["earlier_measurements"]
    assert [(measured["file"], measured["runtime"]) for measured in carried] == [
        ("stablehlo/model.jax", "jax.export 0.9"),
        ("onnx/model.onnx", "OpenVINO 2026.4.1"),
    ]
    _, _, after = files["parity.md"].partition("## From earlier checks")
    assert "| stablehlo/model.jax | jax.export 0.9 | noise | 1 | features | 5.0e-07 | 5.0e-07 | 1e-05 | ok |" in after
    assert "ONNX Runtime" not in after
