"""The cases of a check: every input at every size of the unknown dimensions, as files for the runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swift_export.errors import InputError
from swift_export.formats.element_types import HALVES
from swift_export.models import CheckInput, Model
from swift_export.models.drawing import default_sizes
from swift_export.models.model import Sizes
from swift_export.system.arrays import dtype_of, save_array

__all__ = ["BATCHES", "Case", "Files", "fits", "sizes_to_try", "write_cases"]

#: One item, the most common batch size, and a batch size that no export uses.
BATCHES = (1, 2)

#: Files of arrays by input, to be concatenated along the first axis.
Files = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Case:
    """One call: an input of the check at certain sizes.

    ``files`` are the call's arrays. The reference is computed for each of ``parts`` separately, and the outputs are
    concatenated: a batch of independent items is expected to give the results of its items. ``given`` arrays have fixed
    sizes.
    """

    input: str
    sizes: Sizes
    files: Files
    parts: tuple[Files, ...]
    given: bool = False


def sizes_to_try(model: Model, batches: Sequence[int] = BATCHES) -> tuple[Sizes, ...]:
    """Sizes of the unknown dimensions, with ``batches`` for ``batch``; the batch size is included if it is fixed."""
    if model.batched:
        return tuple({"batch": size} for size in ((model.batch,) if model.batch else batches))
    tried = tuple(model.sizes) or default_sizes(model)
    if "batch" not in model.unknown or tuple(batches) == BATCHES:
        return tried if model.unknown else tried[:1]
    return tuple({**tried[number % len(tried)], "batch": size} for number, size in enumerate(batches))


def write_cases(model: Model, sources: Sequence[CheckInput], sizes: Sequence[Sizes], folder: Path) -> tuple[Case, ...]:
    """Draw the arrays of every source at all ``sizes`` and write them to ``folder``.

    Raises InputError for arrays that do not fit the model's inputs or have values that are not finite.
    """
    names: list[str] = []
    cases: list[Case] = []
    for number, source in enumerate(sources):
        # Two scans may have the same file name.
        names.append(source.name if source.name not in names else f"{source.name} ({number})")
        written = _items if model.batched else _whole
        cases += written(model, source, names[-1], sizes, folder / f"input{number}")
    return tuple(cases)


def _items(model: Model, source: CheckInput, name: str, sizes: Sequence[Sizes], folder: Path) -> Iterator[Case]:
    """The first k items are the same in batches of every size, so each is written once."""
    most = max(size["batch"] for size in sizes)
    files: dict[str, tuple[str, ...]] = {}
    for key, array in _drawn(model, source, {"batch": most}).items():
        files[key] = tuple(
            _saved(array[item : item + 1], folder.with_name(f"{folder.name}-{key}-{item}.npy")) for item in range(most)
        )
    parts = [{key: (items[number],) for key, items in files.items()} for number in range(most)]
    for size in sizes:
        batch = size["batch"]
        yield Case(name, size, {key: items[:batch] for key, items in files.items()}, tuple(parts[:batch]))


def _whole(model: Model, source: CheckInput, name: str, sizes: Sequence[Sizes], folder: Path) -> Iterator[Case]:
    own: Sizes | None = getattr(source, "sizes", None)  # of given arrays
    for number, size in enumerate(sizes if own is None else [own]):
        drawn = _drawn(model, source, size)
        files = {
            key: (_saved(array, folder.with_name(f"{folder.name}-{key}-{number}.npy")),) for key, array in drawn.items()
        }
        yield Case(name, size, files, (files,), own is not None)


def _saved(array: np.ndarray, path: Path) -> str:
    save_array(path, array)
    return str(path)


def _drawn(model: Model, source: CheckInput, sizes: Sizes) -> Mapping[str, np.ndarray]:
    """The arrays of a source; float32 is rounded for an input of 16 bits."""
    arrays = dict(source.draw(sizes))
    for spec in model.inputs:
        array = arrays[spec.name]
        if array.dtype == np.float32 and spec.dtype in HALVES:
            array = arrays[spec.name] = array.astype(dtype_of(spec.dtype))
        if str(array.dtype) != spec.dtype or not fits(array.shape, spec.dims):
            raise InputError(f"{source.name}: {spec.name}: expected {spec}, found {array.dtype} {array.shape}")
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            raise InputError(f"{source.name}: expected finite values, found NaN or infinity; prepare the scan again")
    return arrays


def fits(shape: Sequence[int], dims: Sequence[str | int]) -> bool:
    """Whether a shape has these dimensions; a name stands for any size."""
    return len(shape) == len(dims) and all(isinstance(d, str) or d == n for n, d in zip(shape, dims, strict=True))
