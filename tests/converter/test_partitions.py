"""Annotations and collectives of partitioned programs: no-ops for one partition, refused for more."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import op_types, run, run_and_compare

X = np.arange(-16, 16, dtype=np.float32).reshape(4, 8)


def module(body: str, result: str = "tensor<4xf32>", attributes: str = "", before: str = "") -> str:
    return (
        f"module attributes {{{attributes}}} {{\n{before}\n"
        f"func.func @main(%x: tensor<4xf32>) -> {result} {{\n{body}\nreturn %y : {result}\n}} }}"
    )


def ran(text: str) -> np.ndarray:
    (found,) = run(stablehlo_to_onnx(text), np.arange(1, 5, dtype=np.float32))
    return found


def test_sharding_constraints_make_no_nodes() -> None:
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))

    def function(x: jax.Array) -> jax.Array:
        return lax.with_sharding_constraint(jnp.tanh(x), NamedSharding(mesh, PartitionSpec("data"))) * 2

    model = run_and_compare(function, X)
    assert op_types(model) == {"Tanh": 1, "Mul": 1}


def test_collectives_over_one_partition() -> None:
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))

    def function(x: jax.Array) -> tuple[jax.Array, ...]:
        total = lax.psum(x, "data"), lax.pmean(x, "data"), lax.pmax(x, "data")
        moved = lax.all_gather(x, "data"), lax.psum_scatter(x, "data", tiled=True), lax.ppermute(x, "data", [(0, 0)])
        return *total, *moved, lax.ppermute(x, "data", []), x + lax.axis_index("data")

    specs = {"in_specs": PartitionSpec("data"), "out_specs": PartitionSpec("data")}
    run_and_compare(jax.shard_map(function, mesh=mesh, check_vma=False, **specs), X, symbolic=None)


ONE = "channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>"
SUM = (
    "({ ^bb0(%a: tensor<f32>, %b: tensor<f32>):"
    " %s = stablehlo.add %a, %b : tensor<f32> stablehlo.return %s : tensor<f32> })"
)


@pytest.mark.parametrize(
    "body",
    [
        '%y = stablehlo.custom_call @Sharding(%x) {mhlo.sharding = "{devices=[8]<=[8]}"} :'
        " (tensor<4xf32>) -> tensor<4xf32>",
        "%y = stablehlo.custom_call @SPMDFullToShardShape(%x) : (tensor<4xf32>) -> tensor<4xf32>",
        "%y = stablehlo.custom_call @annotate_device_placement(%x) {has_side_effect = true} :"
        " (tensor<4xf32>) -> tensor<4xf32>",
        '%y = stablehlo.abs %x {xla_shape = "f32[4]{0}", result_layout = dense<0> : tensor<1xindex>} : tensor<4xf32>',
        "%y = stablehlo.optimization_barrier %x : tensor<4xf32>",
        '%y = "stablehlo.all_to_all"(%x) {split_dimension = 0 : i64, concat_dimension = 0 : i64, split_count = 1 : i64,'
        " replica_groups = dense<0> : tensor<1x1xi64>} : (tensor<4xf32>) -> tensor<4xf32>",
        '%y = "stablehlo.collective_broadcast"(%x) {replica_groups = dense<[[0], [1]]> : tensor<2x1xi64>} :'
        " (tensor<4xf32>) -> tensor<4xf32>",
        f'%y = "stablehlo.all_reduce"(%x) {SUM} {{replica_groups = dense<0> : tensor<1x1xi64>, {ONE}}} :'
        " (tensor<4xf32>) -> tensor<4xf32>",
        '%y = sdy.named_computation<"f">(%x) (%z: tensor<4xf32>) { sdy.return %z : tensor<4xf32> } :'
        " (tensor<4xf32>) -> tensor<4xf32>",
    ],
)
def test_what_changes_no_value_is_the_identity(body: str) -> None:
    np.testing.assert_array_equal(ran(module(body)), np.arange(1, 5, dtype=np.float32))


def test_one_partition_is_the_first() -> None:
    body = "%p = stablehlo.partition_id : tensor<ui32>\n%r = stablehlo.replica_id : tensor<ui32>\n"
    found = ran(module(f"{body}%y = stablehlo.add %p, %r : tensor<ui32>", "tensor<ui32>"))
    assert (found.dtype, found.item()) == (np.uint32, 0)


MANUAL = (
    '%y = sdy.manual_computation(%x) in_shardings=[<@mesh, [{"d"}]>] out_shardings=[<@mesh, [{"d"}]>] '
    'manual_axes={"d"} (%z: tensor<PARTxf32>) { %n = stablehlo.negate %z : tensor<PARTxf32> '
    "sdy.return %n : tensor<PARTxf32> } : (tensor<4xf32>) -> tensor<4xf32>"
)


def test_manual_computation_of_one_partition() -> None:
    text = module(MANUAL.replace("PART", "4"), before='sdy.mesh @mesh = <["d"=1]>')
    np.testing.assert_array_equal(ran(text), [-1, -2, -3, -4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            module(MANUAL.replace("PART", "2"), before='sdy.mesh @mesh = <["d"=2]>'),
            r"sdy.manual_computation at .*: an array of tensor<4xf32> has a part of tensor<2xf32>",
        ),
        (
            module(
                f'%y = "stablehlo.all_reduce"(%x) {SUM} {{replica_groups = dense<[[0, 1, 2]]> : tensor<1x3xi64>}} :'
                " (tensor<4xf32>) -> tensor<4xf32>"
            ),
            "stablehlo.all_reduce at .*: over 3 participants",
        ),
        (
            module(
                f'%y = "stablehlo.all_reduce"(%x) {SUM} {{replica_groups = dense<0> : tensor<1x1xi64>, {ONE}}} :'
                " (tensor<4xf32>) -> tensor<4xf32>",
                attributes="mhlo.num_partitions = 4 : i32",
            ),
            "stablehlo.all_reduce at .*: over 4 participants",
        ),
        (
            module(
                f'%y = "stablehlo.all_reduce"(%x) {SUM} {{replica_groups = dense<> : tensor<0x0xi64>}} :'
                " (tensor<4xf32>) -> tensor<4xf32>",
                attributes="mhlo.num_replicas = 2 : i32",
            ),
            "stablehlo.all_reduce at .*: over 2 participants",
        ),
        (
            module(
                '%y = "stablehlo.collective_permute"(%x) {source_target_pairs = dense<[[0, 1], [1, 0]]> : '
                "tensor<2x2xi64>} : (tensor<4xf32>) -> tensor<4xf32>"
            ),
            "stablehlo.collective_permute at .*: over 2 participants",
        ),
        (
            module(
                "%y = stablehlo.partition_id : tensor<ui32>", "tensor<ui32>", before='sdy.mesh @m = <["a"=2, "b"=3]>'
            ),
            "stablehlo.partition_id at .*: one of 6 partitions",
        ),
        (
            module(
                "%y = stablehlo.custom_call @SPMDFullToShardShape(%x) : (tensor<4xf32>) -> tensor<2xf32>",
                "tensor<2xf32>",
            ),
            "custom_call at .*: an array of tensor<4xf32> has a part of tensor<2xf32>",
        ),
    ],
)
def test_more_partitions_are_refused_by_number(text: str, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        stablehlo_to_onnx(text)
