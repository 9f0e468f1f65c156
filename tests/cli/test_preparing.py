"""``prepare`` and the options of scans, as users meet them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"
SHAPE = (9, 11, 7, 26)
#: For the tiny model's 48x48x48 and 8 frames; voxel n // 2 of the scans lies at this point.
HERE = ["--weights", TINY, "--placement", "0,-18,18"]

pytestmark = pytest.mark.requires("fmri")


@pytest.fixture
def scan(brains, tmp_path: Path) -> Path:
    return brains.timed(tmp_path / "sub-01_bold.nii.gz", brains.run(SHAPE), 0.72)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_becomes_a_file_of_clips(run, scan: Path, tmp_path: Path) -> None:
    from swift_export.scans.placement import parse_placement
    from swift_export.scans.scan import Reading, open_scan

    result = run("prepare", scan.name, "-o", "clips.npy", *HERE, "--start", "1", "--stride", "5")
    assert result.returncode == 0, result.stderr
    # The brain of 18 x 22 x 14 mm is warned of, on stderr, a line each.
    assert all(line.startswith("swift-export: warning: sub-01_bold.nii.gz: ") for line in result.stderr.splitlines())
    assert "the brain measures 18 x 22 x 14 mm" in result.stderr
    assert result.stdout.startswith("placement  index 48 at (0, -18, 18) mm, LAS (given with --placement)\n")
    assert result.stdout.endswith("wrote clips.npy, 4 windows, float32 (4, 1, 48, 48, 48, 8)\n")
    reading = Reading(parse_placement("0,-18,18"), start=1, step=5)
    with open_scan(scan, reading, (48, 48, 48), 8, warn=lambda _: None) as opened:
        np.testing.assert_array_equal(np.load(tmp_path / "clips.npy")[:, 0], list(opened))
    sidecar = json.loads((tmp_path / "clips.json").read_text())
    assert (sidecar["starts"], sidecar["placement"]) == ([1, 6, 11, 16], "0,-18,18")
    assert len(sidecar["warnings"]) == result.stderr.count("\n")


def test_options_change_what_is_made_and_are_recorded(run, brains, scan: Path, tmp_path: Path) -> None:
    inside = np.zeros(SHAPE[:3], np.uint8)
    inside[2:7, 2:9, 1:5] = 1
    brains.write(tmp_path / "mask.nii.gz", inside)
    result = run(
        "prepare", scan.name, "-o", "clips.npy", *HERE, "--mask", "mask.nii.gz", "--drop-frames", "2,1",
        "--orientation", "RAS", "--windows", "2", "--dtype", "float16", "--frames", "4", "--resample-tr", "0.8",
        "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (told,) = json.loads(result.stdout)["clips"]
    assert told == json.loads((tmp_path / "clips.json").read_text()) | {"path": "clips.npy", "sidecar": "clips.json"}
    assert (told["mask"], told["drop_frames"], told["orientation"]) == ("mask.nii.gz", [2, 1], "RAS")
    assert (told["starts"], told["resample_tr"], told["total"]) == ([0, 4], 0.8, round(23 * 0.72 / 0.8))
    assert (told["dtype"], told["shape"]) == ("float16", [2, 1, 48, 48, 48, 4])
    assert np.load(tmp_path / "clips.npy").dtype == np.float16
    # Only within the mask is anything but background.
    clips = np.load(tmp_path / "clips.npy")[:, 0]
    assert (clips != clips.min()).any(axis=(0, 4)).sum() <= inside.sum()


def test_several_scans_go_into_a_folder(run, brains, scan: Path, tmp_path: Path) -> None:
    brains.write(tmp_path / "run-2.nii", brains.run(SHAPE, seed=2))
    inside = np.zeros(SHAPE[:3], np.uint8)
    inside[2:7] = 1
    for name in ("one.nii", "two.nii"):
        brains.write(tmp_path / name, inside)
        inside[2] = 0
    masks = ["--mask", "one.nii", "--mask", "two.nii"]
    result = run("prepare", scan.name, "run-2.nii", "-o", "clips/deep", *HERE, *masks, "--quiet")
    assert (result.returncode, result.stdout) == (0, "")
    assert left(tmp_path / "clips/deep") == ["run-2.json", "run-2.npy", "sub-01_bold.json", "sub-01_bold.npy"]
    told = [json.loads((tmp_path / f"clips/deep/{name}.json").read_text()) for name in ("sub-01_bold", "run-2")]
    assert [facts["mask"] for facts in told] == ["one.nii", "two.nii"]
    # One scan into a folder that is there goes by its name too.
    assert run("prepare", "run-2.nii", "-o", "clips", *HERE).returncode == 0
    assert "run-2.npy" in left(tmp_path / "clips")


def test_scans_of_one_name_are_refused(refused, brains, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    shutil.copy(scan, tmp_path / "b/sub-01_bold.nii.gz")
    brains.write(tmp_path / "sub-01_bold.nii", brains.run(SHAPE))
    for other in ("b/sub-01_bold.nii.gz", "sub-01_bold.nii"):
        line = refused("prepare", scan.name, other, "-o", "clips", *HERE)
        assert line.startswith("clips: expected scans with different names, found two called sub-01_bold")
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "clips.npz"], "clips.npz: expected a file name that ends in .npy"),
        (["--placement", "mni"], "--placement mni: expected hcp, ukb, abcd or a point X,Y,Z"),
        (["--orientation", "keep"], "has no position in the array"),
        (["--drop-frames", "5"], "--drop-frames 5: expected two numbers of frames"),
        (["--windows", "0"], "--windows 0: expected all, or a number of at least 1"),
        (["--windows", "some"], "--windows some: expected all"),
        (["--windows", "9" * 5000], "expected all, or a number of at least 1"),
        (["--windows", "\uff12"], "expected all, or a number of at least 1"),
        (["--stride", "0"], "--stride 0: expected a number of frames of at least 1"),
        (["--resample-tr", "nan"], "--resample-tr nan: expected a positive number"),
        (["--frames", "9"], "expected 1 to 8"),
        (["--mask", "absent.nii"], "absent.nii: no such file"),
        (["--picture", "out.jpg"], "--picture out.jpg: expected a file name that ends in .png"),
        (["--strict"], "(an error because of --strict)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(run, scan: Path, tmp_path: Path, options: list[str], message: str) -> None:
    output = [] if "-o" in options else ["-o", "clips.npy"]
    result = run("prepare", scan.name, *output, *HERE, *options)
    assert result.returncode == 2
    *warnings, line = result.stderr.splitlines()
    assert line.startswith("swift-export: error: ")
    assert message in line
    assert all(warning.startswith("swift-export: warning: ") for warning in warnings)
    assert left(tmp_path) == [scan.name]


def test_the_placement_is_the_models(run, refused, brains, torch_file, tmp_path: Path) -> None:
    """That of the checkpoint's data set, else of the variant; without either it has to be said."""
    # 26 frames of the published grid; HCP's leave 6 of them.
    run_ = np.zeros((20, 20, 20, 26), np.int16)
    run_[:10] = np.random.default_rng(0).integers(500, 900, (10, 20, 20, 26))
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = 20, -40, -10
    scan = brains.timed(tmp_path / "run.nii", run_, 0.8, affine)
    line = refused("prepare", scan.name, "-o", "clips.npy")
    assert line.endswith("give --placement hcp, ukb, abcd or a point X,Y,Z of MNI152 in mm")
    for variant, placement, dropped, word in (
        ("hcp-sex", "hcp: index 48 at (0, -18, 8) mm, LAS (hcp-sex was trained on HCP)", [10, 10], "hcp"),
        (
            "contrastive",
            "ukb: index 48 at (0, -16, 18) mm, LAS (contrastive was trained on HCP, UK Biobank",
            [0, 0],
            "ukb",
        ),
    ):
        result = run("prepare", scan.name, "-o", "clips.npy", "--variant", variant, "--frames", "2", "--windows", "1")
        assert result.returncode == 0, result.stderr
        assert f"placement  {placement}" in result.stdout
        assert ("the first 10 and the last 10 frames" in result.stdout) == any(dropped)
        facts = json.loads((tmp_path / "clips.json").read_text())
        assert (facts["placement"], facts["drop_frames"]) == (word, dropped)


def test_a_checkpoint_tells_its_data_set_and_stride(run, brains, recipe, torch_file, tmp_path: Path) -> None:
    case = recipe.load_case("tiny-full")
    values = case["hyper_parameters"] | {"dataset_name": "ABCD", "stride_within_seq": 2}
    torch_file.write(tmp_path / "abcd.ckpt", torch_file.checkpoint(recipe.checkpoint_state(case), values))
    scan = brains.timed(tmp_path / "run.nii", brains.run((9, 11, 7, 42)), 0.8)
    how = ["--weights", "abcd.ckpt", "--frames", "4", "--allow-crop"]
    result = run("prepare", scan.name, "-o", "clips.npy", *how)
    assert result.returncode == 0, result.stderr
    assert "placement  abcd: index 48 at (0, -18, 12) mm, RAS (the checkpoint's dataset_name is ABCD; " in result.stdout
    assert "inferred, not verified" in result.stdout
    facts = json.loads((tmp_path / "clips.json").read_text())
    assert (facts["placement"], facts["orientation"], facts["drop_frames"]) == ("abcd", "RAS", [20, 0])
    assert (facts["stride"], facts["starts"]) == (2, [0, 8])
    # Another placement brings its own frames and orientation; what the user says of either goes before.
    for options, expected in (
        (["--placement", "ukb"], ("ukb", "LAS", [0, 0])),
        (["--placement", "hcp", "--drop-frames", "1,2"], ("hcp", "LAS", [1, 2])),
        (["--orientation", "LAS"], ("abcd", "LAS", [20, 0])),
    ):
        result = run("prepare", scan.name, "-o", "clips.npy", *how, *options)
        assert result.returncode == 0, result.stderr
        facts = json.loads((tmp_path / "clips.json").read_text())
        assert (facts["placement"], facts["orientation"], facts["drop_frames"], facts["stride"]) == (*expected, 2)


def test_a_folder_of_frames_keeps_its_frames(run, torch_file, tmp_path: Path) -> None:
    """The authors left out the frames that they dropped when they wrote it."""
    frames = np.random.default_rng(0).integers(-9, 9, (75, 93, 81, 3)).astype(np.float16)
    frames[0, 0, 0] = -9
    folder = tmp_path / "100206"
    folder.mkdir()
    for number in range(3):
        torch_file.write(
            folder / f"frame_{number}.pt", torch_file.Tensor(np.ascontiguousarray(frames[..., number, None]))
        )
    result = run(
        "prepare", "100206", "-o", "clips.npy", "--variant", "hcp-sex", "--frames", "3", "--dtype", "float16",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    clip = np.load(tmp_path / "clips.npy")[0, 0]
    expected = np.pad(frames, [(11, 10), (2, 1), (8, 7), (0, 0)], constant_values=-9)
    np.testing.assert_array_equal(clip, expected)
    assert json.loads((tmp_path / "clips.json").read_text())["drop_frames"] == [0, 0]
    result = run(
        "prepare", "100206", "-o", "clips.npy", "--variant", "hcp-sex", "--frames", "2", "--drop-frames", "1,0"
    )
    assert json.loads((tmp_path / "clips.json").read_text())["drop_frames"] == [1, 0]


def test_a_mask_needs_a_run(refused, brains, torch_file, tmp_path: Path) -> None:
    folder = tmp_path / "100206"
    folder.mkdir()
    torch_file.write(folder / "frame_0.pt", torch_file.Tensor(np.zeros((75, 93, 81, 1), np.float16)))
    brains.write(tmp_path / "mask.nii", np.ones((9, 11, 7), np.uint8))
    line = refused("prepare", "100206", "-o", "c.npy", *HERE, "--mask", "mask.nii")
    assert line == "--mask mask.nii: expected a NIfTI run that it belongs to, found none"


def test_an_error_of_a_later_scan_keeps_what_was_written(run, brains, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "z.nii").write_bytes(b"no scan")
    result = run("prepare", scan.name, "z.nii", "-o", "clips", *HERE)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("swift-export: error: z.nii: ")
    assert left(tmp_path / "clips") == ["sub-01_bold.json", "sub-01_bold.npy"]


def test_folders_for_several_scans(refused, brains, scan: Path, tmp_path: Path) -> None:
    """None is made without a file to hold, or where one is in the way."""
    (tmp_path / "z.nii").write_bytes(b"no scan")
    brains.write(tmp_path / "run-2.nii", brains.run(SHAPE, seed=2))
    before = left(tmp_path)
    assert "z.nii: " in refused("prepare", "z.nii", scan.name, "-o", "new/clips", *HERE)
    line = refused("prepare", scan.name, "run-2.nii", "-o", "clips.npy", *HERE)
    assert line.startswith("clips.npy: expected a folder for the clips of 2 scans, found a file name")
    line = refused("prepare", scan.name, "run-2.nii", "-o", "z.nii/clips", *HERE)
    assert line.startswith("z.nii/clips: expected a folder, found a file in its path")
    assert left(tmp_path) == before


# A full disk, an interrupt.


@pytest.mark.parametrize("what", ["clips", "unpacked run"])
def test_a_full_disk(run, brains, scan: Path, small_disk: Path, what: str) -> None:
    """Said before anything is computed: the room for all clips is taken first."""
    out = small_disk / "clips.npy"
    room = shutil.disk_usage(small_disk).free
    if what == "clips":
        # A window is of 3.5 MB; the run's foreground finds room.
        command = ["prepare", scan, "-o", out, *HERE]
    else:
        big = np.random.default_rng(0).integers(1, 900, (40, 40, 40, 26)).astype(np.int16)
        big[:21] = 0
        command = ["prepare", brains.timed(scan.with_name("big.nii"), big, 0.8), "-o", out, *HERE, "--frames", "1"]
        (small_disk / "filler").write_bytes(bytes(room - 2**19))
    out.write_bytes(b"what was there")
    before = left(small_disk)
    result = run(*command)
    assert result.returncode == 1, result.stderr
    *warnings, line = result.stderr.splitlines()
    assert line.startswith("swift-export: error: ")
    assert "clips" in line
    assert "the disk is full" in line
    assert all(warning.startswith("swift-export: warning: ") for warning in warnings)
    assert (left(small_disk), out.read_bytes()) == (before, b"what was there")


#: Interrupts itself as Ctrl-C does when it opens the scan to read it, the clips' draft to write it, or the scan for its
#: digest. The draft is made before the scan is read.
INTERRUPTED = """
import os, signal, sys
from swift_export.cli import main
moment, scan = sys.argv[1:3]
seen = []
def hook(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
        return
    name = os.path.basename(os.fspath(arguments[0]))
    if name == scan:
        seen.append("digest" if "writing" in seen else "header" if seen.count("header") < 2 else "reading")
    elif name.startswith(".swift-export-draft-") and name.endswith(".npy"):
        seen.append("writing" if "reading" in seen else "made")
    else:
        return
    if seen[-1] == moment:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
del sys.argv[1:3]
sys.exit(main())
"""


@pytest.mark.parametrize("existing", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("moment", ["reading", "writing", "digest"])
def test_an_interrupt_leaves_nothing_behind(brains, scan: Path, tmp_path: Path, moment: str, existing: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if existing:
        (out / "clips.npy").write_bytes(b"what was there")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command = [sys.executable, "-P", "-c", INTERRUPTED, moment, scan.name]
    command += ["prepare", str(scan), "-o", str(out / "clips.npy"), *map(str, HERE)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "swift-export: interrupted"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# The options of scans on the other commands.


def test_variants_say_where_scans_go(run) -> None:
    shown = " ".join(run("variants").stdout.split())
    assert (
        "placement ukb: index 48 at (0, -16, 18) mm, LAS (contrastive was trained on HCP, UK Biobank and ABCD" in shown
    )
    assert "placement hcp: index 48 at (0, -18, 8) mm, LAS (hcp-sex was trained on HCP)" in shown


SCAN_OPTIONS = {
    "--placement", "--orientation", "--drop-frames", "--mask", "--start", "--resample-tr", "--allow-crop", "--strict",
}  # fmt: skip


def test_every_command_that_reads_scans_takes_their_options() -> None:
    import typer

    from swift_export.cli.app import app

    commands = typer.main.get_command(app).commands
    taking = {
        name
        for name, command in commands.items()
        if {option for parameter in command.params for option in parameter.opts} >= SCAN_OPTIONS
    }
    assert taking == {"stablehlo", "savedmodel", "onnx", "all", "check", "diff", "quantize", "bench", "prepare", "run"}
    for name in taking:
        shown = {parameter.name: parameter for parameter in commands[name].params}
        assert "scans" not in shown
        assert shown["start"].default == 0
        assert shown["mask"].multiple
        assert {shown[option].default for option in ("placement", "orientation", "drop_frames", "resample_tr")} == {
            None
        }
        assert commands[name].help


def test_an_export_is_checked_on_a_scan_and_says_how_its_model_takes_them(run, scan: Path, tmp_path: Path) -> None:
    result = run("onnx", *HERE, "-o", "out", "--input", scan.name, "--drop-frames", "2,1", "--start", "3")
    assert result.returncode == 0, result.stderr
    assert any(scan.name in line and line.rstrip().endswith("ok") for line in result.stdout.splitlines())
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["schema"] == 4
    assert manifest["input"] == {
        "placement": "0,-18,18", "point": [0, -18, 18], "orientation": "LAS", "drop_frames": [2, 1], "stride": 1,
        "source": "given with --placement",
    }  # fmt: skip
    assert "index 48 is (0,-18,18) mm" in manifest["input_contract"]
    assert f'"{scan.name}"' in (tmp_path / "out/parity.json").read_text()
    # Checked again, it takes scans as it says, without being told.
    again = run("check", "out/onnx/model.onnx", "--weights", TINY, "--input", scan.name, "--batch", "1")
    assert again.returncode == 0, again.stderr
    assert "placement  index 48 at (0, -18, 18) mm, LAS (given with --placement)" in again.stdout
    assert "the first 2 and the last 1 frames of each NIfTI run" in again.stdout
    strict = run("check", "out", "--weights", TINY, "--input", scan.name, "--strict")
    assert strict.returncode == 2
    assert "(an error because of --strict)" in strict.stderr


def test_files_of_clips_and_scans_side_by_side(run, artifact: Path, scan: Path, tmp_path: Path) -> None:
    """Of a file of many clips as many are taken as the check needs; masks count runs alone."""
    assert run("prepare", scan.name, "-o", "clips.npy", *HERE, "--quiet").returncode == 0
    result = run("check", artifact, "--weights", TINY, "--input", "clips.npy", "--batch", "2")
    assert result.returncode == 0, result.stderr
    # A .npy is taken as it is: where scans go is not asked.
    assert "placement" not in result.stdout
    result = run("check", artifact, "--weights", TINY, "--input", "clips.npy", "--input", scan.name)
    assert result.returncode == 2
    assert "give --placement hcp, ukb, abcd" in result.stderr


def test_masks_are_counted(refused, artifact: Path, brains, scan: Path, tmp_path: Path) -> None:
    other = shutil.copy(scan, tmp_path / "run-2.nii.gz")
    brains.write(tmp_path / "mask.nii", np.ones(SHAPE[:3], np.uint8))
    both = ["--input", scan.name, "--input", other.name, "--mask", "mask.nii"]
    for command in (["check", artifact, "--weights", TINY], ["onnx", "--weights", TINY, "-o", "out"]):
        line = refused(*command, *both)
        assert line == "--mask: expected one for each of the 2 NIfTI runs, in the same order, found 1"
    line = refused("prepare", scan.name, other.name, "-o", "clips", *HERE, "--mask", "mask.nii")
    assert line.startswith("--mask: expected one for each of the 2 NIfTI runs")


def test_two_artifacts_that_take_scans_differently(run, refused, artifact: Path, scan: Path, tmp_path: Path) -> None:
    other = shutil.copytree(artifact, tmp_path / "other")
    for folder, point in ((other, [0, -18, 18]), (shutil.copytree(artifact, tmp_path / "one"), [0, -18, 8])):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["input"] |= {
            "placement": ",".join(map(str, point)), "point": point, "orientation": "LAS", "drop_frames": [0, 0],
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest))
    diff = ["diff", tmp_path / "one", other, "--input", scan.name]
    assert refused(*diff).startswith("--input: expected one input contract, found several")
    result = run(*diff, "--placement", "0,-18,18")
    assert result.returncode == 0, result.stderr
    assert "placement  index 48 at (0, -18, 18) mm" in result.stdout


def test_masks_go_with_runs_by_their_place() -> None:
    from swift_export.cli.inputs import ScanOptions

    run, clips, first, second = map(Path, ("run.nii", "clips.npy", "first.nii", "second.nii"))
    assert ScanOptions(masks=[first, second]).masks_for([run, clips, run]) == [first, None, second]
    assert ScanOptions().masks_for([run, clips]) == [None, None]


def test_a_name_too_long_for_any_file(refused) -> None:
    assert refused("prepare", "n" * 300 + ".nii", "-o", "clips.npy", *HERE).endswith(": no such file")
