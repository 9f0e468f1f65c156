"""The contents of a folder after exports that succeed, add formats, replace or are refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from swift_export.artifacts import open_artifact, read_manifest, transaction, verify
from swift_export.errors import ArtifactError, MachineError, UsageError
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights
from swift_export.scans.placement import parse_placement


def tree(folder: Path) -> dict[str, str]:
    """Text of every file below ``folder``, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_export_leaves_its_files_and_nothing_else(tmp_path: Path, exporting: ModuleType) -> None:
    output = tmp_path / "a" / "b"
    manifest = exporting.export(output, "onnx", "stablehlo", "savedmodel", reports={"parity.json": "{}"})
    expected = {path for paths in exporting.FILES.values() for path in paths}
    assert set(tree(output)) == expected | {"manifest.json", "parity.json"}
    assert read_manifest(output) == manifest
    assert set(verify(output, manifest)) == expected


def test_formats_of_the_same_weights_complement_and_replace(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx", text="first", reports={"parity.json": "1", "parity.md": "1"})
    exporting.export(tmp_path, "savedmodel", text="first")
    (tmp_path / "savedmodel" / "2").mkdir()
    exporting.export(tmp_path, "savedmodel", "stablehlo", text="second", reports={"parity.json": "2"})
    found = tree(tmp_path)
    assert {found[path].split()[-1] for path in exporting.FILES["onnx"]} == {"first"}
    assert {text.split()[-1] for path, text in found.items() if path.startswith("savedmodel")} == {"second"}
    assert found["parity.json"] == "2"
    assert "parity.md" not in found
    assert (tmp_path / "savedmodel" / "2").is_dir()
    manifest = open_artifact(tmp_path)
    assert sorted(manifest.artifacts) == ["onnx", "savedmodel", "stablehlo"]
    verify(tmp_path, manifest)


def test_reports_are_rendered_from_all_that_the_folder_holds(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx")
    with transaction(tmp_path, exporting.model(), ["stablehlo"]) as stage:
        exporting.write(stage.folder, "stablehlo", "new")
        artifacts = {"stablehlo": exporting.artifact(stage.folder, "stablehlo")}
        stage.commit(artifacts, lambda manifest: {"parity.md": " ".join(sorted(manifest.artifacts))})
    assert (tmp_path / "parity.md").read_text() == "onnx stablehlo"


def test_other_weights_need_force_and_then_nothing_of_the_old_ones_stays(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx", "savedmodel", reports={"parity.json": "old"})
    (tmp_path / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(UsageError) as refused:
        exporting.export(tmp_path, "stablehlo", seed=1)
    assert exporting.model(0).digest in str(refused.value)
    assert exporting.model(1).digest in str(refused.value)
    assert "--force" in str(refused.value)
    assert tree(tmp_path) == before

    exporting.export(tmp_path, "stablehlo", seed=1, force=True)
    assert set(tree(tmp_path)) == {*exporting.FILES["stablehlo"], "manifest.json", "notes.txt"}
    assert not (tmp_path / "onnx").exists()
    assert not (tmp_path / "savedmodel").exists()
    assert open_artifact(tmp_path).weights.digest == exporting.model(1).digest


def test_the_same_weights_in_another_architecture_need_force(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx")
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["model"]["architecture"]["window_size"] = [1, 1, 1, 1]
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"window_size \[1, 1, 1, 1\] there, \[2, 2, 2, 2\] now"):
        exporting.export(tmp_path, "stablehlo")


def test_the_same_weights_for_other_inputs_need_force(tmp_path: Path, exporting: ModuleType) -> None:
    def export(name: str, placement: str, force: bool = False) -> None:
        weights = synthetic_weights(exporting.CONFIG)
        placed = weights.with_contract(weights.contract.changed(parse_placement(placement), None, None))
        with transaction(tmp_path, swift_model(placed), [name], force=force) as stage:
            exporting.write(stage.folder, name, placement)
            stage.commit({name: exporting.artifact(stage.folder, name)})

    export("onnx", "hcp")
    export("savedmodel", "hcp")
    with pytest.raises(
        UsageError, match=r"another input contract .placement hcp, LAS, dropped 10,10, .* than .*placement ukb.*--force"
    ):
        export("stablehlo", "ukb")
    export("stablehlo", "ukb", force=True)
    manifest = open_artifact(tmp_path)
    assert manifest.input is not None
    assert (manifest.input.placement, sorted(manifest.artifacts)) == ("ukb", ["stablehlo"])


def test_other_weights_committed_meanwhile_are_refused(tmp_path: Path, exporting: ModuleType) -> None:
    with pytest.raises(UsageError, match="holds other weights"):
        exporting.export(
            tmp_path, "onnx", seed=0, before_commit=lambda _: exporting.export(tmp_path, "stablehlo", seed=1)
        )
    assert set(tree(tmp_path)) == {*exporting.FILES["stablehlo"], "manifest.json"}


def test_a_foreign_folder_needs_force_and_keeps_its_files(tmp_path: Path, exporting: ModuleType) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"found thesis.tex; .*--force"):
        exporting.export(tmp_path, "onnx")
    assert tree(tmp_path) == {"thesis.tex": "years of work"}
    exporting.export(tmp_path, "onnx", force=True)
    assert set(tree(tmp_path)) == {"thesis.tex", "manifest.json", *exporting.FILES["onnx"]}


def test_force_replaces_a_file_of_the_layout_but_never_a_folder_of_strangers(
    tmp_path: Path, exporting: ModuleType
) -> None:
    for path in ("onnx/model.onnx", "savedmodel/1/saved_model.pb", "savedmodel/1/assets/vocabulary.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("mine")
    before = tree(tmp_path)
    for formats in (("savedmodel",), ("onnx",)):
        with pytest.raises(UsageError, match=r"assets/vocabulary\.txt: expected only recorded files here"):
            exporting.export(tmp_path, *formats, force=True)
    assert tree(tmp_path) == before
    (tmp_path / "savedmodel").rename(tmp_path / "kept")
    with pytest.raises(
        UsageError, match=r"onnx/model.onnx: expected only recorded files here"
    ):  # would stay, of unknown weights
        exporting.export(tmp_path, "stablehlo", force=True)
    exporting.export(tmp_path, "onnx", force=True)
    assert tree(tmp_path)["onnx/model.onnx"] == "onnx/model.onnx new"
    assert tree(tmp_path)["kept/1/assets/vocabulary.txt"] == "mine"


def test_a_strangers_file_in_the_savedmodel_is_never_deleted(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "savedmodel")
    (tmp_path / "savedmodel/1/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt: expected only recorded files here"):
        exporting.export(tmp_path, "savedmodel", text="second", force=True)
    assert tree(tmp_path)["savedmodel/1/notes.txt"] == "mine"


def test_an_unreadable_manifest_needs_force(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"manifest.json: malformed JSON .*--force"):
        exporting.export(tmp_path, "onnx")
    exporting.export(tmp_path, "onnx", force=True)
    verify(tmp_path, open_artifact(tmp_path))


def test_an_error_in_mid_export_leaves_what_was_there(tmp_path: Path, exporting: ModuleType) -> None:
    output = tmp_path / "new" / "folder"

    def fail(_: Path) -> None:
        raise RuntimeError("in mid-export")

    with pytest.raises(RuntimeError, match="in mid-export"):
        exporting.export(output, "onnx", before_commit=fail)
    assert list(tmp_path.iterdir()) == []
    exporting.export(output, "onnx")
    before = tree(output)
    with pytest.raises(RuntimeError, match="in mid-export"):
        exporting.export(output, "onnx", "savedmodel", text="second", before_commit=fail)
    assert tree(output) == before


def test_without_a_commit_nothing_is_published(tmp_path: Path, exporting: ModuleType) -> None:
    with transaction(tmp_path / "out", exporting.model(), ["onnx"]) as stage:
        exporting.write(stage.folder, "onnx", "never")
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_and_what_is_recorded_must_agree(tmp_path: Path, exporting: ModuleType) -> None:
    with transaction(tmp_path / "out", exporting.model(), ["onnx"]) as stage:
        exporting.write(stage.folder, "onnx", "new")
        artifact = exporting.artifact(stage.folder, "onnx")
        (stage.folder / "onnx/model.onnx.data").write_text("unrecorded")
        with pytest.raises(ValueError, match=r"written \[.*'onnx/model.onnx', 'onnx/model.onnx.data'\]"):
            stage.commit({"onnx": artifact})
    assert list(tmp_path.iterdir()) == []


def test_golden_outputs_go_with_the_export_that_they_belong_to(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx", text="first")
    golden = tmp_path / "golden/onnx/features.npy"
    assert golden.read_text().endswith("first")
    exporting.export(tmp_path, "onnx", text="second")
    assert golden.read_text().endswith("second")
    manifest = exporting.export(
        tmp_path, "onnx", text="unchecked", before_commit=lambda stage: shutil.rmtree(stage / "golden")
    )
    assert manifest.artifacts["onnx"].golden is None
    assert set(tree(tmp_path)) == {"manifest.json", "onnx/model.onnx"}
    assert not (tmp_path / "golden").exists()


def test_golden_outputs_must_be_recorded(tmp_path: Path, exporting: ModuleType) -> None:
    with transaction(tmp_path / "out", exporting.model(), ["savedmodel"]) as stage:
        exporting.write(stage.folder, "savedmodel", "new")
        (stage.folder / "golden/savedmodel").mkdir(parents=True)
        (stage.folder / "golden/savedmodel/features.npy").write_text("unrecorded")
        artifact = exporting.artifact(stage.folder, "savedmodel")
        with pytest.raises(ValueError, match=r"written \['golden/savedmodel/features.npy', "):
            stage.commit({"savedmodel": artifact})


def test_a_strangers_file_among_golden_outputs_is_never_deleted(tmp_path: Path, exporting: ModuleType) -> None:
    exporting.export(tmp_path, "onnx")
    (tmp_path / "golden/notes.txt").write_text("beside, and in nobody's way")
    exporting.export(tmp_path, "onnx")
    (tmp_path / "golden/onnx/notes.txt").write_text("mine")
    for name in ("onnx", "stablehlo"):
        with pytest.raises(UsageError, match=r"notes\.txt: expected only recorded files here"):
            exporting.export(tmp_path, name, force=True)
    assert tree(tmp_path)["golden/onnx/notes.txt"] == "mine"
    assert tree(tmp_path)["golden/notes.txt"] == "beside, and in nobody's way"


@pytest.mark.parametrize("kind", ["file", "below a file", "broken link", "links in a circle", "long name"])
def test_an_output_that_can_be_no_folder_is_one_line(tmp_path: Path, exporting: ModuleType, kind: str) -> None:
    output = tmp_path / "output"
    if kind == "file":
        output.write_text("mine")
    elif kind == "below a file":
        output.write_text("mine")
        output = output / "deeper"
    elif kind == "broken link":
        output.symlink_to(tmp_path / "absent")
    elif kind == "links in a circle":
        output.symlink_to(tmp_path / "other")
        (tmp_path / "other").symlink_to(output)
        output = output / "deeper"
    else:
        output = tmp_path / ("x" * 300)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError) as refused:
        exporting.export(output, "onnx")
    assert str(output) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("output", ["/proc", "/proc/swift", "/proc/self/swift"])
def test_an_output_in_which_nothing_can_be_made_is_one_line(exporting: ModuleType, output: str) -> None:
    with pytest.raises(UsageError, match=f"{output}: (cannot be written|expected an empty folder)"):
        exporting.export(Path(output), "onnx")
    with pytest.raises(UsageError, match=f"{output}: cannot be written"):
        exporting.export(Path(output), "onnx", force=True)


def test_an_output_that_is_a_link_to_a_folder_is_followed(tmp_path: Path, exporting: ModuleType) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    exporting.export(tmp_path / "link", "onnx")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/onnx/model.onnx").is_file()


@pytest.mark.parametrize("place", ["onnx", "savedmodel", "savedmodel/1", "golden", "golden/onnx"])
def test_a_link_inside_the_output_is_refused(tmp_path: Path, exporting: ModuleType, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="expected a plain folder, found a link"):
        exporting.export(tmp_path / "out", "onnx", "savedmodel", force=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


AS_ANOTHER_USER = """
import os, sys
from pathlib import Path
from swift_export.artifacts import transaction
from swift_export.errors import SwiftExportError

module = __import__("runpy").run_path(sys.argv[1])
module["model"](0)
if os.getuid() == 0:  # to whom nothing is closed
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for name in sys.argv[2:]:
    try:
        with transaction(Path(name), module["model"](0), ["onnx"], force=True):
            print("entered", name)
    except SwiftExportError as error:
        print(type(error).__name__, error.exit_status, error)
"""


def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, exporting: ModuleType, start
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "open" / "onnx").mkdir(parents=True)
    (tmp_path / "open" / "onnx").chmod(0o555)
    (tmp_path / "open").chmod(0o777)
    tmp_path.chmod(0o755)
    # Names relative to a folder that it stands in: the folders above it may be closed to another user.
    names = ("closed", "closed/deeper", "open")
    process = start(exporting.__file__, *names, program=AS_ANOTHER_USER, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert out.splitlines() == [
        "UsageError 2 closed: cannot be written (permission denied); choose another --output",
        "UsageError 2 closed/deeper: cannot be written (permission denied); choose another --output",
        "UsageError 2 open/onnx: expected a folder that can be written; choose another --output",
    ]


def test_a_read_only_file_system_is_one_line(small_disk: Path, exporting: ModuleType) -> None:
    exporting.export(small_disk, "onnx")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UsageError, match="the file system is read-only"):
        exporting.export(small_disk, "onnx", text="second")


def test_a_full_disk_in_mid_export_leaves_what_was_there(small_disk: Path, exporting: ModuleType) -> None:
    output = small_disk / "out"
    exporting.export(output, "onnx")
    before = tree(output)
    with pytest.raises(MachineError, match=r"out: the disk is full; .* nothing was changed") as full:
        exporting.export(output, "onnx", "savedmodel", text="x" * 2**21)
    assert full.value.exit_status == 1
    assert tree(output) == before
    verify(output, open_artifact(output))


def test_a_full_disk_in_the_commit_leaves_what_was_there(small_disk: Path, exporting: ModuleType) -> None:
    output = small_disk / "out"
    exporting.export(output, "onnx")
    before = tree(output)
    ballast = small_disk / "ballast"

    def fill(_: Path) -> None:
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            file.writelines(bytes(4096) for _ in range(512))

    with pytest.raises(MachineError, match="the disk is full"):
        exporting.export(output, "onnx", "savedmodel", text="second", before_commit=fill)
    assert tree(output) == before
    ballast.unlink()
    exporting.export(output, "onnx", "savedmodel", text="second")
    verify(output, open_artifact(output))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_by_its_words_too(tmp_path: Path, exporting: ModuleType, number: int) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError(f"RESOURCE_EXHAUSTED: variables.data; {os.strerror(number)}")

    with pytest.raises(MachineError, match="the disk is full"):
        exporting.export(tmp_path / "out", "savedmodel", before_commit=fail)


def test_files_get_the_users_usual_permissions(tmp_path: Path, start) -> None:
    process = start(tmp_path / "out", 0, "new", "onnx,stablehlo,savedmodel", umask=0o027)
    assert process.communicate(timeout=60) == ("", "")
    for path in (tmp_path / "out").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_equal_exports_differ_in_nothing_but_their_time(tmp_path: Path, exporting: ModuleType) -> None:
    manifests = []
    for name in ("a", "b"):
        exporting.export(tmp_path / name, "savedmodel", "onnx")
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest.pop("created").endswith("Z")
        manifests.append(manifest)
    assert manifests[0] == manifests[1]
    text = (tmp_path / "a" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"


def test_opening_a_folder_that_holds_no_artifact(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ArtifactError, match="expected a folder written by an export"):
            open_artifact(folder)
