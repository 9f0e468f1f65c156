"""fft: Fourier transforms as products with matrices of roots of unity.

ONNX's own DFT is not used: ONNX Runtime's loses digits unless the length is a power of 2 (a relative error of 1e-4 at
1,000), and it is slower for long signals.
A short length is one product. A longer one is a product of two lengths, transformed one after the other (Cooley and
Tukey); a long prime becomes a convolution of a composite length (Bluestein). All roots are computed in float64, from
exact integer angles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder
from swift_export.converter.dims import Shape
from swift_export.converter.frame import Frame, rule

__all__: list[str] = []

#: Lengths up to this one are a single product; a product of longer ones takes more time than its parts.
LONGEST_PRODUCT = 128
#: The same for lengths without a divisor, which otherwise need two transforms of at least twice the length.
LONGEST_PRIME = 256


@rule("swift_export.fft", attributes=["fft_type", "fft_length"])
def fft(frame: Frame, op: Any) -> list[oir.Value]:
    """Transforms over the last axes of a signal in parts: real and imaginary, or only real."""
    lengths = list(op.attributes["fft_length"])
    kind = str(op.attributes["fft_type"]).rpartition(" ")[2].rstrip(">")
    if 0 in lengths:
        raise frame.error(op, f"lengths {lengths}: expected at least 1")
    parts = [frame.full(operand) for operand in op.operands]
    sign = 1 if kind in ("IFFT", "IRFFT") else -1
    rank, count = len(frame.shape(op.operands[0])), len(lengths)
    signal = _Signal(frame.builder, parts[0], parts[1] if len(parts) == 2 else None, rank - 1, sign)
    axes = list(zip(range(rank - count, rank), lengths, strict=True))
    last, length = axes.pop()
    if kind == "RFFT":
        signal = replace(signal, axis=last).transformed(length).cut(length // 2 + 1)
    for axis, n in axes:
        signal = replace(signal, axis=axis).transformed(n)
    if kind == "IRFFT":
        signal = replace(signal, axis=last).doubled(length).transformed(length)
    elif kind != "RFFT":
        signal = replace(signal, axis=last).transformed(length)
    if sign > 0:
        signal = signal.times(np.asarray(1 / math.prod(lengths)))
    values = [signal.re] if kind == "IRFFT" else [signal.re, signal.imaginary]
    for result, value in zip(op.results, values, strict=True):
        frame.shapes[result] = frame.builder.shape(value)
    return values


def roots(n: int, steps: np.ndarray) -> np.ndarray:
    """``exp(2 pi i steps / n)`` for integer steps, right to the last bit or two of float64.

    The angle is reduced to an eighth of a turn in integers, so that quarters of a turn are exact.
    """
    quarter, rest = np.divmod(4 * (steps % n), n)
    far = 2 * rest > n
    angle = np.pi / 2 * np.where(far, n - rest, rest) / n
    cos, sin = np.where(far, np.sin(angle), np.cos(angle)), np.where(far, np.cos(angle), np.sin(angle))
    re = np.choose(quarter, [cos, -sin, -cos, sin])
    im = np.choose(quarter, [sin, cos, -sin, -cos])
    return re + 1j * im


@dataclass(frozen=True)
class _Signal:
    """Complex numbers along one axis of two tensors of equal shape; without imaginary parts they are real.

    ``sign`` is that of the transform's exponent.
    """

    b: Builder
    re: oir.Value
    im: oir.Value | None
    axis: int
    sign: int

    @property
    def imaginary(self) -> oir.Value:
        """The imaginary parts, which a transform of length 1 leaves out."""
        return self.im if self.im is not None else self.b.expand(self._constant(np.asarray(0.0)), self.shape)

    @property
    def shape(self) -> Shape:
        return self.b.shape(self.re)

    def transformed(self, n: int) -> _Signal:
        """The transform of length ``n`` along the axis, without a factor."""
        if n == 1:
            return self
        if n <= LONGEST_PRODUCT:
            return self._product(n)
        first = max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)
        if first > 1:
            return self._composite(first, n // first)
        return self._product(n) if n <= LONGEST_PRIME else self._convolved(n)

    def cut(self, size: int) -> _Signal:
        """The first elements along the axis."""
        return self._each(lambda value: self._slice(value, size))

    def doubled(self, n: int) -> _Signal:
        """Half a spectrum as a whole one whose inverse has the right real part.

        Frequencies with a mirror image count twice, the images are 0. Imaginary parts of the others have no effect.
        """
        half = n // 2 + 1
        weights = np.full(half, 2.0)
        weights[0] = 1
        if n % 2 == 0:
            weights[-1] = 1
        return self.times(self._along(weights)).padded(n)

    def times(self, numbers: np.ndarray) -> _Signal:
        """The product with constants, which broadcast to the signal."""
        b = self.b
        re = self._constant(numbers.real)
        if not np.iscomplexobj(numbers):
            return self._each(lambda value: b.same_type("Mul", value, re))
        im = self._constant(numbers.imag)
        if self.im is None:
            return replace(self, re=b.same_type("Mul", self.re, re), im=b.same_type("Mul", self.re, im))
        products = [[b.same_type("Mul", part, factor) for factor in (re, im)] for part in (self.re, self.im)]
        return replace(
            self,
            re=b.same_type("Sub", products[0][0], products[1][1]),
            im=b.same_type("Add", products[0][1], products[1][0]),
        )

    def padded(self, size: int) -> _Signal:
        """Zeros behind the elements along the axis."""
        found, rank = self.shape[self.axis], len(self.shape)
        assert isinstance(found, int), "transforms are of known lengths"
        if found == size:
            return self
        pads = [0] * (2 * rank)
        pads[rank + self.axis] = size - found
        shape = self._sized(size)

        def pad(value: oir.Value) -> oir.Value:
            assert value.dtype is not None
            inputs = [value, self.b.integers(pads), self._constant(np.asarray(0.0))]
            return self.b.node("Pad", inputs, value.dtype, shape, mode="constant")

        return self._each(pad)

    def _product(self, n: int) -> _Signal:
        """One product of a matrix with both parts, one below the other."""
        b = self.b
        matrix = roots(n, self.sign * np.outer(np.arange(n), np.arange(n)))
        blocks = [[matrix.real], [matrix.imag]]
        stacked = self.re
        dtype = stacked.dtype
        assert dtype is not None
        if self.im is not None:
            blocks = [[matrix.real, -matrix.imag], [matrix.imag, matrix.real]]
            stacked = b.node("Concat", [self.re, self.im], dtype, self._sized(2 * n), axis=self.axis)
        whole = np.block(blocks)
        last = self.axis == len(self.shape) - 1
        factor = self._constant(whole.T if last else whole)
        # The axes behind the transform's become the columns of the other factor.
        front, behind = self.shape[: self.axis], self.shape[self.axis + 1 :]
        if len(behind) > 1:
            stacked = b.reshape(stacked, (*front, b.shape(stacked)[self.axis], _count(behind)))
            product = b.node("MatMul", [factor, stacked], dtype, (*front, 2 * n, _count(behind)))
            product = b.reshape(product, (*front, 2 * n, *behind))
        else:
            product = b.node("MatMul", [stacked, factor] if last else [factor, stacked], dtype, self._sized(2 * n))
        re, im = b.node_outputs("Split", [product, b.integers([n, n])], [(dtype, self._sized(n))] * 2, axis=self.axis)
        return replace(self, re=re, im=im)

    def _composite(self, first: int, second: int) -> _Signal:
        """Transforms of two lengths: of elements ``second`` apart, then of the results, turned by their places."""
        b, axis, n = self.b, self.axis, first * second
        apart = (*self.shape[:axis], first, second, *self.shape[axis + 1 :])
        columns = self._each(lambda value: b.reshape(value, apart)).transformed(first)
        turns = roots(n, self.sign * np.outer(np.arange(first), np.arange(second)))
        behind = len(self.shape) - axis - 1
        turned = columns.times(turns.reshape(first, second, *(1,) * behind))
        rows = replace(turned, axis=axis + 1).transformed(second)
        order = list(range(len(apart)))
        order[axis], order[axis + 1] = axis + 1, axis
        joined = rows._each(lambda value: b.reshape(b.transpose(value, order), self._sized(n)))
        return replace(joined, axis=axis)

    def _convolved(self, n: int) -> _Signal:
        """``jk = (j**2 + k**2 - (k - j)**2) / 2``: a convolution with a chirp, by transforms of a power of 2."""
        size = 1 << (2 * n - 2).bit_length()
        places = np.arange(n)
        chirp = roots(2 * n, self.sign * (places * places % (2 * n)))
        kernel = np.zeros(size, np.complex128)
        kernel[:n] = chirp.conj()
        kernel[size - n + 1 :] = chirp[:0:-1].conj()
        spectrum = np.fft.fft(kernel) / size
        moved = replace(self.times(self._along(chirp)).padded(size), sign=-1).transformed(size)
        back = replace(moved.times(self._along(spectrum)), sign=1).transformed(size)
        return replace(back.cut(n).times(self._along(chirp)), sign=self.sign)

    def _each(self, function: Any) -> _Signal:
        return replace(self, re=function(self.re), im=None if self.im is None else function(self.im))

    def _slice(self, value: oir.Value, size: int) -> oir.Value:
        assert value.dtype is not None
        bounds = [self.b.integers([k]) for k in (0, size, self.axis, 1)]
        return self.b.node("Slice", [value, *bounds], value.dtype, self._sized(size))

    def _along(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers along the axis, to be broadcast over the others."""
        return numbers.reshape(-1, *(1,) * (len(self.shape) - self.axis - 1))

    def _sized(self, size: int) -> Shape:
        return (*self.shape[: self.axis], size, *self.shape[self.axis + 1 :])

    def _constant(self, numbers: np.ndarray) -> oir.Value:
        assert self.re.dtype is not None
        return self.b.constant(np.ascontiguousarray(numbers).astype(self.re.dtype.numpy()))


def _count(shape: Shape) -> int:
    return math.prod(size for size in shape if isinstance(size, int))
