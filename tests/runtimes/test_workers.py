"""Several workers side by side: their answers, and what one that fails or hangs means for the others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from swift_export.errors import MachineError
from swift_export.runtimes.base import LoadError
from swift_export.runtimes.messages import Request, Run
from swift_export.runtimes.process import run_workers


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def hanging(tmp_path: Path) -> Request:
    """For a worker that waits for its artifact for ever."""
    os.mkfifo(tmp_path / "model.jax")
    return Request("jax_export", str(tmp_path / "model.jax"), "cpu", ())


def test_answers_come_in_the_order_of_their_requests(toys, tmp_path: Path) -> None:
    bold = toys.clips(3)
    jobs = []
    for number, clip in enumerate(bold):
        np.save(tmp_path / f"{number}.npy", clip[None])
        run = Run({"bold": (str(tmp_path / f"{number}.npy"),)})
        request = Request("onnxruntime", str(toys.path("onnxruntime")), "cpu", (run,))
        jobs.append((request, new(tmp_path / str(number))))

    answers = run_workers(jobs, 2)

    found = [np.load(answer.runs[0].outputs["stage0"])[0] for answer in answers]
    np.testing.assert_allclose(np.stack(found), np.tanh(bold), rtol=1e-5, atol=1e-5)


def test_a_failure_ends_the_others_at_once(hanging: Request, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model at all")
    failing = Request("onnxruntime", str(damaged), "cpu", ())

    begin = time.monotonic()
    with pytest.raises(LoadError, match=r"damaged\.onnx"):
        run_workers([(hanging, new(tmp_path / "0")), (failing, new(tmp_path / "1"))], 2)
    assert time.monotonic() - begin < 60


def test_one_that_hangs_is_given_up(hanging: Request, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(MachineError, match=r"model\.jax: no answer after 1 s"):
        run_workers([(hanging, new(tmp_path / "0"))], 2, timeout_s=1)
    assert time.monotonic() - begin < 20
