"""One table of element types, held against the libraries that give the names."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir
import pytest
from jax.extend.mlir import ir

from swift_export.formats.element_types import (
    ELEMENT_TYPES,
    FLOATING,
    STANDARD,
    ElementType,
    from_mlir,
    from_onnx,
    from_tensorflow,
)

by_name = pytest.mark.parametrize("row", ELEMENT_TYPES, ids=lambda row: row.numpy)


def numpy_type(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)


@by_name
def test_numpy_and_onnx_have_it(row: ElementType) -> None:
    assert numpy_type(row.numpy).name == row.numpy
    if row.onnx:
        assert onnx_ir.DataType[row.onnx].numpy() == numpy_type(row.numpy)
        assert from_onnx(row.onnx) == from_onnx(f"tensor({row.onnx.lower()})") == row.numpy


@by_name
def test_mlir_has_it(row: ElementType) -> None:
    if row.mlir:
        with ir.Context():
            assert str(ir.Type.parse(row.mlir)) == row.mlir
        assert from_mlir(row.mlir) == row.numpy


@pytest.mark.requires("savedmodel")
def test_tensorflow_has_them() -> None:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    for row in ELEMENT_TYPES:
        if row.tensorflow:
            number = types_pb2.DataType.Value(row.tensorflow)
            assert np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype) == numpy_type(row.numpy)
            assert from_tensorflow(row.tensorflow) == row.numpy


def test_what_is_no_type_of_numbers_keeps_its_name() -> None:
    assert from_mlir("!quant.uniform<i8:f32, 1.0>") == "!quant.uniform<i8:f32, 1.0>"
    assert from_onnx("STRING") == from_onnx("tensor(string)") == "string"
    assert from_tensorflow("DT_STRING") == "string"


def test_the_types_that_programs_compute_in_are_there_once() -> None:
    names = [row.numpy for row in ELEMENT_TYPES]
    assert len(set(names)) == len(names)
    assert set(FLOATING) < {row.numpy for row in STANDARD}
    assert all(row.mlir and row.onnx and row.tensorflow for row in STANDARD)
