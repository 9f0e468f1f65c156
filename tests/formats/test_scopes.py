"""Scopes as JAX writes them."""

from __future__ import annotations

import pytest

from swift_export.formats.scopes import joined, scope_in


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("", ""),
        ("stage0/block1/norm1", "stage0/block1/norm1"),
        ("jit(main)/jit(<lambda>)/encoder", "encoder"),
        ("a/vmap(layers)/0/att/vmap(deep)", "a/layers/0/att/deep"),
        ("vmap(layers/0)/norm", "layers/0/norm"),
        ("q/transpose(jvp(gr))", "q/gr"),
        ("q/vmap()/jvp()", "q"),
        ("net/jit(relu)", "net"),
    ],
)
def test_a_path_without_transformations_and_calls(path, scope) -> None:
    assert scope_in(path) == scope


@pytest.mark.parametrize(
    ("outer", "inner", "whole"),
    [
        ("", "norm", "norm"),
        ("block", "", "block"),
        ("block", "norm", "block/norm"),
        ("block", "block", "block"),
        ("block", "block/norm", "block/norm"),
        ("block", "block1", "block/block1"),
    ],
)
def test_a_scope_inside_a_function_called_in_a_scope(outer, inner, whole) -> None:
    assert joined(outer, inner) == whole
