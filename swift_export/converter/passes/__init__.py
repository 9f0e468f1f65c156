"""Passes over an ONNX graph. They are independent of any model, and each preserves the graph's results."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as oir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

from swift_export.converter.opsets import MICROSOFT, check_target
from swift_export.converter.passes.activations import fuse_activations
from swift_export.converter.passes.argument_extremes import complete_arguments, plain_arguments
from swift_export.converter.passes.attention_fusion import fuse_attention, fuse_standard_attention
from swift_export.converter.passes.attention_operands import absorb_attention_biases, absorb_query_scales
from swift_export.converter.passes.average_pool import fuse_average_pool
from swift_export.converter.passes.batch_normalization import fuse_batch_normalization
from swift_export.converter.passes.batch_steps import batch_steps
from swift_export.converter.passes.bias_gelu import fuse_bias_gelu, part_bias_from_product
from swift_export.converter.passes.columns import gather_columns
from swift_export.converter.passes.doubles import keep_doubles
from swift_export.converter.passes.duplicates import merge_duplicate_initializers
from swift_export.converter.passes.extremes import complete_extremes, plain_extremes
from swift_export.converter.passes.flat_products import flatten_products
from swift_export.converter.passes.fold import fold_constants
from swift_export.converter.passes.folded_weights import fold_into_weights
from swift_export.converter.passes.fused_matmul import absorb_transposes
from swift_export.converter.passes.gates import fuse_gates, fuse_quick_gelu
from swift_export.converter.passes.gathered_products import multiply_before_gathers
from swift_export.converter.passes.gelu import fuse_gelu
from swift_export.converter.passes.gemm import fuse_gemm
from swift_export.converter.passes.half_ops import narrow_ops
from swift_export.converter.passes.head_biases import flatten_biases
from swift_export.converter.passes.identities import remove_identities
from swift_export.converter.passes.image_layouts import choose_layouts
from swift_export.converter.passes.instance_norm import fuse_instance_normalization
from swift_export.converter.passes.late_steps import defer_steps
from swift_export.converter.passes.layer_norm import fuse_layer_normalization
from swift_export.converter.passes.leading_axes import drop_leading_axes
from swift_export.converter.passes.linear_recurrences import solve_linear_recurrences
from swift_export.converter.passes.lookups import clip_indices
from swift_export.converter.passes.loops import drop_unread_states, hoist_invariants
from swift_export.converter.passes.moved_maxima import move_maxima
from swift_export.converter.passes.moved_reductions import merge_reductions, reduce_before_moves
from swift_export.converter.passes.moves import merge_moves
from swift_export.converter.passes.naming import check_names, name_nodes_and_values, number_constants
from swift_export.converter.passes.nested import all_nodes, graphs
from swift_export.converter.passes.order import order_nodes, separate_outputs
from swift_export.converter.passes.plain_sums import keep_sums_plain
from swift_export.converter.passes.pools import complete_pools, plain_pools
from swift_export.converter.passes.recurrent import fuse_recurrences
from swift_export.converter.passes.reductions import keep_reduced_axes, reduce_means
from swift_export.converter.passes.reshapes import merge_reshapes, merge_transposes, sink_reshapes
from swift_export.converter.passes.resize import fold_indices, fuse_resize
from swift_export.converter.passes.rms_norm import fuse_rms_normalization
from swift_export.converter.passes.roundings import drop_roundings
from swift_export.converter.passes.row_scatters import put_rows_first, scatter_rows
from swift_export.converter.passes.safe_softmax import drop_safety_of_softmax
from swift_export.converter.passes.scaled_gemm import scale_products
from swift_export.converter.passes.segment_maxima import forget_nan_in_segments
from swift_export.converter.passes.simplify import choose_branches, drop_neutral_elements, multiply_by_inverses
from swift_export.converter.passes.single_elements import gather_short_rows
from swift_export.converter.passes.slot_scatters import reduce_in_slots
from swift_export.converter.passes.softmax import fuse_softmax
from swift_export.converter.passes.split import merge_slices
from swift_export.converter.passes.split_products import split_products
from swift_export.converter.passes.sunk_scales import sink_scales
from swift_export.converter.passes.turn import turn_products, turn_rows
from swift_export.converter.passes.unit_axes import sink_unit_axes
from swift_export.converter.passes.unused import remove_unused
from swift_export.converter.passes.weighted_sums import fold_weighted_sums
from swift_export.converter.passes.whole import write_out
from swift_export.converter.passes.wide_convolutions import widen_convolutions
from swift_export.converter.passes.zeros import forget_signs_of_zeros, fuse_relu

__all__ = ["FUSIONS", "run_passes"]

Pass = Callable[[oir.Graph], int]

STANDARD: tuple[Pass, ...] = (
    merge_duplicate_initializers,
    fold_constants,
    drop_unread_states,
    hoist_invariants,
    choose_branches,
    drop_neutral_elements,
    fuse_average_pool,
    reduce_means,
    keep_reduced_axes,
    multiply_by_inverses,
    drop_neutral_elements,
    fuse_layer_normalization,
    fuse_rms_normalization,
    move_maxima,
    fuse_instance_normalization,
    fuse_softmax,
    sink_unit_axes,
    merge_reshapes,
    forget_signs_of_zeros,
    forget_nan_in_segments,
    fuse_gelu,
    narrow_ops,
    fuse_gates,
    fuse_activations,
    merge_transposes,
    choose_layouts,
    merge_moves,
    merge_transposes,
    reduce_before_moves,
    merge_reductions,
    turn_products,
    turn_rows,
    merge_transposes,
    flatten_biases,
    fuse_gemm,
    fold_into_weights,
    sink_reshapes,
    merge_reshapes,
    merge_slices,
    fold_constants,
    drop_leading_axes,
    split_products,
    fold_weighted_sums,
    multiply_before_gathers,
    merge_reshapes,
    defer_steps,
    fuse_recurrences,
    solve_linear_recurrences,
    batch_steps,
    fold_constants,
    merge_reshapes,
    clip_indices,
    drop_safety_of_softmax,
)
PORTABLES: tuple[Pass, ...] = (
    merge_moves,
    fuse_standard_attention,
    merge_transposes,
    merge_reshapes,
    absorb_query_scales,
    scale_products,
    part_bias_from_product,
)
MICROSOFTS: tuple[Pass, ...] = (
    sink_scales,
    merge_reshapes,
    absorb_transposes,
    merge_moves,
    fuse_attention,
    merge_transposes,
    merge_reshapes,
    absorb_query_scales,
    merge_reshapes,
    absorb_attention_biases,
    fuse_bias_gelu,
    fuse_quick_gelu,
    flatten_products,
    merge_reshapes,
    sink_reshapes,
    flatten_products,
    merge_reshapes,
)
LAST: tuple[Pass, ...] = (
    merge_moves,
    merge_reshapes,
    fold_indices,
    fuse_resize,
    gather_columns,
    fold_into_weights,
    fuse_batch_normalization,
    forget_signs_of_zeros,
    fuse_relu,
    fuse_activations,
    drop_leading_axes,
    put_rows_first,
    reduce_in_slots,
    scatter_rows,
    gather_short_rows,
    merge_reshapes,
    fold_constants,
    hoist_invariants,
    keep_sums_plain,
)

#: The passes of each target, in order: later ones work on the results of earlier ones.
FUSIONS = {
    "portable": (*STANDARD, *PORTABLES, *LAST),
    "onnxruntime": (*STANDARD, *MICROSOFTS, *LAST, widen_convolutions),
}


def run_passes(model: oir.Model, *, fuse: bool = True, target: str = "portable") -> None:
    """Remove unused nodes, fuse for a target, and name every node and value after its scope, in place.

    Raises UsageError for an unknown target.
    """
    check_target(target)
    outputs = [value.name for value in model.graph.outputs]
    plain_extremes(model.graph)
    plain_arguments(model.graph)
    plain_pools(model.graph)
    if fuse:
        # Before equal casts are merged, of the program and of the builder.
        for graph in graphs(model.graph):
            drop_roundings(graph)
    _clean(model)
    if fuse:
        found = graphs(model.graph)
        for fusion in FUSIONS[target]:
            # A pass visits each node once, but its new nodes may match again.
            while sum([fusion(graph) for graph in found]):
                _clean(model)
                found = graphs(model.graph)
        _clean(model)
    # Only the remaining ones: fused ones keep NaN by themselves.
    completed = complete_extremes(model.graph) + complete_arguments(model.graph)
    if completed + complete_pools(model.graph, in_blocks=target == "onnxruntime") + write_out(model.graph):
        _clean(model)
    for graph in graphs(model.graph):
        keep_doubles(graph)
    RemoveUnusedNodesPass()(model)  # and outputs that are optional
    separate_outputs(model.graph, outputs)
    for graph in graphs(model.graph):
        order_nodes(graph)
    name_nodes_and_values(model.graph)
    number_constants(model.graph)
    check_names(model.graph)
    if any(node.domain == MICROSOFT for node in all_nodes(model.graph)):
        model.graph.opset_imports[MICROSOFT] = 1


def _clean(model: oir.Model) -> None:
    remove_identities(model.graph)
    for graph in graphs(model.graph):
        # The pass does not visit the bodies of nodes.
        CommonSubexpressionEliminationPass()(oir.Model(graph, ir_version=model.ir_version))
    remove_unused(model.graph)
