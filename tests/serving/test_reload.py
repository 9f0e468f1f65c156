"""Artifacts that change are served anew; what is damaged, or computes something else, is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from embedded import mix, serving, session, until, words
from onnx import numpy_helper

import swift_export
from swift_export.errors import ArtifactError, CheckFailed, UsageError
from swift_export.serving.repository import sources_of
from swift_export.serving.served_model import load_model

pytestmark = pytest.mark.requires("serve")

X = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with golden outputs; not to be changed."""
    folder = tmp_path_factory.mktemp("checked") / "line"
    weights = {"slope": np.float32(3), "shift": np.float32(1)}

    def line(weights, x):
        return jnp.tanh(weights["slope"] * x) + weights["shift"]

    swift_export.export(line, {"x": ("batch", 4)}, folder, weights=weights, formats=["onnx"], name="line")
    return folder


def replaced(file: Path, new: Path) -> None:
    """Put a file into the place of another at once."""
    shutil.copy(new, file.with_suffix(".new")).replace(file)  # type: ignore[union-attr]


def test_a_changed_file_is_served_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    file, other, damaged = mix(tmp_path / "mix.onnx"), mix(tmp_path / "other.onnx", seed=1), tmp_path / "damaged.onnx"
    damaged.write_bytes(other.read_bytes()[:-100])
    expected = [session(path).run(None, {"x": X})[0] for path in (file, other)]
    with serving({"mix": file}, watch_s=0.05) as server:
        first = server.infer("mix", {"x": X})
        np.testing.assert_array_equal(first.array("y"), expected[0])
        replaced(file, damaged)
        until(lambda: 'reload_failing{model="mix"} 1.0' in server.metrics)
        np.testing.assert_array_equal(server.infer("mix", {"x": X}).array("y"), expected[0])
        replaced(file, other)
        until(lambda: server.infer("mix", {"x": X}).head["model_version"] != first.head["model_version"])
        second = server.infer("mix", {"x": X})
        np.testing.assert_array_equal(second.array("y"), expected[1])
        until(lambda: 'reload_failing{model="mix"} 0.0' in server.metrics)
        assert f'version="{second.head["model_version"]}"}} 1.0' in server.metrics
        assert f'version="{first.head["model_version"]}"' not in server.metrics
        failed = [event for event in server.events if event["event"] == "load failed"]
    assert [(event["level"], event["serving"]) for event in failed] == [("error", first.head["model_version"])]
    assert "mix.onnx" in failed[0]["error"]


def test_an_artifact_is_checked_before_it_is_served(checked: Path, tmp_path: Path) -> None:
    assert load_model(checked, "line").golden
    assert not load_model(checked, "line", golden=False).golden
    folder = Path(shutil.copytree(checked, tmp_path / "line"))
    file = folder / "onnx/model.onnx"
    model = onnx.load(file)
    for constant in model.graph.initializer:
        value = numpy_helper.to_array(constant)
        if value.dtype == np.float32 and value.size == 1 and value == 1:
            constant.CopyFrom(numpy_helper.from_array(value * np.float32(1.001), constant.name))
    onnx.save(model, file)
    with pytest.raises(ArtifactError, match="changed since its export"):
        load_model(folder, "line")
    # As if it had been exported so.
    from swift_export.artifacts.digests import digest_file

    manifest = json.loads((folder / "manifest.json").read_text())
    found = digest_file(file)
    manifest["artifacts"]["onnx"]["files"]["onnx/model.onnx"] = {"sha256": found.sha256, "size": found.size}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckFailed, match="differs from its golden output"):
        load_model(folder, "line")


def test_an_artifact_folder_is_loaded_again_with_its_manifest(checked: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checked, tmp_path / "line"))
    with serving({"line": folder}, watch_s=0.05) as server:
        (folder / "onnx/model.onnx").write_bytes(b"half of a new one")
        manifest = folder / "manifest.json"
        shutil.copy(manifest, tmp_path / "new").replace(manifest)  # type: ignore[union-attr]
        until(lambda: 'reload_failing{model="line"} 1.0' in server.metrics)
        x = np.zeros((1, 4), np.float32)
        np.testing.assert_array_equal(server.infer("line", {"x": x}).array("output"), x + 1)


def test_names_of_models(files: dict[str, Path], checked: Path) -> None:
    paths = [files["mix"], checked, checked / "onnx/model.onnx"]
    assert [source.name for source in sources_of(paths[:2])] == ["mix", "line"]
    assert [source.name for source in sources_of(paths, ["a", "b", "c"])] == ["a", "b", "c"]
    for names, said in (
        ([], "line is the name of .* already; give others with --name"),
        (["a"], "--name: expected one for each of 3 artifacts, found 1"),
        (["a", "b", "../c"], "expected a name of letters"),
    ):
        with pytest.raises(UsageError, match=said):
            sources_of(paths, names)


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="expected numbers that the protocol can send"),
        serving({"words": words(tmp_path / "words.onnx")}),
    ):
        pass
    (tmp_path / "text.txt").write_text("")
    (tmp_path / "no.onnx").write_bytes(b"no")
    for name, said in (("text.txt", "expected an artifact folder or an .onnx file"), ("absent", "no such file")):
        with pytest.raises(UsageError, match=said):
            load_model(tmp_path / name, "m")
    with pytest.raises(ArtifactError, match="expected an ONNX model"):
        load_model(tmp_path / "no.onnx", "m")


@pytest.mark.requires("openvino")
def test_in_openvino(files: dict[str, Path]) -> None:
    with serving({"mix": files["mix"]}, runtime="openvino", batching="on") as server:
        assert server.call("GET", "/v2/models/mix").json["platform"] == "openvino_onnx"
        for x in (X, X[:1], X):
            found = server.infer("mix", {"x": x}).array("y")
            np.testing.assert_allclose(found, session(files["mix"]).run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_the_command_refuses_what_it_cannot_serve(files: dict[str, Path], tmp_path: Path) -> None:
    from swift_export.cli.app import app

    for arguments, said in (
        ([str(tmp_path / "absent")], "absent: expected an artifact folder or an .onnx file, found no such file"),
        ([str(files["mix"]), "--queue", "0"], "--queue 0: expected at least 1"),
        ([str(files["mix"]), "--timeout", "nan"], "--timeout nan: expected more than 0 seconds"),
        ([str(files["mix"]), "--host", "192.0.2.1", "--no-token"], "--host 192.0.2.1 --port 8000: cannot listen there"),
        ([str(files["mix"]), "--host", "0.0.0.0"], "--host 0.0.0.0: expected a token"),
    ):
        with pytest.raises(UsageError) as refused:
            app(["serve", *arguments], standalone_mode=False)
        assert said in str(refused.value)
