"""The reports of a check in an artifact folder: beside the measured artifacts, and nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

from swift_export.artifacts import read_manifest, transaction
from swift_export.artifacts.manifest import Manifest
from swift_export.artifacts.writing import write_reports
from swift_export.errors import ArtifactError
from swift_export.system.locks import HIDDEN


def reports(manifest: Manifest) -> dict[str, str]:
    return {"parity.json": "{}", "parity.md": " ".join(manifest.artifacts)}


def test_reports_replace_those_of_the_last_check(tmp_path: Path, exporting: ModuleType) -> None:
    manifest = exporting.export(tmp_path, "onnx", reports={"parity.json": "old"})
    before = sorted(path.name for path in tmp_path.iterdir())
    written = write_reports(tmp_path, manifest, reports)
    assert [path.read_text() for path in written] == ["{}", "onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*before, "parity.md"]


def test_reports_on_artifacts_that_were_replaced_meanwhile_are_not_written(
    tmp_path: Path, exporting: ModuleType
) -> None:
    checked = exporting.export(tmp_path, "onnx", text="old")
    exporting.export(tmp_path, "savedmodel", text="new")
    with pytest.raises(ArtifactError, match="was replaced by a newer export during the check"):
        write_reports(tmp_path, checked, reports)
    assert not list(tmp_path.glob("parity*"))


def test_reports_wait_for_an_export(tmp_path: Path, exporting: ModuleType, start) -> None:
    manifest = exporting.export(tmp_path, "onnx")
    program = (
        "import sys; from pathlib import Path; from swift_export.system.locks import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    holder = start(tmp_path, program=program, stdin=-1)
    assert holder.stdout.readline() == "held\n"
    writer = Thread(target=write_reports, args=(tmp_path, manifest, reports))
    writer.start()
    writer.join(0.5)
    assert writer.is_alive()
    assert not list(tmp_path.glob("parity*"))
    holder.communicate("go\n", timeout=60)
    writer.join(60)
    assert (tmp_path / "parity.md").read_text() == "onnx"
    assert not list(tmp_path.glob(f"{HIDDEN}*"))


def test_reports_follow_no_link_that_came_with_the_artifact(tmp_path: Path, exporting: ModuleType) -> None:
    manifest = exporting.export(tmp_path / "out", "onnx")
    (tmp_path / "victim").write_text("mine")
    for name in (".parity.json.new", "parity.json", "parity.md"):
        (tmp_path / "out" / name).symlink_to("../victim")
    write_reports(tmp_path / "out", manifest, reports)
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "out" / "parity.md").read_text() == "onnx"
    assert not (tmp_path / "out" / "parity.md").is_symlink()


def test_an_error_while_reports_are_made_keeps_its_own_name(tmp_path: Path, exporting: ModuleType) -> None:
    output, absent = tmp_path / "out", tmp_path / "template"

    def unreadable(_: Manifest) -> dict[str, str]:
        return {"parity.md": absent.read_text()}

    def export() -> None:
        with transaction(output, exporting.model(), ["onnx"]) as stage:
            exporting.write(stage.folder, "onnx", "new")
            stage.commit({"onnx": exporting.artifact(stage.folder, "onnx")}, unreadable)

    with pytest.raises(FileNotFoundError, match="template"):
        export()
    assert not output.exists()


def test_a_check_that_ends_in_a_folder_taken_away(tmp_path: Path, exporting: ModuleType) -> None:
    manifest = exporting.export(tmp_path / "out", "onnx")
    assert read_manifest(tmp_path / "out") == manifest
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ArtifactError, match="found no manifest"):
        write_reports(tmp_path / "out", manifest, reports)
    assert not (tmp_path / "out").exists()
