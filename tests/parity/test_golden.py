"""Golden outputs: what an export keeps of its reference, and what the quick check makes of it on other machines."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import onnx
import pytest

from swift_export.artifacts import describe, read_manifest, verify
from swift_export.artifacts.manifest import SCHEMA, GoldenInput
from swift_export.errors import ArtifactError, CheckFailed, MachineError, UsageError
from swift_export.exporting import run_export
from swift_export.models.swift.backbone import SwiFT
from swift_export.models.swift.check_inputs import phantom
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import Weights
from swift_export.parity.golden.golden_outputs import keep_golden
from swift_export.parity.golden.quick import QuickCheck, check_quick
from swift_export.parity.measure.tolerances import WIDEST, Tolerance, tolerance
from swift_export.parity.results import GoldenOutputs

ROOT = Path(__file__).parents[2]
ONNX, STABLEHLO = "onnx/model.onnx", "stablehlo/model.jax"
FEATURES = "golden/onnx/features.npy"
OUTPUTS = ("features", "stage0")


@pytest.fixture(scope="module")
def exported(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX with two outputs, and StableHLO of a fixed batch that gives embeddings, each checked; not to be changed."""
    folder = tmp_path_factory.mktemp("golden") / "artifact"
    run_export(["onnx"], swift_model(weights, SwiFTSettings(outputs=OUTPUTS)), folder)
    run_export(["stablehlo"], swift_model(weights, SwiFTSettings(batch=3, output_kind="embedding")), folder)
    return folder


@pytest.fixture(scope="module")
def quick(exported: Path) -> QuickCheck:
    return check_quick([exported])


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "artifact"))


def rerecord(folder: Path, path: str, data: bytes) -> None:
    """Another file in place of a recorded one, as if it had been exported so."""
    (folder / path).write_bytes(data)
    change(folder, lambda raw: _entry(raw, path).update(sha256=hashlib.sha256(data).hexdigest(), size=len(data)))


def _entry(raw: Mapping[str, Any], path: str) -> dict[str, Any]:
    places = [place for a in raw["artifacts"].values() for place in (a["files"], a["golden"]["files"])]
    (found,) = (place[path] for place in places if path in place)
    return found


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    edit(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))


def change_golden(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    change(folder, lambda raw: edit(raw["artifacts"]["onnx"]["golden"]))


def npy(array: np.ndarray, path: Path) -> bytes:
    np.save(path, array)
    return path.read_bytes()


def refused(folder: Path | str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as found:
        check_quick([folder])
    assert "\n" not in str(found.value)


def test_an_export_keeps_what_the_reference_gave(exported: Path, weights: Weights) -> None:
    manifest = read_manifest(exported)
    clip = phantom(weights.config, 1)
    features, embedding = (
        jax.tree.map(np.asarray, eqx.filter_jit(SwiFT.from_weights(weights).named_outputs)(clip, *given))
        for given in ((OUTPUTS,), (("features",), "embedding"))
    )
    wanted = {FEATURES: features["features"], "golden/onnx/stage0.npy": features["stage0"]}
    wanted |= {"golden/stablehlo/features.npy": embedding["features"]}
    for path, expected in wanted.items():
        found = np.load(exported / path)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
    assert set(wanted) <= set(verify(exported, manifest))
    for artifact in manifest.artifacts.values():
        golden = artifact.golden
        assert golden
        assert golden.input.sha256 == hashlib.sha256(clip.tobytes()).hexdigest()
        assert (golden.input.kind, golden.input.seed, golden.input.frames) == ("phantom", 0, weights.config.frames)
        policy = tolerance("float32", "cpu")
        assert (golden.relative_l2, golden.relative_max, golden.reason) == dataclasses.astuple(policy)
        assert golden.reference.startswith("JAX ")


def test_golden_outputs_are_no_part_that_a_runtime_takes(exported: Path) -> None:
    assert [part.path for part in describe(exported / "onnx").parts] == [ONNX]


def test_the_widest_tolerance_of_a_formats_phantom_is_kept(quick: QuickCheck, weights: Weights, tmp_path: Path) -> None:
    report = quick.report
    noisy = Tolerance(3e-5, 2e-5, "these weights amplify rounding")
    loose = Tolerance(5e-3, 1e-2, "TF32")

    def allowing(number: int, allowed: Tolerance, **changes: Any) -> Any:
        checked = report.artifacts[number]
        (first, *_) = checked.comparisons
        comparisons = (*checked.comparisons, dataclasses.replace(first, allowed=allowed, **changes))
        return dataclasses.replace(checked, comparisons=comparisons)

    onnx_file, stablehlo_file = allowing(0, noisy), allowing(1, loose)
    tf32 = dataclasses.replace(allowing(0, loose), info=dataclasses.replace(onnx_file.info, arithmetic="tf32"))
    noise = allowing(0, loose, input="noise")
    outputs = {name: np.ones((1, 2), np.float32) for name in OUTPUTS}
    given = GoldenOutputs({}, GoldenInput("phantom", 7, 2, "ab" * 32), report.reference, outputs)
    checked = dataclasses.replace(report, artifacts=(onnx_file, stablehlo_file, tf32, noise), golden=(given,))
    kept = keep_golden(checked, "onnx", swift_model(weights, SwiFTSettings(outputs=OUTPUTS)), tmp_path)
    assert kept
    assert (kept.relative_l2, kept.relative_max, kept.reason) == dataclasses.astuple(noisy)
    assert (kept.input.seed, kept.input.frames, kept.input.sha256) == (7, 2, "ab" * 32)
    only_tf32 = dataclasses.replace(checked, artifacts=(tf32,))
    kept = keep_golden(only_tf32, "stablehlo", swift_model(weights), tmp_path)
    assert kept
    assert kept.relative_l2 == tolerance("float32", "cpu").relative_l2


def test_every_format_passes_in_its_own_runtime(quick: QuickCheck, weights: Weights) -> None:
    report = quick.report
    assert quick.skipped == ()
    assert report.passed
    report.raise_for_failures()
    assert [(a.file, a.info.name) for a in report.artifacts] == [(ONNX, "ONNX Runtime"), (STABLEHLO, "jax.export")]
    first, second = ([(c.input, c.sizes, c.output) for c in a.comparisons] for a in report.artifacts)
    assert first == [("phantom", {"batch": 1}, "features"), ("phantom", {"batch": 1}, "stage0")]
    assert second == [("phantom", {"batch": 3}, "features")]
    assert {a.weights.digest for a in report.artifacts} == {weights.digest}
    assert report.reference.name == "golden output"
    assert [(i["name"], i["seed"]) for i in report.inputs] == [("phantom", 0)]


def test_named_runtimes_take_every_file_that_they_read(exported: Path) -> None:
    found = check_quick([exported], runtimes=["portable"]).report
    assert [a.file for a in found.artifacts] == ["stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc"]
    assert [a.comparisons[0].sizes["batch"] for a in found.artifacts] == [3, 1]
    assert found.passed
    with pytest.raises(UsageError, match=r"expected files for portable, found none"):
        check_quick([exported / "onnx"], runtimes=["portable"])
    with pytest.raises(UsageError, match=r"--runtime torch: expected one of"):
        check_quick([exported], runtimes=["torch"])


def test_an_artifact_that_drifted_fails_and_is_named(folder: Path) -> None:
    model = onnx.load(folder / ONNX)
    (tensor,) = [t for t in model.graph.initializer if t.name == "model.patch_embed.fc.bias"]
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    rerecord(folder, ONNX, model.SerializeToString())
    with pytest.raises(CheckFailed, match=r"onnx/model.onnx: ONNX Runtime .* phantom, batch 1, output features: rel"):
        check_quick([folder / "onnx"]).report.raise_for_failures()
    assert check_quick([folder / "stablehlo"]).report.passed


def test_what_the_export_allowed_is_allowed_again(folder: Path, tmp_path: Path) -> None:
    features = np.load(folder / FEATURES)
    rerecord(folder, FEATURES, npy(features * np.float32(1 + 5e-5), tmp_path / "moved.npy"))
    assert not check_quick([folder / "onnx"]).report.passed
    change_golden(folder, lambda golden: golden.update(relative_l2=WIDEST, relative_max=WIDEST, reason="noisy"))
    report = check_quick([folder / "onnx"]).report
    assert report.passed
    assert report.artifacts[0].comparisons[0].allowed == Tolerance(WIDEST, WIDEST, "noisy")
    change_golden(folder, lambda golden: golden.update(relative_l2=2 * WIDEST))
    refused(folder, ArtifactError, "manifest.json: golden outputs: expected tolerances up to 0.0001, found 0.0002 and")
    # What an export allows a model with float16 in it.
    half = tolerance("float16", "cpu")
    change_golden(folder, lambda golden: golden.update(relative_l2=half.relative_l2, relative_max=half.relative_max))
    assert check_quick([folder / "onnx"]).report.passed


def test_a_changed_golden_file_is_tampering(folder: Path) -> None:
    data = bytearray((folder / FEATURES).read_bytes())
    data[-1] ^= 1
    (folder / FEATURES).write_bytes(data)
    refused(folder, ArtifactError, f"{FEATURES}: changed since its export")


def _huge(features: np.ndarray, path: Path) -> bytes:
    return npy(features, path).replace(b"(1, ", b"(9999999, ")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda features, path: npy(features[..., :1], path), r"expected float32 \(1, .*\), found float32 \(1, "),
        (lambda features, path: npy(np.repeat(features, 2, 0), path), r"found float32 \(2, "),
        (lambda features, path: npy(features.astype(np.float64), path), "expected float32 .*, found float64"),
        (
            lambda features, path: npy(np.full_like(features, np.nan), path),
            "expected finite values, found NaN or infinity",
        ),
        (lambda features, path: npy(np.array([{}]), path), "damaged file"),
        (lambda features, path: npy(features, path)[:-4], "damaged file"),
        (_huge, "damaged file"),
        (lambda features, path: b"\x93NUMPY\x01\x00\x04\x00(((\n", "damaged file"),
        (lambda features, path: b"PK\x03\x04", "damaged file"),
        (lambda features, path: b"", "damaged file"),
    ],
)
def test_a_golden_file_that_is_none(folder: Path, tmp_path: Path, make: Any, words: str) -> None:
    rerecord(folder, FEATURES, make(np.load(folder / FEATURES), tmp_path / "other.npy"))
    refused(folder, ArtifactError, f"{FEATURES}: .*{words}.*; export again")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sha256": "ab" * 32}, MachineError, r"NumPy [\d.]+ draws another phantom than .* expected sha256 abab"),
        ({"seed": 1}, MachineError, "NumPy .* draws another phantom than"),
        ({"seed": -1}, ArtifactError, "golden input: expected a seed of at least 0, found -1"),
        ({"kind": "scan"}, ArtifactError, "golden input: expected a phantom and its seed, found 'scan'"),
        ({"frames": 99}, ArtifactError, "golden input: .*frames"),
    ],
)
def test_a_clip_that_is_another_one(folder: Path, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    change_golden(folder, lambda golden: golden["input"].update(changes))
    refused(folder, error, f"manifest.json: {words}")


def test_outputs_without_their_golden_file(folder: Path) -> None:
    change_golden(folder, lambda golden: golden["files"].pop(FEATURES))
    refused(folder, ArtifactError, "expected golden outputs golden/onnx/features.npy, golden/onnx/stage0.npy, found ")


def test_an_unchecked_export_has_nothing_to_be_compared_with(artifact: Path, exported: Path) -> None:
    refused(artifact, UsageError, "no golden outputs of onnx, exported with --no-check or by an older version; check")
    found = check_quick([artifact, exported / "onnx"])
    assert [a.file for a in found.report.artifacts] == [ONNX]
    assert [line.split(",")[0] for line in found.skipped] == [
        f"{artifact}: has no golden outputs of {name}" for name in ("onnx", "stablehlo")
    ]


def test_an_artifact_of_a_newer_schema(folder: Path) -> None:
    change(folder, lambda raw: raw.update(schema=SCHEMA + 1))
    words = f"expected schema {SCHEMA}, found {SCHEMA + 1}, written by a newer version: upgrade swift-export"
    refused(folder, ArtifactError, words)


def test_paths_that_have_no_golden_outputs(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / ONNX, tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx", UsageError, "model.onnx: not in an artifact folder with golden outputs")
    refused(tmp_path / "absent", UsageError, "absent: no such file or folder")


ELSEWHERE = """
import sys
from swift_export.errors import SwiftExportError
from swift_export.parity.golden.quick import check_quick
from swift_export.runtimes._blocked import block_imports

block_imports(sys.argv[2:])
try:
    found = check_quick(sys.argv[1:2])
    print(*(artifact.file for artifact in found.report.artifacts), found.report.passed)
    print(*found.skipped, sep="\\n")
except SwiftExportError as error:
    print(type(error).__name__, error)
print(*(name for name in sys.modules if name.startswith("swift_export.models.swift.backbone.")))
"""


def elsewhere(path: Path, tmp_path: Path, absent: tuple[str, ...], blocked: tuple[str, ...] = ()) -> list[str]:
    """What a machine without the packages ``absent`` makes of ``path``; ``blocked`` ones cannot even be found."""
    for name in absent:
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text(f"raise ImportError('{name} is not here')")
    search = os.pathsep.join([str(tmp_path / "without"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(path), *blocked],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_neither_jax_nor_the_backbone_is_needed(exported: Path, tmp_path: Path) -> None:
    found = elsewhere(exported / "onnx", tmp_path, ("jax", "jaxlib", "equinox", "onnx", "onnx_ir"))
    assert found == [f"{ONNX} True", "", ""]


def test_a_runtime_that_is_not_installed_is_told(exported: Path, tmp_path: Path) -> None:
    found = elsewhere(exported, tmp_path, (), ("jax",))
    assert found[:2] == [f"{ONNX} True", f"{exported / STABLEHLO}: jax.export is not installed: pip install jax"]
    found = elsewhere(exported, tmp_path, (), ("jax", "onnxruntime"))
    assert found[0].startswith(f"UsageError {exported / ONNX}: ONNX Runtime is not installed: pip install onnxruntime;")
