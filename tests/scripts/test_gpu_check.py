"""``scripts/gpu_check`` on the road that every machine has, and what it says of what is absent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import forkserver
import numpy as np
import pytest

from swift_export.models.swift.check_inputs import phantom
from swift_export.models.swift.variants import TINY, VARIANTS
from swift_export.models.swift.weights import synthetic_weights
from swift_export.parity.measure.compare import compare
from swift_export.parity.measure.tolerances import tolerance
from swift_export.runtimes.base import check_precision
from swift_export.system.exchange import write_request

SCRIPTS = Path(__file__).parents[2] / "scripts"
#: The shape of one clip of `toy`.
CLIP = (1, 30, 30, 30, 10)
#: Two clips of one stage, whose blocks are one plain and one shifted.
SMALL = replace(TINY, img_size=(24, 24, 24, 4), embed_dim=12, depths=(2,), num_heads=(1,))


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def gpu_check(tmp_path):
    shim = forkserver.write_shim(tmp_path / "python")

    def gpu_check(*arguments):
        return subprocess.run(
            [SCRIPTS / "gpu_check", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHON": str(shim)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return gpu_check


@pytest.fixture
def toy(tmp_path):
    """An ONNX file whose features are the negative clips."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *CLIP]) for n in ("bold", "features")]
    graph = helper.make_graph([helper.make_node("Neg", ["bold"], ["features"])], "toy", ends[:1], ends[1:])
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "toy.onnx")
    return tmp_path / "toy.onnx"


@pytest.fixture(scope="module")
def small():
    """Weights, two clips and the reference's features."""
    from swift_export import SwiFT

    weights, clips = synthetic_weights(SMALL), phantom(SMALL, 2)
    return weights.tensors, clips, np.asarray(SwiFT.from_weights(weights)(clips))


def test_the_cpu_road_checks_times_and_reports(gpu_check, tmp_path):
    report = tmp_path / "new" / "report.md"
    names = "ort-float32,jax-float32,torch-compile-float16,ort-float32-graph"

    done = gpu_check(
        *("--device", "cpu", "--architecture", "tiny", "--seconds", "0.01", "--report", report, "--only", names)
    )

    assert done.returncode == 0, done.stderr
    text, data = report.read_text(), json.loads(report.with_suffix(".json").read_text())
    statuses = {name: row["status"] for name, row in data["rows"].items()}
    assert statuses == {
        "torch-compile-float16": "absent",
        "ort-float32": "measured",
        "jax-float32": "measured",
        "ort-float32-graph": "measured",
    }
    for title in (re.escape(row["title"]) for row in data["rows"].values() if row["status"] == "measured"):
        assert re.search(rf"\| {title} \| phantom \| 4 \| \S+e-0[6-9] \| .* \| ok \|", text)
        assert re.search(rf"\| {title} \| 4 \| \d+\.\d\d \(\S+\) \| \d+\.\d\d \(\S+\) \|", text)
    assert "| 12 of 12 comparisons pass | met |" in text
    assert "(`torch-compile-float16`): absent: not for a CPU" in text
    assert re.search(r"- versions: Python \d.*, jax \d", text)
    assert str(tmp_path) not in text.replace(str(report), "")
    assert re.fullmatch(
        r"largest relative L2 \S+; rows: measured 3, absent 1, .* nothing", done.stdout.splitlines()[-1]
    )


def test_without_a_gpu_one_line_says_so(gpu_check, tmp_path):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")

    done = gpu_check("--architecture", "tiny")

    assert done.returncode == 1
    assert done.stderr == (
        "gpu_check: --device gpu: this machine has no CUDA GPU, only a CPU; use --device cpu or a machine with one\n"
    )
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "ort-float64"), "argument --only: no row ort-float64"),
        (("--budget-s", "nan"), "argument --budget-s: expected a number above 0, found nan"),
        (("--report", "report.txt"), "--report report.txt: expected a name that ends in .md, found another"),
        (("--ort-gpu", "."), "expected an onnxruntime-gpu wheel, or a folder with it or its contents"),
    ],
)
def test_bad_options_are_one_line(monkeypatch, tmp_path, capsys, arguments, told):
    from _gpu_check.__main__ import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["--device", "cpu", "--architecture", "tiny", *arguments]))
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_wheel_is_unpacked_where_it_can_be_imported(tmp_path):
    from _gpu_check.__main__ import unpacked

    with zipfile.ZipFile(tmp_path / "onnxruntime_gpu-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("onnxruntime/__init__.py", "__version__ = '9.9'")
    (tmp_path / "work").mkdir()

    from_folder = unpacked(tmp_path, tmp_path / "work")

    assert (from_folder / "onnxruntime/__init__.py").read_text() == "__version__ = '9.9'"
    assert unpacked(from_folder, tmp_path / "unused") == from_folder


def test_rows_have_names_and_tolerances():
    from _gpu_check.rows import PEAKS, ROWS, select

    assert len({row.name for row in ROWS}) == len(ROWS)
    assert [row.name for row in select(["peaks", "ort-float16"])] == ["ort-float16", "peaks"]
    for row in ROWS:
        for device in row.devices:
            if row is not PEAKS:
                assert tolerance(check_precision(row.precision), device)


def run_of(tmp_path, missing=None):
    from _gpu_check.running import Run

    return Run("cpu", tmp_path, tmp_path / "weights", (), None, 0.01, missing or {"float32": {}})


def test_a_row_costs_only_itself(tmp_path):
    """A damaged file, a missing export, a package that is not there, no time at all, too little time."""
    from _gpu_check.rows import Row
    from _gpu_check.running import Budget

    (tmp_path / "exported-float32" / "onnx").mkdir(parents=True)
    (tmp_path / "exported-float32" / "onnx" / "model.onnx").write_bytes(b"no model")
    row = Row("damaged", "a damaged file", "onnxruntime", "float32", "onnx/model.onnx")
    run = run_of(tmp_path)

    damaged = run.row(row, Budget(60))
    assert (damaged.status, damaged.timed) == ("failed", [])
    assert re.search(r"model\.onnx|protobuf", damaged.reason)
    assert "\n" not in damaged.reason
    lost = replace(run, missing={"float32": {"onnx": "no kernel"}}).row(row, Budget(60))
    assert (lost.status, lost.reason) == ("absent", "no kernel")
    nothing = run.row(replace(row, package="no_such_package"), Budget(60))
    assert (nothing.status, nothing.reason) == ("absent", "no_such_package is not installed")
    late = run.row(replace(row, name="late"), Budget(3))
    assert (late.status, late.reason) == ("not run", "no time was left")
    stopped = run.row(replace(row, name="stopped"), Budget(3.02))
    assert (stopped.status, stopped.reason) == ("stopped", "after 0 s, its share of the time")


def test_what_a_process_measured_outlives_it(tmp_path):
    from _gpu_check.outcomes import Compared, Outcome, Spread, Timed, read_outcome, write_outcome

    assert read_outcome(tmp_path) == Outcome()
    known = Outcome(
        how="on cpu",
        compared=[Compared("noise", 1, 1e-7, 2e-7, 1e-5, 1e-5, True, "text")],
        timed=[Timed(1, Spread(2.0, 1.0, 3.0, 9), Spread(4.0, 3.0, 5.0, 9), None, 0.1)],
    )
    write_outcome(known, tmp_path)
    assert read_outcome(tmp_path) == known


def test_out_of_memory_ends_a_row_at_the_batch_before(tmp_path, toy):
    """NumPy's own refusal of a batch of a terabyte stands for a card that is full."""
    from _gpu_check import row_worker
    from _gpu_check.outcomes import read_outcome

    clip, negative = tmp_path / "clip.npy", tmp_path / "negative.npy"
    np.save(clip, np.ones((1, *CLIP), np.float32))
    np.save(negative, -np.ones((1, *CLIP), np.float32))
    case = {"input": "phantom", "clips": [str(clip)], "expected": str(negative)}
    request = {"engine": "onnxruntime", "precision": "float32", "device": "cpu", "path": str(toy), "weights": ""}
    write_request(tmp_path, {**request, "cases": [case], "batches": [1, 1_000_000], "seconds": 0.001})

    row_worker.main(tmp_path)

    found = read_outcome(tmp_path)
    assert (found.status, found.reason, found.notes) == ("measured", "", ["batch 1000000: out of memory"])
    assert [times.batch for times in found.timed] == [1]
    assert found.compared[0].passed


@pytest.mark.parametrize(
    ("said", "out"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9663676416 bytes.", True),
        ("Non-zero status code. bfc_arena.cc Failed to allocate memory for requested buffer of size 671088640", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_every_runtime_has_its_words_for_a_full_card(said, out):
    from swift_export.runtimes.base import is_out_of_memory

    assert is_out_of_memory(RuntimeError(said)) == out


@pytest.mark.parametrize(("kernel", "precision"), [("xla", "float32"), ("xla", "bfloat16"), (None, "bfloat16")])
def test_jax_computes_the_reference_in_other_forms(small, kernel, precision):
    from _gpu_check.jax_sessions import plain_session, sets_session

    tensors, clips, right = small
    session = (
        plain_session(SMALL, tensors, precision, "cpu")
        if kernel is None
        else sets_session(SMALL, tensors, precision, "cpu", kernel)
    )
    found = session({"bold": clips})["features"]
    assert found.dtype == np.float32
    assert compare(found, right).within(tolerance(precision, "cpu"))


def test_masked_sets_compute_the_reference_too(small):
    import jax.numpy as jnp
    from _gpu_check.sets_swift import SetsSwiFT
    from _gpu_check.wide_heads import widened

    tensors, clips, right = small
    model = SetsSwiFT(SMALL, {(0, 1): "masked"}, "xla")
    wide = {name: jnp.asarray(array) for name, array in widened(SMALL, tensors).items()}
    assert wide["model.layers.0.blocks.0.attn.qkv.bias"].shape == (3 * 16,)
    assert compare(np.asarray(model(wide, jnp.asarray(clips))), right).within(tolerance("float32", "cpu"))


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_a_kernel_that_refuses_is_an_error(small):
    from _gpu_check.jax_sessions import sets_session

    tensors, clips, _ = small
    with pytest.raises(Exception, match=r"(?i)cudnn|cuda|gpu"):
        sets_session(SMALL, tensors, "bfloat16", "cpu", "cudnn")({"bold": clips})


@pytest.mark.requires("torch")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_torch_computes_the_reference(precision):
    """Every part of the architecture: padding, shifts in space and time, merging."""
    from _gpu_check.torch_session import TorchSession

    from swift_export import SwiFT

    weights, clips = synthetic_weights(TINY), phantom(TINY, 2)
    right = np.asarray(SwiFT.from_weights(weights)(clips))
    session = TorchSession(TINY, weights.tensors, precision, "cpu", compiled=False)
    assert compare(session({"bold": clips})["features"], right).within(tolerance(precision, "cpu"))
    session.place({"bold": clips})()


def test_padded_heads_are_exact_in_a_file(tmp_path, small):
    """Every attention is one operator, of 16 numbers a head, with the scale of 12."""
    import onnx
    import onnxruntime
    from _gpu_check.wide_heads import wide_model

    from swift_export.lowering.onnx_file import write_onnx
    from swift_export.lowering.onnx_settings import OnnxSettings
    from swift_export.models.swift.settings import SwiFTSettings
    from swift_export.models.swift.swift_model import swift_model

    _, clips, right = small
    settings = SwiFTSettings()
    model = wide_model(swift_model(synthetic_weights(SMALL), settings), SMALL, settings)
    write_onnx(model, tmp_path, OnnxSettings(target="onnxruntime"))

    path = tmp_path / "onnx/model.onnx"
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "MultiHeadAttention"]
    scales = {attribute.f for node in nodes for attribute in node.attribute if attribute.name == "scale"}
    assert len(nodes) > 1
    assert scales == {np.float32(12**-0.5)}
    session = onnxruntime.InferenceSession(path)
    shapes = {i.name: list(i.dims) for i in onnx.load(path).graph.initializer}
    assert shapes["model.layers.0.blocks.0.attn.qkv.weight[0:16]"] == [16, 12]
    assert compare(session.run(None, {"bold": clips})[0], right).within(tolerance("float32", "cpu"))


def test_bound_arrays_follow_the_input_and_its_shape(toy):
    """What a replay needs: inputs replaced in place, outputs that stay where they are."""
    from _gpu_check.onnx_sessions import GraphSession

    session = GraphSession(toy, "float32", "cpu")
    for batch, value in ((2, 1), (2, 3), (1, 5), (2, 7)):
        clips = np.full((batch, *CLIP), value, np.float32)
        np.testing.assert_array_equal(session({"bold": clips})["features"], -clips)
    session.place({"bold": clips})()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_operators_without_a_kernel_are_counted(toy):
    from _gpu_check.onnx_sessions import nodes_on_cpu

    assert nodes_on_cpu(toy, "float32") == "with the CPU as well it runs, there with 1 Neg"


def test_the_work_of_a_published_clip_is_known():
    from _gpu_check.work import clip_bytes, clip_flop

    config = VARIANTS["contrastive"].config
    assert abs(clip_flop(config) / 22.8e9 - 1) < 0.005
    assert 70.8e6 < clip_bytes(config, 2) < clip_bytes(config) < 90e6


def test_what_fails_the_check_is_ours_or_wrong(tmp_path):
    """Rows of others may break, but nobody's features may be wrong; unfinished rows are listed."""
    from _gpu_check.outcomes import Compared, Outcome
    from _gpu_check.report import Report
    from _gpu_check.rows import select

    names = ["ort-float16", "jit-bfloat16", "jax-float32", "jax-float16", "torch-float32", "xla-bfloat16"]
    report = Report("command", "cpu", "tiny", TINY, select(names), lambda: 60.0)
    off = Compared("noise", 4, 0.5, 0.7, 1e-5, 1e-5, False, "relative L2 0.5")
    fine = Compared("noise", 1, 1e-7, 1e-7, 1e-5, 1e-5, True, "relative L2 1e-7")
    report.outcomes = {
        "ort-float16": Outcome("failed", "no kernel"),
        "jit-bfloat16": Outcome("failed", "out of memory"),
        "jax-float32": Outcome("stopped", "after 75 s"),
        "jax-float16": Outcome("stopped", "after 75 s", compared=[fine]),
        "torch-float32": Outcome("measured", compared=[fine, off]),
    }
    assert report.failures == [
        "ort-float16: failed: no kernel",
        "jax-float32: stopped: after 75 s",
        "torch-float32: input noise, 4 clips: relative L2 0.5",
    ]
    report.write(tmp_path / "report.md")
    text, data = (tmp_path / "report.md").read_text(), json.loads((tmp_path / "report.json").read_text())
    assert "| PyTorch, float32 | noise | 4 | 5.0e-01 | 7.0e-01 | 1e-05, 1e-05 | FAILED |" in text
    assert "(`jit-bfloat16`): failed: out of memory" in text
    assert "(`xla-bfloat16`): waiting" in text
    assert data["rows"]["torch-float32"]["compared"][1]["relative_l2"] == 0.5


def test_limits_compare_the_best_right_rows():
    from _gpu_check.bars import verdicts
    from _gpu_check.outcomes import Compared, Outcome, Spread, Timed

    def row(milliseconds, right=True):
        times = [Timed(n, Spread(n * milliseconds, 0, 0, 9), Spread(9, 9, 9, 9), None, None) for n in (1, 16)]
        return Outcome("measured", compared=[Compared("noise", 1, 0, 0, 1, 1, right, "")], timed=times)

    found = {"ort-float16": row(2.0), "ort-float16-graph": row(1.0, right=False), "jit-bfloat16": row(4.0)}
    parity, of_jit, of_torch, throughput, whole = verdicts(found, 500)
    assert (parity.met, parity.measured) == (False, "1 of 2 comparisons pass")
    assert (of_jit.met, of_jit.measured) == (True, "0.50 (2.00 / 4.00 ms)")
    assert (of_torch.met, of_torch.word) == (None, "not measured")
    assert (throughput.met, throughput.measured) == (True, "500 clips/s")
    assert (whole.met, whole.measured) == (False, "8.3 min")
