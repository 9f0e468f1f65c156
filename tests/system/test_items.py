"""One item on its own stands for a sequence of one, wherever a public function takes a sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swift_export
from swift_export.errors import SwiftExportError
from swift_export.parity.golden.quick import check_quick
from swift_export.system.items import as_items

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = GOLDEN / "tiny-full" / "checkpoint.ckpt"
ADD = """
func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = stablehlo.add %x, %x : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""


@pytest.mark.parametrize("one", ["features", Path("scan.nii.gz"), b"data", 3, None])
def test_one_item_is_a_sequence_of_one(one: object) -> None:
    assert as_items(one) == (one,)


@pytest.mark.parametrize("several", [("a", "b"), ["a", "b"], iter(["a", "b"]), {"a": 1, "b": 2}, ()])
def test_several_items_are_themselves(several: Any) -> None:
    assert as_items(several) == (("a", "b") if several else ())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: swift_export.check("nowhere"), "nowhere: "),
        (lambda: swift_export.check(Path("nowhere")), "nowhere: "),
        (lambda: swift_export.check("nowhere", runtimes="torch"), "--runtime torch: "),
        (lambda: swift_export.check("nowhere", batches=0), "batch sizes: .* found 0"),
        (lambda: check_quick("nowhere"), "nowhere: "),
        (lambda: check_quick("nowhere", runtimes="torch"), "--runtime torch: "),
        (lambda: swift_export.export_onnx(TINY, outputs="stage9"), "--outputs stage9: "),
        (lambda: swift_export.export_onnx(TINY, inputs="nowhere.npy"), "nowhere.npy: "),
    ],
)
def test_what_is_refused_is_the_item_and_not_its_first_letter(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SwiftExportError, match=message):
        call()


def test_names_of_dimensions_and_results(tmp_path: Path) -> None:
    model = swift_export.stablehlo_to_onnx(ADD, argument_names="left", result_names="sum", dim_names={"left": "batch"})
    ((given,), (result,)) = model.graph.inputs, model.graph.outputs
    assert (given.name, result.name) == ("left", "sum")
    assert [str(size) for size in given.shape or ()] == ["batch"]

    (tmp_path / "add.mlir").write_text(ADD)
    done = swift_export.convert(tmp_path / "add.mlir", tmp_path / "add.onnx", dim_names={"x": "batch"}, check=False)
    assert done.inputs == ("x float32 (batch)",)
