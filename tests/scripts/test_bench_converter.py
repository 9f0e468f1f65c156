"""``scripts/bench_converter`` on a small function: what is measured, and what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def server(function: Any, folder: Path) -> Any:
    from _bench_converter.networks.case import Case, noise
    from _bench_converter.worker import Server

    return Server(lambda: Case(function, (noise(3, 4), noise(4, 5))), folder, seconds=0, threads=1)


def product(first: str, then: str) -> bytes:
    """A file with two operators."""
    from onnx import TensorProto, helper

    x, y, z = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (3, 4)), ("y", (4, 5)), ("z", (3, 5)))
    )
    nodes = [helper.make_node(first, ["x", "y"], ["t"]), helper.make_node(then, ["t"], ["z"])]
    graph = helper.make_graph(nodes, "product", [x, y], [z])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()


def test_files_are_compared_with_jax_and_only_right_ones_have_ratios(tmp_path: Path) -> None:
    from _bench_converter.measuring import Figures, collect
    from _bench_converter.report import Report
    from _bench_converter.rows import NETWORKS

    ours = server(lambda x, y: jnp.tanh(x @ y), tmp_path)
    converted = ours.convert()
    assert (converted["nodes"], converted["portable_nodes"]) == (2, 2)
    assert converted["seconds"] > 0

    found = {}
    for name, operators in (
        ("right", ("MatMul", "Tanh")),
        ("wrong", ("MatMul", "Sin")),
        ("broken", ()),
        ("absent", None),
    ):
        file = tmp_path / "jax2onnx.onnx"
        file.unlink(missing_ok=True)
        if operators is not None:
            file.write_bytes(product(*operators) if operators else b"no model")
        found[name] = Figures(NETWORKS[0])
        found[name].ours.nodes = converted["nodes"]
        collect(found[name], ours.measure())

    for figures in found.values():
        assert figures.ours.error == pytest.approx(0, abs=1e-6)
        assert len(figures.jax) == len(figures.ours.seconds) == 5
        assert figures.to_jax == np.median(figures.ours.seconds) / np.median(figures.jax)
    right = found["right"]
    assert right.to_others == np.median(right.ours.seconds) / np.median(right.others.seconds)
    assert found["wrong"].others.error > 0.1
    assert found["wrong"].to_others is None
    assert "Load model from jax2onnx.onnx failed" in found["broken"].others.reason
    assert found["absent"].others.error is None

    report = Report(list(found.values()), seconds=0)
    page = report.markdown(None)
    assert "- ResNet-18 (Equinox): jax2onnx: differs from JAX" in page
    assert "| networks that convert and agree | all | – | 4 of 4 | met |" in page
    assert "| nodes of ResNet-18 | <= 60 | 50 | 2 (resnet18) | met |" in page
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [row["jax2onnx"]["relative_l2"] is None for row in plain["networks"]] == [False, False, True, True]
    assert report.text().count("resnet18") >= 4


def test_limits_hold_for_medians_and_for_the_worst() -> None:
    from _bench_converter.bars import verdicts
    from _bench_converter.measuring import Figures, File
    from _bench_converter.rows import NETWORKS

    def figures(place: int, ours: float, others: float, error: float = 0) -> Figures:
        return Figures(
            NETWORKS[place], jax=[1.0, 9.0, 1.0], ours=File([ours], error=error), others=File([others], error=0)
        )

    rows = [figures(0, 0.5, 1.0), figures(1, 1.6, 1.5), figures(2, 0.8, 0.5), figures(3, 0.1, 9.0, error=1e-3)]
    rows[1].ours.error = 9e-6
    rows.append(Figures(NETWORKS[4], absent="torch"))
    found = {verdict.what: (verdict.measured, verdict.word) for verdict in verdicts(rows)}
    assert found["ours / jax.jit, median"] == ("0.80 of 3", "met")
    assert found["ours / jax.jit, worst"] == ("1.60 (vit)", "**not met**")
    assert found["ours / jax2onnx's file, where that agrees, median"] == ("1.07 of 3", "**not met**")
    assert found["ours / jax2onnx's file, where that agrees, worst"] == ("1.60 (resnet50)", "**not met**")
    assert found["nodes of DINOv2-S"] == ("–", "not measured")
    assert found["networks that convert and agree"] == ("3 of 4", "**not met**")


def test_every_network_has_its_function() -> None:
    from _bench_converter.rows import FRAMEWORKS, NETWORKS

    assert len({network.name for network in NETWORKS}) == len(NETWORKS) >= 24
    for network in NETWORKS:
        source = (SCRIPTS / "_bench_converter" / "networks" / f"{network.module}.py").read_text()
        assert f"def {network.name}() -> Case:" in source
        assert network.framework in FRAMEWORKS
        assert network.tolerance > 0


def test_an_unknown_network_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from _bench_converter.__main__ import main

    with pytest.raises(SystemExit, match="2"):
        main(["--only", "vit,nothing"])
    assert "no network nothing" in capsys.readouterr().err
