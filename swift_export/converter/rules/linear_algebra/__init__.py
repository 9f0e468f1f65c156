"""Factorizations of matrices, on LAPACK's routines as JAX calls them and on StableHLO's own ops.

ONNX has no linear algebra, so each routine becomes a graph of elementwise ops and products. Batches may be of unknown
size; a matrix that is factorized has a known one.
"""

from swift_export.converter.rules.linear_algebra import (
    eigenvalues,
    hessenberg,
    lu,
    qr,
    singular_values,
    triangular,
    tridiagonal,
)

__all__ = ["eigenvalues", "hessenberg", "lu", "qr", "singular_values", "triangular", "tridiagonal"]
