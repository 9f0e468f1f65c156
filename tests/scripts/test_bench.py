"""``scripts/bench_cpu`` on a small architecture: a whole run with the runtimes that are here, and its arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "_bench", "--architecture", "tiny", *map(str, arguments)]
    paths = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)


def test_a_run_measures_what_is_installed_and_names_what_is_not(tmp_path: Path) -> None:
    names = ["reference", "model.jax", "ort", "openvino", "jax2onnx-ort"]
    done = bench("--only", ",".join(names[1:]), "--rounds", "3", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "benchmark.json").read_text())
    rows = {row["name"]: row for row in written["rows"]}
    assert list(rows) == names

    needs = {"openvino": "openvino", "jax2onnx-ort": "jax2onnx"}
    absent = {name for name, package in needs.items() if find_spec(package) is None}
    for name, row in rows.items():
        if name in absent:
            assert (row["status"], row["reason"]) == ("not installed", needs[name])
            assert f"not installed: {needs[name]}" in done.stdout
            continue
        assert row["status"] == "measured"
        assert row["relative_l2"] <= 1e-5
        assert row["load_s"] > 0
        assert row["inference_bytes"] >= 0
        assert set(row["batches"]) == ({"1"} if name == "jax2onnx-ort" else {"1", "4"})
        for timing in row["batches"].values():
            assert len(timing["seconds"]) == 2
            assert 0 < timing["best_s"] <= timing["median_s"]
    assert all(timing["ratio"] == 1 for timing in rows["reference"]["batches"].values())
    ort = rows["ort"]
    assert ort["batches"]["1"]["ratio"] == pytest.approx(
        ort["batches"]["1"]["median_s"] / rows["reference"]["batches"]["1"]["median_s"]
    )
    assert ort["export_s"] > 0
    assert ort["file_bytes"] > 10_000
    assert 50 < ort["nodes"] < 500

    times = json.loads((tmp_path / "measured.json").read_text())
    assert times["seconds"] == {name: rows[name]["batches"]["1"]["median_s"] for name in names if name not in absent}
    assert times["processor"]

    (own,) = written["by_processor"]
    assert own["ratios"]["ort"] == pytest.approx(ort["batches"]["1"]["ratio"], abs=1e-3)
    page = (tmp_path / "benchmark.md").read_text()
    assert f"| row | {own['processor']} |" in page
    assert "| ONNX (onnxruntime) in ONNX Runtime | ort |" in page
    (bar,) = [line for line in page.splitlines() if line.startswith("| nodes of our ONNX (onnxruntime)")]
    assert bar == f"| nodes of our ONNX (onnxruntime) | <= 420 | 340 | {ort['nodes']} | met |"
    assert (tmp_path / "benchmark.svg").exists() == (find_spec("matplotlib") is not None)
    here = (str(SCRIPTS.parent), str(tmp_path), os.uname().nodename)
    for file in tmp_path.iterdir():
        assert not [name for name in here if name in file.read_text()]


def test_a_file_that_cannot_be_made_fails_the_run_and_is_named(tmp_path: Path) -> None:
    # TensorFlow that cannot be imported: the export ends with one line, and the other rows go on.
    broken = tmp_path / "broken"
    for package in ("tensorflow", "tf2onnx"):
        (broken / package).mkdir(parents=True)
        (broken / package / "__init__.py").write_text("raise ImportError('broken')")
    command = [sys.executable, "-P", "-m", "_bench", "--architecture", "tiny", "--only", "savedmodel", "--rounds", "2"]
    paths = os.pathsep.join(map(str, (broken, SCRIPTS, SCRIPTS.parent)))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "bench_cpu: failed: savedmodel" in done.stderr
    assert "failed: export: " in done.stdout
    assert "reference" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "ort,nothing"), "no row nothing"),
        (("--rounds", "1"), "expected at least 2, found 1"),
        (("--threads", "many"), "argument --threads: invalid"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, ...], message: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_ratios_are_to_the_denominator_of_the_same_rounds() -> None:
    from _bench.bars import verdicts
    from _bench.measuring import Figures, Timing
    from _bench.rows import ROWS

    rows = {row.name: Figures(row) for row in ROWS}
    rows["reference"].timings[1] = Timing([1.0, 1.2, 2.0], [1.0, 1.2, 2.0])
    rows["ort"].timings[1] = Timing([0.32, 0.4, 0.72], [0.8, 1.0, 1.2])
    rows["jax2onnx-ort"].timings[1] = Timing([2.0], [2.0])
    rows["openvino"].timings[1] = Timing([0.5], [1.0])
    rows["openvino-portable"].timings[1] = Timing([0.3], [1.0])
    found = {verdict.what: verdict for verdict in verdicts(rows, {"a": 6e-6, "sharp": 2e-5})}
    ours = found["our ONNX (onnxruntime) in ONNX Runtime / jax.jit of the plain forward"]
    assert (ours.measured, ours.word) == ("0.40", "met")
    peers = found["our ONNX / jax2onnx's, both in ONNX Runtime"]
    assert (peers.measured, peers.word) == ("0.40", "**not met**")
    faster = found["our ONNX in OpenVINO, faster target / jax.jit of the plain forward"]
    assert (faster.measured, faster.word) == ("0.30", "met")
    assert found["the same with every block masked"].word == "not measured"
    (golden,) = [verdict for what, verdict in found.items() if what.startswith("golden features")]
    assert (golden.measured, golden.word) == ("6.0e-06; `sharp` 2.0e-05", "**not met**")


def test_a_run_replaces_only_the_ratios_of_its_kind_of_processor(tmp_path: Path) -> None:
    from _bench.processors import RatioSet, kept_sets, plain, ratio_table, with_set

    file = tmp_path / "benchmark.json"
    assert kept_sets(file) == []
    wide = RatioSet("AVX-512", "Intel Xeon with AVX-512", {"reference": 1.0, "ort": 0.45, "openvino": 0.35})
    narrow = RatioSet("AVX2", "AMD EPYC with AVX2", {"reference": 1.0, "ort": 0.47})
    file.write_text(json.dumps({"by_processor": plain(with_set([wide], narrow))}))
    again = RatioSet("AVX-512", "AMD EPYC with AVX-512", {"reference": 1.0, "ort": 0.41})
    sets = with_set(kept_sets(file), again)
    assert sets == [again, narrow]
    table = ratio_table(sets)
    assert "| row | AMD EPYC with AVX-512 | AMD EPYC with AVX2 |" in table
    assert "| ONNX (onnxruntime) in ONNX Runtime | 0.41 | 0.47 |" in table
    assert "| ONNX (onnxruntime) in OpenVINO | – | – |" in table


def test_errors_are_relative_and_never_hidden_by_a_shape_or_a_nan() -> None:
    from _bench.measuring import relative_l2

    wanted = np.array([3.0, 4.0], np.float32)
    assert relative_l2(np.array([3.0, 4.5], np.float32), wanted) == pytest.approx(0.1)
    assert relative_l2(wanted[:1], wanted) == np.inf
    assert relative_l2(np.array([3.0, np.nan], np.float32), wanted) == np.inf


@pytest.mark.parametrize("windows", [(2, 2, 2, 2), (3, 3, 3, 4)])  # the second one pads every axis and shifts it
def test_the_usual_equinox_computes_the_reference(windows: tuple[int, ...]) -> None:
    from dataclasses import replace

    import equinox as eqx
    from _plain_swift import PlainSwiFT

    from swift_export import SwiFT
    from swift_export.models.swift.check_inputs import phantom
    from swift_export.models.swift.variants import TINY
    from swift_export.models.swift.weights import synthetic_weights

    weights = synthetic_weights(replace(TINY, first_window_size=windows, window_size=windows), seed=3)
    clips = phantom(weights.config, 2)
    usual, wanted = (
        np.asarray(eqx.filter_jit(model)(clips))
        for model in (PlainSwiFT(weights.config, weights.tensors), SwiFT.from_weights(weights))
    )
    assert np.linalg.norm(usual - wanted) <= 2e-6 * np.linalg.norm(wanted)


def test_a_row_that_dies_is_left_out_and_told(tmp_path: Path) -> None:
    from _bench.worker import Spec
    from _bench.workers import Broken, Worker

    np.save(tmp_path / "clips.npy", np.zeros((1, 1, 2, 2, 2, 2), np.float32))
    (tmp_path / "model.onnx").write_bytes(b"no model")
    files = [str(tmp_path / name) for name in ("model.onnx", "clips.npy", "features.npy")]
    with Worker(Spec("onnxruntime", ["onnxruntime"], *files, threads=1), tmp_path / "log") as worker:
        with pytest.raises(Broken, match="InvalidProtobuf"):
            worker.ask("load")
        with pytest.raises(Broken, match="load comes first"):
            worker.ask("run")
    dead = Spec("onnxruntime", ["onnxruntime"], *files, threads=0)
    with Worker(dead, tmp_path / "log") as worker, pytest.raises(Broken, match="its process ended with status 1"):
        worker.ask("load")
