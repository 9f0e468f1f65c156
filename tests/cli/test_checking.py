"""``check``, ``diff`` and ``inspect`` on artifacts, on parts of them and on single files."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(artifact, tmp_path / "copy")


@pytest.fixture
def altered(artifact: Path, tmp_path: Path) -> Path:
    """The ONNX file, taken out of its artifact, with one bias changed: it says the same and computes something else."""
    model = onnx.load(artifact / "onnx" / "model.onnx")
    (bias,) = (t for t in model.graph.initializer if t.name == "model.layers.2.blocks.1.mlp.linear2.bias")
    values = onnx.numpy_helper.to_array(bias) + 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), bias.name))
    onnx.save(model, tmp_path / "altered.onnx")
    return tmp_path / "altered.onnx"


def test_check_repeats_the_check_and_leaves_its_report(run, copy: Path) -> None:
    (copy / "parity.json").unlink()
    (copy.parent / "victim").write_text("mine")
    for name in (".parity.html.new", "parity.json"):  # as somebody's artifact may bring them along
        (copy / name).symlink_to("../victim")
    result = run("check", copy, "--weights", TINY)
    assert (copy.parent / "victim").read_text() == "mine"
    assert result.returncode == 0, result.stderr
    report = json.loads((copy / "parity.json").read_text())
    assert report["passed"]
    assert result.stdout.endswith(f"wrote {copy / 'parity.html'}, a page to look at\n")
    assert {artifact["root"] for artifact in report["artifacts"]} == {"copy"}
    assert (copy / "parity.md").is_file()


def test_check_of_a_single_file_that_computes_something_else_fails(run, altered: Path) -> None:
    result = run("check", altered, "--weights", TINY, "--batch", "1")
    assert result.returncode == 1
    assert "FAILED" in result.stdout
    assert "altered.onnx" in result.stderr
    assert "ONNX Runtime" in result.stderr
    assert result.stderr.count("\n") == 1


def test_check_names_the_place_where_a_file_goes_wrong(run, altered: Path) -> None:
    result = run("check", altered, "--weights", TINY, "--runtime", "onnxruntime", "--batch", "1")
    assert result.returncode == 1
    assert "first differs at stage2/block1/mlp (relative L2 " in result.stderr
    assert "stage2/block1/norm2 still agrees" in result.stdout


def test_check_runs_what_it_is_told_to(run, copy: Path) -> None:
    done = run("check", copy, "--weights", TINY, "--runtime", "onnxruntime", "--batch", "3,4", "--batch", "1")
    assert done.returncode == 0, done.stderr
    (artifact,) = json.loads((copy / "parity.json").read_text())["artifacts"]
    assert artifact["info"]["name"] == "ONNX Runtime"
    assert [(c["input"], c["batch"]) for c in artifact["comparisons"]] == [
        ("noise", 3), ("noise", 4), ("noise", 1), ("phantom", 3), ("phantom", 4), ("phantom", 1),
    ]  # fmt: skip
    assert [block["block"] for block in artifact["blocks"]][-1] == "stage2/block1"
    assert (copy / "parity.html").read_text().startswith("<!doctype html>")


def test_a_looser_tolerance_is_recorded_with_its_reason(run, copy: Path) -> None:
    # The weights are right, and so is what the graph says that is looked at: the features alone tell.
    file = copy / "onnx" / "model.onnx"
    model = onnx.load(file)
    for node in model.graph.node:
        if node.op_type == "Gelu":
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("approximate", "tanh"))
    onnx.save(model, file)
    manifest = json.loads((copy / "manifest.json").read_text())
    data = file.read_bytes()
    recorded = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest["artifacts"]["onnx"]["files"]["onnx/model.onnx"] = recorded
    (copy / "manifest.json").write_text(json.dumps(manifest))
    check = ("check", copy, "--weights", TINY, "--runtime", "onnxruntime", "--batch", "1")
    limits = ("--max-l2", "0.5", "--atol", "0.5", "--tolerance-reason", "a faster GELU is wanted")
    assert "first differs at stage0/block0/mlp" in run(*check).stderr

    done = run(*check, *limits)

    assert done.returncode == 0, done.stderr
    text = (copy / "parity.md").read_text()
    assert "asked for: a faster GELU is wanted; without that, 1e-05 and 1e-05 are allowed" in text


def test_check_refuses_what_does_not_go_together(refused, copy: Path) -> None:
    check = ("check", copy, "--weights", TINY)
    looser = "--max-l2 0.1: looser than the 1e-05 that float32 on cpu"
    assert refused(*check, "--max-l2", "0.1").startswith(looser)
    assert refused(*check, "--rtol", "0.1").startswith(looser)  # its name before
    assert refused(*check, "--max-error=-1").startswith("--max-error -1: expected a number above 0")
    assert refused(*check, "--max-error", "1e-6", "--atol", "1e-6").startswith(
        "--max-error and --atol: expected one of them, found both"
    )
    assert refused(*check, "--runtime", "torch").startswith("--runtime torch: expected one of jax_export")
    assert refused(*check, "--runtime", "iree", SWIFT_EXPORT_LAUNCHER="").startswith(
        ("none of iree reads", "--runtime")
    )
    assert refused(*check, "--batch", "1,two").startswith("--batch two: expected a whole number")
    assert refused(*check, "--runtime", "onnxruntime,").startswith("--runtime: expected values separated by commas")
    assert refused(*check, "--batch", "0").startswith("batch sizes: expected at least one, each at least 1, found 0")
    assert refused(*check, "--precision", "bfloat16", "--runtime", "onnxruntime").startswith("--precision bfloat16: ")
    assert "--precision" in refused(*check, "--precision", "int8")
    assert refused("check", copy, "--quick", "--batch", "3").startswith("--quick: cannot be combined with")


def test_a_quick_check_needs_neither_jax_nor_the_weights(run, copy: Path, tmp_path: Path) -> None:
    for absent in ("jax", "jaxlib", "equinox"):
        (tmp_path / "absent" / absent).mkdir(parents=True)
        (tmp_path / "absent" / absent / "__init__.py").write_text("raise ImportError('not on this machine')")
    search = os.pathsep.join([str(tmp_path / "absent"), str(Path(__file__).parents[2])])

    result = run("check", copy, "--quick", PYTHONPATH=search)

    assert result.returncode == 0, result.stderr
    assert "golden" not in result.stderr
    (row,) = [line for line in result.stdout.splitlines() if "onnx/model.onnx" in line]
    assert row.split()[-1] == "ok"


def test_a_quick_check_finds_what_drifted(run, refused, altered: Path, copy: Path) -> None:
    golden = next((copy / "golden").rglob("*.npy"))
    golden.write_bytes(golden.read_bytes()[:-4] + b"\0\0\0\0")
    assert "changed since its export" in refused("check", copy, "--quick")
    assert "not in an artifact folder" in refused("check", altered, "--quick")


def test_quiet_check_prints_nothing(run, copy: Path) -> None:
    result = run("check", copy / "onnx" / "model.onnx", "--weights", TINY, "--batch", "1", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_check_refuses_a_tampered_artifact(refused, copy: Path) -> None:
    file = copy / "onnx" / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "onnx/model.onnx" in refused("check", copy, "--weights", TINY)
    assert "onnx/model.onnx" in refused("inspect", copy)


def test_check_asks_for_the_weights_and_refuses_others(refused, copy: Path) -> None:
    assert "--weights" in refused("check", copy)
    assert "digest" in refused("check", copy, "--weights", GOLDEN / "tiny-windowed" / "checkpoint.ckpt")


def test_a_gpu_that_is_absent_is_an_error(run, copy: Path) -> None:
    result = run("check", copy, "--weights", TINY, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 1
    assert "--device gpu" in result.stderr
    assert result.stderr.count("\n") == 1


def test_diff_of_equal_and_of_different_files(run, artifact: Path, altered: Path) -> None:
    same = run("diff", artifact / "onnx", artifact)
    assert same.returncode == 0, same.stderr
    assert "within 1e-05" in same.stdout
    assert same.stdout.endswith("the same weights\n")
    other = run("diff", artifact / "onnx" / "model.onnx", altered)
    assert other.returncode == 1
    assert other.stderr == ""
    assert "beyond 1e-05" in other.stdout


def test_inspect_shows_what_a_file_is(run, artifact: Path) -> None:
    shown = run("inspect", artifact).stdout
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["weights"]["digest"] in shown
    assert "bold float32 (batch, 1, 48, 48, 48, 8)" in shown
    assert "ai.onnx 20" in shown
    assert "relative L2" in shown
    assert manifest["weights"]["digest"] in run("inspect", artifact / "onnx" / "model.onnx").stdout


def test_inspect_as_json(run, artifact: Path) -> None:
    described = json.loads(run("inspect", artifact, "--json").stdout)
    assert described["manifest"] == json.loads((artifact / "manifest.json").read_text())
    assert [part["path"] for part in described["parts"]] == ["onnx/model.onnx"]


def test_inspect_of_a_file_on_its_own(run, altered: Path) -> None:
    shown = run("inspect", altered).stdout
    assert "swift_export.weights_sha256" in shown
    assert "features float32 (batch, 48, 2, 2, 2, 8)" in shown


# Becomes another program, started by nohup or from a terminal of its own.
BEGIN = """
import fcntl, os, signal, sys, termios

split = sys.argv.index("--")
if "nohup" in sys.argv[:split]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if "terminal" in sys.argv[:split]:
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[split + 1 :]])
"""


@pytest.fixture
def busy(copy: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts a quick check whose runtime never comes back; returns its process and the number of the runtime's."""
    package = tmp_path / "packages" / "onnxruntime"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(
        "import ctypes, os; from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "folder.joinpath('writing').write_text(str(os.getpid()))\n"
        "folder.joinpath('writing').rename(folder / 'number')\n"
        "ctypes.PyDLL(None).sleep(60)\n"  # and keeps Python's lock
    )
    (tmp_path / "scratch").mkdir()
    search = os.pathsep.join([str(package.parent), str(Path(__file__).parents[2])])
    started = []

    def busy(*, nohup: bool = False, terminal: int | None = None) -> tuple[subprocess.Popen[str], int]:
        how = ["nohup"] * nohup + ["terminal"] * (terminal is not None)
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, *how, "--", "-P", "-m", "swift_export", "check", "--quick", str(copy)],
            env=os.environ | {"PYTHONPATH": search, "TMPDIR": str(tmp_path / "scratch")},
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        deadline = time.monotonic() + 30
        while not (tmp_path / "number").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process, int((tmp_path / "number").read_text())

    yield busy
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("sent", "status", "word"),
    [
        ([signal.SIGINT], 130, "interrupted"),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], 130, "interrupted"),
        ([signal.SIGTERM], 143, "terminated"),
        ([signal.SIGTERM, signal.SIGHUP], 143, "terminated"),
        ([signal.SIGHUP], 129, "hung up"),
    ],
)
def test_a_quick_check_stops_at_once(busy, tmp_path: Path, sent: list[int], status: int, word: str) -> None:
    process, worker = busy()

    begin = time.monotonic()
    for number in sent:
        process.send_signal(number)
        time.sleep(0.02)
    output = process.communicate(timeout=60)

    # A second or two; and the worker would take 60.
    assert time.monotonic() - begin < 20
    assert (process.returncode, output[1].splitlines()[-1]) == (status, f"swift-export: {word}")
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_nohup_keeps_a_check_running(busy) -> None:
    process, _ = busy(nohup=True)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_killed_check_leaves_no_runtime_that_computes(busy) -> None:
    process, worker = busy()
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and "State:\tZ" not in Path(f"/proc/{worker}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_check_whose_terminal_closes_ends_with_its_status(busy) -> None:
    terminal, own = pty.openpty()
    process, worker = busy(terminal=own)
    os.close(own)

    os.close(terminal)  # the kernel sends SIGHUP, and nothing can be written any more

    assert process.wait(60) == 129
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
