"""Random inputs for any model, with the same bytes on every machine, and the sizes to draw.

Only NumPy's PCG64 stream is used, so no bit depends on the processor. If the first dimension is unknown, item k of an
array depends only on the seed, the input and k: an item is the same in batches of one and of three, and all items
differ, so a runtime that mixes up a batch cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import numpy as np

from swift_export.formats.signature import TensorSpec
from swift_export.models.model import Model, Sizes
from swift_export.system.arrays import dtype_of

__all__ = ["ExampleInputs", "RandomInputs", "default_sizes", "shape_at"]

#: Default range of integers: small enough for a vocabulary or a number of classes.
_SMALL = (0, 7)


@dataclass(frozen=True)
class RandomInputs:
    """Standard normal floats, integers within a range, booleans.

    ``ranges`` holds the smallest and the largest integer of each input, by default 0 and 7.
    """

    inputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seed: int = 0
    name: str = "random"

    def draw(self, sizes: Sizes) -> dict[str, np.ndarray]:
        """All inputs at these sizes of the unknown dimensions."""
        return {spec.name: self._array(number, spec, sizes) for number, spec in enumerate(self.inputs)}

    def describe(self) -> dict[str, Any]:
        """The seed, and the ranges of integers."""
        return {"name": self.name, "seed": self.seed, "ranges": {name: list(r) for name, r in self.ranges.items()}}

    def _array(self, number: int, spec: TensorSpec, sizes: Sizes) -> np.ndarray:
        shape, dtype = shape_at(spec, sizes), dtype_of(spec.dtype)
        array = np.empty(shape, dtype)
        items = [array[i, ...] for i in range(shape[0])] if spec.dims and isinstance(spec.dims[0], str) else [array]
        low, high = self.ranges.get(spec.name, _SMALL)
        for item, part in enumerate(items):
            rng = np.random.Generator(np.random.PCG64([self.seed, number, item]))
            if dtype.kind == "b":
                part[...] = rng.integers(0, 2, part.shape).astype(bool)
            elif dtype.kind in "iu":
                part[...] = rng.integers(low, high, part.shape, endpoint=True)
            else:
                part[...] = rng.standard_normal(part.shape, dtype=np.float32).astype(dtype)
        return array


@dataclass(frozen=True, eq=False)
class ExampleInputs:
    """The user's arrays, cut or repeated along unknown dimensions for other sizes.

    Inputs without an array are drawn as by `RandomInputs`.
    """

    inputs: tuple[TensorSpec, ...]
    arrays: Mapping[str, np.ndarray]
    name: str = "example"

    @property
    def sizes(self) -> dict[str, int]:
        """The arrays' own sizes of the unknown dimensions."""
        return {
            dim: size
            for spec in self.inputs
            if spec.name in self.arrays
            for dim, size in zip(spec.dims, self.arrays[spec.name].shape, strict=True)
            if isinstance(dim, str)
        }

    def draw(self, sizes: Sizes) -> dict[str, np.ndarray]:
        """All inputs at these sizes of the unknown dimensions."""
        arrays = RandomInputs(tuple(spec for spec in self.inputs if spec.name not in self.arrays)).draw(sizes)
        for spec in self.inputs:
            if spec.name not in self.arrays:
                continue
            array = self.arrays[spec.name]
            for axis, (own, size) in enumerate(zip(array.shape, shape_at(spec, sizes), strict=True)):
                if size != own:
                    array = np.take(array, np.arange(size) % own, axis)
            arrays[spec.name] = array
        return arrays

    def describe(self) -> dict[str, Any]:
        """The sizes of the arrays."""
        return {"name": self.name, "shapes": {name: list(array.shape) for name, array in self.arrays.items()}}


def default_sizes(model: Model) -> tuple[dict[str, int], dict[str, int]]:
    """Two assignments of sizes to a model's unknown dimensions, each without repeated sizes.

    The first dimension of inputs, the batch size, is 1 and 2; a second such dimension is 2 and 3. All others get
    different small primes.
    """
    first = dict.fromkeys(spec.dims[0] for spec in model.inputs if spec.dims and isinstance(spec.dims[0], str))
    others = [dim for dim in model.unknown if dim not in first]
    primes = list(islice(_primes(5), 2 * len(others)))
    one, other = (
        {str(dim): start + number for number, dim in enumerate(first)}
        | dict(zip(others, primes[turn * len(others) :], strict=False))
        for turn, start in enumerate((1, 2))
    )
    return one, other


def shape_at(spec: TensorSpec, sizes: Sizes) -> tuple[int, ...]:
    """The shape of an input at these sizes of the unknown dimensions."""
    return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.dims)


def _primes(start: int) -> Iterator[int]:
    return (n for n in count(start) if all(n % k for k in range(2, n)))
