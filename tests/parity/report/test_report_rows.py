"""A report as rows and on the console, and what it raises."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from swift_export.errors import CheckFailed
from swift_export.models.swift.structure.examine import Setting
from swift_export.parity.measure.compare import Difference
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.report import render, rows
from swift_export.parity.results import Comparison, Fault, ParityReport, RunTime

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
RIGHT = Comparison("noise", {"batch": 1}, "features", Difference(6e-7, 7e-7, 0), ALLOWED)
FAR = Comparison("phantom", {"batch": 2}, "features", Difference(3e-3, 4e-3, 0), ALLOWED)
BROKEN = Comparison("phantom", {"batch": 2}, "stage0", Difference(math.inf, math.inf, 5), ALLOWED)
HOLDS = Setting("stage0/block0/norm1", "epsilon", "1e-05", "1e-05")
WRONG = Setting("stage0/block1", "mask", "values -100 to 0 by region", "none")
FAR_INSIDE = Difference(1e-3, 2e-3, 0)
FAULT = Fault("stage1/block0/mlp", "stage1/block0", "stage1/block0/norm2", "phantom", {"batch": 2}, FAR_INSIDE)


def printed(report: ParityReport) -> list[str]:
    out = io.StringIO()
    render(report, Console(file=out, width=160))
    return out.getvalue().splitlines()


def test_what_holds_passes(report_of):
    right = report_of(RIGHT)

    assert right.passed
    right.raise_for_failures()
    assert [row[-1] for row in rows(right)] == ["ok", "ok"]


def test_the_first_failure_is_named_with_its_figures(report_of):
    with pytest.raises(CheckFailed) as caught:
        report_of(RIGHT, FAR, BROKEN).raise_for_failures()

    assert str(caught.value) == (
        "onnx/model.onnx: ONNX Runtime 1.99 on cpu: input phantom, batch 2, output features: relative L2 0.003, "
        "largest 0.004 (allowed 1e-05 and 1e-05); and 1 more"
    )


def test_a_wrong_setting_fails_on_its_own(report_of):
    wrong = report_of(RIGHT, settings=(HOLDS, WRONG))

    assert wrong.failures == ["onnx/model.onnx: stage0/block1: mask: expected values -100 to 0 by region, found none"]
    assert rows(wrong)[-1][-1] == "1 WRONG"
    assert printed(wrong)[-1] == (
        "onnx/model.onnx in ONNX Runtime 1.99: stage0/block1: mask: expected values -100 to 0 by region, found none"
    )


def test_the_table_shows_every_row(report_of):
    lines = printed(report_of(RIGHT, FAR))

    assert len(lines) == 1 + 2 + 1
    assert lines[0].split()[:3] == ["artifact", "runtime", "input"]
    assert lines[1].split()[-5:] == ["6.0e-07", "7.0e-07", "1e-05", "1.00", "ok"]
    # Of this run no time is known.
    assert lines[2].split()[-4:] == ["3.0e-03", "4.0e-03", "1e-05", "FAILED"]
    assert lines[3].split()[-1] == "ok"


def test_the_fault_is_told_below_the_table(report_of):
    lines = printed(report_of(FAR, fault=FAULT))

    assert lines[-1] == (
        "onnx/model.onnx in ONNX Runtime 1.99: first differs at stage1/block0/mlp (relative L2 0.001, largest 0.002), "
        "on phantom at batch 2; stage1/block0/norm2 still agrees"
    )


def test_a_warm_call_counts_rather_than_the_first(report_of):
    one = report_of(RIGHT)
    timed = replace(one.artifacts[0], times=(RunTime("noise", {"batch": 1}, 9.0, (0.3, 0.5, 0.4), ()),))

    assert rows(replace(one, artifacts=(timed,)))[0][-2:] == ("0.400", "ok")


def test_settings_of_a_file_are_told_once_however_many_runtimes_compute_it(report_of):
    one = report_of(RIGHT)
    other = replace(one.artifacts[0], info=replace(one.artifacts[0].info, name="OpenVINO"))

    found = rows(replace(one, artifacts=(*one.artifacts, other)))

    assert [row[1] for row in found] == ["ONNX Runtime 1.99", "1 settings read from its graph", "OpenVINO 1.99"]


def test_files_of_two_folders_are_told_apart(report_of):
    one = report_of(RIGHT)
    other = replace(one.artifacts[0], root="/elsewhere/hcp-sex")

    both = rows(replace(one, artifacts=(*one.artifacts, other)))

    assert [row[0] for row in both[::2]] == ["contrastive/onnx/model.onnx", "hcp-sex/onnx/model.onnx"]


def test_names_from_files_neither_format_nor_command_the_terminal(report_of):
    odd = replace(RIGHT, input="[red]scan[/red]\x1b[2J\u202e.npy")

    (_, line, _) = printed(report_of(odd))

    assert r"[red]scan[/red]\x1b[2J\u202e.npy" in line
