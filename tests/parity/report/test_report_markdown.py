"""parity.md: the verdict first, then figures; and nothing of a name is taken for Markdown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from swift_export.models.swift.structure.examine import Setting
from swift_export.parity.measure.compare import Difference, Worst
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.report import judge, to_markdown
from swift_export.parity.report.figures import cosine, margin, seconds
from swift_export.parity.results import Comparison, WeightsTag

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
TF32 = Tolerance(5e-3, 1e-2, "another reason")
WORST = Worst((0, 3, 1), 1.25, 1.2500001)
RIGHT = Comparison("noise", {"batch": 1}, "features", Difference(6e-7, 7e-7, 0, cosine=1 - 3e-13, worst=WORST), ALLOWED)
FAR = Comparison("phantom", {"batch": 2}, "features", Difference(3e-3, 4e-3, 0), ALLOWED)
LOOSE = Comparison("phantom", {"batch": 2}, "features", Difference(3e-3, 9e-3, 0), TF32)
BROKEN = Comparison("phantom", {"batch": 2}, "stage0", Difference(math.inf, math.inf, 5), ALLOWED)
WRONG = Setting("stage0/block1", "mask", "values -100 to 0 by region", "none")


def test_the_verdict_comes_first(report_of):
    assert to_markdown(report_of(RIGHT)).startswith(
        "# Parity\n\n**Passed.** In ONNX Runtime 1.99 the exported model computes the same as the original. "
        "The largest error is 7.0e-07, 14 times below the allowed 1e-05.\n"
    )
    assert to_markdown(report_of(RIGHT, FAR)).startswith(
        "# Parity\n\n**Failed.** In ONNX Runtime 1.99 the exported model does not compute the same as the original. "
        "The largest error is 4.0e-03, 400 times above the allowed 1e-05.\n"
    )


def test_the_verdict_counts_cells_and_names_the_worst(full_report):
    assert judge(full_report()).text == (
        "In all 9 combinations of file and runtime the exported model computes the same as the original. "
        "The largest error is 7.5e-07, 13 times below the allowed 1e-05 "
        "(stablehlo/model.jax in jax.export 0.10.2)."
    )
    failed = judge(full_report(2e-3))
    assert failed.word == "Failed"
    assert failed.text.startswith("In 1 of 9 combinations of file and runtime the exported model does not compute ")
    assert failed.text.endswith("300 times above the allowed 1e-05 (onnx/model.onnx in ONNX Runtime 1.31.1).")


def test_the_verdict_counts_files_that_compute_right_but_say_something_else(full_report):
    report = full_report(2e-3)
    first, *others = report.artifacts

    text = judge(replace(report, artifacts=(replace(first, settings=(WRONG,)), *others))).text

    assert text.startswith("In 1 of 9 combinations of file and runtime the exported model does not compute the same ")
    assert "original. In 1 more the exported model does not match its weights. The largest error is" in text


def test_the_worst_is_measured_by_what_is_allowed(report_of):
    # 3e-3 of 5e-3 is nearer to its limit than 7e-7 of 1e-5, and 9e-3 of 1e-2 nearer still.
    assert "The largest error is 9.0e-03, 1.1 times below the allowed 0.01." in judge(report_of(RIGHT, LOOSE)).text


@pytest.mark.parametrize(
    ("comparisons", "settings", "said"),
    [
        ([BROKEN, RIGHT], (), "The worst output cannot be measured: 5 values not finite."),
        (
            [RIGHT],
            (WRONG,),
            "does not match its weights. At stage0/block1, mask: expected values -100 to 0 by region,",
        ),
        ([replace(RIGHT, difference=Difference(0.0, 0.0, 0))], (), "The outputs are identical."),
    ],
)
def test_the_verdict_says_what_no_figure_can(report_of, comparisons, settings, said):
    assert said in judge(report_of(*comparisons, settings=settings)).text


def test_figures_reasons_and_provenance_follow(report_of):
    text = to_markdown(report_of(RIGHT, FAR))

    assert "- onnx/model.onnx: ONNX Runtime 1.99 on cpu: input phantom, batch 2" in text
    assert "- float32, relative L2 and largest: 1e-05. a reason in words." in text
    assert (
        "| onnx/model.onnx | ONNX Runtime 1.99 | noise | batch 1 | features | 6.0e-07 | 7.0e-07 | 1e-05 | 1 - 3e-13 "
        "| (0, 3, 1): expected 1.25, found 1.2500001 | 0 | 1.00 | ok |" in text
    )
    assert "| phantom | batch 2 | features | 3.0e-03 | 4.0e-03 | 1e-05 | - | - | 0 |  | FAILED |" in text
    assert f"- weights: contrastive, digest `{'ab' * 32}`\n- input noise: seed 0\n" in text
    assert "| Equinox | 0.13 | cpu | float32 | matmul precision highest | cpu |" in text
    assert "private" not in text


def test_synthetic_weights_are_named(report_of):
    one = report_of(RIGHT)
    synthetic = replace(one.artifacts[0], weights=WeightsTag("custom", "cd" * 32, synthetic=True))

    assert "Synthetic weights: the features mean nothing." in to_markdown(replace(one, artifacts=(synthetic,)))
    assert "ynthetic" not in to_markdown(one)


def test_the_matrix_has_every_cell_once(full_report):
    _, _, text = to_markdown(full_report()).partition("## Results by file and runtime\n\n")
    matrix = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[0].splitlines()]

    assert len(matrix) == 2 + 5
    assert all(len(row) == 1 + 7 for row in matrix)
    assert sum(cell.startswith("ok, L2 5.0e-07, largest 7.5e-07") for row in matrix for cell in row) == 9


def test_names_from_files_are_no_markdown(report_of):
    odd = replace(RIGHT, input="![x](//e.xyz/a.png)|`<script>\n# *\udcff\u202e.npy")

    text = to_markdown(report_of(odd))

    assert r"| !\[x\](//e.xyz/a.png)\|\`\<script>\n# \*\udcff\u202e.npy | batch 1 |" in text.replace("\\\\", "\\")
    text.encode()


def test_small_figures_are_told_so_that_they_tell_something():
    assert [cosine(value) for value in (None, 1.0, 1 + 2e-16, 1 - 3e-13, 1 - 5e-6, 0.5)] == [
        *("-", "1", "1", "1 - 3e-13", "1 - 5e-06", "0.5000")
    ]
    assert [margin(value) for value in (0.0, 1e-3, 0.5, 1.0, 1.5, 4500)] == [
        *("no difference", "1,000 times below", "2.0 times below", "1.0 times below"),
        *("1.5 times above", "4,500 times above"),
    ]
    assert [seconds(value) for value in (None, 0.0123, 1.234, 12.34)] == ["", "0.012", "1.23", "12.3"]
