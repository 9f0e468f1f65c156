"""Findings made by hand: a report of one file, and one as large as a full check's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swift_export.models.swift.structure.examine import Setting
from swift_export.parity.measure.compare import Difference, Worst
from swift_export.parity.measure.tolerances import Tolerance
from swift_export.parity.results import (
    BlockError,
    Checked,
    Comparison,
    Fault,
    ParityReport,
    Picture,
    RunTime,
    WeightsTag,
)
from swift_export.runtimes.base import RuntimeInfo

ALLOWED = Tolerance(1e-5, 1e-5, "a reason in words")
HOLDS = Setting("stage0/block0/norm1", "epsilon", "1e-05", "1e-05")
REFERENCE = RuntimeInfo("Equinox", "0.13", "cpu", "float32", {"matmul precision": "highest"}, ("cpu",))
BLOCKS = [f"stage{stage}/block{block}" for stage, depth in enumerate((2, 2, 6, 2)) for block in range(depth)]

#: File, runtime, version: what a full check runs on a CPU.
CELLS = [
    ("stablehlo/model.jax", "jax.export", "0.10.2"),
    ("stablehlo/model.mlir.bc", "StableHLO on XLA", "0.10.2"),
    ("stablehlo/model.b1.mlir.bc", "StableHLO on XLA", "0.10.2"),
    ("stablehlo/model.mlir.bc", "IREE", "3.13.0"),
    ("stablehlo/model.b1.mlir.bc", "IREE", "3.13.0"),
    ("savedmodel/1", "TensorFlow", "2.21.0"),
    ("savedmodel/1", "TensorFlow C API", "2.21.0"),
    ("onnx/model.onnx", "ONNX Runtime", "1.31.1"),
    ("onnx/model.onnx", "OpenVINO", "2026.4.1"),
]


def difference_of(error: float) -> Difference:
    if not math.isfinite(error):
        return Difference(math.inf, math.inf, 17, worst=Worst((0, 3, 1, 0, 1, 4), 0.5, None))
    worst = Worst((0, 3, 1, 0, 1, 4), 1.25, 1.25 * (1 + error))
    return Difference(error, 1.5 * error, 0, cosine=1 - error * error / 2, worst=worst)


@pytest.fixture(scope="session")
def difference():
    return difference_of


@pytest.fixture(scope="session")
def report_of():
    """A report of one ONNX file in one runtime."""

    def report_of(*comparisons: Comparison, settings: tuple[Setting, ...] = (HOLDS,), **more) -> ParityReport:
        checked = Checked(
            root="/somewhere/private/contrastive",
            file="onnx/model.onnx",
            weights=WeightsTag("contrastive", "ab" * 32, synthetic=False),
            info=RuntimeInfo("ONNX Runtime", "1.99", "cpu", "float32", {}, ("CPUExecutionProvider",)),
            load_s=0.2,
            peak_bytes=10**9,
            times=(RunTime("noise", {"batch": 1}, 1.0, (), ()),),
            comparisons=comparisons,
            settings=settings,
            **more,
        )
        return ParityReport("cpu", REFERENCE, (checked,), ({"name": "noise", "seed": 0},))

    return report_of


@pytest.fixture(scope="session")
def full_report():
    """Nine cells: ``error`` at the outputs of the last but one, from ``stage2/block3`` on, 5e-7 of all others."""

    def full_report(error: float = 5e-7, warm: bool = True) -> ParityReport:
        cells = [_cell(number, *who, error if number == 7 else 5e-7, warm) for number, who in enumerate(CELLS)]
        inputs = ({"name": "noise", "seed": 0}, {"name": "phantom", "seed": 0})
        return ParityReport("cpu", REFERENCE, tuple(cells), inputs)

    return full_report


def _cell(number: int, file: str, name: str, version: str, error: float, warm: bool) -> Checked:
    rng = np.random.default_rng(number)
    cases = [
        (input_, {"batch": batch}) for input_ in ("noise", "phantom") for batch in ((1,) if ".b1." in file else (1, 2))
    ]
    fails = error > ALLOWED.relative_l2
    errors = [error if fails and at >= 7 else 1e-7 * 1.1**at for at in range(len(BLOCKS))]
    read_inside = name not in ("TensorFlow", "TensorFlow C API")
    return Checked(
        root="/somewhere/private/contrastive",
        file=file,
        weights=WeightsTag("contrastive", "ab" * 32, synthetic=False),
        info=RuntimeInfo(name, version, "cpu", "float32", {"threads": "2"}, ("cpu",)),
        load_s=0.5,
        peak_bytes=10**9,
        times=tuple(RunTime(*case, 1.5 + number, (0.3, 0.5, 0.4) if warm else (), ()) for case in cases),
        comparisons=tuple(Comparison(*case, "features", difference_of(error), ALLOWED) for case in cases),
        settings=(HOLDS,),
        blocks=tuple(map(BlockError, BLOCKS, map(difference_of, errors))) if read_inside else (),
        picture=_picture(rng, 1e-2 if fails else 1e-7) if read_inside else None,
        fault=Fault(
            "stage2/block3/attention",
            "stage2/block3",
            "stage2/block3/norm1",
            "noise",
            {"batch": 1},
            difference_of(error),
        )
        if fails
        else None,
    )


def _picture(rng: np.random.Generator, error: float) -> Picture:
    shared = np.random.default_rng(99)
    clip = shared.standard_normal((96, 96)).astype(np.float32)
    expected = shared.standard_normal((16, 16)).astype(np.float32)
    found = expected + rng.standard_normal((16, 16)).astype(np.float32) * np.float32(error)
    return Picture("phantom", clip, "stage0/block1", expected, found)
