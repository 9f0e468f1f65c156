"""A model: the one object that lowering, artifacts, parity and the command line take.

Light to import: neither jax nor a framework is needed to hold one.
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
    "value_name",
    "weights_digest",
]

#: ``forward(weights, *inputs)``: weights by name, inputs in the order of `Model.inputs`; gives outputs by name.
Forward = Callable[..., "Mapping[str, Array]"]

#: Sizes of the unknown dimensions, by name.
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Setting:
    """One setting that a file states, at a place in its graph, beside the one that the model demands."""

    place: str
    name: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the file states the right one."""
        return self.expected == self.found


class CheckInput(Protocol):
    """A named source of input arrays, for any sizes of the unknown dimensions."""

    @property
    def name(self) -> str:
        """How reports call this input."""
        ...

    def draw(self, sizes: Sizes) -> Mapping[str, np.ndarray]:
        """All inputs of the model, by name; the same arrays on every machine."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """How the arrays come about, as plain data for a report, without folders of this machine."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of what is compared: of an input, and of a value inside that the reference and an artifact give.

    All three are greyscale images, rows first; ``value`` says what the last two show.
    """

    input: str
    input_image: Float[np.ndarray, "H W"]
    value: str
    expected: Float[np.ndarray, "h w"]
    found: Float[np.ndarray, "h w"]


class Painter(Protocol):
    """Makes the picture of a report from the value at one place inside the model."""

    @property
    def place(self) -> str:
        """The place whose value is shown."""
        ...

    def paint(
        self, name: str, inputs: Mapping[str, np.ndarray], expected: np.ndarray, found: np.ndarray
    ) -> Picture | None:
        """Of the check input called ``name``; None where the values cannot be shown side by side."""
        ...


@dataclass(frozen=True)
class Procedure:
    """A function of this package that another process calls: its module, which documents it, and plain arguments."""

    module: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """Facts of a model for people, as manifest and files state them.

    ``architecture`` and ``input`` are plain data, ``input_text`` is the input contract in words, ``description`` one
    line for the ONNX file.
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
        name: of the model, as the graph of an ONNX file is called: letters, digits, ``-``, ``_`` and ``.``.
        forward: the function to export, traceable by JAX.
        weights: by name; a name may be a path, such as ``layers.0.weight``.
        inputs: name, element type and shape of each input, in the order in which ``forward`` takes them. A dimension is
            a size or, where any size will do, a name; the same name stands for the same size.
        outputs: names of the outputs, in the order in which files list them.
        provenance: where the weights come from.
        card: facts for people.
        essentials: what travels inside every file beside what the card says, text by name.
        settings: choices that distinguish this function from others of the same weights, plain data for the manifest.
        details: what the manifest says of each artifact beside what is read from the file.
        packages: Python packages whose versions matter to the files, beside those of the tool itself.
        reference: another form of the function to compare with, by default ``forward`` itself. It takes the same
            arguments, and carries the same named scopes.
        rebuild: how another process makes the model again; its module has a function ``rebuild(arguments, weights)``.
            Without it, the reference is computed in this process.
        places: named scopes inside the function, in the order of computation, where a fault can be located; by default
            those that its trace shows.
        outline: those of ``places`` that lie between the others' blocks: a fault is looked for there first.
        painter: makes the picture of a report.
        check_inputs: the inputs of every check; without any, random arrays.
        batched: whether the first axis of all inputs and outputs holds independent items. A batch is then expected to
            give what its items give, each on its own.
        golden: the name of the check input whose reference outputs an export keeps.
        sizes: sizes of the unknown dimensions to check at, in place of the default ones.
        structure: how to read settings from a file's graph that outputs cannot show; its module has a function
            ``examine(arguments, model)`` that gives a `Setting` for each.

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
    reference: Forward | None = None
    rebuild: Procedure | None = None
    places: tuple[str, ...] | None = None
    outline: tuple[str, ...] = ()
    painter: Painter | None = None
    check_inputs: tuple[CheckInput, ...] = ()
    batched: bool = False
    golden: str = "random"
    sizes: Sequence[Sizes] = ()
    structure: Procedure | None = None

    @cached_property
    def digest(self) -> str:
        """`weights_digest` of the weights."""
        return weights_digest(self.weights)

    @property
    def batch(self) -> int | None:
        """The fixed batch size of a batched model; None where any will do."""
        size = self.inputs[0].dims[0] if self.batched else None
        return size if isinstance(size, int) else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the unknown dimensions, each once, in order."""
        return tuple(dict.fromkeys(dim for spec in self.inputs for dim in spec.dims if isinstance(dim, str)))


def sizes_text(sizes: Sizes) -> str:
    """``batch 2, tokens 7``."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "fixed sizes"


def value_name(number: int) -> str:
    """The name of an output that holds the value at a place, by the place's number: valid in every format.

    Names sort as their numbers do: jax sorts outputs by name.
    """
    return f"value{number:03d}"


def weights_digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of weights: for each name in sorted order name, element type, shape and little-endian bytes.

    The element type is left out for float32. It depends on no file format.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name])
        kind = "" if array.dtype == np.float32 else f"{array.dtype} "
        digest.update(f"{name} {kind}{','.join(map(str, array.shape))}\n".encode())
        digest.update(little_endian(array).tobytes())
    return digest.hexdigest()
