"""Every kind of input through `swift_export.convert`, checked against its own framework."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export

import swift_export
from swift_export.errors import CheckFailed, MachineError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
from exports import FIVE, bytecode, exported, shape


def write(folder: Path, content: bytes | bytearray | str, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


FORMS = {
    "StableHLO text": lambda e: e.mlir_module(),
    "StableHLO in MLIR bytecode": lambda e: bytecode(e.mlir_module_serialized),
    "portable StableHLO artifact": lambda e: e.mlir_module_serialized,
    "jax.export file": lambda e: e.serialize(),
}


@pytest.mark.parametrize(
    ("kind", "platforms"), [*((kind, ("cuda", "cpu")) for kind in FORMS), ("jax.export file", ("cpu",))]
)
def test_every_form_is_told_by_its_content_and_computes_the_same(tmp_path: Path, kind: str, platforms: tuple) -> None:
    source = write(tmp_path, FORMS[kind](exported(platforms=platforms)), "no.suffix")
    done = swift_export.convert(source, tmp_path / "out.onnx", check=True)
    assert done.source == kind
    assert done.report
    assert done.report.reference.startswith("jax.export" if kind == "jax.export file" else "XLA")
    assert {tuple(c.sizes.items()) for c in done.report.compared} == {(("batch", 2),), (("batch", 3),)}
    assert done.inputs == (
        "params.b float32 (3)",
        "params.w float32 (4, 3)",
        "x float32 (batch, 4)",
        "scale float32 ()",
    )
    assert done.outputs == ("parts.0 float32 (batch, 3)", "parts.1 float32 (4)", "y float32 (batch, 3)")
    assert (done.size, done.opset) == ((tmp_path / "out.onnx").stat().st_size, 20)
    named = [note for note in done.notes if "platforms" in note]
    assert bool(named) == (len(platforms) > 1)
    assert all(("cpu" in note) == (kind == "jax.export file") for note in named)
    assert metadata(tmp_path / "out.onnx") == {
        "swift_export.version": swift_export.__version__,
        "swift_export.source": kind,
        "swift_export.source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "swift_export.target": "portable",
    }
    assert str(tmp_path).encode() not in (tmp_path / "out.onnx").read_bytes()


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path, exported().mlir_module())
    for name in ("a", "b"):
        swift_export.convert(source, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_options_reach_the_file(tmp_path: Path) -> None:
    source, output = write(tmp_path, FIVE), tmp_path / "out.onnx"
    done = swift_export.convert(
        str(source),
        str(output),
        opset=18,
        target="onnxruntime",
        dim_names={"rows": ["batch", None]},
        check=True,
        seed=5,
    )
    assert (done.opset, onnx.load(output).opset_import[0].version) == (18, 18)
    assert done.inputs == ("rows float32 (batch, 4)", "table float32 (4, 3)")
    assert metadata(output)["swift_export.target"] == "onnxruntime"


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "bfloat16"]


def test_inputs_of_every_type_are_checked(tmp_path: Path) -> None:
    """As inputs and outputs; float64 stays what it is on both sides."""
    with jax.enable_x64(True):
        arguments = [shape(3, dtype=jnp.dtype(name)) for name in DTYPES]
        module = exported(lambda *xs: [x[None] for x in xs], *arguments)
    for content in (module.serialize(), module.mlir_module()):
        done = swift_export.convert(write(tmp_path, content), tmp_path / "out.onnx", check=True)
        assert [spec.split()[1] for spec in done.outputs] == DTYPES
        assert done.report
        assert [c.passed for c in done.report.compared] == [True] * len(DTYPES)


def test_arguments_that_nothing_uses_are_no_inputs(tmp_path: Path) -> None:
    module = exported(lambda x, unused, y: x + y, shape(3), shape(7), shape(3))
    done = swift_export.convert(write(tmp_path, module.serialize()), tmp_path / "out.onnx", check=True)
    assert done.inputs == ("x float32 (3)", "y float32 (3)")
    assert done.notes == ("1 of its 3 arguments are unused and do not become inputs",)


@pytest.mark.parametrize(("function", "noted"), [(lambda x: tuple(jnp.linalg.eigh(x)), True), (jnp.linalg.inv, False)])
def test_vectors_whose_signs_are_free_are_noted(tmp_path: Path, function: Any, noted: bool) -> None:
    source = write(tmp_path, exported(function, shape(3, 3)).serialize())

    done = swift_export.convert(source, tmp_path / "out.onnx")

    assert any("may have other signs than JAX's" in note for note in done.notes) == noted


def test_sizes_that_the_source_takes_are_found(tmp_path: Path) -> None:
    """Two unknown dimensions, of which one is a multiple of the other; and one that has a least size."""
    a, b = export.symbolic_shape("a, b", constraints=("b >= 5",))
    module = exported(lambda x, y, z: (jnp.concatenate([x, x]) + y, z * 2), shape(a), shape(2 * a), shape(b))
    for content in (module.serialize(), module.mlir_module()):
        done = swift_export.convert(write(tmp_path, content), tmp_path / "out.onnx", check=True)
        assert done.inputs == ("x float32 (a)", "y float32 (2*a)", "z float32 (b)")
        assert done.report
        sizes = {tuple(c.sizes.values()) for c in done.report.compared}
        assert len(sizes) == 2
        assert all(b >= 5 for _, b in sizes)


def test_sizes_that_are_multiples_are_named_and_checked(tmp_path: Path) -> None:
    (b,) = export.symbolic_shape("b")
    module = exported(lambda x: x[::2] + x.shape[0], shape(2 * b + 1))
    done = swift_export.convert(write(tmp_path, module.serialize()), tmp_path / "out.onnx", check=True)
    assert (done.inputs, done.outputs) == (("x float32 (2*b+1)",), ("output float32 (b+1)",))
    given = {"rows": ["2*batch", None]}
    done = swift_export.convert(write(tmp_path, FIVE), tmp_path / "out.onnx", dim_names=given, check=True)
    assert done.inputs == ("rows float32 (2*batch, 4)", "table float32 (4, 3)")


def test_a_platform_can_be_chosen(tmp_path: Path) -> None:
    def function(x: Any) -> Any:
        return jax.lax.platform_dependent(x, cpu=lambda x: x + 1, cuda=lambda x: x + 2)

    module = exported(function, shape(3), platforms=("cuda", "cpu"))
    jax_file, text = write(tmp_path, module.serialize(), "a"), write(tmp_path, module.mlir_module(), "b")
    output = tmp_path / "out.onnx"

    def added(source: Path, **options: Any) -> float:
        swift_export.convert(source, output, **options)
        return float(
            onnx.reference.ReferenceEvaluator(onnx.load(output)).run(None, {"x": np.zeros(3, np.float32)})[0][0]
        )

    assert added(jax_file) == 1
    assert added(jax_file, platform="cuda") == 2
    assert added(text) == 2  # the first: the module has no names for them
    assert added(text, platform="1") == 1
    with pytest.raises(UsageError, match="--platform cpu: expected a number"):
        added(text, platform="cpu")
    with pytest.raises(CheckFailed, match=r"differs from jax.export, jax .*: output output: 3 of 3|relative L2"):
        added(jax_file, platform="cuda", check=True)


def test_a_file_for_other_platforms_alone_is_converted_and_not_checked(tmp_path: Path) -> None:
    source = write(tmp_path, exported(lambda x: x + 1, shape(3), platforms=("cuda",)).serialize())
    with pytest.raises(MachineError, match="expected a file exported for cpu, found one for cuda"):
        swift_export.convert(source, tmp_path / "other.onnx", check=True)
    assert not (tmp_path / "other.onnx").exists()
    with pytest.raises(UsageError, match="--platform cpu: the module was lowered only for cuda"):
        swift_export.convert(source, tmp_path / "other.onnx", platform="cpu")


@pytest.mark.parametrize("kind", ["jax.export file", "portable StableHLO artifact"])
def test_what_xla_alone_simplifies_is_compared_as_the_source_has_it(tmp_path: Path, kind: str) -> None:
    """XLA multiplies by a rounded 1 / 47, and a floor makes another pixel of the last bit."""
    (batch,) = export.symbolic_shape("b")
    module = exported(lambda x: jax.image.resize(x, (x.shape[0], 47, 2), "nearest"), shape(batch, 20, 2))
    x = np.random.default_rng(0).standard_normal((1, 20, 2), np.float32)
    half = np.float32(0.5)
    rows = np.floor((np.arange(47, dtype=np.float32) + half) * np.float32(20) / np.float32(47)).astype(int)
    assert (np.asarray(jax.jit(module.call)(x)) != x[:, rows]).any(), "XLA has learned to divide"
    done = swift_export.convert(write(tmp_path, FORMS[kind](module)), tmp_path / "out.onnx", check=True)
    assert done.report is not None
    assert not done.report.failures
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: x})[0], x[:, rows])


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowering of one op is exchanged: the check has to see it, name the output and leave no file."""
    from swift_export.converter.frame import RULES

    monkeypatch.setitem(RULES, "stablehlo.negate", RULES["stablehlo.abs"])
    source, output = write(tmp_path, FIVE), tmp_path / "out.onnx"
    output.write_bytes(b"old")
    swift_export.convert(source, tmp_path / "wrong.onnx")
    with pytest.raises(CheckFailed) as failed:
        swift_export.convert(source, output, check=True)
    assert failed.value.exit_status == 1
    message = str(failed.value)
    assert message.startswith(f"{output}: ONNX Runtime ")
    assert "output output at rows_dim0=2: relative L2 " in message
    assert "(allowed 1e-05 and 1e-05) (and 1 more); no file was written" in message
    assert output.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.onnx", "source", "wrong.onnx"]


def test_not_a_number_is_compared_by_its_place(tmp_path: Path) -> None:
    done = swift_export.convert(
        write(tmp_path, exported(lambda x: jnp.log(x), shape(40)).mlir_module()), tmp_path / "out.onnx", check=True
    )
    assert done.report
    assert done.report.failures == ()


def test_a_file_that_onnxruntime_rejects_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import swift_export.conversion as conversion

    real = conversion._complete

    def damaged(opened: Any, model: Any, target: str) -> None:
        real(opened, model, target)
        model.graph.node(0).op_type = "NoSuchOperator"

    monkeypatch.setattr(conversion, "_complete", damaged)
    source = write(tmp_path, FIVE)
    with pytest.raises(CheckFailed, match=r"out.onnx: ONNX Runtime .* does not load the file: .*NoSuchOperator"):
        swift_export.convert(source, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
    swift_export.convert(source, tmp_path / "out.onnx", check=False)


def test_the_reference_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = jax.config.jax_enable_x64, jax.config.jax_platforms
    swift_export.convert(write(tmp_path, exported().mlir_module()), tmp_path / "out.onnx", check=True)
    assert (jax.config.jax_enable_x64, jax.config.jax_platforms) == before
    assert jnp.zeros(3, jnp.float32).dtype == np.float32
