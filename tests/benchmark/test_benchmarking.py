"""Rows of a small model of two inputs: what can be measured, what fails beside it, and the figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import pytest

import swift_export
from swift_export.benchmark import benchmarking
from swift_export.benchmark.bench_picture import draw_benchmark
from swift_export.benchmark.bench_rows import Benchmark, Row
from swift_export.benchmark.bench_table import conditions, digits, failures, markdown, notes, table
from swift_export.benchmark.benchmarking import run_benchmark
from swift_export.benchmark.contenders import Lineup, Wanted, find_contenders
from swift_export.errors import UsageError
from swift_export.parity.targets import Artifacts, find_any, find_artifacts
from swift_export.runtimes.base import AbsentDevice
from swift_export.system.energy import Energy


def lookup(table: jnp.ndarray, rows: jnp.ndarray) -> jnp.ndarray:
    return jnp.tanh(table @ table.T)[rows].sum(0)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """An ONNX file whose sizes and integers are those of no batch."""
    folder = tmp_path_factory.mktemp("bench") / "lookup"
    inputs = {"table": "float32[batch,8]", "rows": "int32[rows]"}
    swift_export.export(lookup, inputs=inputs, output=folder, formats=["onnx"], check=False)
    return find_artifacts(folder)


def benchmark(lineup: Lineup, **settings: object) -> Benchmark:
    return Benchmark(lineup, lineup.contenders[0], threads=1, seconds=0.0, input="random numbers", **settings)


@pytest.fixture(scope="module")
def measured(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Two batch sizes, and a damaged file beside them."""
    wanted = Wanted(["onnxruntime"], batches=(9, 20), sizes={"rows": 4})
    lineup = find_contenders([artifacts], wanted)
    damaged = tmp_path_factory.mktemp("damaged") / "model.onnx"
    damaged.write_bytes(b"no model")
    broken = replace(lineup.contenders[0], artifact="a|b.onnx", path=damaged)
    bench = benchmark(replace(lineup, contenders=(*lineup.contenders, broken)), price_per_hour=3.6)
    run_benchmark(bench, copies=True)
    return bench


def test_every_row_computes_in_turn_and_one_that_fails_is_left_out(measured: Benchmark) -> None:
    assert [row.status for row in measured.rows] == ["measured", "measured", "failed"]
    for row, items in zip(measured.measured, (9, 20), strict=True):
        assert row.contender.sizes == {"batch": items, "rows": 4}
        assert len(row.compute) >= 5
        assert len(row.copied) >= 5
        assert row.timing is not None
        assert 0 < row.timing.best <= row.timing.median
        assert row.items_per_s == pytest.approx(items / row.timing.median)
        assert row.cost(3.6) == pytest.approx(1000 / row.items_per_s / 1000)
        assert row.peak is not None
        assert 10e6 < row.peak < 4e9
    first, second, broken = measured.rows
    assert first.ratio == 1
    assert second.ratio == 1  # the baseline's own row of the other batch size
    assert broken.ratio is None
    assert "ONNX Runtime cannot load it" in broken.reason
    assert failures(measured) == [f"a|b.onnx onnxruntime cpu float32 batch 9 rows 4: {broken.reason}"]


def test_a_precision_without_kernels_is_left_out_and_integers_are_named(artifacts: Artifacts) -> None:
    (target,) = artifacts.targets
    half = replace(target, model=replace(target.model, settings={"precision": "bfloat16"}))
    with pytest.raises(UsageError, match="ONNX Runtime on the cpu has no kernels for bfloat16"):
        find_contenders([replace(artifacts, targets=(half,))], Wanted(["onnxruntime"], sizes={"rows": 4}))
    integers = replace(artifacts, targets=(replace(target, method="weights-int4"),))
    (row,) = find_contenders([integers], Wanted(["onnxruntime"], sizes={"rows": 4})).contenders
    assert row.stored == "weights-int4"


def test_the_table_shows_only_columns_that_say_something(measured: Benchmark) -> None:
    heads, rows, numbers = table(measured)
    assert {"artifact", "runtime", "sizes", "ms", "with copies", "items/s", "per 1,000"} <= {*heads}
    assert not {"device", "precision", "card MB", "rel. L2"} & {*heads}
    assert [row[heads.index("batch")] for row in rows] == ["9", "20"]
    assert {"artifact", "sizes"} & numbers == set()
    narrow, _, _ = table(measured, 75)
    assert not {"first s", "load s"} & {*narrow}
    assert {"artifact", "ms", "ratio"} <= {*narrow}
    page = markdown(measured, "benchmark.png")
    assert page.count("\n| onnx/model.onnx | onnxruntime |") == 2
    assert "- failed: a\\|b.onnx onnxruntime" in page


def test_the_data_are_json_and_the_picture_is_the_same_each_time(measured: Benchmark) -> None:
    plain = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert [row["status"] for row in plain["rows"]] == ["measured", "measured", "failed"]
    assert plain["rows"][0]["quartiles_s"][0] <= plain["rows"][0]["median_s"] <= plain["rows"][0]["quartiles_s"][1]
    assert plain["against"] == "onnx/model.onnx onnxruntime cpu float32"
    assert plain["machine"]["processors"] >= 1
    picture = draw_benchmark(measured)
    assert picture == draw_benchmark(measured)
    assert len(picture.getcolors(1 << 20)) > 10


def test_figures_are_to_the_baseline_and_a_wrong_output_is_told(artifacts: Artifacts, tmp_path: Path) -> None:
    """The second file has other values and its weights' name: nothing but the outputs can show it."""
    import onnx

    model = onnx.load(find_contenders([artifacts], Wanted(["onnxruntime"])).contenders[0].path)
    (last,) = [node for node in model.graph.node if model.graph.output[0].name in node.output]
    halved = [onnx.helper.make_tensor("half", onnx.TensorProto.FLOAT, [], [0.5])]
    model.graph.initializer.extend(halved)
    last.output[0] = "whole"
    model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "half"], [model.graph.output[0].name]))
    onnx.save(model, tmp_path / "model.onnx")
    lineup = find_contenders([artifacts], Wanted(["onnxruntime"], sizes={"rows": 4}))
    (right,) = lineup.contenders
    bench = benchmark(replace(lineup, contenders=(right, replace(right, path=tmp_path / "model.onnx"))))

    run_benchmark(bench)

    base, wrong = bench.rows
    assert base.relative_l2 is None
    assert wrong.relative_l2 == pytest.approx(0.5)
    assert wrong.timing is not None
    assert base.timing is not None
    assert wrong.ratio == pytest.approx(wrong.timing.median / base.timing.median)
    assert any("differ from the baseline's by 0.5; run swift-export check" in line for line in notes(bench))


def test_what_was_measured_before_an_interrupt_is_kept(artifacts: Artifacts) -> None:
    bench = benchmark(find_contenders([artifacts], Wanted(["onnxruntime"], batches=(1, 2))))

    def interrupt(what: str) -> None:
        if "%" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(bench, progress=interrupt)
    assert [(row.status, bool(row.compute)) for row in bench.rows] == [("measured", True), ("waiting", False)]
    assert "not reached: 1 row" in notes(bench)


def test_energy_is_that_of_calls_on_their_own(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarking, "package_energy", lambda: Energy("a meter", iter([10.0, 30.0]).__next__))
    monkeypatch.setattr(benchmarking, "_ENERGY_S", 0.01)
    bench = benchmark(find_contenders([artifacts], Wanted(["onnxruntime"], batches=(2,))))

    run_benchmark(bench)

    (row,) = bench.rows
    assert row.joules is not None
    calls = 20 / row.joules / row.contender.items
    assert calls == pytest.approx(round(calls))
    assert calls >= 1
    heads, _, _ = table(bench)
    assert "J/item" in heads
    assert any("the counter of a meter" in sentence for sentence in conditions(bench, heads))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(["onnxruntime"], sizes={"tokens": 3}), "--size tokens: expected rows, "),
        (Wanted(["onnxruntime"], sizes={"batch": 3}), "--size batch: expected rows, "),
        (Wanted(["onnxruntime"], batches=(0,)), "--batch 0: expected a size of at least 1"),
        (Wanted(["onnxruntime"], precisions=("bfloat16",)), "--precision bfloat16: ONNX Runtime on the cpu computes"),
        (Wanted(["nothing"]), "--runtime nothing: expected one of"),
        (Wanted(["jax_export"]), "none of jax_export reads the files in"),
    ],
)
def test_what_cannot_be_measured_is_refused(artifacts: Artifacts, wanted: Wanted, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        find_contenders([artifacts], wanted)
    assert message in str(refused.value)


@pytest.mark.requires("openvino")
def test_a_runtime_that_computes_nothing_of_this_is_refused_and_one_beside_others_is_left_out(
    artifacts: Artifacts,
) -> None:
    with pytest.raises(AbsentDevice, match="OpenVINO runs only on the cpu"):
        find_contenders([artifacts], Wanted(["openvino"], devices=("gpu",)))
    lineup = find_contenders([artifacts], Wanted(["openvino"], devices=("cpu", "gpu")))
    assert [one.device for one in lineup.contenders] == ["cpu"]
    assert ["OpenVINO runs only on the cpu" in one.reason for one in lineup.skipped] == [True]


def test_a_file_of_one_size_takes_part_only_in_that_batch(artifacts: Artifacts) -> None:
    (target,) = artifacts.targets
    static = replace(target, static={"batch": 1, "rows": 5})
    wanted = Wanted(["onnxruntime"], batches=(1, 4))
    lineup = find_contenders([replace(artifacts, targets=(static, target))], wanted)
    assert [one.items for one in lineup.contenders] == [1, 1, 4]
    assert [one.reason for one in lineup.skipped] == ["--batch 4: it takes only 1 item at once"]
    bench = benchmark(lineup)
    for row in bench.rows:
        row.status, row.compute = "measured", [1.0]
        row.baseline = [2.0] if row.contender.items == 1 else []
    assert "no ratio at batch 4: the baseline was not measured there" in notes(bench)


def test_a_file_of_another_program_is_measured_by_its_signature(tmp_path: Path) -> None:
    import onnx

    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, ["batch", 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "other", [x], [y])
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, tmp_path / "other.onnx")
    bench = benchmark(find_contenders([find_any(tmp_path / "other.onnx")], Wanted(["onnxruntime"], batches=(5,))))

    run_benchmark(bench)

    (row,) = bench.rows
    assert (row.status, row.reason, row.contender.sizes) == ("measured", "", {"batch": 5})
    assert bench.item == "item"


def test_names_hold_what_distinguishes_files_and_no_more(artifacts: Artifacts, tmp_path: Path) -> None:
    def names(*found: Artifacts) -> list[str]:
        return [one.artifact for one in find_contenders(found, Wanted(["onnxruntime"])).contenders]

    (target,) = artifacts.targets
    folder = Path(artifacts.root)
    twice = replace(artifacts, targets=(replace(target, path=tmp_path / "other" / target.file),))
    same = replace(artifacts, targets=(replace(target, path=tmp_path / folder.name / target.file),))
    alone = replace(artifacts, targets=(replace(target, path=tmp_path / "a.onnx", file="a.onnx"),))
    beside = replace(artifacts, targets=(replace(target, path=tmp_path / "b.onnx", file="b.onnx"),))
    assert names(artifacts) == names(artifacts, artifacts)[:1] == ["onnx/model.onnx"]
    assert names(artifacts, twice) == ["lookup/onnx/model.onnx", "other/onnx/model.onnx"]
    assert names(artifacts, same) == [
        f"{path.parent.name}/lookup/onnx/model.onnx" for path in (folder, tmp_path / "lookup")
    ]
    assert names(alone, beside) == ["a.onnx", "b.onnx"]


def test_the_baseline_is_the_first_row_with_all_words(artifacts: Artifacts) -> None:
    lineup = find_contenders([artifacts], Wanted(["onnxruntime"], batches=(1, 4)))
    assert lineup.first("cpu, onnxruntime") is lineup.contenders[0]
    with pytest.raises(
        UsageError,
        match=r"--against openvino: expected words of a row, one of: onnx/model.onnx onnxruntime cpu float32$",
    ):
        lineup.first("openvino")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0123412, "0.01234"), (12.345, "12.35"), (999.94, "999.9"), (11614.2, "11,614")]
)
def test_numbers_have_four_digits_or_all_that_are_whole(value: float | None, text: str) -> None:
    assert digits(value) == text


def test_a_row_without_times_has_no_figures(artifacts: Artifacts) -> None:
    row = Row(find_contenders([artifacts], Wanted(["onnxruntime"])).contenders[0])
    assert (row.timing, row.items_per_s, row.ratio, row.cost(1.0)) == (None, None, None, None)
