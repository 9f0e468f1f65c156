"""``run`` as users meet it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHAPE = (9, 11, 7, 17)
HERE = ["--placement", "0,-18,18"]

pytestmark = pytest.mark.requires("fmri")


@pytest.fixture
def scan(brains, tmp_path: Path) -> Path:
    return brains.timed(tmp_path / "sub-01_bold.nii.gz", brains.run(SHAPE), 0.72)


def test_a_table_and_a_picture(run, artifact: Path, scan: Path, tmp_path: Path) -> None:
    result = run("run", artifact, scan.name, "-o", "one.tsv", "--picture", "one.png", *HERE)
    assert result.returncode == 0, result.stderr
    assert "swift-export: warning: sub-01_bold.nii.gz: the brain measures 18 x 22 x 14 mm" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "placement  index 48 at (0, -18, 18) mm, LAS (given with --placement)"
    assert lines[1].startswith("runtime    ONNX Runtime ")
    assert re.search(r", cpu, (\d+ windows at once, )?\d+ threads?, onnx/model\.onnx$", lines[1])
    assert lines[2] == "wrote one.tsv, embedding of 2 windows (2, 48)"
    assert lines[3].startswith("wrote one.png")
    assert len((tmp_path / "one.tsv").read_text().splitlines()) == 3


def test_several_scans_and_json(run, artifact: Path, scan: Path, brains, tmp_path: Path) -> None:
    brains.timed(tmp_path / "sub-02_bold.nii", brains.run(SHAPE, seed=1), 0.72)
    how = ["--output-kind", "tokens", "--format", "npz", "--windows", "1", "--quiet", "--json", *HERE]
    result = run("run", artifact, scan.name, "sub-02_bold.nii", "-o", "made/here", *how)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)["features"]
    assert [made["path"] for made in told] == ["made/here/sub-01_bold.npz", "made/here/sub-02_bold.npz"]
    assert told[1] == json.loads((tmp_path / "made/here/sub-02_bold.json").read_text()) | {
        "path": told[1]["path"],
        "sidecar": "made/here/sub-02_bold.json",
    }
    with np.load(tmp_path / told[1]["path"]) as stored:
        assert stored["tokens"].shape == (1, 64, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "one.tsv", "--threads", "0"], "--threads 0: expected at least 1"),
        (["-o", "one.tsv", "--windows", "0"], "--windows 0: expected all, or a number of at least 1"),
        (["-o", "one.tsv"], "give --placement hcp, ukb, abcd or a point X,Y,Z"),
        (["-o", "one.tsv", *HERE, "--start", "15"], "frames"),
        (["two.nii", "-o", "one.tsv", *HERE], "two.nii: no such file"),
        (["sub-01_bold.nii.gz", "-o", "one.tsv", *HERE], "expected a folder for the features of 2 scans"),
        (["sub-01_bold.nii.gz", "-o", "new", *HERE], "expected scans with different names"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ",
)
def test_refusals(refused, artifact: Path, scan: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    before = sorted(tmp_path.iterdir())
    assert message in refused("run", artifact, scan.name, *arguments)
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupt_leaves_nothing_behind(artifact: Path, scan: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from swift_export.features.extractor import Extractor\n"
        "from swift_export.cli import main\n"
        "call = Extractor.__call__\n"
        "def interrupted(*given):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return call(*given)\n"
        "Extractor.__call__ = interrupted\n"
        "sys.exit(main())\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-P", "-c", code, "run", str(artifact), str(scan), "-o", str(out / "one.tsv"), *HERE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines()[-1] == "swift-export: interrupted"
    assert list(out.iterdir()) == []
