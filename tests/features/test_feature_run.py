"""``run`` as a function: what its files hold, against the published features and windows computed one by one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import swift_export
from swift_export.errors import ArtifactError, InputError, MachineError, UsageError
from swift_export.exporting import run_export
from swift_export.features.extractor import find_backbone
from swift_export.features.feature_run import Job, run_jobs
from swift_export.features.output_kinds import as_kind
from swift_export.features.pipeline import Pipeline, ScanFile
from swift_export.models.swift.settings import SwiFTSettings
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import load_weights
from swift_export.scans.placement import parse_placement
from swift_export.scans.read_options import Reading
from swift_export.scans.scan import open_scan
from swift_export.system.machine import all_processors

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = "tiny-full"
GRID, FRAMES = (48, 48, 48), 8
SHAPE = (9, 11, 7, 30)
HERE = "0,-18,18"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX of a golden case, and StableHLO of a fixed batch that gives embeddings; not to be changed."""
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    weights = load_weights(str(GOLDEN / CASE / "checkpoint.ckpt"))
    run_export(["onnx"], swift_model(weights), folder, check=False)
    run_export(
        ["stablehlo"], swift_model(weights, SwiFTSettings(batch=4, output_kind="embedding")), folder, check=False
    )
    return folder


@pytest.fixture
def scan(brains, tmp_path: Path) -> Path:
    return brains.timed(tmp_path / "sub-01_bold.nii.gz", brains.run(SHAPE), 0.8)


def quiet(_: str) -> None:
    pass


def run(artifact: Path, scan: Path, output: Path, **how: Any) -> dict[str, Any]:
    written = swift_export.run(artifact, scan, output, **({"placement": HERE, "warn": quiet} | how))
    assert written.facts == json.loads(written.sidecar.read_text())
    return dict(written.facts)


def arrays(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    with safe_open(path, "np") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dictionary


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_features_are_the_published_ones(artifact: Path, recipe, tmp_path: Path) -> None:
    clips = tmp_path / "clips.npy"
    np.save(clips, recipe.clip(recipe.load_case(CASE)))
    expected = np.load(GOLDEN / CASE / "features.npy")
    run(artifact, clips, tmp_path / "features.npz", output_kind="features")
    found = arrays(tmp_path / "features.npz")
    assert error(found["features"], expected) < 5e-6
    assert error(found["mean"], expected.mean(0)) < 5e-6
    np.testing.assert_allclose(found["std"], expected.std(0), atol=1e-5 * np.abs(expected).max())
    run(artifact, clips, tmp_path / "tokens.safetensors", output_kind="tokens")
    b, c, *_ = expected.shape
    # As einops' "b c x y z t -> b (x y z t) c".
    assert error(arrays(tmp_path / "tokens.safetensors")["tokens"], expected.reshape(b, c, -1).swapaxes(1, 2)) < 5e-6
    facts = run(artifact, clips, tmp_path / "embedding.tsv")
    table = [[float(row[f"embedding_{i:03}"]) for i in range(c)] for row in rows(tmp_path / "embedding.tsv")]
    assert error(np.array(table), expected.mean((2, 3, 4, 5))) < 5e-6
    assert (facts["output_kind"], facts["shape"], facts["clips"]["kind"]) == ("embedding", [b, c], "npy")


@pytest.mark.requires("fmri")
def test_every_window_of_a_run(artifact: Path, scan: Path, tmp_path: Path) -> None:
    how = {"drop_frames": (2, 1), "stride": 6}
    reading = Reading(parse_placement(HERE), drop_frames=(2, 1), step=6)
    extractor = find_backbone(artifact).load()
    with open_scan(scan, reading, GRID, FRAMES, warn=quiet) as opened:
        clips = np.stack(list(opened))[:, None]
        expected = np.concatenate([extractor(clip[None], "features") for clip in clips])
    facts = run(artifact, scan, tmp_path / "one.safetensors", output_kind="features", **how)
    np.testing.assert_array_equal(arrays(tmp_path / "one.safetensors")["features"], expected)
    with safe_open(tmp_path / "one.safetensors", "np") as stored:
        assert json.loads(stored.metadata()["swift_export"])["weights_sha256"] == facts["artifact"]["weights_sha256"]
    table = tmp_path / "one.tsv"
    run(artifact, scan, table, batch=3, **how)
    assert [(row["participant_id"], row["scan"], row["window"]) for row in rows(table)] == [
        ("sub-01", scan.name, str(window)) for window in range(len(clips))
    ]
    assert [row["first_frame"] for row in rows(table)] == ["2", "8", "14", "20"]
    assert [float(row["onset"]) for row in rows(table)] == pytest.approx([1.6, 6.4, 11.2, 16.0])
    found = np.array([[float(row[name]) for name in row if name.startswith("embedding_")] for row in rows(table)])
    assert error(found, as_kind(expected, "features", "embedding")) < 1e-6
    # The StableHLO file of four embeddings at a time gives the same, and its last batch is not full.
    run(artifact, scan, tmp_path / "fixed.npz", runtime="jax", start=6, **how)
    fixed = arrays(tmp_path / "fixed.npz")["embedding"]
    assert error(fixed, found[1:]) < 1e-5


@pytest.mark.requires("fmri")
def test_what_a_sidecar_states(artifact: Path, scan: Path, tmp_path: Path) -> None:
    facts = run(artifact, scan, tmp_path / "one.tsv", pool=True, resample_tr=1.0, windows=2, threads=1)
    manifest = json.loads((artifact / "manifest.json").read_text())
    recorded = manifest["artifacts"]["onnx"]["files"]["onnx/model.onnx"]["sha256"]
    assert (facts["file"], facts["placement"], facts["starts"], facts["pooled"]) == (scan.name, HERE, [0, 8], True)
    assert (facts["artifact"]["sha256"], facts["artifact"]["artifact"]) == (recorded, "onnx/model.onnx")
    assert facts["artifact"]["weights_sha256"] == manifest["weights"]["digest"]
    assert (facts["runtime"]["name"], facts["runtime"]["threads"]) == ("ONNX Runtime", 1)
    assert facts["onsets"] == [0.0, 8.0]
    assert str(tmp_path) not in (tmp_path / "one.json").read_text()
    assert [(row["statistic"], row["windows"]) for row in rows(tmp_path / "one.tsv")] == [("mean", "2"), ("std", "2")]


@pytest.mark.requires("fmri")
def test_few_windows_use_all_processors(artifact: Path, scan: Path, brains, tmp_path: Path) -> None:
    every = all_processors()
    one = brains.timed(tmp_path / "one_bold.nii.gz", brains.run((*SHAPE[:3], FRAMES + 3)), 0.8)
    clips = tmp_path / "clips.npy"
    np.save(clips, np.zeros((1, 1, *GRID, FRAMES), np.float32))
    for path in (one, clips):
        used = run(artifact, path, tmp_path / "one.tsv")["runtime"]
        assert (used["at_once"], used["threads"]) == (1, every)
    used = run(artifact, scan, tmp_path / "three.tsv")["runtime"]
    assert (used["at_once"], used["threads"]) == (min(3, every), every)
    # Counted over all scans, and in batches.
    for batch, expected in ((1, min(3, every)), (2, min(2, every)), (3, 1)):
        pipeline = Pipeline(find_backbone(artifact), Reading(parse_placement(HERE)), "embedding", batch, warn=quiet)
        list(pipeline([ScanFile(one), ScanFile(scan)]))
        assert pipeline.extractor.at_once == expected


@pytest.mark.requires("fmri")
def test_warnings_about_a_scan_arrive(artifact: Path, scan: Path, tmp_path: Path) -> None:
    told: list[str] = []
    facts = run(artifact, scan, tmp_path / "one.tsv", windows=1, warn=told.append)
    assert any("the brain measures" in line for line in told)
    assert facts["warnings"] == [line.removeprefix(f"{scan}: ") for line in told]
    with pytest.raises(InputError, match="an error because of --strict"):
        run(artifact, scan, tmp_path / "two.tsv", windows=1, strict=True)


@pytest.mark.requires("fmri")
def test_a_picture(artifact: Path, scan: Path, tmp_path: Path) -> None:
    pictures = []
    for name in ("one", "two"):
        run(artifact, scan, tmp_path / f"{name}.tsv", picture=tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            pictures.append(np.asarray(image))
    np.testing.assert_array_equal(*pictures)
    # Below the picture of the scan: embeddings of every window, and cells of the similarity with itself.
    height, width, _ = pictures[0].shape
    assert width == 1500
    panel = pictures[0][height - 44 - 420 : height - 44]
    assert len(np.unique(panel[10, 106:900], axis=0)) > 20
    corner = panel[5, width - 32 - 1 - 420 + 5]
    np.testing.assert_array_equal(corner, (240, 228, 66))


@pytest.mark.requires("fmri")
def test_a_bad_scan_leaves_those_before_it(artifact: Path, scan: Path, brains, tmp_path: Path) -> None:
    bad = brains.write(tmp_path / "bad.nii", np.zeros(SHAPE, np.float32))
    backbone = find_backbone(artifact)
    reading = Reading(parse_placement(HERE), windows=1)
    jobs = [Job(ScanFile(path), tmp_path / f"{number}.tsv") for number, path in enumerate([scan, bad, scan])]
    done = run_jobs(backbone, jobs, reading, "embedding", warn=quiet)
    assert next(done).path.name == "0.tsv"
    with pytest.raises(InputError, match=r"bad\.nii"):
        next(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.json", "0.tsv", "bad.nii", scan.name]


@pytest.mark.requires("fmri")
def test_the_next_scan_is_read_meanwhile(artifact: Path, scan: Path) -> None:
    """Several scans are given in order, each open while it is used, and each with its own windows."""
    reading = Reading(parse_placement(HERE), windows=2)
    pipeline = Pipeline(find_backbone(artifact), reading, "embedding", warn=quiet)
    (alone,) = pipeline([ScanFile(scan)])
    seen: list[float] = []
    for found in pipeline([ScanFile(scan)] * 3):
        out = np.empty((*GRID, FRAMES), np.float32)
        found.source.write(0, out)
        seen.append(float(out.max()))
        np.testing.assert_array_equal(found.values, alone.values)
        assert found.digest == alone.digest
    assert len(seen) == 3


def refusals(artifact: Path, folder: Path) -> Iterator[tuple[dict[str, Any], type[Exception], str]]:
    clips = folder / "clips.npy"
    yield {"output": "out.tsv", "output_kind": "tokens"}, UsageError, "a table holds embedding, logits, not tokens"
    yield {"output": "out.csv"}, UsageError, r"ends in \.safetensors, \.npz, \.tsv"
    yield {"output": "no/out.tsv"}, UsageError, "expected an existing folder"
    yield {"output": "out.tsv", "picture": folder / "out.pdf"}, UsageError, r"ends in \.png"
    yield {"output": "out.tsv", "output_kind": "logits"}, UsageError, "computes features, from which only features"
    yield {"output": "out.npz", "output_kind": "features", "runtime": "jax"}, UsageError, "only embedding follow"
    yield {"output": "out.tsv", "runtime": "torch"}, UsageError, "expected one of onnxruntime, openvino"
    yield {"output": "out.tsv", "device": "gpu", "runtime": "openvino"}, UsageError, "runs only on the cpu"
    yield {"output": "out.tsv", "artifact": folder / "none"}, ArtifactError, "no such file"
    yield {"output": "sub-01_bold.tsv"}, UsageError, r"sub-01_bold\.json: the new sidecar would replace this file"
    yield {"output": "out.tsv", "scan": folder / "frames.npy"}, InputError, "expected clips of 8 frames, found 9"
    yield {"output": "out.tsv", "scan": folder / "nan.npy"}, InputError, r"1 NaN or infinite.*\(1, 0, 2, 3, 4, 5\)"
    yield {"output": "out.tsv", "scan": folder / "huge.npy"}, MachineError, "expected finite values of features"
    yield (
        {"output": "out.tsv", "scan": artifact / "manifest.json", "placement": HERE},
        InputError,
        "expected a NIfTI run",
    )
    yield {"output": "out.tsv", "mask": clips, "scan": clips}, UsageError, "--mask applies only to NIfTI runs"


@pytest.mark.requires("openvino")
def test_refusals(artifact: Path, tmp_path: Path) -> None:
    clips = np.random.default_rng(0).standard_normal((2, 1, *GRID, FRAMES)).astype(np.float32)
    np.save(tmp_path / "clips.npy", clips)
    np.save(tmp_path / "frames.npy", np.zeros((1, 1, *GRID, FRAMES + 1), np.float32))
    np.save(tmp_path / "huge.npy", np.full((1, 1, *GRID, FRAMES), 3e38, np.float32) * np.sign(clips[:1]))
    clips[1, 0, 2, 3, 4, 5] = np.nan
    np.save(tmp_path / "nan.npy", clips)
    (tmp_path / "sub-01_bold.json").write_text('{"RepetitionTime": 0.8}')
    before = sorted(tmp_path.iterdir())
    for how, kind, message in refusals(artifact, tmp_path):
        given = {"artifact": artifact, "scan": tmp_path / "clips.npy"} | how
        with pytest.raises(kind, match=message) as caught:
            swift_export.run(given.pop("artifact"), given.pop("scan"), tmp_path / given.pop("output"), **given)
        assert len(str(caught.value).splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_changed_artifact_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "artifact"))
    with (folder / "onnx/model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match="changed since its export"):
        find_backbone(folder)
    # A file outside the folder of its export states the same.
    alone = Path(shutil.copy(artifact / "onnx/model.onnx", tmp_path / "alone.onnx"))
    lone, inside = find_backbone(alone), find_backbone(artifact)
    assert lone.facts["weights_sha256"] == inside.facts["weights_sha256"]
    assert (lone.size, lone.frames, lone.given, lone.contract) == (GRID, FRAMES, "features", inside.contract)
