"""Reads a PyTorch Lightning checkpoint without torch and without executing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.errors import WeightsError
from swift_export.formats.checkpoint.archive import TorchArchive
from swift_export.formats.checkpoint.torch_objects import StorageRef, TensorRef, is_count, plain, read_torch_pickle
from swift_export.formats.checkpoint.unpickle import PickleError, described
from swift_export.system.text import listed, shape_text, shown

__all__ = ["Checkpoint", "StoredTensor", "read_checkpoint", "read_tensor"]

MAX_RANK = 16

#: NumPy's code and torch's type name for each storage class of torch.
_STORAGES = {
    "DoubleStorage": ("f8", "float64"),
    "FloatStorage": ("f4", "float32"),
    "HalfStorage": ("f2", "float16"),
    "BFloat16Storage": ("u2", "bfloat16"),
    "LongStorage": ("i8", "int64"),
    "IntStorage": ("i4", "int32"),
    "ShortStorage": ("i2", "int16"),
    "CharStorage": ("i1", "int8"),
    "ByteStorage": ("u1", "uint8"),
    "BoolStorage": ("b1", "bool"),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the file, not yet read. ``offset`` and ``strides`` are checked, and count elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: StorageRef
    archive: TorchArchive

    @property
    def nbytes(self) -> int:
        """Size of the values in the file, in bytes."""
        return math.prod(self.shape) * np.dtype(_STORAGES[self.storage.kind][0]).itemsize

    def read(self) -> np.ndarray:
        """A copy of the values. bfloat16, which NumPy lacks, becomes float32, which represents it exactly."""
        if 0 in self.shape:
            return np.zeros(self.shape, np.float32)
        code = np.dtype(_STORAGES[self.storage.kind][0]).newbyteorder(self.archive.byte_order)
        elements = np.frombuffer(self.archive.view(f"data/{self.storage.key}"), code, self.storage.length)
        # Neither the first byte of a storage nor the strides of a view need be aligned.
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.shape, [s * code.itemsize for s in self.strides], writeable=False
        )
        values = np.array(view, code.newbyteorder("="), order="C")
        if self.dtype == "bfloat16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values


@dataclass(frozen=True)
class Checkpoint:
    """The relevant parts of a checkpoint: its tensors, not yet read, and its hyper-parameters as plain data."""

    state: Mapping[str, StoredTensor]
    hyper_parameters: Mapping[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a ``.ckpt``. Optimizer states and other contents stay on disk, and nothing is executed.

    Raises:
        WeightsError: the file is damaged, hostile, of another type or without a ``state_dict``.

    """
    archive = TorchArchive(path)
    try:
        content = read_torch_pickle(archive.read("data.pkl"))
    except PickleError as error:
        raise WeightsError(f"{archive.name}: refused: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(
            f"{archive.name}: expected a checkpoint (a dictionary with state_dict), found {described(content)}"
        )
    state = content.get("state_dict")
    if not isinstance(state, dict):
        keys = listed((shown(k, 60) for k in content), most=6) or "nothing"
        raise WeightsError(
            f"{archive.name}: expected a checkpoint with a state_dict, found {keys}; "
            "save it with Lightning's Trainer.save_checkpoint"
        )
    return Checkpoint(_tensors(state, archive), _hyper_parameters(content, archive.name))


def read_tensor(path: Path) -> StoredTensor:
    """Open a file with a single tensor from ``torch.save``; its values stay on disk, and nothing is executed.

    Raises:
        WeightsError: the file is damaged, hostile or holds anything else.

    """
    archive = TorchArchive(path)
    try:
        content = read_torch_pickle(archive.read("data.pkl"))
    except PickleError as error:
        raise WeightsError(f"{archive.name}: refused: {error}") from None
    if not isinstance(content, TensorRef):
        raise WeightsError(f"{archive.name}: expected one tensor, found {described(content)}")
    return _tensor("the tensor", content, archive)


def _hyper_parameters(content: Mapping[Any, Any], name: str) -> Mapping[str, Any]:
    """Hyper-parameters under the current key or that of Lightning before 0.8; empty if the file has none."""
    found = content.get("hyper_parameters", content.get("hparams"))
    if found is None:
        return {}
    try:
        values = plain(found)
    except PickleError as error:
        raise WeightsError(f"{name}: hyper_parameters: {error}") from None
    if not isinstance(values, dict):
        raise WeightsError(
            f"{name}: hyper_parameters: expected a dictionary, Namespace or AttributeDict, found {shown(values)}"
        )
    return values


def _tensors(state: Mapping[Any, Any], archive: TorchArchive) -> dict[str, StoredTensor]:
    strangers = [
        f"{shown(key)} is {described(v)}"
        for key, v in state.items()
        if not isinstance(v, TensorRef) or not isinstance(key, str)
    ]
    if strangers:
        raise WeightsError(f"{archive.name}: state_dict: expected named tensors only, but {listed(strangers)}")
    tensors = {key: _tensor(f"state_dict: {shown(key)}", ref, archive) for key, ref in state.items()}
    # Distinct parameters never share bytes. If they could, a small file might request any amount of memory.
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if claimed > archive.size:
        raise WeightsError(
            f"{archive.name}: state_dict: its tensors claim {claimed} bytes, more than the file's {archive.size}"
        )
    return tensors


def _tensor(subject: str, ref: TensorRef, archive: TorchArchive) -> StoredTensor:
    """Check a claimed view against its storage, and the storage against the file."""

    def refuse(reason: str) -> WeightsError:
        return WeightsError(f"{archive.name}: {subject}: {reason}")

    storage = ref.storage
    if not isinstance(storage, StorageRef) or storage.kind not in _STORAGES:
        kind = storage.kind if isinstance(storage, StorageRef) else described(storage)
        raise refuse(f"expected floating-point, integer or boolean values, found {shown(kind)}")
    if not (
        _counts(ref.shape) and _counts(ref.strides) and _counts((ref.offset,)) and len(ref.shape) == len(ref.strides)
    ):
        raise refuse("its shape, strides or offset are not lists of non-negative numbers")
    shape, strides = tuple(ref.shape), tuple(ref.strides)
    elements = math.prod(shape)
    # An expanded tensor (stride 0) exceeds its storage. Parameters never do, and the used memory must not either.
    last = ref.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if elements and (last >= storage.length or elements > storage.length):
        raise refuse(
            f"the view {shape_text(shape)} with strides {shape_text(strides)} at offset {ref.offset} "
            f"exceeds its storage of {storage.length} elements"
        )
    code, dtype = _STORAGES[storage.kind]
    found = archive.member_size(f"data/{storage.key}")
    if found is None or storage.length * np.dtype(code).itemsize > found:
        raise refuse(f"expected {storage.length} elements of {dtype} in the file, found {found or 0} bytes")
    return StoredTensor(dtype, shape, strides, ref.offset, storage, archive)


def _counts(values: Any) -> bool:
    """Whether these are sizes or strides: at most `MAX_RANK` non-negative integers of 63 bits."""
    return isinstance(values, (list, tuple)) and len(values) <= MAX_RANK and all(map(is_count, values))
