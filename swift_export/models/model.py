"""A model: the object that lowering, artifacts, parity and the command line take.

Light to import: it needs neither jax nor another framework.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from swift_export.formats.signature import TensorSpec
from swift_export.models.provenance import Provenance
from swift_export.models.stored_types import in_type
from swift_export.system.arrays import little_endian

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = [
    "Card",
    "CheckInput",
    "Forward",
    "Model",
    "Painter",
    "Picture",
    "Procedure",
    "Setting",
    "Sizes",
    "sizes_text",
    "terms_name",
    "value_name",
    "weights_digest",
]

#: ``forward(weights, *inputs)``: weights by name, inputs in the order of `Model.inputs`; returns outputs by name.
Forward = Callable[..., "Mapping[str, Array]"]

#: Sizes of the unknown dimensions, by name.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Setting:
    """A setting found at a place in a file's graph, and the setting that the model requires."""

    place: str
    name: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether both are equal."""
        return self.expected == self.found


class CheckInput(Protocol):
    """A named source of input arrays, for any sizes of the unknown dimensions."""

    @property
    def name(self) -> str:
        """The name of this input in reports."""
        ...

    def draw(self, sizes: Sizes) -> Mapping[str, np.ndarray]:
        """All inputs of the model by name; the arrays are the same on every machine."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """The arrays' origin as plain data for a report, without paths of this machine."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of the comparison: an input, and an intermediate value in the reference and in an artifact.

    All three are greyscale images, rows first; ``value`` describes the last two.
    """

    input: str
    input_image: Float[np.ndarray, "H W"]
    value: str
    expected: Float[np.ndarray, "h w"]
    found: Float[np.ndarray, "h w"]


class Painter(Protocol):
    """Makes the picture of a report from the intermediate value at one place."""

    @property
    def place(self) -> str:
        """The place of the value."""
        ...

    def paint(
        self, name: str, inputs: Mapping[str, np.ndarray], expected: np.ndarray, found: np.ndarray
    ) -> Picture | None:
        """The picture for the check input ``name``; None if the values cannot be shown side by side."""
        ...


@dataclass(frozen=True)
class Procedure:
    """A function of this package that another process calls: its module, which describes it, and plain arguments."""

    module: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """Facts about a model for people, stated in the manifest and in files.

    ``architecture`` and ``input`` are plain data, ``input_text`` is the input contract in words, and ``description`` is
    one line for the ONNX file.
    """

    variant: str
    architecture: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    copyright: str | None = None
    citation: str | None = None
    description: str | None = None
    input: Any = None
    input_text: str | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """A JAX function with its weights, ready to be lowered.

    Attributes:
        name: the model's name, also of the ONNX graph: letters, digits, ``-``, ``_`` and ``.``.
        forward: the function to export, traceable by JAX.
        weights: the weights by name; a name may be a path, such as ``layers.0.weight``.
        inputs: name, element type and shape of each input, in the order of ``forward``'s arguments. A dimension is a
            size, or a name if it may have any size; equal names mean equal sizes.
        outputs: names of the outputs, in the order of the files.
        provenance: the origin of the weights.
        card: facts for people.
        essentials: text by name that is stored in every file beside the card.
        settings: choices that distinguish this function from others of the same weights, plain data for the manifest.
        details: facts for each artifact's entry in the manifest, beside those read from the file.
        packages: Python packages whose versions affect the files, beside those of the tool itself.
        stored: element types of the weights in files, by name, where they differ from those of ``weights``.
        reference: another form of the function to compare with, by default ``forward`` itself. It takes the same
            arguments and has the same named scopes.
        rebuild: the procedure by which another process makes the model again; its module has a function
            ``rebuild(arguments, weights)``. Without it, the reference is computed in this process.
        places: named scopes inside the function, in the order of computation, at which a fault can be located; by
            default all scopes of its trace.
        outline: the places that are searched first for a fault; the other places lie between them.
        painter: makes the picture of a report.
        check_inputs: the inputs of every check; by default, random arrays.
        batched: whether the first axis of all inputs and outputs holds independent items. Each item of a batch is then
            expected to give the same result as alone.
        golden: the name of the check input whose reference outputs an export stores.
        sizes: sizes of the unknown dimensions for checks, instead of the default ones.
        sums: outputs that are sums whose terms may cancel. ``reference`` also returns the size of the terms, by the
            name `terms_name`. Errors are relative to it where it exceeds the output: a sum near zero has fewer correct
            digits than its terms.
        structure: the procedure that reads settings from a file's graph which outputs cannot show; its module has a
            function ``examine(arguments, model)`` that returns a `Setting` for each.

    """

    name: str
    forward: Forward
    weights: Mapping[str, np.ndarray]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    provenance: Provenance
    card: Card
    essentials: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    reference: Forward | None = None
    rebuild: Procedure | None = None
    places: tuple[str, ...] | None = None
    outline: tuple[str, ...] = ()
    painter: Painter | None = None
    check_inputs: tuple[CheckInput, ...] = ()
    batched: bool = False
    golden: str = "random"
    sizes: Sequence[Sizes] = ()
    sums: tuple[str, ...] = ()
    structure: Procedure | None = None

    @property
    def reference_outputs(self) -> tuple[str, ...]:
        """All that the reference computes: the outputs, and the sizes of the terms of `sums`."""
        return (*self.outputs, *map(terms_name, self.sums))

    @cached_property
    def stored_weights(self) -> Mapping[str, np.ndarray]:
        """The weights in the element types of the files; ``forward`` takes them as it takes ``weights``.

        Raises UsageError for a number out of its type's range.
        """
        return {name: in_type(name, array, self.stored.get(name)) for name, array in self.weights.items()}

    @cached_property
    def digest(self) -> str:
        """`weights_digest` of the weights."""
        return weights_digest(self.weights)

    @property
    def batch(self) -> int | None:
        """The fixed batch size of a batched model; None if any size is allowed."""
        size = self.inputs[0].dims[0] if self.batched else None
        return size if isinstance(size, int) else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the unknown dimensions in order, without repetition."""
        return tuple(dict.fromkeys(dim for spec in self.inputs for dim in spec.dims if isinstance(dim, str)))


def sizes_text(sizes: Sizes) -> str:
    """Sizes as text: ``batch 2, tokens 7``."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "fixed sizes"


def terms_name(output: str) -> str:
    """The name of the size of the terms of an output; no output of a model has such a name."""
    return f"{output}-terms"


def value_name(number: int) -> str:
    """The name of an output with the value at a place, from the place's number; it is valid in every format.

    Names have the same order as their numbers, because jax sorts outputs by name.
    """
    return f"value{number:03d}"


def weights_digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of weights: for each name in sorted order, the name, element type, shape and little-endian bytes.

    The element type is omitted for float32. The digest does not depend on a file format.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name])
        kind = "" if array.dtype == np.float32 else f"{array.dtype} "
        digest.update(f"{name} {kind}{','.join(map(str, array.shape))}\n".encode())
        digest.update(little_endian(array).tobytes())
    return digest.hexdigest()
