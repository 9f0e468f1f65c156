"""Complex numbers as terms, and functions that are the same for real and complex ones.

A complex term has one more axis in front, for real and imaginary parts, so that a sum is one node as for real numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from swift_export.converter.builder import Builder, broadcast_shapes
from swift_export.converter.rules.terms import Term

__all__ = ["Complex", "conjugate", "imaginary", "paired", "parts", "real", "size", "squares"]


class Complex(Term):
    """A term whose first axis holds the real and the imaginary part.

    A real term multiplies or divides it as it is; in sums and choices it has to be `paired` first.
    """

    @staticmethod
    def joined(b: Builder, re: oir.Value, im: oir.Value) -> Complex:
        """A complex term from its parts."""
        assert re.dtype is not None
        shape = broadcast_shapes(b.shape(re), b.shape(im))
        halves = [b.reshape(b.expand(part, shape), (1, *shape)) for part in (re, im)]
        return Complex(b, b.node("Concat", halves, re.dtype, (2, *shape), axis=0))

    def constant(self, number: float) -> Complex:
        """A real number as an element of this term's type."""
        return Complex(self.builder, self._of_parts(number, 0))

    def conjugate(self) -> Complex:
        """With the opposite imaginary part."""
        return self._each("Mul", Term(self.builder, self._of_parts(1, -1)))

    def part(self, index: int) -> Term:
        """The real part, 0, or the imaginary one, 1."""
        b = self.builder
        place = b.scalar(index, oir.DataType.INT64)
        return Term(b, b.node("Gather", [self.value, place], self.dtype, b.shape(self.value)[1:], axis=0))

    def summed(self) -> Term:
        """The sum of both parts."""
        b = self.builder
        sizes = b.shape(self.value)[1:]
        return Term(b, b.node("ReduceSum", [self.value, b.integers([0])], self.dtype, sizes, keepdims=0))

    def _of_parts(self, re: float, im: float) -> oir.Value:
        rank = len(self.builder.shape(self.value))
        return self.builder.constant(np.asarray([re, im], self.dtype.numpy()).reshape(2, *[1] * (rank - 1)))

    def _each(self, op_type: str, *others: Term) -> Complex:
        return Complex(self.builder, self.builder.same_type(op_type, self.value, *(other.value for other in others)))

    def turned(self) -> Complex:
        """Times the imaginary unit."""
        b = self.builder
        swapped = b.node("Gather", [self.value, b.integers([1, 0])], self.dtype, b.shape(self.value), axis=0)
        return Complex(b, swapped)._each("Mul", Term(b, self._of_parts(-1, 1)))

    def _real(self, other: Term | float) -> Term:
        return other if isinstance(other, Term) else Term(self.builder, self.builder.scalar(other, self.dtype))

    def _complex(self, other: Term | float) -> Term:
        found = other if isinstance(other, Term) else self.constant(other)
        assert isinstance(found, Complex), "a real term in a sum of complex ones"
        return found

    def __mul__(self, other: Term | float) -> Complex:
        if isinstance(other, Complex):
            return self._each("Mul", other.part(0)) + self.turned()._each("Mul", other.part(1))
        return self._each("Mul", self._real(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Term | float) -> Complex:
        if not isinstance(other, Complex):
            return self._each("Div", self._real(other))
        # Scaled by the larger part, so that no square overflows or vanishes.
        scale = abs(other.part(0)).apply("Max", abs(other.part(1)))
        scaled = other / scale
        return self * scaled.conjugate() / squares(scaled) / scale

    def __add__(self, other: Term | float) -> Complex:
        return self._each("Add", self._complex(other))

    def __sub__(self, other: Term | float) -> Complex:
        return self._each("Sub", self._complex(other))

    def __neg__(self) -> Complex:
        return self._each("Neg")

    def __abs__(self) -> Term:
        """The modulus, scaled by the larger part."""
        scale = abs(self.part(0)).apply("Max", abs(self.part(1)))
        scale = (scale > 0.0).choose(scale, 1.0)
        return squares(self / scale).apply("Sqrt") * scale


def real(x: Term) -> Term:
    """The real part."""
    return x.part(0) if isinstance(x, Complex) else x


def imaginary(x: Term) -> Term:
    """The imaginary part; of a real number, 0."""
    return x.part(1) if isinstance(x, Complex) else x.constant(0.0)


def conjugate(x: Term) -> Term:
    """With the opposite imaginary part."""
    return x.conjugate() if isinstance(x, Complex) else x


def size(x: Term) -> Term:
    """The sum of the parts' absolute values, by which LAPACK compares numbers."""
    return x._each("Abs").summed() if isinstance(x, Complex) else abs(x)


def squares(x: Term) -> Term:
    """Squares of the absolute values."""
    return x._each("Mul", x).summed() if isinstance(x, Complex) else x * x


def paired(x: Term, like: Term) -> Term:
    """A real term as a number of the kind of another one."""
    if not isinstance(like, Complex):
        return x
    b = x.builder
    return Complex.joined(b, x.value, b.scalar(0, x.dtype))


def parts(x: Term) -> list[oir.Value]:
    """The value, or the two of a complex term."""
    return [x.part(i).value for i in range(2)] if isinstance(x, Complex) else [x.value]
