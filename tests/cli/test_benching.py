"""The command ``bench``: what it shows and writes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from swift_export.cli import main as command_line
from swift_export.cli.console import Console
from swift_export.system.machine import all_processors


def test_a_folder_is_measured_shown_and_written(run, artifact: Path, tmp_path: Path) -> None:
    arguments = ("--runtime", "onnxruntime", "--batch", "2,1", "--seconds", "0", "--price-per-hour", "2")
    done = run("bench", artifact, *arguments, "--against", "onnxruntime", "--output", "report", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^artifact +runtime +batch +ms +± +clips/s +ratio ", done.stdout, re.MULTILINE)
    lines = re.findall(r"^onnx/model.onnx +onnxruntime +(\d) +[\d.]+ +\d+% +[\d.]+ +1.00 ", done.stdout, re.MULTILINE)
    assert lines == ["1", "2"]
    assert "ratio to   onnx/model.onnx onnxruntime cpu float32\n" in done.stdout

    written = tmp_path / "report"
    told = json.loads((written / "benchmark.json").read_text())
    assert [(row["items"], row["status"], row["sizes"]) for row in told["rows"]] == [
        (1, "measured", {"batch": 1}),
        (2, "measured", {"batch": 2}),
    ]
    assert (told["threads"], told["price_per_hour"]) == (1, 2)
    assert "![Milliseconds of each row](benchmark.png)" in (written / "benchmark.md").read_text()
    with Image.open(written / "benchmark.png") as picture:
        assert picture.width == 1500
    for name in ("benchmark.json", "benchmark.md"):
        text = (written / name).read_text()
        assert not [word for word in (str(tmp_path), str(artifact), os.uname().nodename) if word in text]


def test_an_interrupt_shows_the_rows_so_far(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(what: str) -> None:
        if "%" in what:
            raise KeyboardInterrupt

    class Interrupted:
        __enter__ = staticmethod(lambda: interrupt)
        __exit__ = staticmethod(lambda *_: None)

    monkeypatch.setattr(Console, "progress", lambda self: Interrupted())
    assert command_line(["bench", str(artifact), "--runtime", "onnxruntime", "--batch", "1,2"]) == 130
    told = capsys.readouterr()
    assert len(re.findall(r"^onnx/model.onnx +onnxruntime +1 ", told.out, re.MULTILINE)) == 1
    assert "note: not reached: 1 row" in told.out
    assert told.err.endswith("swift-export: interrupted\n")


def test_a_gpu_that_is_absent_is_one_line(refused: Callable[..., str], artifact: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    line = refused("bench", artifact, "--runtime", "onnxruntime", "--device", "gpu", status=1)
    assert line.startswith("1 row failed, and no other is left: onnx/model.onnx onnxruntime gpu float32 batch 1: --dev")
    assert "has no CUDA GPU" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "0"), f"--threads 0: expected 1 to {all_processors()}, the processors of this machine"),
        (("--seconds", "nan"), "--seconds nan: expected a number of at least 0"),
        (("--price-per-hour", "-1"), "--price-per-hour -1.0: expected a number of at least 0"),
        (("--size", "tokens"), "--size tokens: expected NAME=N, a dimension and its size, such as tokens=128"),
        (("--device", "tpu"), "--device tpu: expected cpu or gpu"),
        (("--picture", "nowhere/a.png"), "nowhere/a.png: expected an existing folder nowhere, found none; create it"),
        (("--input", "none.npy"), "none.npy: no such file"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line(["bench", str(artifact), "--runtime", "onnxruntime", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"swift-export: error: {message}")
    assert told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
