"""rng_bit_generator: the same bits as XLA, of all algorithms, types and shapes."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import lax

from swift_export.converter import stablehlo_to_onnx
from swift_export.errors import LoweringError

sys.path.insert(0, str(Path(__file__).parent))
from compare import run, run_and_compare
from text import by_xla, compare_text

#: States whose counter overflows its low word, and others.
STATES = {2: [[1, 2], [2**64 - 1, 2**64 - 2], [0, 0]], 3: [[3, 2**64 - 1, 2**64 - 1], [2**63 + 5, 7, 11]]}


def text(algorithm: str, length: int, kind: str, shape: tuple[int, ...]) -> str:
    state, numbers = f"tensor<{length}xui64>", f"tensor<{''.join(f'{n}x' for n in shape)}{kind}>"
    return (
        f"func.func @main(%s: {state}) -> ({state}, {numbers}) {{\n"
        f"%0:2 = stablehlo.rng_bit_generator %s, algorithm = {algorithm} : ({state}) -> ({state}, {numbers})\n"
        f"return %0#0, %0#1 : {state}, {numbers}\n}}"
    )


@pytest.mark.parametrize(("algorithm", "length"), [("DEFAULT", 2), ("PHILOX", 3), ("PHILOX", 2), ("THREE_FRY", 2)])
@pytest.mark.parametrize(("kind", "shape"), [("ui8", (3, 5)), ("ui32", ()), ("ui64", (5,)), ("ui32", (2, 0))])
def test_the_bits_of_xla(algorithm: str, length: int, kind: str, shape: tuple[int, ...]) -> None:
    module = text(algorithm, length, kind, shape)
    model = compare_text(module, np.array(STATES[length][0], np.uint64))
    for state in np.array(STATES[length][1:], np.uint64):
        for found, wanted in zip(run(model, state), by_xla(module, state), strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(7,), (5, 6, 4), (3, 9)])
def test_threefry_pairs_along_one_axis(shape: tuple[int, ...]) -> None:
    compare_text(text("THREE_FRY", 2, "ui32", shape), np.array([5, 2**40], np.uint64))


def test_jax_own_keys_of_this_kind() -> None:
    def function(key: jax.Array) -> list[jax.Array]:
        return list(lax.rng_bit_generator(key, (4, 3), np.uint32))

    run_and_compare(function, np.array([1, 2, 3, 4], np.uint32), symbolic=None)


def test_a_state_of_another_length_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"rng_bit_generator at .*: THREE_FRY with a state of 3 numbers"):
        stablehlo_to_onnx(text("THREE_FRY", 3, "ui32", (2,)))
    assert len(run(stablehlo_to_onnx(text("PHILOX", 3, "i32", (2,))), np.arange(3, dtype=np.uint64))) == 2
