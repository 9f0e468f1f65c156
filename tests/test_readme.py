"""The README and the pages it links to are true: their Python runs, and the tool accepts their commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "tests/golden/tiny-full/checkpoint.ckpt"
PAGES = (
    "README.md",
    "artifacts/README.md",
    "docs/bench.md",
    "docs/cohorts.md",
    "docs/converting.md",
    "docs/features.md",
    "docs/input-contract.md",
    "docs/parity.md",
    "docs/probe.md",
    "docs/serving.md",
    "docs/swift.md",
)


def python_block(page: str, holding: str) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if holding in block)
    return block


def shell_lines() -> list[str]:
    """Commands that a reader may paste: indented lines and code spans that call the tool."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        found += re.findall(r"^ {4}(?:\./scripts/)?(swift-export .*)$", text, re.MULTILINE)
        found += re.findall(r"`(swift-export [^`]+)`", text)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Path:
    """A folder with the tiny model's files where the README has the published model's."""
    from swift_export.lowering.onnx_file import write_onnx
    from swift_export.lowering.stablehlo import write_stablehlo
    from swift_export.models.swift.swift_model import swift_model
    from swift_export.models.swift.weights import load_weights

    folder = tmp_path_factory.mktemp("served")
    model = swift_model(load_weights(CHECKPOINT))
    for write in (write_onnx, write_stablehlo):
        write(model, folder / "artifacts/contrastive")
    return folder


@pytest.mark.parametrize(("holding", "modules"), [("onnxruntime", "swift_export, jax"), ("jax.export", "swift_export")])
def test_serving_blocks_run_without_this_project(served, holding, modules):
    code = f"import sys\nfor name in {modules.split(', ')}: sys.modules[name] = None\n"
    code += python_block("docs/serving.md", holding)
    code += "\nassert features.shape == (2, 48, 2, 2, 2, 8), features.shape\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=served, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if holding == "onnxruntime":
        assert "Apache-2.0" in done.stdout


def test_onnxruntime_takes_ten_lines():
    lines = [line for line in python_block("docs/serving.md", "onnxruntime").splitlines() if line.strip()]
    assert len(lines) <= 10


def test_from_pretrained_block_runs():
    names = {"clip": np.zeros((1, 48, 48, 48, 8), np.float32)}
    exec(python_block("README.md", "from_pretrained").replace("path/to/model.ckpt", str(CHECKPOINT)), names)
    assert names["features"].shape == (48, 2, 2, 2, 8)


def test_python_names_are_public():
    import swift_export

    text = (ROOT / "README.md").read_text()
    (sentence,) = re.findall(r"^(`export`.*?functions)\.$", text, re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`(\w+)`", sentence):
        assert callable(getattr(swift_export, name))


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """A folder with the scan of the input contract's page: a block of the brain's size, no cause for warnings."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp("scans")
    affine = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), (90, -126, -72))
    run = np.ones((91, 109, 91, 120), np.uint8)
    run[30:60] = 2
    inside = np.zeros((91, 109, 91), np.uint8)
    inside[13:78, 15:94, 6:73] = 1
    nib.save(nib.Nifti1Image(run, affine), folder / "sub-01_bold.nii.gz")
    nib.save(nib.Nifti1Image(inside, affine), folder / "sub-01_mask.nii.gz")
    return folder


@pytest.mark.requires("fmri")
def test_block_of_a_clip_runs(scans, monkeypatch):
    monkeypatch.chdir(scans)
    names: dict = {}
    exec(python_block("docs/input-contract.md", "load_clip"), names)
    assert names["clip"].array.shape == (1, 1, 96, 96, 96, 20)
    assert (names["clip"].provenance["start"], names["clip"].provenance["placement"]) == (100, "ukb")


@pytest.mark.requires("fmri")
def test_block_of_all_windows_runs(scans, monkeypatch, capsys):
    monkeypatch.chdir(scans)
    exec(python_block("docs/input-contract.md", "open_scan"), {})
    assert capsys.readouterr().out == "(96, 96, 96, 20)\n" * 6


@pytest.mark.parametrize("line", shell_lines())
def test_commands_are_accepted_by_the_command_line(line):
    """Parsed by the tool's own parser, to the last option; nothing is run."""
    import typer

    from swift_export.cli.app import app

    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    if arguments:
        command.make_context(name, arguments).close()


def test_readme_shows_commands():
    assert len(shell_lines()) >= 6


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"
